"""From episodes that a machine has logged to a policy adapted to it, without our environments.

What    meta-trains on carts whose motor may be reversed (as in gymnasium_environment.py), writes
        the policy to a file, and forgets the rest. Then "a machine", here plain Gymnasium, plays
        ten episodes by that file, logs them, adapts the policy to the log, and plays again.
Run     python examples/policy_on_a_machine.py              (--smoke: seconds)
Takes   a minute on two processor cores; needs pip install '.[gym,tabular]'
Expect  the pole stands for about 11 steps before adapting and for 100 after, for either force
"""

import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax

import mamlax
from mamlax import rl
from mamlax.config import Episodes, MamlTrpo

smoke = "--smoke" in sys.argv
horizon = 20 if smoke else 100


def sample_task(key):
    """The force of a push to the right, in newtons: 10 or −10."""
    return 10.0 * jax.random.rademacher(key, (), jnp.float32)


def set_task(env, force):
    env.unwrapped.force_mag = float(force)


env = rl.GymnasiumTasks(
    lambda: gymnasium.make("CartPole-v1"),
    sample_task=sample_task,
    set_task=set_task,
    horizon=horizon,
)
algorithm = MamlTrpo(inner_learning_rate=1.0, surrogate="likelihood-ratio")
episodes = Episodes(episodes_per_task=10)
learner = rl.policy_learner(
    env,
    inner_optimizer=optax.sgd(algorithm.inner_learning_rate),
    num_inner_steps=1,
    episodes_per_task=episodes.episodes_per_task,
    surrogate=rl.likelihood_ratio,
)
loop = rl.maml_trpo(learner, meta_batch_size=10, max_kl=0.02, num_conjugate_gradient_steps=5)
initial = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(64, 64), activation="tanh")
run = mamlax.run(loop, initial, key=jax.random.key(1), num_outer_steps=2 if smoke else 60)
policy = mamlax.FewShotPolicy.of(run.state.meta_params, env, algorithm=algorithm, episodes=episodes)
policy.save("policy.safetensors")


def play(policy, machine, key, num_episodes=10):
    """Act, and log: observations, actions, rewards, and where episodes end."""
    log, step = [], 0
    for episode in range(num_episodes):
        observation, _ = machine.reset(seed=episode)
        for time in range(horizon):
            action = policy.act(observation, jax.random.fold_in(key, step))
            after, reward, terminated, _, _ = machine.step(int(action))
            end = terminated or time == horizon - 1
            log.append((observation, action, reward, end))
            observation, step = after, step + 1
            if end:
                break
    return [np.array(column) for column in zip(*log, strict=True)]


policy = mamlax.load("policy.safetensors")
for force in (10.0, -10.0):
    machine = gymnasium.make("CartPole-v1")
    set_task(machine, force)  # the policy is not told
    log = play(policy, machine, jax.random.key(2))
    adapted = policy.adapt(*log)
    again = play(adapted, machine, jax.random.key(3))
    before, after = len(log[0]) / 10, len(again[0]) / 10
    print(f"force {force:+.0f}: the pole stands for {before:.0f} steps, adapted for {after:.0f}")
