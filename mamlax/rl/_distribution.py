"""Distributions over actions, with the methods that policy gradients and trust regions need."""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree


@runtime_checkable
class Distribution(Protocol):
    """A distribution over actions for each observation. Its parameters are a pytree of arrays."""

    def sample(self, key: PRNGKeyArray) -> PyTree:
        """An action for each observation."""
        ...

    def mode(self) -> PyTree:
        """The most likely action for each observation."""
        ...

    def log_prob(self, actions: PyTree) -> PyTree:
        """The log-probability of each whole action."""
        ...

    def entropy(self) -> PyTree:
        """The entropy, in nats."""
        ...

    def kl(self, other: PyTree) -> PyTree:
        """KL(self ‖ other), in nats."""
        ...

    def fisher_product(self, tangent: PyTree) -> PyTree:
        """The Fisher matrix of the parameters, times a tangent of them."""
        ...


class Gaussian(NamedTuple):
    """Independent normal distributions for the numbers of an action.

    Attributes:
        mean: `[..., size]`.
        log_std: `[..., size]`, the logarithm of the standard deviation.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> normal = mamlax.rl.Gaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
        >>> print(normal.log_prob(jnp.zeros((1, 2))))
        [-1.837877]
    """

    mean: Float[Array, "*observations size"]
    log_std: Float[Array, "*observations size"]

    def sample(self, key):
        """Actions `[..., size]`."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_std) * noise

    def mode(self):
        """The mean."""
        return self.mean

    def log_prob(self, actions):
        """The log-probability, summed over the numbers of an action: `[...]`."""
        z = (actions - self.mean) * jnp.exp(-self.log_std)
        return -jnp.sum(0.5 * z**2 + self.log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self):
        """`[...]`."""
        return jnp.sum(self.log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def kl(self, other):
        """`[...]`."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        z = (self.mean - other.mean) * jnp.exp(-other.log_std)
        return jnp.sum(other.log_std - self.log_std + 0.5 * (ratio + z**2 - 1), axis=-1)

    def fisher_product(self, tangent):
        """(dμ/σ², 2 d log σ)."""
        return Gaussian(tangent.mean * jnp.exp(-2 * self.log_std), 2 * tangent.log_std)


class Categorical(eqx.Module):
    """A distribution over discrete actions, which are consecutive integers.

    Attributes:
        logits: `[..., actions]`, log-probabilities up to a constant.
        start: the first action.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> coin = mamlax.rl.Categorical(jnp.zeros((1, 2)))
        >>> print(coin.entropy())
        [0.6931472]
    """

    logits: Float[Array, "*observations actions"]
    start: int = eqx.field(static=True, default=0)

    def sample(self, key):
        """Integers `[...]`."""
        return jax.random.categorical(key, self.logits).astype(jnp.int32) + self.start

    def mode(self):
        """The most likely action `[...]`."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32) + self.start

    def log_prob(self, actions):
        """`[...]`."""
        log_probs = jax.nn.log_softmax(self.logits)
        indices = actions[..., None] - self.start
        return jnp.take_along_axis(log_probs, indices, axis=-1)[..., 0]

    def entropy(self):
        """`[...]`."""
        return -jnp.sum(jax.nn.softmax(self.logits) * jax.nn.log_softmax(self.logits), axis=-1)

    def kl(self, other):
        """`[...]`."""
        difference = jax.nn.log_softmax(self.logits) - jax.nn.log_softmax(other.logits)
        return jnp.sum(jax.nn.softmax(self.logits) * difference, axis=-1)

    def fisher_product(self, tangent):
        """p (dl − ⟨p, dl⟩)."""
        p = jax.nn.softmax(self.logits)
        centered = tangent.logits - jnp.sum(p * tangent.logits, axis=-1, keepdims=True)
        return Categorical(p * centered, self.start)
