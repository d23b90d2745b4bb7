"""Episodes as a machine logs them, checked, and padded as a policy learns from them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import rl
from .._errors import MamlaxError, warn
from ._policy_settings import PolicySettings


def observations_of(settings: PolicySettings, observations: Any) -> np.ndarray:
    """One observation `[features]`, or several `[steps, features]`.

    Raises:
        MamlaxError: if they do not fit the policy.
    """
    found, size = _numbers("observations", observations), settings.observation_size
    if found.ndim not in (1, 2) or found.shape[-1] != size:
        raise MamlaxError(
            f"this policy takes observations of {size} numbers, got an array of shape "
            f"{list(found.shape)}. It was trained in {settings.environment['name']}."
        )
    return found


def episodes_of(
    settings: PolicySettings,
    policy: PyTree,
    observations: Any,
    actions: Any,
    rewards: Any,
    ends: Any,
) -> rl.Trajectory:
    """The episodes of a log, `[episodes, time, ...]`.

    Their time is padded to a power of two, so that logs of similar lengths share a program.

    Args:
        settings: of the policy.
        policy: who acted.
        observations: `[steps, features]`.
        actions: `[steps, size]`, or `[steps]` integers.
        rewards: `[steps]`.
        ends: `[steps]`, true at the last step of each episode.

    Raises:
        MamlaxError: if shapes do not fit one another or the policy, a number is not finite, or the
            actions were hardly drawn by it.
    """
    seen, gained = observations_of(settings, observations), _numbers("rewards", rewards)
    acted, last = _actions(settings.action, actions), np.asarray(ends)
    if seen.ndim != 2 or not len(seen) or gained.ndim != 1 or last.ndim != 1:
        raise MamlaxError(
            "a log has observations [steps, features], and rewards and ends [steps], for at least "
            f"one step; got {list(seen.shape)}, {list(gained.shape)} and {list(last.shape)}."
        )
    lengths = {"actions": len(acted), "rewards": len(gained), "ends": len(last)}
    if wrong := [f"{length} {name}" for name, length in lengths.items() if length != len(seen)]:
        raise MamlaxError(f"a log of {len(seen)} observations has {', '.join(wrong)}.")
    if not np.isin(last, (0, 1)).all():
        raise MamlaxError("ends must be true or false, or 1 or 0.")
    _check_drawn(settings, policy, seen, acted)
    stops = np.flatnonzero(last) + 1
    if not len(stops) or stops[-1] != len(seen):
        stops = np.append(stops, len(seen))  # the log stops within an episode
    sizes = np.diff(stops, prepend=0)
    if len(sizes) == 1 < settings.episodes.episodes_per_task:
        warn(_alone(len(seen), bool(last.any()), settings.episodes.episodes_per_task), stacklevel=3)
    width = 1 << int(sizes.max() - 1).bit_length()
    mask = np.arange(width)[None] < sizes[:, None]

    def padded(values: np.ndarray) -> np.ndarray:
        filled = np.zeros((*mask.shape, *values.shape[1:]), values.dtype)
        filled[mask] = values
        return filled

    distribution = policy(jnp.asarray(padded(seen)))
    none = jnp.zeros(len(sizes), bool)
    return rl.Trajectory(
        observations=jnp.asarray(padded(seen)),
        actions=jnp.asarray(padded(acted)),
        log_probs=distribution.log_prob(jnp.asarray(padded(acted))),
        rewards=jnp.asarray(padded(gained)),
        mask=jnp.asarray(mask),
        terminated=none,
        unstable=none,
    )


def _alone(num_steps: int, is_whole: bool, wanted: int) -> str:
    """What to know of a log of one episode."""
    if is_whole:
        found = f"this log is one episode, of {num_steps} steps"
    else:
        found = (
            f"ends is false at all {num_steps} steps, so they are taken as one episode that goes "
            "on. It must be true at the last step of each episode, also of those that were "
            "stopped for time"
        )
    return (
        f"{found}. Which actions were good is learned from how episodes differ: this policy was "
        f"trained with {wanted} for each inner step, and may learn little or nothing from one."
    )


def _actions(space: rl.Box | rl.Discrete, actions: Any) -> np.ndarray:
    if isinstance(space, rl.Box):
        found = _numbers("actions", actions)
        if found.ndim != 2 or found.shape[1] != space.size:
            raise MamlaxError(
                f"this policy's actions are [steps, {space.size}] numbers, got shape "
                f"{list(found.shape)}."
            )
        return found
    found, stop = np.asarray(actions), space.start + space.num_actions
    is_whole = found.ndim == 1 and found.dtype.kind in "iu"
    if not is_whole or not ((found >= space.start) & (found < stop)).all():
        raise MamlaxError(
            f"this policy's actions are integers [steps] from {space.start} to {stop - 1}, got "
            f"{found.dtype} of shape {list(found.shape)}."
        )
    return found.astype(np.int32)


def _check_drawn(
    settings: PolicySettings, policy: PyTree, observations: np.ndarray, actions: np.ndarray
) -> None:
    """Refuse actions whose log-probabilities are not those of actions that the policy draws.

    E = Σ −log π(a|s) − H(π(·|s)) has the mean 0 and a known variance V over actions that are drawn.
    |E| is beyond √(2Vx), or √(2Vx) + x above, with a probability of about exp(−x): exact for normal
    distributions (Laurent & Massart 2000, lemma 1), Bernstein's inequality for others.
    """
    distribution = policy(jnp.asarray(observations))
    is_discrete = isinstance(distribution, rl.Categorical)
    alike = len(actions) > 1 and bool((actions == actions[:1]).all())
    if alike and not is_discrete:
        raise MamlaxError(
            f"all {len(actions)} actions of this log are the same, {actions[0].tolist()}, which "
            f"this policy never draws. {_DRAW}"
        )
    if not is_discrete and _close(actions, distribution.mode(), jnp.exp(distribution.log_std)):
        raise MamlaxError(f"these actions are those of act(observation), without noise. {_DRAW}")
    excess = float(jnp.sum(-distribution.log_prob(jnp.asarray(actions)) - distribution.entropy()))
    if is_discrete:
        log_probs = jax.nn.log_softmax(distribution.logits)
        squares = jnp.sum(jnp.exp(log_probs) * log_probs**2, axis=-1)
        variance = float(jnp.sum(squares - distribution.entropy() ** 2))
    else:
        variance = actions.size / 2
    bound = (2 * variance * _UNLIKELY) ** 0.5
    if not excess <= bound + _UNLIKELY:
        raise MamlaxError(
            "this policy would hardly draw these actions: their log-probability is "
            f"{excess / len(actions):.2f} nats a step below that of its own. Log the actions of "
            "act(observation, key) as they are, before they are clipped or scaled."
        )
    if excess < -bound - 1e-3 * len(actions):
        raise MamlaxError(
            "these actions vary less than those of this policy: they were drawn without noise, or "
            f"clipped. {_DRAW}"
        )
    if alike:
        warn(
            f"all {len(actions)} actions of this log are {actions[0]}: there is no other to "
            f"compare them with, so little can be learned. {_DRAW}",
            stacklevel=4,
        )


_DRAW = (
    "Draw the actions of episodes to adapt to by act(observation, key), with another key at every "
    "step, and log them as they are."
)
_UNLIKELY = 14.0
"""Actions are refused that are less likely than about exp(−14), one in a million."""


def _close(actions: np.ndarray, mode: PyTree, deviation: PyTree) -> bool:
    """Whether all are the likeliest ones, but for rounding."""
    return bool((np.abs(actions - np.asarray(mode)) < 1e-4 * np.asarray(deviation)).all())


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        found = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise MamlaxError(
            f"{name} must be an array of numbers ({error}). Episodes of unequal length follow one "
            "another in one array; ends says where each stops."
        ) from error
    if not np.isfinite(found).all():
        where = np.unravel_index(int(np.argmin(np.isfinite(found))), found.shape)
        raise MamlaxError(
            f"{name} has a number that is not finite, at {[int(i) for i in where]}. Leave the "
            "episode out, or repair it."
        )
    return found
