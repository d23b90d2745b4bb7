"""The problems of reinforcement learning: settings, and the parts made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ._parts import Baseline, Parts

if TYPE_CHECKING:
    from ..rl import TaskEnv


@dataclass(frozen=True)
class NavigationProblem:
    """A point on a plane that must find a goal it does not see."""

    goals: Literal["square", "circle", "semicircle", "corners"] = "square"
    """Where goals lie; the paper's are on a square of side 1."""
    horizon: int = 100
    """Longest episode, in steps."""
    sparse_radius: float | None = None
    """Reward only within this distance of the goal. None: the negative distance, everywhere."""
    terminate: bool = True
    """End an episode at the goal."""

    def build(self, data_dir: str | None = None, **policy: Any) -> Parts:
        """Make the parts; no data is needed."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from ..rl import PointNavigation

        env = PointNavigation(
            goals=self.goals,
            horizon=self.horizon,
            sparse_radius=self.sparse_radius,
            terminate=self.terminate,
        )
        told = replace(env, oracle=True)

        def examples(adapters, steps):
            """Three episodes to each of four goals, before and after steps."""
            goals = jax.vmap(env.sample_task)(jax.random.split(jax.random.key(5), 4))
            arrays = {"kind": np.array("navigation"), "goals": goals, "num_steps": steps}
            for name in adapters.keys() & {"maml", "pretrained"}:
                shown = [
                    [adapters[name](jax.random.key(index), goal, n) for n in steps]
                    for index, goal in enumerate(goals)
                ]
                trajectories = [[one.query.trajectory for one in goal] for goal in shown]
                arrays[f"{name}/paths"] = jnp.stack(
                    [jnp.stack([t.observations[:3] for t in goal]) for goal in trajectories]
                )
                arrays[f"{name}/mask"] = jnp.stack(
                    [jnp.stack([t.mask[:3] for t in goal]) for goal in trajectories]
                )
            return arrays

        return _parts(env, told, examples, policy)


@dataclass(frozen=True)
class BanditProblem:
    """A row of slot machines, each paying with a probability of its own."""

    num_arms: int = 10
    """How many."""

    def build(self, data_dir: str | None = None, **policy: Any) -> Parts:
        """Make the parts; no data is needed."""
        import jax
        import jax.numpy as jnp
        import numpy as np

        from ..rl import BernoulliBandit

        env = BernoulliBandit(self.num_arms)

        def examples(adapters, steps):
            """Four bandits: what arms pay, and how often each is pulled before and after."""
            tasks = jax.vmap(env.sample_task)(jax.random.split(jax.random.key(5), 4))
            arrays = {"kind": np.array("bandit"), "payouts": tasks, "num_steps": steps}
            for name in adapters.keys() & {"maml", "pretrained"}:
                shown = [
                    [
                        jax.nn.softmax(
                            adapters[name](jax.random.key(i), task, n).policy(jnp.ones(1)).logits
                        )
                        for n in steps
                    ]
                    for i, task in enumerate(tasks)
                ]
                arrays[f"{name}/pulls"] = jnp.array(shown)
            return arrays

        return _parts(env, None, examples, policy, oracle=env.optimal_return)


@dataclass(frozen=True)
class TabularMDPProblem:
    """Random Markov decision processes with few states."""

    num_states: int = 10
    """How many states."""
    num_actions: int = 5
    """How many actions."""
    horizon: int = 10
    """Steps per episode."""

    def build(self, data_dir: str | None = None, **policy: Any) -> Parts:
        """Make the parts; no data is needed."""
        from ..rl import TabularMDP

        env = TabularMDP(self.num_states, self.num_actions, self.horizon)
        return _parts(env, None, lambda adapters, steps: {}, policy, oracle=env.optimal_return)


@dataclass(frozen=True)
class _AnimalProblem(ABC):
    goal: str
    """What a task is."""
    variant: Literal["rllab", "gym"] = "rllab"
    """The paper's environment, or that of most later papers: their numbers cannot be compared."""
    horizon: int = 200
    """Longest episode, in steps."""
    action_bound: float = 1.0
    """The action that means full torque; 10 in the code of most later papers."""
    velocities: tuple[float, float] = (0.0, 2.0)
    """Range of the velocities, in m/s."""
    engine: Literal["mujoco", "mjx"] = "mujoco"
    """What simulates: MuJoCo on processor cores, or MJX on accelerators."""

    def build(self, data_dir: str | None = None, **policy: Any) -> Parts:
        """Make the parts; no data is needed."""
        env = self._environment()(**asdict(self))
        return _parts(env, replace(env, oracle=True), _running(env), policy)

    @abstractmethod
    def _environment(self) -> Any:
        """The class of the environment."""


