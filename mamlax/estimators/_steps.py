"""What a model says after each inner step, in one program."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .._types import Batch
from ._buckets import bucket_of, padded
from ._learner import ArrayLearner, LearnerSettings

_MOST_PROGRAMS = 64
"""Each size of a support of images has one, and one more of a pretrained network beside it."""


def outputs_by_step(
    learner: ArrayLearner, inputs: Any, targets: Any, queries: Any, num_inner_steps: int
) -> np.ndarray:
    """Outputs `[steps + 1, rows, outputs]` for queries, before the first inner step and after each.

    Args:
        learner: meta-trained.
        inputs: `[support, ...]`.
        targets: `[support, outputs]`, or `[support]` of integers.
        queries: `[rows, ...]`.
        num_inner_steps: how many.
    """
    support = [learner.with_pooled(inputs), np.asarray(targets), np.ones(len(inputs), np.float32)]
    queries = learner.with_pooled(queries)
    if not learner.settings.normalizes:  # else padding would change the moments
        support = [padded(one, bucket_of(len(one))) for one in support]
    batch = Batch(support[0], support[1], weights=support[2])
    asked = padded(queries, bucket_of(len(queries)))
    size = len(batch.inputs) if learner.settings.normalizes else None
    outputs = _program(learner.settings, num_inner_steps, size)(learner.meta_params, batch, asked)
    return np.asarray(outputs)[:, : len(queries)]


@functools.lru_cache(maxsize=_MOST_PROGRAMS)
def _program(settings: LearnerSettings, num_inner_steps: int, num_support: int | None) -> Any:
    """Of these settings; `num_support`: of supports of one size, which is then let go with it."""
    return jax.jit(by_step_fn(settings, num_inner_steps))


def by_step_fn(settings: LearnerSettings, num_inner_steps: int) -> Callable[..., Any]:
    """`by_step_fn(meta_params, support, queries) -> [steps + 1, rows, outputs]`."""

    def outputs(meta_params, support, queries):
        def probe_fn(params):
            return settings.predict(params, queries, support.inputs)

        return settings.adapted(
            meta_params, support, num_inner_steps=num_inner_steps, probe_fn=probe_fn
        ).probes

    return outputs
