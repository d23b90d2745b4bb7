"""Checkpoints by orbax: written atomically, the last few kept, checked when read."""

import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from .._errors import MamlaxError


class Restored(NamedTuple):
    """A checkpoint read back: outer steps taken, the state, and what was saved with it."""

    step: int
    state: Any
    info: dict[str, Any]


class Checkpoints:
    """The checkpoints in a directory: `save` and `restore` states of one structure.

    Args:
        directory: where they lie; made on the first save.
        keep: how many of the latest to keep.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory, self.keep, self._manager = directory.absolute(), keep, None

    def save(self, step: int, state: Any, info: dict[str, Any]) -> None:
        """Write a checkpoint after `step` outer steps; it appears whole or not at all.

        Raises:
            MamlaxError: if it cannot be written, e.g. on a full disk. Earlier ones stay.
        """
        arrays = _arrays(state)
        described = {**info, "shapes": _shapes(arrays), "digest": _digest(arrays)}
        try:
            ocp, manager = self._open()
            if step in manager.all_steps():  # a damaged one, or one that a crash outlived
                manager.delete(step)
            content = ocp.args.Composite(
                state=ocp.args.StandardSave(arrays), info=ocp.args.JsonSave(described)
            )
            manager.save(step, args=content, force=True)
        except Exception as error:  # orbax reports a full disk in many ways
            raise MamlaxError(
                f"the checkpoint of step {step} could not be written to {self.directory} "
                f"({_first_line(error)}). Earlier checkpoints are untouched: make room, then "
                "repeat the command to resume."
            ) from error

    def restore(self, like: Any) -> Restored | None:
        """The newest sound checkpoint, in the structure of `like`; None if there is none.

        A damaged one is passed over with a warning.

        Raises:
            MamlaxError: if the checkpoints are of another model, or none of them is sound.
        """
        if not self.directory.exists():
            return None
        ocp, manager = self._open()
        template = _arrays(like)
        steps = sorted(manager.all_steps(), reverse=True)
        for step in steps:
            try:
                only_info = ocp.args.Composite(info=ocp.args.JsonRestore())
                info = dict(manager.restore(step, args=only_info)["info"])
                digest, shapes = info.pop("digest"), info.pop("shapes")
                if shapes == _shapes(template):
                    only_state = ocp.args.Composite(state=ocp.args.StandardRestore(template))
                    arrays = manager.restore(step, args=only_state)["state"]
                    if digest != _digest(arrays):
                        raise ValueError("its content does not match its digest")
                    return Restored(step, _with_arrays(like, arrays), info)
            except Exception as error:  # whatever a damaged file makes orbax raise
                older = next((s for s in steps if s < step), None)
                warnings.warn(
                    f"the checkpoint of step {step} in {self.directory} is damaged "
                    f"({_first_line(error)})"
                    + ("." if older is None else f"; going back to that of step {older}."),
                    stacklevel=2,
                )
            else:
                raise MamlaxError(
                    f"the checkpoint in {self.directory} is of another model or optimizer:\n"
                    + _differences(shapes, _shapes(template))
                    + "\nGive another directory, or delete this one."
                )
        if steps:
            raise MamlaxError(
                f"no checkpoint in {self.directory} can be read. Delete the run directory to start "
                "again, or choose another with --out."
            )
        return None

    def close(self) -> None:
        """Release the directory."""
        if self._manager is not None:
            self._manager[1].close()
            self._manager = None

    def _open(self) -> tuple[Any, Any]:
        if self._manager is None:
            import orbax.checkpoint as ocp

            logging.getLogger("absl").setLevel(logging.ERROR)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self.keep,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
            )
            self._manager = ocp, ocp.CheckpointManager(self.directory, options=options)
        return self._manager


def _arrays(state: Any) -> dict[str, np.ndarray]:
    """The arrays of `state` by path; PRNG keys as their data."""
    return {
        jax.tree_util.keystr(path): np.asarray(_key_data(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(state, eqx.is_array))
    }


def _with_arrays(like: Any, arrays: dict[str, np.ndarray]) -> Any:
    def replace(path, leaf):
        if not eqx.is_array(leaf):
            return leaf
        array = jax.numpy.asarray(arrays[jax.tree_util.keystr(path)])
        if _is_key(leaf):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return array

    return jax.tree_util.tree_map_with_path(replace, like)


def _shapes(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _differences(found: dict[str, str], expected: dict[str, str]) -> str:
    names = sorted(n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n))
    lines = [
        f"  {n}: {found.get(n, 'nothing')} there, {expected.get(n, 'nothing')} now" for n in names
    ]
    return "\n".join(lines[:5] + [f"  and {len(lines) - 5} more"] * (len(lines) > 5))


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
