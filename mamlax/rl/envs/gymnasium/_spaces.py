"""Spaces of Gymnasium: which are supported, and how actions are converted."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from ..._environment import ActionSpace, Box, Discrete
from ._members import gymnasium_library


class Actions(NamedTuple):
    """The actions of policies, and their conversion to those of the environment.

    Attributes:
        space: the actions of policies.
        to_env: converts actions `[envs, size]` or `[envs]` to those of the environment.
        advice: which actions a new policy would not try, and how to wrap the environment. None: it
            tries all.
    """

    space: ActionSpace
    to_env: Callable[[np.ndarray], np.ndarray]
    advice: str | None


def observation_size(space: PyTree) -> int:
    """The number of values in an observation.

    Raises:
        TypeError: if its space is not supported; says how to wrap the environment.
    """
    if not isinstance(space, gymnasium_library().spaces.Box):
        raise TypeError(
            f"observations must be a gymnasium.spaces.Box, got {space}. Wrap the environment: "
            "gymnasium.wrappers.FlattenObservation(env) makes one of what is discrete, "
            "of dictionaries and of tuples."
        )
    return int(np.prod(space.shape))


def actions_of(space: PyTree) -> Actions:
    """The actions of policies for a space.

    Raises:
        TypeError: if the space is not supported; says how to wrap the environment.
    """
    spaces = gymnasium_library().spaces
    if isinstance(space, spaces.Discrete):
        return Actions(Discrete(int(space.n), int(space.start)), lambda actions: actions, None)
    if not isinstance(space, spaces.Box):
        raise TypeError(
            f"actions must be a gymnasium.spaces.Discrete or a Box, got {space}. "
            "Wrap the environment in a gymnasium.ActionWrapper that takes one of these."
        )
    size, shape = int(np.prod(space.shape)), space.shape
    is_integer = np.issubdtype(space.dtype, np.integer)
    low, high = _bounds(space)
    is_bounded = np.isfinite([low, high]).all()
    if is_integer and is_bounded:
        return Actions(Box(size), lambda actions: _stretched(actions, space), None)

    lows, highs = np.unique(low), np.unique(high)
    if len(lows) > 1 or len(highs) > 1:
        wrapped = _RESCALED if is_bounded else _CLIPPED
        raise TypeError(
            f"the numbers of an action must have the same bounds, got {space}. Wrap the "
            f"environment: {wrapped}."
        )
    box = Box(size, float(lows[0]), float(highs[0]))

    def to_env(actions):
        actions = actions.reshape(-1, *shape)
        return np.rint(actions).astype(space.dtype) if is_integer else actions

    return Actions(box, to_env, _advice(box))


_LARGEST = 2**31 - 1
_RESCALED = "gymnasium.wrappers.RescaleAction(env, -1.0, 1.0)"
_UNBOUNDED = "gymnasium.spaces.Box(-np.inf, np.inf, env.action_space.shape)"
_CLIPPED = (
    "gymnasium.wrappers.TransformAction(env, lambda action: np.clip(action, "
    f"env.action_space.low, env.action_space.high), {_UNBOUNDED})"
)


def _bounds(space: PyTree) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of each number; a bound that is its type's largest number counts as infinite."""
    low, high = space.low.astype(float), space.high.astype(float)
    low = np.where(space.bounded_below & (low > -_LARGEST), low, -np.inf)
    return low, np.where(space.bounded_above & (high < _LARGEST), high, np.inf)


def _stretched(actions: np.ndarray, space: PyTree) -> np.ndarray:
    """Integers for actions in [-1, 1]: each gets an equal share of the interval."""
    actions = actions.reshape(-1, *space.shape).astype(float)
    low, high = _bounds(space)
    count = high - low + 1
    steps = np.minimum(np.floor((actions + 1) / 2 * count), count - 1)
    return (low + steps).astype(space.dtype)


def _advice(box: Box) -> str | None:
    """Advice if a new policy, normal(0, 1), would try only the ends or the middle of the bounds."""
    width = box.high - box.low
    if box.low <= -0.5 and box.high >= 0.5 and (width <= 10 or np.isinf(width)):
        return None
    wrapped = _RESCALED
    if np.isinf(width):
        sign, end = ("+", box.low) if np.isinf(box.high) else ("-", box.high)
        wrapped = (
            f"gymnasium.wrappers.TransformAction(env, lambda action: {end:g} {sign} "
            f"np.exp(action), {_UNBOUNDED})"
        )
    return (
        f"actions lie in [{box.low:g}, {box.high:g}], and a policy begins with actions around 0 "
        "with a standard deviation of 1; what is beyond a bound becomes the bound. Wrap the "
        f"environment: {wrapped}."
    )


def solved_in(info: PyTree, name: str | None, num_envs: int) -> np.ndarray:
    """The booleans under a name in the infos, `[envs]`; false where it is missing.

    Where an episode has ended and the next has begun in the same step, what was said of its end
    counts.
    """
    said = info.get(name) if name is not None else None
    solved = np.zeros(num_envs, bool) if said is None else np.asarray(said).astype(bool)
    if "final_info" not in info:
        return solved
    return np.where(info["_final_info"], solved_in(info["final_info"], name, num_envs), solved)
