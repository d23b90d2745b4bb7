"""How the tasks of a problem are learned: the interface of both kinds of learning."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._types import MetaLearner, OuterLoop
from ..rl import PolicyLearner

MakeLearner = Callable[[PyTree, int, float | Array], MetaLearner | PolicyLearner]
"""`make_learner(tasks, num_inner_steps, inner_learning_rate)`; the last may be traced."""


class Draw(NamedTuple):
    """Which task of an evaluation.

    Attributes:
        key: what decides a task that is drawn, and what happens in it.
        place: where it stands among all of them, in (0, 1): which it is of a list.
    """

    key: PRNGKeyArray
    place: Array


def draws(seed: int | Array, num_tasks: int) -> Draw:
    """Those of all tasks, `[tasks]`."""
    places = (jnp.arange(num_tasks) + 0.5) / num_tasks
    return Draw(jax.random.split(jax.random.key(seed), num_tasks), places)


@runtime_checkable
class Method(Protocol):
    """Makes the learners, outer loops and metrics of an experiment."""

    def learner(
        self, tasks: PyTree, num_inner_steps: int, inner_learning_rate: float | Array
    ) -> MetaLearner | PolicyLearner:
        """The recipe's learner."""
        ...

    def baseline_learner(
        self, tasks: PyTree, num_inner_steps: int, inner_learning_rate: float | Array
    ) -> MetaLearner | PolicyLearner:
        """The learner that fine-tunes a baseline."""
        ...

    def main_loop(self, mesh: Mesh | None) -> OuterLoop:
        """The recipe's outer loop."""
        ...

    def baseline_loop(self, tasks: PyTree, num_outer_steps: int, mesh: Mesh | None) -> OuterLoop:
        """The outer loop that trains a baseline jointly on tasks, without inner steps."""
        ...

    def curves(
        self,
        make_learner: MakeLearner,
        metric_fn: Callable[..., PyTree],
        tasks: PyTree,
        num_inner_steps: int,
        inner_learning_rate: float | Array,
        mesh: Mesh | None,
    ) -> Callable[[PyTree, PyTree], PyTree]:
        """`curves(params, draws) -> [tasks, steps + 1]`, the metric in each task."""
        ...

    def task(self, tasks: PyTree, draw: Draw) -> PyTree:
        """The task that `curves` looks at."""
        ...

    def adapter(
        self, make_learner: MakeLearner, tasks: PyTree, params: PyTree, inner_learning_rate: float
    ) -> Callable[..., PyTree]:
        """The function that `Parts.examples` adapts with."""
        ...
