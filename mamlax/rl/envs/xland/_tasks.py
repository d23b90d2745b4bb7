"""Grid worlds of XLand-MiniGrid, which are pure JAX functions; a set of rules is the task."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ...._extras import optional
from ..._environment import Discrete
from .._observations import flat


class XLandTasks:
    """A grid world of XLand-MiniGrid whose goal, rules and objects differ from task to task.

    The task is a `RuleSet`: the goal, what becomes of objects that meet, and the objects in the
    grid. The goal and the rules are hidden. The places of objects, doors and the agent are drawn
    anew in every episode. A reward, 1 − 0.9 × steps / `max_steps`, is given only when the goal is
    reached. That ends the episode, and the task is solved. Otherwise the episode is truncated after
    `max_steps`.

    The agent sees the cells in front of it. An observation has the kind and the color of each cell,
    one-hot. What a wrapper of XLand-MiniGrid adds comes after (`DirectionObservationWrapper`,
    `RulesAndGoalsObservationWrapper`); the latter shows the task.

    Args:
        env: the environment, the first value that `xminigrid.make` returns.
        params: its parameters, the second value. Their `max_steps` is the horizon.
        sample_task: `sample_task(key) -> RuleSet`, a JAX function, such as the `sample_ruleset` of
            a benchmark. All rule sets have arrays of the same shapes.

    Raises:
        MamlaxError: if XLand-MiniGrid is not installed; says how to install it.
        TypeError: if the environment has no rule sets. Those named `XLand-MiniGrid-...` have.

    Example:
        A million tasks with few rules (`pip install xminigrid`; the first call downloads them)::

            benchmark = xminigrid.load_benchmark("small-1m")
            env, params = xminigrid.make("XLand-MiniGrid-R1-9x9")
            tasks = mamlax.rl.XLandTasks(env, params, sample_task=benchmark.sample_ruleset)

    References:
        Nikulin et al., XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX,
        NeurIPS 2024.
    """

    def __init__(self, env: Any, params: Any, *, sample_task: Callable[[PyTree], PyTree]):
        kinds = optional("xminigrid.core.constants", install="pip install xminigrid")
        self._num_kinds = (kinds.NUM_TILES, kinds.NUM_COLORS)
        if not hasattr(params, "ruleset"):
            raise TypeError(
                f"{type(env).__name__} has no rule sets, so its tasks would not differ: take an "
                "environment XLand-MiniGrid-..., and the parameters that xminigrid.make returns."
            )
        self._env, self._params, self._sample_task = env, params, sample_task
        self.horizon = int(params.max_steps)
        self.action = Discrete(env.num_actions(params))
        _, seen = jax.eval_shape(self.reset, jax.random.key(0), params.ruleset)
        self.observation_size = seen.shape[0]

    def sample_task(self, key: PRNGKeyArray) -> PyTree:
        """Draw a set of rules."""
        return self._sample_task(key)

    def reset(self, key: PRNGKeyArray, task: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode. Returns XLand-MiniGrid's time step and the observation."""
        began = self._env.reset(self._params.replace(ruleset=task), key)
        return began, self._seen(began)

    def step(
        self, key: PRNGKeyArray, task: PyTree, state: PyTree, action: PyTree
    ) -> tuple[PyTree, PyTree, PyTree, PyTree]:
        """Take one step. Returns the state, observation, reward, and whether the episode ends."""
        after = self._env.step(self._params.replace(ruleset=task), state, action)
        return after, self._seen(after), after.reward, self.solved(after)

    def solved(self, state: PyTree) -> PyTree:
        """Whether the goal is reached. The end of the time alone leaves the discount at 1."""
        return state.discount == 0

    def _seen(self, state: PyTree) -> PyTree:
        seen = (
            state.observation if isinstance(state.observation, dict) else {"img": state.observation}
        )
        cells = [jax.nn.one_hot(seen["img"][..., i], n) for i, n in enumerate(self._num_kinds)]
        return flat((jnp.concatenate(cells, axis=-1), {**seen, "img": ()}))
