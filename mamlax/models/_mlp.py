"""A fully connected network."""

import dataclasses
import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._inputs import flattened, with_reference, zero_context
from ._normalization import Norm, check_norm, normalization

Activation = Literal["relu", "tanh"]


class MLP(eqx.Module):
    """Fully connected layers with an activation between them; see `mlp`."""

    weights: list[Float[Array, "_inputs _outputs"]]
    biases: list[Float[Array, " _outputs"]]
    norm: Norm = eqx.field(static=True)
    activation: Activation = eqx.field(static=True, default="relu")
    context: Float[Array, " context"] | None = None

    def __call__(self, inputs, reference=None):
        """Outputs `[examples, outputs]` for inputs `[examples, ...]`, which are flattened."""
        return self.features(inputs, reference) @ self.weights[-1] + self.biases[-1][None]

    def features(self, inputs, reference=None):
        """The inputs of the last layer, `[examples, features]`."""
        x, num_reference = with_reference(inputs, reference, self.norm, self._check)
        x = flattened(x)
        if self.context is not None:
            x = jnp.concatenate([x, jnp.tile(self.context, (x.shape[0], 1))], axis=1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = x @ weight
            x = normalization(x, self.norm, num_reference)(x) + bias[None]
            x = jax.nn.relu(x) if self.activation == "relu" else jnp.tanh(x)
        return x[num_reference:]

    @property
    def head(self):
        """Weight and bias of the last layer."""
        return self.weights[-1], self.biases[-1]

    @property
    def shifts(self):
        """The shifts added after each normalization."""
        return self.biases[:-1]

    def with_head(self, weight, bias) -> "MLP":
        """This model with another last layer."""
        weights, biases = [*self.weights[:-1], weight], [*self.biases[:-1], bias]
        return dataclasses.replace(self, weights=weights, biases=biases)

    def _check(self, name: str, shape: tuple[Any, ...]):
        num_inputs = self.weights[0].shape[0]
        num_inputs -= 0 if self.context is None else len(self.context)
        if not shape or math.prod(shape[1:]) != num_inputs:
            advice = f"build it with num_inputs={math.prod(shape[1:])}, or reshape them"
            if shape == (num_inputs,):
                advice = f"add an axis of examples with {name}[None]"
            raise ValueError(
                f"this mlp was built for {num_inputs} inputs per example, got {name} "
                f"{list(shape)}; {advice}."
            )


def mlp(
    key,
    num_inputs: int,
    num_outputs: int,
    *,
    hidden_sizes: tuple[int, ...] = (40, 40),
    norm: Norm = "none",
    weight_scale: float | None = None,
    context_size: int = 0,
) -> MLP:
    """A fully connected network with ReLU, as in the paper's regression (1-40-40-1).

    Args:
        key: a PRNG key.
        num_inputs: numbers per example, after flattening.
        num_outputs: outputs per example.
        hidden_sizes: width of each hidden layer. The paper's Omniglot network without convolution
            is `(256, 128, 64, 64)` with `norm="batch"`.
        norm: normalization before each ReLU; see `mamlax.models`.
        weight_scale: standard deviation of the truncated normal distribution of initial weights.
            None: √(2/inputs) for each layer (He et al. 2015). Biases start at zero.
        context_size: size of the context, a vector that starts at zero and is appended to the
            inputs of every example. `cavia` adapts it.

    Differs from the paper: the paper's code starts all weights with standard deviation 0.01. On
    sinusoids, the error after ten steps is then larger and varies more between seeds.

    Raises:
        ValueError: if `norm` is unknown or a size is not positive. The network raises it if it is
            called with another number of inputs per example, or without the reference that
            `norm="support"` needs.

    Example:
        >>> import jax, jax.numpy as jnp, mamlax
        >>> model = mamlax.models.mlp(jax.random.key(0), 1, 1)
        >>> model(jnp.ones((10, 1))).shape
        (10, 1)
    """
    check_norm(norm)
    if min(num_inputs, num_outputs, *hidden_sizes) < 1:
        raise ValueError(
            "num_inputs, num_outputs and hidden_sizes must be positive, got "
            f"{num_inputs}, {num_outputs} and {hidden_sizes}."
        )
    if weight_scale is not None and weight_scale < 0:
        raise ValueError(f"weight_scale must be 0 or more, got {weight_scale}.")
    context = zero_context(context_size)
    sizes = (num_inputs + context_size, *hidden_sizes, num_outputs)
    keys = jax.random.split(key, len(sizes) - 1)
    weights = [
        jax.nn.initializers.he_normal()(k, (m, n))
        if weight_scale is None
        else weight_scale * jax.random.truncated_normal(k, -2.0, 2.0, (m, n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]
    return MLP(weights, [jnp.zeros(n) for n in sizes[1:]], norm, context=context)
