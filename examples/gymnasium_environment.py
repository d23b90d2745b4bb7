"""A Gymnasium environment of your own, meta-trained: a pole of unknown length on a cart.

What    tasks are lengths of CartPole's pole and strengths of its motor, which even reverses: the
        policy must find out which way to push. Meta-trains, then adapts to new carts.
Run     python examples/gymnasium_environment.py            (--smoke: seconds)
Takes   a minute on two processor cores; needs pip install '.[gym]'
Expect  the pole stands for 55 steps before adapting and for 100 of 100 after (means over carts)
"""

import sys

import gymnasium
import jax
import jax.numpy as jnp
import optax

import mamlax
from mamlax import rl

smoke = "--smoke" in sys.argv


# --8<-- [start:environment]
def sample_task(key):
    """Half the length of the pole in meters, and the force of a push to the right in newtons."""
    length_key, force_key = jax.random.split(key)
    length = jax.random.uniform(length_key, (), minval=0.3, maxval=0.8)
    return {"length": length, "force": 10.0 * jax.random.rademacher(force_key, (), jnp.float32)}


def set_task(env, task):
    """Make an environment that of a task."""
    cart = env.unwrapped
    cart.length, cart.force_mag = float(task["length"]), float(task["force"])
    cart.polemass_length = cart.masspole * cart.length


env = rl.GymnasiumTasks(
    lambda: gymnasium.make("CartPole-v1"),
    sample_task=sample_task,
    set_task=set_task,
    horizon=20 if smoke else 100,
)
# --8<-- [end:environment]

learner = rl.policy_learner(
    env,
    inner_optimizer=optax.sgd(1.0),
    num_inner_steps=1,
    episodes_per_task=10,
    surrogate=rl.likelihood_ratio,
)
loop = rl.maml_trpo(learner, meta_batch_size=10, max_kl=0.02, num_conjugate_gradient_steps=5)
policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(64, 64), activation="tanh")


def report(line):
    before, after = line["train/pre_adaptation_return"], line["train/post_adaptation_return"]
    print(f"step {line['step']}: {before:.0f} before adapting, {after:.0f} after")


run = mamlax.run(
    loop,
    policy,
    key=jax.random.key(1),
    num_outer_steps=2 if smoke else 100,
    log_interval=1 if smoke else 10,
    report=report,
)
tasks = jax.vmap(sample_task)(jax.random.split(jax.random.key(2), 20))
explore = jax.jit(jax.vmap(learner.explore, (0, None, 0)))
found = explore(jax.random.split(jax.random.key(3), 20), run.state.meta_params, tasks)
for name, trajectory in (("before", found.support.trajectory), ("after", found.query.trajectory)):
    returns = rl.total_rewards(trajectory).reshape(20, -1).mean(axis=1)
    print(f"{name} adapting, on 20 new carts: {returns.mean():.0f} of {env.horizon} steps")
