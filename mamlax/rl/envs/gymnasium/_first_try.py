"""The first try: a few episodes of random actions, before anything is trained."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ._sessions import Sessions

_NUM_TRIED_KEYS = 32
_NUM_REPEATED_STEPS = 10

Seen = dict[str, np.ndarray]
"""What two environments returned, `[2, ...]`, by name."""


class TwoTasks(NamedTuple):
    """Two stacked tasks, and whether they differ."""

    tasks: PyTree
    differ: bool


def two_tasks(sample_task: Callable[[PyTree], PyTree]) -> TwoTasks:
    """Two tasks that differ, if there are any.

    Raises:
        TypeError: if JAX cannot trace `sample_task`.
    """
    keys = jax.random.split(jax.random.key(0), _NUM_TRIED_KEYS)
    try:
        tasks = jax.tree.map(np.asarray, jax.vmap(sample_task)(keys))
    except Exception as error:
        came = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise TypeError(
            "sample_task(key) must be traceable by JAX (use jax.random and jnp) and return a "
            f"pytree of arrays, got {came}"
        ) from error
    for other in range(1, _NUM_TRIED_KEYS):
        two = jax.tree.map(lambda x, other=other: x[[0, other]], tasks)
        if any(not np.array_equal(*leaf) for leaf in jax.tree.leaves(two)):
            return TwoTasks(two, True)
    return TwoTasks(jax.tree.map(lambda x: x[:2], tasks), False)


def first_try(sessions: Sessions, two: TwoTasks, action_space: Any, horizon: int) -> Iterator[str]:
    """What looks wrong, in sentences.

    Args:
        sessions: the environments.
        two: the tasks.
        action_space: Gymnasium's action space of one environment.
        horizon: the longest episode, in steps.
    """
    if not two.differ:
        yield (
            f"sample_task gave the same task for each of {_NUM_TRIED_KEYS} keys: does it draw "
            "with jax.random, from its key?"
        )
    same = jax.tree.map(lambda x: x[[0, 0]], two.tasks)
    num_steps = min(horizon, _NUM_REPEATED_STEPS)
    plays = [list(_play(sessions, same, action_space, num_steps)) for _ in range(2)]
    difference = _first_difference(*plays)
    if difference:
        yield (
            "one task, played twice with the same seed and the same actions, gave another "
            f"{difference}. So the same key gives other episodes each time, and it cannot be seen "
            "whether set_task does anything. Either the environment draws numbers that the seed "
            "does not decide: draw from self.np_random, after super().reset(seed=seed), not from "
            "np.random. Or it remembers earlier episodes, as the wrappers NormalizeObservation and "
            "NormalizeReward do: leave them out (mlp_policy has normalize_observations)."
        )
    alike, not_finite = _compared(sessions, two, action_space, horizon if two.differ else 1)
    if not_finite:
        yield (
            f"in a first try with random actions, the {' and the '.join(not_finite)} was NaN "
            "or infinite, which no policy can learn from. Does reset or step divide by zero?"
        )
    elif two.differ and alike and not difference:
        yield (
            "two different tasks gave the same observations and rewards for the same actions: "
            "set_task seems to do nothing. Does it set what the environment reads "
            "(env.unwrapped)?"
        )


def _first_difference(first: list[Seen], again: list[Seen]) -> str | None:
    """What differed between the episodes, and at which step. None: nothing."""
    for step, (one, other) in enumerate(zip(first, again, strict=True)):
        for name, rows in one.items():
            rows = [*rows, *other[name]]
            if not all(np.array_equal(rows[0], row, equal_nan=True) for row in rows):
                return f"{name} {f'at step {step}' if step else 'at the reset'}"
        if one.get("end of the episode", np.zeros(2)).any():
            return None  # the next episode may start differently
    return None


def _compared(
    sessions: Sessions, two: TwoTasks, action_space: Any, num_steps: int
) -> tuple[bool, list[str]]:
    """Whether two tasks behave alike with the same actions and seed, and what was not finite."""
    alike, not_finite = True, set()
    for step, seen in enumerate(_play(sessions, two.tasks, action_space, num_steps)):
        for name, rows in seen.items():
            alike = alike and np.array_equal(*rows, equal_nan=True)
            if not np.isfinite(rows).all():
                not_finite.add(name)
        if step > 0 and not alike:
            break
    return alike, sorted(not_finite)


def _play(sessions: Sessions, tasks: PyTree, action_space: Any, num_steps: int) -> Iterator[Seen]:
    """Play two episodes side by side, with the same seed and the same random actions."""
    session, observation = sessions.begin(tasks, np.zeros(2, int))
    try:
        yield {"observation": observation}
        action_space.seed(0)
        for _ in range(num_steps):
            action = action_space.sample()
            observation, reward, ended, _ = sessions.step(
                np.array([session]), np.stack([action, action])
            )
            yield {"observation": observation, "reward": reward, "end of the episode": ended}
    finally:
        sessions.break_off(session)
