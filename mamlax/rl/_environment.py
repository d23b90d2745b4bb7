"""What an environment is: a Markov decision process for every task, as pure functions."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree


@dataclass(frozen=True)
class Box:
    """Continuous actions: `[size]` numbers between `low` and `high`.

    The actions of a policy may be out of bounds. Episodes record them unchanged, and the
    environment gets the nearest action within the bounds.

    Args:
        size: numbers per action.
        low: lower bound of each number.
        high: upper bound of each number.

    Raises:
        ValueError: if `size` is not positive or `low` is not less than `high`.
    """

    size: int
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self):
        if self.size < 1 or not self.low < self.high:
            raise ValueError(f"a box needs a positive size and low < high, got {self}.")


@dataclass(frozen=True)
class Discrete:
    """Actions that are integers from `start` to `start + num_actions − 1`.

    Args:
        num_actions: the number of actions.
        start: the first action.

    Raises:
        ValueError: if there are fewer than two actions.
    """

    num_actions: int
    start: int = 0

    def __post_init__(self):
        if self.num_actions < 2:
            raise ValueError(f"num_actions must be 2 or more, got {self.num_actions}.")


ActionSpace: TypeAlias = Box | Discrete


@runtime_checkable
class TaskEnv(Protocol):
    """An environment: a distribution of tasks, and a decision process per task. All is traceable.

    There is no automatic reset. An episode ends when `terminated` is true, or is truncated after
    `horizon` steps. Steps after the end change nothing and do not count. A reward or observation
    that is not finite also ends the episode; that step does not count.

    Three attributes are optional. `acts_together = True`: steps are taken outside of the compiled
    program, and many steps at once cost little more than one. `keeps_state = True`: the environment
    keeps its state hidden, so an episode cannot start from a state. A function
    `solved(state) -> boolean`, called after each step, says whether the task is solved; success
    rates are then logged besides returns.

    Attributes:
        observation_size: numbers per observation.
        action: a `Box` or a `Discrete`.
        horizon: the longest episode, in steps.
    """

    @property
    def observation_size(self) -> int: ...

    @property
    def action(self) -> ActionSpace: ...

    @property
    def horizon(self) -> int: ...

    def sample_task(self, key: PRNGKeyArray) -> PyTree:
        """Draw a task: any pytree of arrays."""
        ...

    def reset(self, key: PRNGKeyArray, task: PyTree) -> tuple[PyTree, PyTree]:
        """Begin an episode: `(state, observation)`. The state is any pytree of arrays."""
        ...

    def step(
        self, key: PRNGKeyArray, task: PyTree, state: PyTree, action: PyTree
    ) -> tuple[PyTree, PyTree, PyTree, PyTree]:
        """Take an action: `(state, observation, reward, terminated)`.

        `action` is `[size]` within the bounds, or an integer scalar. `observation` is
        `[observation_size]`, `reward` is a number, `terminated` is a boolean.
        """
        ...


def check_environment(env: Any) -> None:
    """Check that an environment does what it declares, before anything is compiled.

    Args:
        env: an object that should be a `TaskEnv`.

    Raises:
        TypeError: if something is missing or has the wrong type.
        ValueError: if a shape or a data type is not as declared.

    Example:
        >>> import mamlax
        >>> mamlax.rl.check_environment(mamlax.rl.PointNavigation())
    """
    if isinstance(env, type):
        raise TypeError(f"env must be an environment, got the class {env.__name__}: call it.")
    name = type(env).__name__
    lacking = [word for word in _PARTS if not hasattr(env, word)]
    if lacking:
        raise TypeError(f"{name} is no TaskEnv: it lacks {', '.join(lacking)}.")
    if not isinstance(env.action, Box | Discrete):
        raise TypeError(f"{name}.action must be a Box or a Discrete, got {env.action!r}.")
    for word in ("observation_size", "horizon"):
        value = getattr(env, word)
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}.{word} must be a positive integer, got {value!r}.")

    size = int(env.observation_size)
    key = jax.eval_shape(lambda: jax.random.key(0))
    task = _shapes_of(f"{name}.sample_task", env.sample_task, key)
    began = _shapes_of(f"{name}.reset", env.reset, key, task)
    state, observation = _parts(f"{name}.reset", began, ("state", "observation"))
    _check_array(f"{name}.reset: observation", observation, (size,), jnp.floating)
    done = _shapes_of(f"{name}.step", env.step, key, task, state, action_shape(env.action))
    after, observation, reward, terminated = _parts(
        f"{name}.step", done, ("state", "observation", "reward", "terminated")
    )
    _check_array(f"{name}.step: observation", observation, (size,), jnp.floating)
    if observation.dtype != began[1].dtype:
        raise ValueError(
            f"{name} must observe in one data type, got {began[1].dtype} from reset and "
            f"{observation.dtype} from step."
        )
    _check_array(f"{name}.step: reward", reward, (), jnp.floating)
    _check_array(f"{name}.step: terminated", terminated, (), jnp.bool_)
    kinds = [jax.tree.structure(each) for each in (state, after)]
    if kinds[0] != kinds[1] or _described(after) != _described(state):
        raise ValueError(
            f"{name}.step must return a state like the one that reset began with:\n"
            f"  reset: {_described(state)} ({kinds[0]})\n"
            f"  step:  {_described(after)} ({kinds[1]})"
        )


def acts_together(env: Any) -> bool:
    """Whether steps of many tasks at once are cheaper than task by task, on a CPU."""
    return bool(getattr(env, "acts_together", False))


def check_auto_reset(env: Any) -> None:
    """Raise if episodes cannot start from a state, because the environment hides its state.

    Raises:
        ValueError: in this case. The message names the environment.
    """
    if getattr(env, "keeps_state", False):
        raise ValueError(
            f"{type(env).__name__} keeps the states of its episodes to itself, so none can "
            "begin where another began: leave auto_reset=False."
        )


def action_shape(action: ActionSpace) -> jax.ShapeDtypeStruct:
    """Shape and data type of one action."""
    if isinstance(action, Box):
        return jax.ShapeDtypeStruct((action.size,), jnp.result_type(float))
    return jax.ShapeDtypeStruct((), jnp.int32)


_PARTS = ("observation_size", "action", "horizon", "sample_task", "reset", "step")


def _shapes_of(name: str, fn: Any, *arguments: Any) -> PyTree:
    """The shapes that `fn` would return. Everything in it must be an array."""
    try:
        found = jax.eval_shape(fn, *arguments)
    except TypeError as error:
        if "not a valid JAX type" in str(error):
            raise TypeError(
                f"{name} must return arrays in any pytree (tuples, dicts, dataclasses that JAX "
                f"knows): {error}"
            ) from error
        raise
    if name.endswith("sample_task") and not jax.tree.leaves(found):
        raise TypeError(
            f"{name} must return a task: a pytree with at least one array, got {found!r}."
        )
    return found


def _parts(name: str, found: Any, expected: tuple[str, ...]) -> tuple[PyTree, ...]:
    if not isinstance(found, tuple) or len(found) != len(expected):
        got = f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__
        raise TypeError(f"{name} must return ({', '.join(expected)}), got {got}.")
    return found


def _check_array(name: str, found: Any, shape: tuple[int, ...], kind: Any) -> None:
    wanted = {jnp.floating: "floating-point", jnp.bool_: "boolean"}[kind]
    if not hasattr(found, "shape") or not hasattr(found, "dtype"):
        raise TypeError(f"{name} must be an array, got {type(found).__name__}.")
    if found.shape != shape or not jnp.issubdtype(found.dtype, kind):
        raise ValueError(
            f"{name} must be {wanted} of shape {list(shape)}, got "
            f"{found.dtype} of shape {list(found.shape)}."
        )


def _described(tree: PyTree) -> str:
    return ", ".join(
        f"{jax.tree_util.keystr(path) or 'itself'} {leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    )
