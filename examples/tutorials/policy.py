# %% [markdown]
# # A policy that adapts to your machine
#
# A boat must hold its place in a wind that it does not see. The policy learns, from many winds, how
# to adapt to a new one from a few episodes. Then it is a file, and adapts to the log of a machine.
#
# This takes under a minute on one processor core.

# %%
# In Colab or a fresh environment, first:
#   pip install 'mamlax[tabular]'
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import mamlax
from mamlax import rl
from mamlax.config import MamlTrpo

# %% [markdown]
# ## The environment
#
# Three functions: draw a task, begin an episode, take a step. They are compiled into the training.


# %%
@dataclass(frozen=True)
class Boat:
    observation_size: int = 2
    action: rl.Box = rl.Box(1)  # noqa: RUF009  a frozen value
    horizon: int = 30

    def sample_task(self, key):
        """The wind."""
        return jax.random.uniform(key, (), minval=-0.8, maxval=0.8)

    def reset(self, key, task):
        """Somewhere near, at rest: (state, observation)."""
        state = jnp.stack([jax.random.uniform(key, (), minval=-0.5, maxval=0.5), 0.0])
        return state, state

    def step(self, key, task, state, action):
        """(state, observation, reward, terminated)."""
        position, velocity = state
        velocity = 0.8 * velocity + 0.2 * (action[0] + task)
        position = position + 0.2 * velocity
        state = jnp.stack([position, velocity])
        return state, state, -jnp.abs(position), jnp.abs(position) > 3.0


env = Boat()

# %% [markdown]
# ## Train
#
# Each inner step is a policy gradient on 20 episodes in one wind. The outer loop is a trust region.

# %%
algorithm = MamlTrpo(inner_learning_rate=0.3, surrogate="likelihood-ratio")
learner = rl.policy_learner(
    env,
    inner_optimizer=optax.sgd(algorithm.inner_learning_rate),
    num_inner_steps=1,
    episodes_per_task=20,
    surrogate=rl.likelihood_ratio,
)
loop = rl.maml_trpo(learner, meta_batch_size=20, fisher_fraction=0.25)
initial = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(32, 32), activation="tanh")
log = []
run = mamlax.run(
    loop, initial, key=jax.random.key(1), num_outer_steps=60, log_interval=2, report=log.append
)
steps = [line["step"] for line in log]
for when, name in (("pre", "before adapting"), ("post", "after")):
    plt.plot(steps, [line[f"train/{when}_adaptation_return"] for line in log], label=name)
plt.xlabel("outer step")
plt.ylabel("return")
plt.legend()
plt.show()

# %% [markdown]
# ## One file
#
# To use it you need neither the simulator nor the environment. Your machine asks it for actions.

# %%
mamlax.FewShotPolicy.of(run.state.meta_params, env, algorithm=algorithm).save("boat.safetensors")
policy = mamlax.load("boat.safetensors")

# %% [markdown]
# ## Act, log, adapt
#
# The machine here is NumPy. Draw the actions of the episodes that you adapt to, with a new key at
# every step, and log them as they were drawn: the policy learns from how its tries differ.


# %%
def play(policy, wind, key, num_episodes=20, horizon=30):
    """Observations, actions, rewards, and where episodes end."""
    rng, rows = np.random.default_rng(0), []
    for episode in range(num_episodes):
        position, velocity = rng.uniform(-0.5, 0.5), 0.0
        for time in range(horizon):
            observation = np.array([position, velocity], np.float32)
            action = policy.act(observation, jax.random.fold_in(key, episode * horizon + time))
            velocity = 0.8 * velocity + 0.2 * (float(policy.within(action)[0]) + wind)
            position += 0.2 * velocity
            rows.append((observation, action, -abs(position), time == horizon - 1))
    return [np.array(column) for column in zip(*rows, strict=True)]


wind = 0.6
before = play(policy, wind, jax.random.key(2))
adapted = policy.adapt(*before)
after = play(adapted, wind, jax.random.key(3))
for name, (_, _, rewards, _) in (("before", before), ("after", after)):
    print(f"{name} adapting, in a wind of {wind}: return {rewards.sum() / 20:.1f}")

# %%
for name, color, (observations, *_) in (("before", "gray", before), ("after", "C0", after)):
    positions = observations[:, 0].reshape(20, 30)
    plt.plot(positions.T, color=color, alpha=0.3)
    plt.plot(positions.mean(axis=0), color=color, linewidth=3, label=f"{name} adapting")
plt.xlabel("time")
plt.ylabel("distance from its place")
plt.legend()
plt.show()
