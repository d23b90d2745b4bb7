"""Record episodes of a policy that acts in an environment."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ._environment import Box, TaskEnv, check_auto_reset


class Restarts(NamedTuple):
    """Where episodes begin, if each row of a trajectory holds several episodes.

    Attributes:
        time: `[episodes, time + 1]`, steps since the episode began, for each step and for the step
            that would follow the last. It is 0 where a new episode begins.
        following: `[episodes, features]`, the observation after the last step.
    """

    time: Int[Array, "*tasks episodes time_and_one"]
    following: Float[Array, "*tasks episodes features"]


class Trajectory(NamedTuple):
    """Episodes of one task, padded to the horizon; or rows that hold several episodes each.

    Attributes:
        observations: `[episodes, time, features]`, the observations before each action.
        actions: `[episodes, time, size]`, or `[episodes, time]` if actions are discrete; as the
            policy drew them.
        log_probs: `[episodes, time]`, log-probabilities of the actions under the policy that drew
            them.
        rewards: `[episodes, time]`, zero after the end.
        mask: `[episodes, time]`, true up to the last step, false after the end.
        terminated: `[episodes]`, whether the environment ended the episode (also by its own time
            limit, if it has one). Otherwise the episode was truncated at the horizon, or is
            unstable.
        unstable: `[episodes]`, whether the environment broke down: a reward or an observation was
            not finite. That step does not count, and the episode ends before it. If the first
            observation was not finite, zeros replace it.
        restarts: None if each row is one episode. Otherwise a new episode begins in the row when
            one has ended, until the horizon. `terminated` and `unstable` are then those of the
            first episode of the row.
        solved: `[episodes, time]`, whether the task was solved after each step. None if the
            environment does not say it (`solved`, see `TaskEnv`).
    """

    observations: Float[Array, "*tasks episodes time features"]
    actions: PyTree
    log_probs: Float[Array, "*tasks episodes time"]
    rewards: Float[Array, "*tasks episodes time"]
    mask: Bool[Array, "*tasks episodes time"]
    terminated: Bool[Array, "*tasks episodes"]
    unstable: Bool[Array, "*tasks episodes"]
    restarts: Restarts | None = None
    solved: Bool[Array, "*tasks episodes time"] | None = None

    @property
    def time(self) -> PyTree:
        """`[episodes, time + 1]`, steps since the episode began; see `Restarts`."""
        return _of_one_episode(self.mask) if self.restarts is None else self.restarts.time

    @property
    def first(self) -> PyTree:
        """`[episodes, time]`, true for the steps of the first episode of each row, up to its end.

        The first episode had the whole horizon; a later one may be cut off earlier.
        """
        return self.mask & (self.time == _of_one_episode(self.mask))[..., :-1]


def rollout(
    key: PRNGKeyArray,
    env: TaskEnv,
    task: PyTree,
    policy: PyTree,
    *,
    num_episodes: int,
    greedy: bool = False,
    auto_reset: bool = False,
) -> Trajectory:
    """Record `num_episodes` episodes of a policy in one task, all at the same time.

    After an episode has ended, its last state and observation are repeated until the horizon. With
    `auto_reset`, a new episode begins instead. Nothing is differentiated: the recorded episodes are
    data.

    Args:
        key: a PRNG key.
        env: the environment.
        task: the task.
        policy: the policy that acts: `policy(observations) -> Distribution`.
        num_episodes: number of episodes.
        greedy: take the most likely actions, instead of drawing actions at random.
        auto_reset: start a new episode when one has ended, so that `num_episodes` × horizon steps
            are recorded, even if episodes end early. The new episode starts from one of the initial
            states, drawn at random, because calling `reset` would take as long as a step. So there
            are only `num_episodes` initial states, and random numbers in a state are repeated.

    Raises:
        ValueError: if `num_episodes` is not positive, or `auto_reset` is set and the environment
            hides its states.

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
    if auto_reset:
        check_auto_reset(env)
    return _act_out(key, env, task, policy, num_episodes, greedy, auto_reset=auto_reset)[0]


