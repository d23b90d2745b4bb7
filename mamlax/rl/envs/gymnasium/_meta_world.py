"""Meta-World: the meta-learning benchmarks ML1, ML10, ML25 and ML45 with a robot arm."""

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
    """A benchmark of Meta-World: goals of one kind of task (ML1), or of several kinds.

    A task is the index of one of the benchmark's goals. Each kind of task has fifty goals, and they
    follow one another in the index. The goal is hidden in the observations `[39]`. An action is
    four numbers: how the hand moves (3) and its grip (1). An episode ends only at the horizon.
    Meta-World's `success` says whether the task is solved.

    The episodes of one task are played side by side, and tasks one after another, so that memory is
    needed for `episodes × kinds of tasks` simulated arms.

    Args:
        benchmark: `"ml1"`: one kind of task, with other goals in the test. `"ml10"`, `"ml25"`,
            `"ml45"`: 10, 25 or 45 kinds of tasks, and five other kinds in the test.
        task: the kind of task in ML1.
        split: `"train"` or `"test"`.
        reward_version: Meta-World's `reward_function_version`. Policies learn differently with each
            version, and their returns cannot be compared, so report it with every result.
        horizon: steps of an episode, 500 in the benchmarks.
        goal_seed: the seed of the goals, Meta-World's `seed`.

    Attributes:
        num_tasks: the number of tasks.

    Raises:
        MamlaxError: if Meta-World is not installed; says how to install it.
        ValueError: if a setting is not one of the choices.

    Example:
        In a separate Python environment (`pip install '.[meta-world]'`)::

            env = mamlax.rl.MetaWorld("ml1", task="push-v3")

    References:
        Yu et al., Meta-World, CoRL 2019; McLean et al., Meta-World+, 2025.
    """

    acts_together = False  # simulating arms side by side is no faster than one after another

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


@functools.cache  # it plays each kind of task fifty times to find goals
def _benchmark(name: str, task: str, seed: int) -> Any:
    library = _library()
    if name != "ml1":
        return getattr(library, name.upper())(seed=seed)
    if task not in library.ML1.ENV_NAMES:
        raise ValueError(f"task must be one of {', '.join(library.ML1.ENV_NAMES)}, got {task!r}.")
    return library.ML1(task, seed=seed)


def _arm(classes: Any, goals: Any, reward_version: str) -> Any:
    """One environment for all kinds of tasks; each is made when it is first needed."""
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
