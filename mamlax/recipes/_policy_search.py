"""Episodes: MAML for policies (the paper's Algorithm 3)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from .. import rl
from .._types import OuterLoop
from ..algorithms._over_tasks import map_tasks, share
from ._parts import Parts
from ._recipe import PolicyRecipe
from ._stage import Stage

_SURROGATES = {
    "log-likelihood": rl.log_likelihood,
    "likelihood-ratio": rl.likelihood_ratio,
    "dice": rl.dice,
}


class PolicySearch:
    """How policies are learned."""

    def __init__(self, recipe: PolicyRecipe, parts: Parts):
        rl.check_environment(parts.train_tasks)
        self.recipe, self.parts = recipe, parts

        @eqx.filter_jit  # one program for all that acts in the same environment
        def explore(tasks, params, inner_learning_rate, key, task, num_inner_steps):
            learner = self.learner(tasks, num_inner_steps, inner_learning_rate)
            return learner.explore(key, params, task)

        self._explore = explore

    def learner(
        self,
        tasks: Any,
        num_inner_steps: int,
        inner_learning_rate: Any,
        *,
        fine_tuned: bool = False,
        num_episodes: int | None = None,
        step_weights: tuple[float, ...] | None = None,
    ) -> rl.PolicyLearner:
        """Acts, and follows the policy gradient; with the episodes of the evaluation."""
        recipe = self.recipe
        decay = recipe.inner_learning_rate_decay

        def rate(step):
            return inner_learning_rate * jnp.power(decay, step)

        return rl.policy_learner(
            tasks,
            inner_optimizer=optax.sgd(rate),
            num_inner_steps=num_inner_steps,
            episodes_per_task=num_episodes or recipe.num_test_episodes,
            surrogate=_SURROGATES[recipe.surrogate],
            step_weights=step_weights,
            first_order=recipe.first_order,
            sampling_correction=recipe.sampling_correction,
            discount=recipe.discount,
            gae_lambda=recipe.gae_lambda,
            baseline_fn=rl.linear_baseline if recipe.baseline == "linear" else None,
            normalize_advantages=recipe.normalize_advantages,
            max_unstable_share=recipe.max_unstable_share,
            remat=recipe.remat,
        )

    def outer_loop(self, stage: Stage, mesh: Mesh | None) -> OuterLoop:
        """The trust region, ProMP or Adam."""
        recipe = self.recipe
        learner = self.learner(
            stage.train_tasks,
            stage.num_inner_steps,
            recipe.inner_learning_rate,
            # what acts once may act as often as what acts after every inner step too
            num_episodes=recipe.episodes_per_task
            * (1 if stage.num_inner_steps else 1 + recipe.num_inner_steps),
            step_weights=recipe.step_weights if stage.num_inner_steps else None,
        )
        shared: dict[str, Any] = {
            "meta_batch_size": recipe.meta_batch_size,
            "batch_size": recipe.task_batch_size,
            "mesh": mesh,
        }
        adam = optax.adam(recipe.outer_learning_rate)
        if recipe.outer_algorithm == "promp":
            kl_penalty = {} if stage.num_inner_steps else {"kl_penalty": 0.0}
            steps = recipe.num_gradient_steps
            return rl.promp(learner, adam, num_gradient_steps=steps, **kl_penalty, **shared)
        if recipe.outer_algorithm == "adam":
            return rl.policy_gradient(learner, adam, **shared)
        return rl.maml_trpo(
            learner,
            max_kl=recipe.max_kl,
            num_conjugate_gradient_steps=recipe.num_conjugate_gradient_steps,
            fisher=recipe.fisher,
            fisher_fraction=recipe.fisher_fraction,
            **shared,
        )

    def curves(
        self,
        tasks: Any,
        num_inner_steps: int,
        inner_learning_rate: Any,
        mesh: Mesh | None,
        *,
        fine_tuned: bool = False,
        transductive: bool = True,
    ) -> Callable[[Any, Any], Any]:
        """`curves(params, keys) -> [tasks, steps + 1]`, the mean return of the episodes."""
        recipe, learner = self.recipe, self.learner(tasks, num_inner_steps, inner_learning_rate)

        def curves(params, keys):
            def curve(key):
                task_key, explore_key = jax.random.split(key)
                exploration = learner.explore(explore_key, params, learner.sample_task(task_key))
                last = jnp.mean(rl.total_rewards(exploration.query.trajectory))[None]
                if exploration.support is None:
                    return last
                before = jnp.mean(rl.total_rewards(exploration.support.trajectory), axis=-1)
                return jnp.concatenate([before, last])

            batch_size = None if learner.acts_together else recipe.task_batch_size
            return map_tasks(curve, keys, batch_size=batch_size)

        if mesh is None:
            return curves
        return share(curves, mesh, lambda curves: curves, PartitionSpec("tasks"))

    def task(self, tasks: Any, key: Any) -> Any:
        """The task that `curves` draws from a key."""
        task_key, _ = jax.random.split(key)
        return tasks.sample_task(task_key)

    def adapter(
        self, tasks: Any, params: Any, inner_learning_rate: float, *, fine_tuned: bool = False
    ) -> Callable[..., Any]:
        """`adapter(key, task, num_inner_steps) -> Exploration`."""
        rate = jnp.asarray(inner_learning_rate, jnp.float32)
        return lambda key, task, num_inner_steps: self._explore(
            tasks, params, rate, key, task, num_inner_steps
        )
