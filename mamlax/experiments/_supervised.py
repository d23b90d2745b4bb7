"""Supervised meta-learning on support and query sets (the paper's Algorithm 2)."""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from .._errors import MamlaxError
from .._types import MetaLearner, OuterLoop
from ..algorithms._maml import maml
from ..algorithms._outer_loop import outer_loop
from ..algorithms._over_tasks import adaptation_curves, over_tasks
from ..config._algorithms import OnMinibatches
from ..config._recipe import SupervisedRecipe
from ..tasks._few_shot import FewShot
from ..tasks._minibatches import Minibatches
from ._learner import check_ways, learner_of
from ._mesh import tasks_at_once
from ._method import Draw, MakeLearner
from .problems._parts import SupervisedParts


class Supervised:
    """How few-shot regression and classification are learned."""

    def __init__(self, recipe: SupervisedRecipe, parts: SupervisedParts):
        check_ways(recipe.algorithm, parts.ways, parts.test_ways)
        self.recipe, self.parts = recipe, parts

    def learner(
        self,
        tasks: PyTree,
        num_inner_steps: int,
        inner_learning_rate: float | Array,
        *,
        support_per_step: bool = False,
    ) -> MetaLearner:
        """The recipe's algorithm."""
        return learner_of(
            replace(self.recipe.algorithm, num_inner_steps=num_inner_steps),
            self.parts.loss_fn,
            inner_learning_rate=inner_learning_rate,
            num_outer_steps=self.recipe.training.num_outer_steps,
            ways=tasks.ways if isinstance(tasks, FewShot) else None,
            normalizes=self.parts.normalizes,
            support_per_step=support_per_step,
        )

    def baseline_learner(
        self, tasks: PyTree, num_inner_steps: int, inner_learning_rate: float | Array
    ) -> MetaLearner:
        """Plain gradient descent."""
        descent = optax.sgd(inner_learning_rate)
        return maml(self.parts.loss_fn, inner_optimizer=descent, num_inner_steps=num_inner_steps)

    def main_loop(self, mesh: Mesh | None) -> OuterLoop:
        """Adam on the meta-gradient of the algorithm."""
        algorithm, tasks = self.recipe.algorithm, self.parts.train_tasks
        rate, steps = algorithm.inner_learning_rate, algorithm.num_inner_steps
        size = algorithm.inner_batch_size if isinstance(algorithm, OnMinibatches) else None
        if size is None:
            learner = self.learner(tasks, steps, rate)
        else:
            learner = self.learner(tasks, steps, rate, support_per_step=True)
            try:
                tasks = Minibatches(tasks, num_inner_steps=steps, size=size)
            except MamlaxError as error:
                raise MamlaxError(f"inner_batch_size={size}: {error}") from error
        # without inner steps all tasks share the weights, and one large product is fastest
        batch_size = tasks_at_once(self.recipe.training) if steps else None
        learner = over_tasks(learner, batch_size=batch_size, mesh=mesh)
        return self._outer_loop(learner, tasks, self.recipe.training.num_outer_steps)

    def baseline_loop(self, tasks: PyTree, num_outer_steps: int, mesh: Mesh | None) -> OuterLoop:
        """Adam on the query loss of all tasks together."""
        learner = over_tasks(
            self.baseline_learner(tasks, 0, self.recipe.algorithm.inner_learning_rate), mesh=mesh
        )
        return self._outer_loop(learner, tasks, num_outer_steps)

    def _outer_loop(self, learner: MetaLearner, tasks: PyTree, num_outer_steps: int) -> OuterLoop:
        settings = self.recipe.outer_optimizer
        rate: float | optax.Schedule = settings.outer_learning_rate
        if settings.outer_schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, num_outer_steps)
        optimizer = optax.adam(rate, b2=settings.second_moment_decay)
        if settings.gradient_clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(settings.gradient_clip), optimizer)
        return outer_loop(
            learner, optimizer, tasks.sample, meta_batch_size=self.recipe.training.meta_batch_size
        )

    def curves(
        self,
        make_learner: MakeLearner,
        metric_fn: Callable[..., PyTree],
        tasks: PyTree,
        num_inner_steps: int,
        inner_learning_rate: float | Array,
        mesh: Mesh | None,
    ) -> Callable[[PyTree, PyTree], PyTree]:
        """`curves(params, draws) -> [tasks, steps + 1]`, the query metric."""
        curves = adaptation_curves(
            self._made(make_learner, tasks, inner_learning_rate),
            metric_fn,
            num_inner_steps=num_inner_steps,
            batch_size=tasks_at_once(self.recipe.training),
            mesh=mesh,
        )
        return lambda params, draws: curves(params, jax.vmap(tasks.sample)(draws.key))

    def task(self, tasks: PyTree, draw: Draw) -> PyTree:
        """A support and a query set."""
        return tasks.sample(draw.key)

    def adapter(
        self, make_learner: MakeLearner, tasks: PyTree, params: PyTree, inner_learning_rate: float
    ) -> Callable[..., PyTree]:
        """`adapter(support, num_inner_steps) -> params`."""

        @eqx.filter_jit
        def adapt(params, support, num_inner_steps):
            learner = self._made(make_learner, tasks, inner_learning_rate)
            return learner.adapt(params, support, num_inner_steps=num_inner_steps).params

        return lambda support, num_inner_steps: adapt(params, support, num_inner_steps)

    def _made(
        self, make_learner: MakeLearner, tasks: PyTree, inner_learning_rate: float | Array
    ) -> PyTree:
        return make_learner(tasks, self.recipe.algorithm.num_inner_steps, inner_learning_rate)
