"""The environments of reinforcement learning, and their examples for figures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ... import rl
from ...config._policies import PolicyNetwork
from ...config._problems import (
    AntProblem,
    BanditProblem,
    ControlProblem,
    HalfCheetahProblem,
    MetaWorldProblem,
    NavigationProblem,
    TabularMDPProblem,
)
from ...records._evaluation import MAIN
from ...records._examples import (
    BanditExamples,
    Examples,
    LocomotionExamples,
    NavigationExamples,
)
from ._listed_tasks import ListedTasks
from ._parts import Baseline, ExamplesFn, PolicyParts

Adapters = Mapping[str, Callable[..., PyTree]]
_DIRECTIONS = {"forward": lambda task: task > 0, "backward": lambda task: task < 0}
_NUM_SHOWN_TASKS, _NUM_SHOWN_EPISODES = 4, 3


def environment_parts(problem: ControlProblem, network: PolicyNetwork) -> PolicyParts:
    """The parts of a problem of reinforcement learning.

    Args:
        problem: settings of the environment.
        network: settings of the policy's network.
    """
    listed = None
    match problem:
        case NavigationProblem():
            env = rl.PointNavigation(**asdict(problem))
            return _parts(env, replace(env, oracle=True), partial(_paths, env), network)
        case BanditProblem():
            env = rl.BernoulliBandit(problem.num_arms)
            return _parts(env, None, partial(_pulls, env), network, oracle=env.optimal_return)
        case TabularMDPProblem():
            env = rl.TabularMDP(problem.num_states, problem.num_actions, problem.horizon)
            return _parts(env, None, _nothing_to_show, network, oracle=env.optimal_return)
        case MetaWorldProblem():
            return _meta_world_parts(problem, network)
        case HalfCheetahProblem():
            env = rl.HalfCheetah(**asdict(problem))
            if problem.goal == "velocity":
                # those of the paper's code: returns on them can be compared, goal by goal
                velocities = np.random.RandomState(1).uniform(*problem.velocities, 40)
                listed = tuple(velocities.tolist())
        case AntProblem():
            env = rl.Ant(**asdict(problem))
        case _:
            raise TypeError(f"no environment is known for {type(problem).__name__}.")
    informed = replace(env, oracle=True)
    parts = _parts(env, informed, partial(_positions, env), network, listed=listed)
    return replace(parts, kinds=_DIRECTIONS) if env.goal == "direction" else parts


def _parts(
    env: rl.TaskEnv,
    informed: rl.TaskEnv | None,
    examples: ExamplesFn,
    network: PolicyNetwork,
    *,
    listed: tuple[float, ...] | None = None,
    **bounds: Callable[[PyTree], PyTree],
) -> PolicyParts:
    """The parts of an environment.

    Args:
        env: the environment.
        informed: the same, in which the policy observes the task; None: there is none.
        examples: see `Parts`.
        network: the policy's.
        listed: tasks of the evaluation; None: drawn.
        **bounds: see `PolicyParts`.
    """

    def init_params(key, env=env):
        return rl.mlp_policy(key, env, **asdict(network))

    def held_out(env):
        return env if listed is None else ListedTasks(env, listed)

    baselines = {
        "pretrained": Baseline(init_params, env, env, held_out(env)),
        "random": Baseline(init_params, None, env, held_out(env)),
    }
    if informed is not None:
        baselines["oracle"] = Baseline(
            lambda key: init_params(key, informed), informed, informed, held_out(informed)
        )
    return PolicyParts(
        init_params=init_params,
        metric="return",
        metric_fn=rl.total_rewards,
        train_tasks=env,
        validation_tasks=env,
        test_tasks=held_out(env),
        baselines=baselines,
        examples=examples,
        bounds=bounds,
    )


def _meta_world_parts(problem: MetaWorldProblem, network: PolicyNetwork) -> PolicyParts:
    """The parts of a benchmark of Meta-World: other goals, or other things to do, in the test."""
    train, test = (rl.MetaWorld(**asdict(problem), split=split) for split in ("train", "test"))
    parts = _parts(train, None, _nothing_to_show, network)
    return replace(
        parts,
        test_tasks=ListedTasks(test, tuple(range(test.num_tasks))),
        baselines={},  # to choose their step sizes would take hours
        success_fn=rl.successes,
    )


def _nothing_to_show(adapters: Adapters, steps: tuple[int, ...], algorithm: str) -> Examples | None:
    return None


def _shown(adapters: Adapters) -> dict[str, Callable[..., PyTree]]:
    return {name: adapters[name] for name in (MAIN, "pretrained") if name in adapters}


def _paths(
    env: rl.PointNavigation, adapters: Adapters, steps: tuple[int, ...], algorithm: str
) -> NavigationExamples:
    """A few episodes to each of four goals, before and after adaptation."""
    keys = jax.random.split(jax.random.key(5), _NUM_SHOWN_TASKS)
    goals = jax.vmap(env.sample_task)(keys)
    paths, masks = {}, {}
    for name, adapter in _shown(adapters).items():
        shown = [
            [adapter(jax.random.key(index), goal, n).query.trajectory for n in steps]
            for index, goal in enumerate(goals)
        ]
        few = slice(_NUM_SHOWN_EPISODES)
        paths[name] = np.stack([np.stack([t.observations[few] for t in goal]) for goal in shown])
        masks[name] = np.stack([np.stack([t.mask[few] for t in goal]) for goal in shown])
    return NavigationExamples(
        algorithm=algorithm,
        num_steps=np.array(steps),
        goals=np.asarray(goals),
        paths=paths,
        masks=masks,
    )


def _pulls(
    env: rl.BernoulliBandit, adapters: Adapters, steps: tuple[int, ...], algorithm: str
) -> BanditExamples:
    """Four bandits: what arms pay, and how often each is pulled before and after adaptation."""
    tasks = jax.vmap(env.sample_task)(jax.random.split(jax.random.key(5), _NUM_SHOWN_TASKS))

    def shares(adapter, index, task, num_steps):
        policy = adapter(jax.random.key(index), task, num_steps).policy
        return jax.nn.softmax(policy(jnp.ones(1)).logits)

    return BanditExamples(
        algorithm=algorithm,
        num_steps=np.array(steps),
        payouts=np.asarray(tasks),
        pulls={
            name: np.array(
                [[shares(adapter, i, task, n) for n in steps] for i, task in enumerate(tasks)]
            )
            for name, adapter in _shown(adapters).items()
        },
    )


def _positions(
    env: rl.HalfCheetah | rl.Ant, adapters: Adapters, steps: tuple[int, ...], algorithm: str
) -> LocomotionExamples:
    """Four tasks: positions of the body in an episode before and after each inner step."""
    tasks = jax.vmap(env.sample_task)(jax.random.split(jax.random.key(5), 64))
    tasks = tasks[np.asarray(_different(tasks))]
    counts = range(steps[-1] + 1)  # films show every step
    watch = jax.jit(lambda key, task, policy: rl.record_states(key, env, task, policy).position)
    positions = {}
    for name, adapter in _shown(adapters).items():
        shown = []
        for index, task in enumerate(tasks):
            key = jax.random.key(index)
            policies = [adapter(key, task, n).policy for n in counts]
            shown.append(np.stack([watch(key, task, policy) for policy in policies]))
        positions[name] = np.stack(shown)
    return LocomotionExamples(
        algorithm=algorithm,
        num_steps=np.array(counts),
        shown_steps=np.array(steps),
        model=env.model.name,
        goal=env.goal,
        seconds_per_step=float(env.seconds_per_step),
        tasks=np.asarray(tasks),
        positions=positions,
    )


def _different(tasks: PyTree) -> list[int]:
    """Indices of tasks to show: different ones, evenly spread over their range."""
    flat = np.asarray(tasks).reshape(len(tasks), -1)
    different = np.unique(flat, axis=0, return_index=True)[1]
    count = min(_NUM_SHOWN_TASKS, len(different))
    places = np.linspace(0, len(different) - 1, count).round().astype(int)
    return [int(different[place]) for place in places]
