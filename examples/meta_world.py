"""A robot arm of Meta-World, meta-trained to reach for what it does not see.

What    tasks are the fifty goals of ML1's reach-v3, which observations hide. Meta-trains a policy
        on them, then adapts it to ten of the goals that are kept for testing.
Run     python examples/meta_world.py                       (--smoke: a minute)
        in an environment of its own, because Meta-World asks for another version of MuJoCo:
        python3 -m venv .venv-meta-world
        .venv-meta-world/bin/pip install '.[gym]' metaworld
Takes   eight minutes on two processor cores that had other work, and 6 GB
Expect  a return of 444 before adapting and 891 after, on the ten goals: after ten outer steps, so
        it has only begun to learn
"""

import sys

import jax
import jax.numpy as jnp
import metaworld  # pyright: ignore[reportMissingImports]
import numpy as np
import optax

import mamlax
from mamlax import rl

smoke = "--smoke" in sys.argv
NAME = "reach-v3"
benchmark = metaworld.ML1(NAME, seed=0)


def tasks_of(classes, goals):
    """One task per goal: its number."""

    def sample_task(key):
        return jax.random.randint(key, (), 0, len(goals))

    def set_task(env, goal):
        env.unwrapped.set_task(goals[int(goal)])

    return rl.GymnasiumTasks(
        lambda: classes[NAME](reward_function_version="v2"),
        sample_task=sample_task,
        set_task=set_task,
        horizon=10 if smoke else 150,
    )


def learner_of(env):
    return rl.policy_learner(
        env,
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=1,
        episodes_per_task=2 if smoke else 10,
        surrogate=rl.likelihood_ratio,
    )


env = tasks_of(benchmark.train_classes, benchmark.train_tasks)
loop = rl.maml_trpo(
    learner_of(env), meta_batch_size=2 if smoke else 10, num_conjugate_gradient_steps=5
)
policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(64, 64), activation="tanh")


def report(line):
    before, after = line["train/pre_adaptation_return"], line["train/post_adaptation_return"]
    print(f"step {line['step']}: {before:.0f} before adapting, {after:.0f} after", flush=True)


run = mamlax.run(
    loop,
    policy,
    key=jax.random.key(1),
    num_outer_steps=1 if smoke else 10,
    log_interval=1,
    report=report,
)
held_out = tasks_of(benchmark.test_classes, benchmark.test_tasks)
# as many side by side as in training: each environment takes memory
goals = jnp.arange(2) if smoke else jnp.arange(0, len(benchmark.test_tasks), 5)
explore = jax.jit(jax.vmap(learner_of(held_out).explore, (0, None, 0)))
found = explore(jax.random.split(jax.random.key(2), len(goals)), run.state.meta_params, goals)
for name, trajectory in (("before", found.support.trajectory), ("after", found.query.trajectory)):
    returns = np.mean(rl.total_rewards(trajectory))
    print(f"{name} adapting, on {len(goals)} goals kept for testing: {returns:.0f}")
