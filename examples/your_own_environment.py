"""A policy that adapts, in an environment of your own: three functions.

What    a boat must hold its place in a wind it does not know; a task is the wind. Meta-trains, then
        adapts to a new wind from 20 episodes and looks at them.
Run     python examples/your_own_environment.py            (--smoke: seconds)
Takes   half a minute on two processor cores
Expect  in a wind of 0.6 a return of -20 before adapting and -1.1 after
"""

import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

import mamlax
from mamlax import rl

num_outer_steps = 2 if "--smoke" in sys.argv else 60


# --8<-- [start:environment]
@dataclass(frozen=True)
class Boat:
    """Stay at the origin; the wind pushes, and is not observed."""

    observation_size: int = 2
    action: rl.Box = rl.Box(1)  # noqa: RUF009  a frozen value
    horizon: int = 30

    def sample_task(self, key):
        """The wind."""
        return jax.random.uniform(key, (), minval=-0.8, maxval=0.8)

    def reset(self, key, task):
        """Somewhere near, at rest: (state, observation)."""
        position = jax.random.uniform(key, (), minval=-0.5, maxval=0.5)
        state = jnp.stack([position, 0.0])
        return state, state

    def step(self, key, task, state, action):
        """(state, observation, reward, terminated)."""
        position, velocity = state
        velocity = 0.8 * velocity + 0.2 * (action[0] + task)
        position = position + 0.2 * velocity
        state = jnp.stack([position, velocity])
        return state, state, -jnp.abs(position), jnp.abs(position) > 3.0


# --8<-- [end:environment]

# --8<-- [start:train]
env = Boat()
learner = rl.policy_learner(
    env,
    inner_optimizer=optax.sgd(0.3),
    num_inner_steps=1,
    episodes_per_task=20,
    surrogate=rl.likelihood_ratio,
)
loop = rl.maml_trpo(learner, meta_batch_size=20, fisher_fraction=0.25)
policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(32, 32), activation="tanh")
run = mamlax.run(
    loop,
    policy,
    key=jax.random.key(1),
    num_outer_steps=num_outer_steps,
    log_interval=2,
    report=lambda line: print(
        f"step {line['step']}: return {line['train/pre_adaptation_return']:.2f} before adapting, "
        f"{line['train/post_adaptation_return']:.2f} after"
    ),
)
# --8<-- [end:train]

# --8<-- [start:adapt]
wind = jnp.array(0.6)
exploration = learner.explore(jax.random.key(2), run.state.meta_params, wind)
before = rl.total_rewards(exploration.support.trajectory)  # [steps, episodes]: what it learned from
after = rl.total_rewards(exploration.query.trajectory)  # [episodes]
print(f"wind 0.6: return {before.mean():.2f} before adapting, {after.mean():.2f} after")
action = exploration.policy(jnp.array([0.0, 0.0])).mode()  # the adapted policy, ready to act
print(f"at its place it steers {action[0]:.2f}")
# --8<-- [end:adapt]