@dataclass(frozen=True)
class HalfCheetahProblem(_AnimalProblem):
    """A planar animal that must run forward or backward, or at some speed."""

    goal: Literal["direction", "velocity"] = "direction"
    """What a task is."""

    def _environment(self) -> Any:
        from ..rl import HalfCheetah

        return HalfCheetah


@dataclass(frozen=True)
class AntProblem(_AnimalProblem):
    """A four-legged animal that must run forward or backward, at some speed, or to some place."""

    goal: Literal["direction", "velocity", "position"] = "direction"
    """What a task is."""
    velocities: tuple[float, float] = (0.0, 3.0)
    """Range of the velocities, in m/s."""

    def _environment(self) -> Any:
        from ..rl import Ant

        return Ant


def _running(env: Any) -> Any:
    """Examples of an animal: four tasks, where it was in an episode before and after each step."""

    def examples(adapters, steps):
        import jax
        import jax.numpy as jnp
        import numpy as np

        from ..rl import record_states

        tasks = jax.vmap(env.sample_task)(jax.random.split(jax.random.key(5), 64))
        tasks = tasks[np.asarray(_apart(tasks))]
        arrays: dict[str, Any] = {
            "kind": np.array("running"),
            "model": np.array(env.model.name),
            "goal": np.array(env.goal),
            "seconds_per_step": np.array(env.seconds_per_step),
            "tasks": tasks,
            "shown_steps": steps,
            "num_steps": list(range(steps[-1] + 1)),  # films have them all
        }
        watch = jax.jit(lambda key, task, policy: record_states(key, env, task, policy).position)
        for name in adapters.keys() & {"maml", "pretrained"}:
            shown = []
            for index, task in enumerate(tasks):
                key = jax.random.key(index)
                policies = [adapters[name](key, task, n).policy for n in arrays["num_steps"]]
                shown.append(jnp.stack([watch(key, task, policy) for policy in policies]))
            arrays[f"{name}/positions"] = jnp.stack(shown)
        return arrays

    return examples


_NUM_SHOWN_TASKS = 4


def _apart(tasks: Any) -> list[int]:
    """Which of many tasks to show: all directions there are, or some that differ."""
    import numpy as np

    flat = np.asarray(tasks).reshape(len(tasks), -1)
    different = np.unique(flat, axis=0, return_index=True)[1]
    count = min(_NUM_SHOWN_TASKS, len(different))
    return [
        int(different[i]) for i in np.linspace(0, len(different) - 1, count).round().astype(int)
    ]


def _parts(
    env: TaskEnv, told: TaskEnv | None, examples: Any, policy: dict[str, Any], **bounds: Any
) -> Parts:
    """The parts of an environment; `told` is the same one, its task observed."""
    from ..rl import mlp_policy

    def init_params(key, env=env):
        return mlp_policy(key, env, **policy)

    baselines = {
        "pretrained": Baseline(init_params, env, env, env),
        "random": Baseline(init_params, None, env, env),
    }
    if told is not None:
        baselines["oracle"] = Baseline(lambda key: init_params(key, told), told, told, told)
    return Parts(
        init_params=init_params,
        metric="return",
        train_tasks=env,
        validation_tasks=env,
        test_tasks=env,
        baselines=baselines,
        examples=examples,
        bounds=bounds,
    )
