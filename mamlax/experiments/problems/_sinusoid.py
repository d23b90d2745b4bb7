"""The sinusoid problem."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ... import models
from ..._types import Batch
from ...config._problems import SinusoidProblem
from ...records._evaluation import MAIN
from ...records._examples import SinusoidExamples
from ...tasks._sinusoids import Sinusoids
from ._parts import Baseline, SupervisedParts

_SHOWN_WAVES = ((4.0, 0.5), (1.5, 2.0), (3.0, 2.8), (0.7, 1.2))  # amplitudes and phases


def sinusoid_parts(problem: SinusoidProblem, *, context_size: int) -> SupervisedParts:
    """The parts of the sinusoid problem.

    Args:
        problem: its settings.
        context_size: size of CAVIA's context.
    """
    tasks = Sinusoids(shots=problem.shots, num_query=problem.num_query)
    informed = Sinusoids(shots=problem.shots, num_query=problem.num_query, oracle=True)
    network = partial(_network, problem)
    return SupervisedParts(
        init_params=partial(network, context_size=context_size),
        loss_fn=squared_error,
        metric="mse",
        metric_fn=squared_error,
        train_tasks=tasks,
        validation_tasks=tasks,
        test_tasks=tasks,
        baselines={
            "pretrained": Baseline(network, tasks, tasks, tasks),
            "random": Baseline(network, None, tasks, tasks),
            "oracle": Baseline(partial(network, num_inputs=3), informed, informed, informed),
        },
        examples=partial(_examples, tasks),
    )


def squared_error(params: PyTree, batch: Batch) -> PyTree:
    """The mean squared error of a batch."""
    return jnp.mean(jnp.square(params(batch.inputs) - batch.targets))


def _network(
    problem: SinusoidProblem, key: PRNGKeyArray, *, num_inputs: int = 1, context_size: int = 0
) -> models.MLP:
    return models.mlp(
        key,
        num_inputs,
        1,
        hidden_sizes=problem.hidden_sizes,
        weight_scale=problem.weight_scale,
        context_size=context_size,
    )


def _examples(
    tasks: Sinusoids,
    adapters: Mapping[str, Callable[..., PyTree]],
    steps: tuple[int, ...],
    algorithm: str,
) -> SinusoidExamples:
    """Four waves: support, truth on a grid, and predictions before and after adaptation."""
    grid = jnp.linspace(*tasks.inputs, 201)[:, None]
    supports, truths = [], []
    for index, (amplitude, phase) in enumerate(_SHOWN_WAVES):
        shape = (tasks.shots, 1)
        x = jax.random.uniform(jax.random.key(index), shape, minval=-5.0, maxval=5.0)
        supports.append(tasks.wave(amplitude, phase, x))
        truths.append(tasks.wave(amplitude, phase, grid).targets[:, 0])

    def predictions(adapter):
        return np.stack(
            [np.stack([adapter(one, n)(grid)[:, 0] for n in steps]) for one in supports]
        )

    return SinusoidExamples(
        algorithm=algorithm,
        num_steps=np.array(steps),
        grid=np.asarray(grid[:, 0]),
        truth=np.stack(truths),
        support_x=np.stack([one.inputs[:, 0] for one in supports]),
        support_y=np.stack([one.targets[:, 0] for one in supports]),
        predictions={
            name: predictions(adapters[name]) for name in (MAIN, "pretrained") if name in adapters
        },
    )
