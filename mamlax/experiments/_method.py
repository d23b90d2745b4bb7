"""How the tasks of a problem are learned: the interface of both kinds of learning."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._types import MetaLearner, OuterLoop
from ..rl import PolicyLearner

MakeLearner = Callable[[PyTree, int, float | Array], MetaLearner | PolicyLearner]
"""`make_learner(tasks, num_inner_steps, inner_learning_rate)`; the last may be traced."""


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
        """`curves(params, keys) -> [tasks, steps + 1]`, the metric in the task of each key."""
        ...

    def task(self, tasks: PyTree, key: PRNGKeyArray) -> PyTree:
        """The task that `curves` draws from a key."""
        ...

    def adapter(
        self, make_learner: MakeLearner, tasks: PyTree, params: PyTree, inner_learning_rate: float
    ) -> Callable[..., PyTree]:
        """The function that `Parts.examples` adapts with."""
        ...
