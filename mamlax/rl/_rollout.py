"""Episodes: a policy acting in an environment, recorded."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from ._environment import Box, TaskEnv


class Trajectory(NamedTuple):
    """Episodes of one task, padded to the horizon.

    Attributes:
        observations: `[episodes, time, features]`, what the policy saw before it acted.
        actions: `[episodes, time, size]`, or `[episodes, time]` where they are discrete; as the
            policy drew them.
        log_probs: `[episodes, time]`, of these actions under the policy that drew them.
        rewards: `[episodes, time]`, zero after the end.
        mask: `[episodes, time]`, true up to the last step, false after the end.
        terminated: `[episodes]`, whether the environment ended the episode (by a time limit of
            its own too, if it has one); else it was truncated at the horizon, or is unstable.
        unstable: `[episodes]`, whether the environment broke down: a reward or an observation was
            not finite. The step that led there does not count, and the episode ends before it;
            where the first observation was not finite, zeros stand in its place.
    """

    observations: Float[Array, "*tasks episodes time features"]
    actions: PyTree
    log_probs: Float[Array, "*tasks episodes time"]
    rewards: Float[Array, "*tasks episodes time"]
    mask: Bool[Array, "*tasks episodes time"]
    terminated: Bool[Array, "*tasks episodes"]
    unstable: Bool[Array, "*tasks episodes"]


def rollout(
    key: PRNGKeyArray,
    env: TaskEnv,
    task: PyTree,
    policy: PyTree,
    *,
    num_episodes: int,
    greedy: bool = False,
) -> Trajectory:
    """Act in one task for `num_episodes` episodes, side by side.

    Where an episode has ended, the state and the observation of its last action stay as they are
    until the horizon.
    Nothing is differentiated: what was recorded is data.

    Args:
        key: a PRNG key.
        env: the environment.
        task: which task.
        policy: who acts: `policy(observations) -> Distribution`.
        num_episodes: how many.
        greedy: take the likeliest actions, instead of drawing them.

    Raises:
        ValueError: if `num_episodes` is not positive.

    Example:
        >>> import jax, mamlax
        >>> env = mamlax.rl.PointNavigation(horizon=50)
        >>> policy = mamlax.rl.mlp_policy(jax.random.key(0), env)
        >>> task = env.sample_task(jax.random.key(1))
        >>> trajectory = mamlax.rl.rollout(
        ...     jax.random.key(2), env, task, policy, num_episodes=20
        ... )
        >>> trajectory.rewards.shape
        (20, 50)
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be positive, got {num_episodes}.")
    return _act_out(key, env, task, policy, num_episodes, greedy)[0]


def record_states(
    key: PRNGKeyArray, env: TaskEnv, task: PyTree, policy: PyTree, *, greedy: bool = False
) -> PyTree:
    """The states of one episode, for pictures: `[horizon, ...]`, before each action.

    Args:
        key: a PRNG key; the episode is that of `rollout` with `num_episodes=1`.
        env: the environment.
        task: which task.
        policy: who acts.
        greedy: take the likeliest actions, instead of drawing them.
    """
    _, states = _act_out(key, env, task, policy, 1, greedy, with_states=True)
    return jax.tree.map(lambda x: x[0], states)


def _act_out(
    key: PRNGKeyArray,
    env: TaskEnv,
    task: PyTree,
    policy: PyTree,
    num_episodes: int,
    greedy: bool,
    *,
    with_states: bool = False,
) -> tuple[Trajectory, Any]:
    """The episodes, and their states where asked for, `[episodes, time, ...]`."""
    policy, task = jax.tree.map(
        lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, (policy, task)
    )
    reset_key, time_key = jax.random.split(key)
    reset_keys = jax.random.split(reset_key, num_episodes)
    state, observation = jax.vmap(env.reset, (0, None))(reset_keys, task)
    alive = jnp.all(jnp.isfinite(observation), axis=-1)
    observation = jnp.where(alive[:, None], observation, 0.0)

    def act(carry, key):
        state, observation, alive, unstable = carry
        action_key, step_key = jax.random.split(key)
        distribution = policy(observation)
        action = distribution.mode() if greedy else distribution.sample(action_key)
        log_prob = distribution.log_prob(action)
        taken = action
        if isinstance(env.action, Box):
            taken = jnp.clip(action, env.action.low, env.action.high)
        step = jax.vmap(env.step, (0, None, 0, 0))
        step_keys = jax.random.split(step_key, num_episodes)
        after, seen, reward, ended = step(step_keys, task, state, taken)
        sound = jnp.isfinite(reward) & jnp.all(jnp.isfinite(seen), axis=-1)
        counts = alive & sound
        goes_on = counts & ~ended
        after, seen = jax.tree.map(
            lambda new, old: jnp.where(_like(goes_on, new), new, old),
            (after, seen),
            (state, observation),
        )
        record = (observation, action, log_prob, jnp.where(counts, reward, 0.0), counts)
        begun = state if with_states else None
        return (after, seen, goes_on, unstable | (alive & ~sound)), (record, begun)

    keys = jax.random.split(time_key, env.horizon)
    begin = (state, observation, alive, ~alive)
    (_, _, alive, unstable), recorded = jax.lax.scan(act, begin, keys)
    recorded, states = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), recorded)
    ended = ~alive & ~unstable
    return Trajectory(*recorded, terminated=ended, unstable=unstable), states


def total_rewards(trajectory: Trajectory) -> PyTree:
    """The undiscounted return of each episode, `[..., episodes]`."""
    return jnp.sum(trajectory.rewards, axis=-1)


def _like(alive: Any, array: Any) -> PyTree:
    """`alive` `[episodes]` with as many axes as `array` `[episodes, ...]`."""
    return alive.reshape(alive.shape + (1,) * (array.ndim - 1))
