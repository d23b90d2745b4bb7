"""Support and query sets: MAML or a relative, with Adam in the outer loop (Algorithm 2)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import optax
from jax.sharding import Mesh

from .._types import LossFn, MetaLearner, OuterLoop
from ..algorithms._maml import maml
from ..algorithms._outer_loop import outer_loop
from ..algorithms._over_tasks import adaptation_curves, over_tasks
from ..tasks._minibatches import Minibatches
from ._algorithm import check_ways, learner_of
from ._parts import Parts
from ._recipe import SupervisedRecipe
from ._stage import Stage


class Supervised:
    """How few-shot regression and classification are learned."""

    def __init__(self, recipe: SupervisedRecipe, parts: Parts):
        if parts.loss_fn is None or parts.metric_fn is None:
            raise ValueError("a problem of support and query sets needs a loss and a metric.")
        self.recipe, self.parts = recipe, parts
        self.loss_fn: LossFn = parts.loss_fn
        self.metric_fn: Callable[[Any, Any], Any] = parts.metric_fn

    def learner(
        self, tasks: Any, num_inner_steps: int, inner_learning_rate: Any, *, fine_tuned: bool
    ) -> MetaLearner:
        """The recipe's algorithm; plain gradient descent for a baseline."""
        if fine_tuned:
            descent = optax.sgd(inner_learning_rate)
            return maml(self.loss_fn, inner_optimizer=descent, num_inner_steps=num_inner_steps)
        parts = self.parts
        check_ways(self.recipe, _ways_of(parts.train_tasks), _ways_of(parts.test_tasks))
        return learner_of(
            self.recipe,
            self.loss_fn,
            num_inner_steps=num_inner_steps,
            inner_learning_rate=inner_learning_rate,
            ways=_ways_of(tasks),
            normalizes=parts.normalizes,
            support_per_step=isinstance(tasks, Minibatches),
        )

    def outer_loop(self, stage: Stage, mesh: Mesh | None) -> OuterLoop:
        """Adam on the meta-gradient."""
        recipe, batch_size = self.recipe, self.recipe.task_batch_size
        tasks = stage.train_tasks
        if recipe.inner_batch_size is not None and not stage.is_baseline:
            tasks = Minibatches(
                tasks, num_inner_steps=stage.num_inner_steps, size=recipe.inner_batch_size
            )
        if batch_size is not None and stage.num_inner_steps == 0:
            batch_size = None  # weights are shared by all tasks: one large product is fastest
        learner = over_tasks(
            self.learner(
                tasks,
                stage.num_inner_steps,
                recipe.inner_learning_rate,
                fine_tuned=stage.is_baseline,
            ),
            batch_size=batch_size,
            mesh=mesh,
        )
        rate: Any = recipe.outer_learning_rate
        if recipe.outer_schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, stage.num_outer_steps)
        optimizer = optax.adam(rate, b2=recipe.second_moment_decay)
        if recipe.gradient_clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(recipe.gradient_clip), optimizer)
        return outer_loop(learner, optimizer, tasks.sample, meta_batch_size=recipe.meta_batch_size)

    def curves(
        self,
        tasks: Any,
        num_inner_steps: int,
        inner_learning_rate: Any,
        mesh: Mesh | None,
        *,
        fine_tuned: bool,
        transductive: bool = True,
    ) -> Callable[[Any, Any], Any]:
        """`curves(params, keys) -> [tasks, steps + 1]`, the query metric."""
        metric_fn = self.metric_fn if transductive else self.parts.non_transductive_fn
        if metric_fn is None:
            raise ValueError("this problem has one reading of its metric.")
        curves = adaptation_curves(
            self.learner(
                tasks, self.recipe.num_inner_steps, inner_learning_rate, fine_tuned=fine_tuned
            ),
            metric_fn,
            num_inner_steps=num_inner_steps,
            batch_size=self.recipe.task_batch_size,
            mesh=mesh,
        )
        return lambda params, keys: curves(params, jax.vmap(tasks.sample)(keys))

    def task(self, tasks: Any, key: Any) -> Any:
        """A support and a query set."""
        return tasks.sample(key)

    def adapter(
        self, tasks: Any, params: Any, inner_learning_rate: float, *, fine_tuned: bool
    ) -> Callable[..., Any]:
        """`adapter(support, num_inner_steps) -> params`."""

        @eqx.filter_jit
        def adapt(params, support, num_inner_steps):
            learner = self.learner(
                tasks, self.recipe.num_inner_steps, inner_learning_rate, fine_tuned=fine_tuned
            )
            return learner.adapt(params, support, num_inner_steps=num_inner_steps).params

        return lambda support, num_inner_steps: adapt(params, support, num_inner_steps)


def _ways_of(tasks: Any) -> int | None:
    """Classes of a task; None where it has none."""
    return getattr(tasks, "ways", None)
