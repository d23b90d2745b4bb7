"""Meta-World: a robot arm and fifty things to do, in the benchmarks of meta-learning."""

import functools
from types import ModuleType
from typing import Any, Literal

import jax
import numpy as np

from ...._errors import MamlaxError
from .._checks import check_choice
from ._members import gymnasium_library
from ._tasks import GymnasiumTasks

Benchmark = Literal["ml1", "ml10", "ml25", "ml45"]
Split = Literal["train", "test"]
RewardVersion = Literal["v1", "v2"]

_SIZE = 160
"""Width and height of pictures."""


class MetaWorld(GymnasiumTasks):
    """Tasks of a benchmark of Meta-World: goals of one thing to do (ML1), or of several.

    A task is a number, which of the benchmark's goals it is: fifty for each thing to do, that of
    one after that of another. Observations, `[39]`, hide the goal. An action is four numbers: where
    the hand moves, and its grip. Nothing ends an episode but the horizon. Whether the task is
    solved is Meta-World's `success`.

    Episodes of one task are played side by side, those of another after them, so that memory is
    taken for `episodes × things to do` arms.

    Args:
        benchmark: `"ml1"`, one thing to do, other goals in the test; `"ml10"`, `"ml25"`, `"ml45"`,
            so many things to do, and five others in the test.
        task: what is to be done in ML1.
        split: `"train"` or `"test"`.
        reward_version: Meta-World's `reward_function_version`. Returns of two cannot be compared,
            and what is learned from them differs, so it belongs to every number.
        horizon: steps of an episode, 500 in the benchmarks.
        goal_seed: what decides the goals, Meta-World's `seed`.

    Attributes:
        num_tasks: how many tasks there are.

    Raises:
        MamlaxError: if Meta-World is not installed; says how to.
        ValueError: if a setting is none of what there is.

    Example:
        In an environment of Python of its own (`pip install '.[meta-world]'`)::

            env = mamlax.rl.MetaWorld("ml1", task="push-v3")

    References:
        Yu et al., Meta-World, CoRL 2019; McLean et al., Meta-World+, 2025.
    """

    acts_together = False  # a step of an arm takes as long beside others as alone

    def __init__(
        self,
        benchmark: Benchmark = "ml1",
        *,
        task: str = "reach-v3",
        split: Split = "train",
        reward_version: RewardVersion = "v2",
        horizon: int = 500,
        goal_seed: int = 0,
    ):
        for name, value, kind in (
            ("benchmark", benchmark, Benchmark),
            ("split", split, Split),
            ("reward_version", reward_version, RewardVersion),
        ):
            check_choice(name, value, kind)
        made = _benchmark(benchmark, task, goal_seed)
        classes, goals = getattr(made, f"{split}_classes"), getattr(made, f"{split}_tasks")
        self.num_tasks = len(goals)
        super().__init__(
            lambda: _arm(classes, goals, reward_version),
            sample_task=lambda key: jax.random.randint(key, (), 0, len(goals)),
            set_task=lambda env, task: env.unwrapped.choose(int(task)),
            horizon=horizon,
            success_key="success",
        )


@functools.cache  # it plays each thing to do fifty times to find goals
def _benchmark(name: str, task: str, seed: int) -> Any:
    library = _library()
    if name != "ml1":
        return getattr(library, name.upper())(seed=seed)
    if task not in library.ML1.ENV_NAMES:
        raise ValueError(f"task must be one of {', '.join(library.ML1.ENV_NAMES)}, got {task!r}.")
    return library.ML1(task, seed=seed)


def _arm(classes: Any, goals: Any, reward_version: str) -> Any:
    """One environment for all things to do, which makes each when it is first asked for."""
    gymnasium = gymnasium_library()

    class Arm(gymnasium.Env):
        render_mode = "rgb_array"
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (39,), np.float64)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)

        def __init__(self):
            self._made: dict[str, Any] = {}
            self._now: Any = None

        def choose(self, number):
            goal = goals[number]
            if goal.env_name not in self._made:
                self._made[goal.env_name] = classes[goal.env_name](
                    reward_function_version=reward_version,
                    render_mode=self.render_mode,
                    width=_SIZE,
                    height=_SIZE,
                )
            self._now = self._made[goal.env_name]
            self._now.set_task(goal)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self._now.reset(seed=seed)

        def step(self, action):
            return self._now.step(action)

        def render(self):
            return self._now.render()

        def close(self):
            for env in self._made.values():
                env.close()

    return Arm()


def _library() -> ModuleType:
    try:
        import metaworld  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MamlaxError(
            f"Meta-World cannot be imported ({error}). It asks for another version of MuJoCo than "
            "MJX does, so it needs an environment of its own, in the folder of mamlax: "
            "python3 -m venv .venv-meta-world && "
            ".venv-meta-world/bin/pip install '.[meta-world]'"
        ) from error
    return metaworld