def record_states(
    key: PRNGKeyArray, env: TaskEnv, task: PyTree, policy: PyTree, *, greedy: bool = False
) -> PyTree:
    """The states of one episode, for pictures: `[horizon, ...]`, before each action.

    Args:
        key: a PRNG key. The episode is the same as that of `rollout` with `num_episodes=1`.
        env: the environment.
        task: the task.
        policy: the policy that acts.
        greedy: take the most likely actions, instead of drawing actions at random.
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
    auto_reset: bool = False,
    with_states: bool = False,
) -> tuple[Trajectory, Any]:
    """The episodes, and with `with_states` their states, `[episodes, time, ...]`."""
    policy, task = jax.tree.map(
        lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, (policy, task)
    )
    reset_key, time_key = jax.random.split(key)
    reset_keys = jax.random.split(reset_key, num_episodes)
    state, observation = jax.vmap(env.reset, (0, None))(reset_keys, task)
    alive = jnp.all(jnp.isfinite(observation), axis=-1)
    observation = jnp.where(alive[:, None], observation, 0.0)
    begin = (state, observation, alive)

    def act(carry, key):
        (state, observation, alive), unstable = carry
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
        other = (state, observation, goes_on)
        if auto_reset:
            which = jax.random.randint(jax.random.fold_in(key, 2), goes_on.shape, 0, num_episodes)
            other = jax.tree.map(lambda x: x[which], begin)
        new = _where(goes_on, (after, seen, goes_on), other)
        record = (observation, action, log_prob, jnp.where(counts, reward, 0.0), counts)
        begun = state if with_states else None
        solved = counts & jax.vmap(says)(after) if says else None
        return (new, unstable | (alive & ~sound)), (record, begun, goes_on, solved)

    says = getattr(env, "solved", None)
    keys = jax.random.split(time_key, env.horizon)
    last, recorded = jax.lax.scan(act, (begin, ~alive), keys)
    (_, following, _), unstable = last
    recorded, states, goes_on, solved = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), recorded)
    rows = Restarts(_since_the_beginning(goes_on), following) if auto_reset else None
    trajectory = Trajectory(
        *recorded, terminated=unstable, unstable=unstable, restarts=rows, solved=solved
    )
    ended = jnp.any(trajectory.first & ~goes_on, axis=1)
    if auto_reset:  # of a later episode the mask alone says it
        is_first = (trajectory.time == _of_one_episode(trajectory.mask))[:, :-1]
        unstable = jnp.any(is_first & ~trajectory.mask, axis=1)
    return trajectory._replace(terminated=ended, unstable=unstable), states


def total_rewards(trajectory: Trajectory) -> PyTree:
    """The undiscounted return of each episode (the first of each row), `[..., episodes]`."""
    return jnp.sum(jnp.where(trajectory.first, trajectory.rewards, 0.0), axis=-1)


def successes(trajectory: Trajectory) -> PyTree:
    """Whether the task was solved at any time in each episode (the first of each row): 1 or 0.

    Raises:
        ValueError: if the environment does not say when a task is solved.
    """
    if trajectory.solved is None:
        raise ValueError(
            "this environment does not say when a task is solved: give it solved(state) -> bool, "
            'or GymnasiumTasks the name in info that says it, e.g. success_key="is_success".'
        )
    return jnp.any(trajectory.solved & trajectory.first, axis=-1).astype(jnp.result_type(float))


def episode_lengths(trajectory: Trajectory) -> PyTree:
    """The number of steps of each episode (the first of each row), `[..., episodes]`."""
    return jnp.sum(trajectory.first, axis=-1)


def _of_one_episode(mask: Any) -> PyTree:
    """Steps since the row began, `[..., time + 1]`."""
    *rows, horizon = mask.shape
    return jnp.broadcast_to(jnp.arange(horizon + 1), (*rows, horizon + 1))


def _since_the_beginning(goes_on: Any) -> PyTree:
    """Steps since the episode began, `[episodes, time + 1]`."""
    steps = _of_one_episode(goes_on)
    ended = jnp.pad(~goes_on, ((0, 0), (1, 0)))
    return steps - jax.lax.cummax(jnp.where(ended, steps, 0), axis=1)


def _where(chosen: Any, these: PyTree, others: PyTree) -> PyTree:
    """For each episode, `these` if it is chosen, else `others`. Arrays are `[episodes, ...]`."""

    def pick(x, y):
        return jnp.where(chosen.reshape(chosen.shape + (1,) * (x.ndim - 1)), x, y)

    return jax.tree.map(pick, these, others)
