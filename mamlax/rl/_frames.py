"""Pictures of an episode, of environments that can be drawn."""

from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from .._errors import MamlaxError


def record_frames(
    key: PRNGKeyArray, env: Any, task: PyTree, policy: PyTree, *, greedy: bool = False
) -> np.ndarray:
    """The pictures of one episode, `[time, height, width, 3]` of bytes, one before each action.

    Args:
        key: a PRNG key; the episode is that of `rollout` with `num_episodes=1`.
        env: a body that runs (`HalfCheetah`, `Ant`), or `GymnasiumTasks` whose `make_env` gives
            `render_mode="rgb_array"`. One of your own says how by a function
            `frames(key, task, policy, *, greedy)`.
        task: which task.
        policy: who acts.
        greedy: take the likeliest actions, instead of drawing them.

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
