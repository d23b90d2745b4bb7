"""A rate of the outer loop that falls to zero, over a number of steps that the state holds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._types import OuterLoop


class RateDecay(NamedTuple):
    """How far a rate has fallen.

    Attributes:
        step: outer steps taken.
        decay_steps: after how many the rate is zero. As part of the state it is no constant of the
            compiled program, which so serves trainings of all lengths.
    """

    step: Any
    decay_steps: Any


def falling(num_steps: int) -> optax.GradientTransformation:
    """Updates times a factor that falls from one to zero along a cosine."""

    def init(params):
        return RateDecay(jnp.zeros((), jnp.int32), jnp.asarray(num_steps, jnp.int32))

    def update(updates, state, params=None):
        share = jnp.minimum(state.step / state.decay_steps, 1.0)
        factor = (1 + jnp.cos(jnp.pi * share)) / 2
        updates = jax.tree.map(lambda x: x * factor.astype(x.dtype), updates)
        return updates, state._replace(step=state.step + 1)

    return optax.GradientTransformation(init, update)


def falling_over(num_steps: int, loop: OuterLoop) -> OuterLoop:
    """The same loop, whose rate falls to zero over another number of steps."""

    def init(params):
        return optax.tree.set(loop.init(params), decay_steps=jnp.asarray(num_steps, jnp.int32))

    return loop._replace(init=init)


def steps_to_zero(step: int, num_steps: int, interval: int) -> int:
    """Steps over which a rate falls to zero that go as far as the first `step` of `num_steps`.

    A training that was best at `step` stopped there at a high rate. What is learned from all groups
    is not stopped by validation, so its rate may fall to zero. The sums of the rates are the same:

        Σ_{t < k} (1 + cos(π t / N)) / 2 = n / 2,    n ≈ k + N / π · sin(π k / N) ≤ N.

    Args:
        step: k, after which other trainings were best.
        num_steps: N, over which their rate would have fallen to zero.
        interval: n is a multiple of it, or N.
    """
    same = step + num_steps / np.pi * np.sin(np.pi * step / num_steps)
    return min(max(round(same / interval), 1) * interval, num_steps)
