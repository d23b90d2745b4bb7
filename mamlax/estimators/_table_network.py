"""What adapts to a table where the head is solved for: columns, curves of them, and an offset.

    y = m(x) + f(x) W + b,     f(x) = [s φ(z), a ⊙ (z − t), c],     z = [x, m(x)]

m is the pooled model. φ are n waves √(2/n) cos(ω·(l ⊙ z) + p) of random directions and phases: with
them ridge regression is that by a Gaussian process with the kernel exp(−‖l ⊙ (z − z')‖² / 2). Or
they are the hidden features of a network, divided by √n. The squares of s, a and c are how much
groups are expected to differ by a curve, in each slope and by an offset. They are learned, as l is:
a table of lines is learned as lines, and of groups that are alike little is left but m and
an offset, since the regression adds a one of its own. t is the point about which the lines of
groups turn, learned too: where animals are born with the same weight and grow at different rates,
lines meet at birth. So offsets and slopes may be correlated, by −a² t.

Rahimi & Recht, Random Features for Large-Scale Kernel Machines, NeurIPS 2007.
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..config._tables import Features
from ..models import MLP, mlp
from ._cosine import cosine
from ._differences import Differences

NUM_WAVES = 128
_SPEED = 5.0
"""Of the logarithms of scales in learning, beside weights: they have further to go."""
_CURVES = 0.1
"""How much groups are expected to differ by curves at first, in variances of a row."""
_LEAST_OFFSET = 0.01


class Waves(eqx.Module):
    """Random features of a Gaussian kernel whose length scales are learned."""

    log_lengths: Float[Array, " inputs"]
    directions: Float[Array, "inputs waves"]
    phases: Float[Array, " waves"]

    def features(self, inputs):
        """`[rows, waves]` of `[rows, inputs]`."""
        directions, phases = jax.lax.stop_gradient((self.directions, self.phases))
        angles = (inputs * jnp.exp(_SPEED * self.log_lengths)[None]) @ directions + phases[None]
        return math.sqrt(2) * cosine(angles)


class TableNetwork(eqx.Module):
    """See the module; made by `table_network`."""

    curves: Waves | MLP
    curve_scale: Float[Array, ""]
    slope_scales: Float[Array, " inputs"]
    pivots: Float[Array, " inputs"] | None
    offset_scale: Float[Array, ""]
    weight: Float[Array, "features outputs"]
    bias: Float[Array, " outputs"]
    num_pooled: int = eqx.field(static=True)

    def __call__(self, inputs, reference=None):
        """Outputs `[rows, outputs]` for inputs `[rows, inputs]`, the pooled model's the last."""
        return self.offset(inputs) + self.features(inputs) @ self.weight + self.bias[None]

    def offset(self, inputs):
        """What is added to the head's outputs: those of the pooled model."""
        return inputs[:, inputs.shape[1] - self.num_pooled :] if self.num_pooled else 0.0

    def features(self, inputs, reference=None):
        """The inputs of the head, `[rows, features]`."""
        curves = self.curves.features(inputs)
        about = inputs if self.pivots is None else inputs - _SPEED * self.pivots[None]
        blocks = (
            (self.curve_scale, curves / math.sqrt(curves.shape[1])),
            (self.slope_scales[None], about),
            (self.offset_scale, jnp.ones_like(inputs[:, :1])),
        )
        return jnp.concatenate([jnp.exp(_SPEED * scale) * block for scale, block in blocks], axis=1)

    @property
    def head(self):
        """Weight and bias of the last layer."""
        return self.weight, self.bias

    def with_head(self, weight, bias) -> "TableNetwork":
        """This model with another last layer."""
        return dataclasses.replace(self, weight=weight, bias=bias)

    def expecting(self, differences: Differences, ridge: float) -> "TableNetwork":
        """This model as it is before it has learned.

        Args:
            differences: what groups are expected to differ by.
            ridge: λ of the regression.
        """

        def scale(variance):
            return 0.5 * jnp.log(jnp.asarray(variance, jnp.float32) * ridge) / _SPEED

        # the regression has a column of ones of its own, whose weight varies by 1 / λ
        offset = max(differences.offset - 1 / ridge, _LEAST_OFFSET)
        slopes = scale(differences.slopes)
        bias, mean = (jnp.asarray(one, jnp.float32) for one in np.split(differences.mean, [1]))
        num_curves = len(self.weight) - len(mean) - 1
        of_slopes = slice(num_curves, num_curves + len(mean))
        return dataclasses.replace(
            self,
            curve_scale=scale(_CURVES),
            slope_scales=slopes,
            offset_scale=scale(offset),
            weight=self.weight.at[of_slopes].set(mean / jnp.exp(_SPEED * slopes)[:, None]),
            bias=bias[0],
        )


def table_network(
    key,
    num_inputs: int,
    num_outputs: int,
    *,
    features: Features,
    hidden_sizes: tuple[int, ...],
    num_pooled: int,
    turns: bool = False,
) -> TableNetwork:
    """Make one, whose head is zero.

    Args:
        key: a PRNG key.
        num_inputs: numbers per row, those of the pooled model among them.
        num_outputs: outputs per row.
        features: what curves are made of.
        hidden_sizes: width of each hidden layer of a network.
        num_pooled: how many of the inputs, the last, are what a pooled model says; they are added
            to the outputs.
        turns: whether the point about which lines turn is learned; files of mamlax 0.1.0 have
            none.
    """
    if features == "waves":
        direction_key, phase_key = jax.random.split(key)
        curves = Waves(
            jnp.full(num_inputs, -0.5 * math.log(num_inputs) / _SPEED),
            jax.random.normal(direction_key, (num_inputs, NUM_WAVES)),
            jax.random.uniform(phase_key, (NUM_WAVES,), maxval=2 * math.pi),
        )
        num_features = NUM_WAVES
    else:
        curves = mlp(key, num_inputs, num_outputs, hidden_sizes=hidden_sizes)
        num_features = curves.weights[-1].shape[0]
        curves = curves.with_head(jnp.zeros((num_features, 0)), jnp.zeros(0))  # it is not used
    scale = jnp.zeros(())
    return TableNetwork(
        curves,
        scale,
        jnp.zeros(num_inputs),
        jnp.zeros(num_inputs) if turns else None,
        scale,
        jnp.zeros((num_features + num_inputs + 1, num_outputs)),
        jnp.zeros(num_outputs),
        num_pooled,
    )
