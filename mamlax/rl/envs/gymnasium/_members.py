"""Vectorized environments of Gymnasium, whose errors say which function failed."""

import functools
import multiprocessing
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import PyTree

from ...._errors import MamlaxError
from ._sessions import end, failing_in, failure

Workers = Literal["sync", "subprocesses"]

_RETURNS = {
    "reset": ("observation", "info"),
    "step": ("observation", "reward", "terminated", "truncated", "info"),
}


def vectorized(
    make_env: Callable[[], PyTree], set_task: Callable[[Any, Any], None], workers: Workers, num: int
) -> PyTree:
    """`num` environments, vectorized, that get their tasks as an attribute."""
    vector = gymnasium_library().vector
    if workers == "sync":
        with failing_in("make_env()"):
            return vector.SyncVectorEnv([functools.partial(_member, make_env, set_task)] * num)
    members = [functools.partial(_in_process, make_env, set_task)] * num
    made = vector.AsyncVectorEnv.__new__(vector.AsyncVectorEnv)  # to close if it fails halfway
    try:
        with failing_in("make_env(), called in a new process", made):
            # forked processes would inherit JAX's threads in the middle of their work
            made.__init__(members, context="spawn")
    except BaseException:
        end(made)
        raise
    return made


def _in_process(make_env: Callable[[], PyTree], set_task: Callable[[Any, Any], None]) -> PyTree:
    if multiprocessing.parent_process() is not None:  # Gymnasium also makes one in this process
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    return _member(make_env, set_task)


def _member(make_env: Callable[[], PyTree], set_task: Callable[[Any, Any], None]) -> PyTree:
    try:
        env = make_env()
    except Exception as error:
        raise failure("make_env()", error) from error
    if not hasattr(env, "set_wrapper_attr"):
        raise MamlaxError(f"make_env must return a gymnasium.Env, got {type(env).__name__}.")
    _check_rescaling(env)
    space = env.observation_space

    class Member(gymnasium_library().Wrapper):
        """An environment whose errors say which function failed, which only its process knows."""

        @property
        def task(self):
            return None

        @task.setter
        def task(self, task):
            try:
                set_task(self.env, task)
            except Exception as error:
                raise failure("set_task(env, task)", error) from error

        def reset(self, **settings):
            try:
                returned = self.env.reset(**settings)
            except Exception as error:
                raise failure("reset", error) from error
            _check_returned("reset", returned, space)
            return returned

        def step(self, action):
            try:
                returned = self.env.step(action)
            except Exception as error:
                raise failure("step", error) from error
            _check_returned("step", returned, space)
            observation, reward, terminated, truncated, info = returned
            return (
                observation,
                reward if isinstance(reward, float) else _number(reward),
                _flag("terminated", terminated),
                _flag("truncated", truncated),
                info,
            )

    return Member(env)


def _check_rescaling(env: PyTree) -> None:
    """Raise an error for an action space with which Gymnasium's wrapper would divide by zero."""
    gymnasium = gymnasium_library()
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.RescaleAction):
            inner = env.env.action_space
            if np.issubdtype(inner.dtype, np.integer) or not inner.is_bounded():
                raise MamlaxError(
                    f"RescaleAction cannot stretch {inner}: it makes NaN of actions. Leave it out: "
                    "a Box of integers is taken as it is, and for a bound that is infinite the "
                    "warning without it says how to wrap."
                )
        env = env.env


def _check_returned(function: str, returned: Any, space: Any) -> None:
    """Raise an error for a wrong number of values, or an observation of another shape."""
    expected = _RETURNS[function]
    is_tuple = isinstance(returned, tuple | list)
    if not is_tuple or len(returned) != len(expected):
        came = f"{len(returned)} things" if is_tuple else type(returned).__name__
        old = ": an old done is terminated, truncated False" if function == "step" else ""
        raise MamlaxError(f"{function} must return ({', '.join(expected)}), got {came}{old}.")
    shape = np.shape(returned[0])
    if space.shape is not None and shape != space.shape:
        raise MamlaxError(
            f"{function} returned an observation of shape {shape}, and observation_space declares "
            f"{space.shape}: correct one of them."
        )
    info = returned[-1]
    if not isinstance(info, dict):
        raise MamlaxError(f"{function} must return a dict as info, got {type(info).__name__}.")


def _number(reward: PyTree) -> float:
    try:
        return float(np.asarray(reward).item())
    except (TypeError, ValueError):
        raise MamlaxError(
            f"step must return a number as the reward, got {type(reward).__name__}: does the "
            "function that computes it return it?"
        ) from None


def _flag(name: str, value: PyTree) -> bool:
    """A boolean, also from an array of one element."""
    if isinstance(value, bool):
        return value
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or array.item() not in (0, 1):
        came = f"an array of shape {array.shape}" if array.ndim else repr(value)
        raise MamlaxError(f"step must return True or False as {name}, got {came}.")
    return bool(array.item())


def set_tasks(vector: PyTree, tasks: PyTree) -> None:
    """Give each environment its task, from the stacked tasks."""
    leaves, structure = jax.tree.flatten(tasks)
    rows = [[np.asarray(leaf[row]) for leaf in leaves] for row in range(vector.num_envs)]
    vector.set_attr("task", [structure.unflatten(row) for row in rows])


def gymnasium_library() -> ModuleType:
    """Import Gymnasium where it is used; the error says how to install it."""
    try:
        import gymnasium
    except ImportError as error:
        raise MamlaxError(
            f"Gymnasium cannot be imported ({error}). To install it: pip install 'mamlax[gym]'"
        ) from error
    return gymnasium
