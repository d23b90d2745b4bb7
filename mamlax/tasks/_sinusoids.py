"""Sine waves of random amplitude and phase: the paper's regression problem (section 5.1)."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .._types import Batch, Task


@dataclass(frozen=True)
class Sinusoids:
    """Regression tasks y = A sin(x − φ) with A ~ U[0.1, 5], φ ~ U[0, π] and x ~ U[−5, 5].

    Args:
        shots: support examples per task.
        num_query: query examples per task. None: as many as `shots`, as in the paper.
        amplitude: range of A.
        phase: range of φ, in radians.
        inputs: range of x.
        oracle: give the model A and φ besides x, as `inputs` `[examples, 3]`: the knowledge of an
            ideal learner.

    Raises:
        ValueError: if `shots` or `num_query` is not positive.

    Example:
        >>> import jax, mamlax
        >>> task = mamlax.Sinusoids(shots=10).sample(jax.random.key(0))
        >>> task.support.inputs.shape, task.query.targets.shape
        ((10, 1), (10, 1))

    References:
        Finn, Abbeel & Levine, ICML 2017, section 5.1.
    """

    shots: int = 10
    num_query: int | None = None
    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, math.pi)
    inputs: tuple[float, float] = (-5.0, 5.0)
    oracle: bool = False

    def __post_init__(self):
        for name in ("shots", "num_query"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive, got {value}.")

    def sample(self, key) -> Task:
        """Draw one task. Support and query have `inputs` `[examples, 1]` (`[examples, 3]` for the
        oracle) and `targets` `[examples, 1]`.
        """
        amplitude_key, phase_key, support_key, query_key = jax.random.split(key, 4)
        amplitude = jax.random.uniform(
            amplitude_key, (), minval=self.amplitude[0], maxval=self.amplitude[1]
        )
        phase = jax.random.uniform(phase_key, (), minval=self.phase[0], maxval=self.phase[1])

        def batch(key, num_examples):
            x = jax.random.uniform(
                key, (num_examples, 1), minval=self.inputs[0], maxval=self.inputs[1]
            )
            return self.wave(amplitude, phase, x)

        num_query = self.shots if self.num_query is None else self.num_query
        return Task(support=batch(support_key, self.shots), query=batch(query_key, num_query))

    def wave(self, amplitude, phase, x) -> Batch:
        """The batch of the sine wave with this amplitude and phase (scalars) at `x` `[n, 1]`."""
        known = (jnp.full_like(x, amplitude), jnp.full_like(x, phase)) if self.oracle else ()
        return Batch(
            inputs=jnp.concatenate([x, *known], axis=1), targets=amplitude * jnp.sin(x - phase)
        )
