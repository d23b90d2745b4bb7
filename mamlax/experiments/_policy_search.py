"""Policy search: MAML for policies (the paper's Algorithm 3)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from .. import rl
from .._types import OuterLoop
from ..algorithms._over_tasks import map_tasks, share
from ..config._policies import MamlTrpo, PolicyGradient, Promp
from ..config._recipe import PolicyRecipe
from ._mesh import tasks_at_once
from ._method import Draw, MakeLearner
from .problems._listed_tasks import ListedTasks
from .problems._parts import PolicyParts

SURROGATES = {
    "log-likelihood": rl.log_likelihood,
    "likelihood-ratio": rl.likelihood_ratio,
    "dice": rl.dice,
}


class PolicySearch:
    """How policies are learned."""

    def __init__(self, recipe: PolicyRecipe, parts: PolicyParts):
        rl.check_environment(parts.train_tasks)
        self.recipe, self.parts = recipe, parts

        @eqx.filter_jit  # one program for all policies in the same environment
        def explore(tasks, params, inner_learning_rate, key, task, num_inner_steps):
            learner = self.learner(tasks, num_inner_steps, inner_learning_rate)
            return learner.explore(key, params, task)

        self._explore = explore

    def learner(
        self,
        tasks: PyTree,
        num_inner_steps: int,
        inner_learning_rate: float | Array,
        *,
        num_episodes: int | None = None,
        auto_reset: bool = False,
        step_weights: tuple[float, ...] | None = None,
    ) -> rl.PolicyLearner:
        """The policy learner; by default with episodes as evaluation has them, whole ones."""
        algorithm, episodes = self.recipe.algorithm, self.recipe.episodes
        decay = algorithm.inner_learning_rate_decay

        def rate(step):
            return inner_learning_rate * jnp.power(decay, step)

        return rl.policy_learner(
            tasks,
            inner_optimizer=optax.sgd(rate),
            num_inner_steps=num_inner_steps,
            episodes_per_task=num_episodes or episodes.num_test_episodes,
            surrogate=SURROGATES[algorithm.surrogate],
            step_weights=step_weights,
            first_order=algorithm.first_order,
            sampling_correction=algorithm.sampling_correction,
            discount=episodes.discount,
            gae_lambda=episodes.gae_lambda,
            baseline_fn=rl.linear_baseline if episodes.baseline == "linear" else None,
            normalize_advantages=episodes.normalize_advantages,
            auto_reset=auto_reset,
            max_unstable_share=episodes.max_unstable_share,
            remat=algorithm.remat,
        )

    def baseline_learner(
        self, tasks: PyTree, num_inner_steps: int, inner_learning_rate: float | Array
    ) -> rl.PolicyLearner:
        """The same learner: policies of baselines adapt in the same way."""
        return self.learner(tasks, num_inner_steps, inner_learning_rate)

    def main_loop(self, mesh: Mesh | None) -> OuterLoop:
        """The outer loop of the recipe's algorithm."""
        algorithm = self.recipe.algorithm
        learner = self.learner(
            self.parts.train_tasks,
            algorithm.num_inner_steps,
            algorithm.inner_learning_rate,
            num_episodes=self.recipe.episodes.episodes_per_task,
            auto_reset=self.recipe.episodes.auto_reset,
            step_weights=algorithm.step_weights if algorithm.num_inner_steps else None,
        )
        return self._outer_loop(learner, algorithm.num_inner_steps, mesh)

    def baseline_loop(self, tasks: PyTree, num_outer_steps: int, mesh: Mesh | None) -> OuterLoop:
        """The same outer loop on a policy that does not adapt.

        It collects all episodes at once, and as many as the recipe's policies collect before and
        after all inner steps.
        """
        algorithm = self.recipe.algorithm
        episodes = self.recipe.episodes
        learner = self.learner(
            tasks,
            0,
            algorithm.inner_learning_rate,
            num_episodes=episodes.episodes_per_task * (1 + algorithm.num_inner_steps),
            auto_reset=episodes.auto_reset,
        )
        return self._outer_loop(learner, 0, mesh)

    def _outer_loop(
        self, learner: rl.PolicyLearner, num_inner_steps: int, mesh: Mesh | None
    ) -> OuterLoop:
        training = self.recipe.training
        shared: dict[str, Any] = {
            "meta_batch_size": training.meta_batch_size,
            "batch_size": tasks_at_once(training),
            "mesh": mesh,
        }
        match self.recipe.algorithm:
            case MamlTrpo() as algorithm:
                return rl.maml_trpo(
                    learner,
                    max_kl=algorithm.max_kl,
                    num_conjugate_gradient_steps=algorithm.num_conjugate_gradient_steps,
                    fisher=algorithm.fisher,
                    fisher_fraction=algorithm.fisher_fraction,
                    **shared,
                )
            case Promp(outer_learning_rate=rate, num_gradient_steps=steps):
                kl_penalty = {} if num_inner_steps else {"kl_penalty": 0.0}
                return rl.promp(
                    learner, optax.adam(rate), num_gradient_steps=steps, **kl_penalty, **shared
                )
            case PolicyGradient(outer_learning_rate=rate):
                return rl.policy_gradient(learner, optax.adam(rate), **shared)
        raise TypeError(f"no outer loop is known for {type(self.recipe.algorithm).__name__}.")

    def curves(
        self,
        make_learner: MakeLearner,
        metric_fn: Callable[..., PyTree],
        tasks: PyTree,
        num_inner_steps: int,
        inner_learning_rate: float | Array,
        mesh: Mesh | None,
    ) -> Callable[[PyTree, PyTree], PyTree]:
        """`curves(params, draws) -> [tasks, steps + 1]`, the mean of the metric over episodes."""
        learner: Any = make_learner(tasks, num_inner_steps, inner_learning_rate)

        def curves(params, draws):
            def curve(draw):
                _, explore_key = jax.random.split(draw.key)
                exploration = learner.explore(explore_key, params, self.task(tasks, draw))
                support, query = exploration.support, exploration.query
                after = metric_fn(query.trajectory)
                last = jax.tree.map(lambda x: jnp.mean(x)[None], after)
                if support is None:
                    return last
                before = metric_fn(support.trajectory)
                return jax.tree.map(
                    lambda x, y: jnp.concatenate([jnp.mean(x, axis=-1), y]), before, last
                )

            batch_size = None if learner.acts_together else tasks_at_once(self.recipe.training)
            return map_tasks(curve, draws, batch_size=batch_size)

        if mesh is None:
            return curves
        return share(curves, mesh, lambda curves: curves, PartitionSpec("tasks"))

    def task(self, tasks: PyTree, draw: Draw) -> PyTree:
        """What the environment draws, or what a list has at this place."""
        if isinstance(tasks, ListedTasks):
            return tasks.at(draw.place)
        task_key, _ = jax.random.split(draw.key)
        return tasks.sample_task(task_key)

    def adapter(
        self, make_learner: MakeLearner, tasks: PyTree, params: PyTree, inner_learning_rate: float
    ) -> Callable[..., PyTree]:
        """`adapter(key, task, num_inner_steps) -> Exploration`."""
        rate = jnp.asarray(inner_learning_rate, jnp.float32)
        return lambda key, task, num_inner_steps: self._explore(
            tasks, params, rate, key, task, num_inner_steps
        )
