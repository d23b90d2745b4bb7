"""Grid worlds of XLand-MiniGrid, meta-trained: which of three balls to walk to.

What    tasks are rule sets: a room has a red, a green and a blue ball, and the goal is to come
        near one of them, which the policy is not told. Meta-trains, and says how often
        the goal is reached before and after adapting.
Run     python examples/grid_worlds.py  (--smoke: fewer steps; pip install xminigrid)
Takes   6 minutes on two processor cores beside other work
Expect  52% reach the goal before adapting and 64% after, in 12 tasks of the 10th outer step
"""

# pyright: reportMissingImports=false
import sys

import jax
import jax.numpy as jnp
import optax
import xminigrid
from xminigrid.core.constants import TILES_REGISTRY, Colors, Tiles
from xminigrid.core.goals import AgentNearGoal
from xminigrid.core.rules import EmptyRule
from xminigrid.types import RuleSet

import mamlax
from mamlax import rl

smoke = "--smoke" in sys.argv

# --8<-- [start:environment]
BALLS = TILES_REGISTRY[Tiles.BALL, jnp.array([Colors.RED, Colors.GREEN, Colors.BLUE])]


def sample_task(key):
    """Three balls, of which one is the goal; no object changes another."""
    goal = AgentNearGoal(BALLS[jax.random.randint(key, (), 0, 3)])
    return RuleSet(goal=goal.encode(), rules=EmptyRule().encode()[None], init_tiles=BALLS)


world, params = xminigrid.make("XLand-MiniGrid-R1-9x9", height=7, width=7, max_steps=30)
env = rl.XLandTasks(world, params, sample_task=sample_task)
# --8<-- [end:environment]

learner = rl.policy_learner(
    env, inner_optimizer=optax.sgd(1.0), num_inner_steps=1, episodes_per_task=20, auto_reset=True
)
loop = rl.promp(learner, optax.adam(3e-3), meta_batch_size=2 if smoke else 12)
policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(64,), activation="tanh")


def report(line):
    before, after = (line[f"train/{when}_adaptation_success_rate"] for when in ("pre", "post"))
    print(f"step {line['step']}: {before:.0%} reach the goal before adapting, {after:.0%} after")


mamlax.run(
    loop,
    policy,
    key=jax.random.key(1),
    num_outer_steps=2 if smoke else 10,
    log_interval=1 if smoke else 10,
    report=report,
)
