"""Pictures of an episode, for environments that can be drawn."""

from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from .._errors import MamlaxError


def record_frames(
    key: PRNGKeyArray, env: Any, task: PyTree, policy: PyTree, *, greedy: bool = False
) -> np.ndarray:
    """The pictures of one episode, `[time, height, width, 3]` bytes, one before each action.

    Args:
        key: a PRNG key. The episode is the same as that of `rollout` with `num_episodes=1`.
        env: a locomotion environment (`HalfCheetah`, `Ant`), or `GymnasiumTasks` whose `make_env`
            sets `render_mode="rgb_array"`. Your own environment needs a function
            `frames(key, task, policy, *, greedy)`.
        task: the task.
        policy: the policy that acts.
        greedy: take the most likely actions, instead of drawing actions at random.

    Raises:
        MamlaxError: if the environment cannot be drawn, or not on this machine.
    """
    frames = getattr(env, "frames", None)
    if frames is None:
        raise MamlaxError(
            f"{type(env).__name__} cannot be drawn: it has no frames(key, task, policy, *, "
            "greedy). Bodies that run have it, and environments of Gymnasium."
        )
    return frames(key, task, policy, greedy=greedy)
