"""Checkpoints with orbax: written atomically, verified when read; only the latest are kept."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError, warn
from .._extras import optional
from .._files import Json, remedy
from ._orbax_messages import ignoring_follow_up_errors, without_orbax_messages
from ._state_arrays import arrays_of, with_arrays


class Restored(NamedTuple):
    """A checkpoint that was read: outer steps taken, the state, and the info saved with it."""

    step: int
    state: PyTree
    info: Json


class Checkpoints:
    """The checkpoints in a directory: `save` and `restore` states of one structure.

    Args:
        directory: the directory; created on the first save.
        keep: how many of the latest checkpoints to keep.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory, self.keep, self._writer = directory.absolute(), keep, None
        self._found_damage = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no finished checkpoint. (Unfinished ones have a longer name.)"""
        return not any(path.name.isdigit() for path in self.directory.glob("*"))

    def save(self, step: int, state: PyTree, info: Json) -> None:
        """Write a checkpoint after `step` outer steps, atomically.

        Raises:
            MamlaxError: if it cannot be written, e.g. on a full disk. Earlier checkpoints are kept.
        """
        arrays = arrays_of(state)
        described = {**info, "shapes": _shapes(arrays), "digest": _digest(arrays)}
        try:
            with without_orbax_messages():
                ocp, manager = self._open()
                # later checkpoints are damaged or left by a crash, and would be read as the newest
                for stale in [s for s in manager.all_steps() if s >= step]:
                    manager.delete(stale)
                _check_room(self.directory, arrays)
                content = ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays),
                    info=ocp.args.JsonSave(_with_checksum(described)),
                )
                manager.save(step, args=content, force=True)
        except Exception as error:  # orbax reports a full disk in many ways
            raise MamlaxError(
                f"the checkpoint of step {step} could not be written to {self.directory} "
                f"({_reason(error)}). Earlier checkpoints are untouched. {remedy(error)}, then "
                "repeat the command to resume."
            ) from error

    def restore(self, like: PyTree) -> Restored | None:
        """The newest intact checkpoint, in the structure of `like`. None if there is none.

        Damaged checkpoints are skipped with a warning.

        Raises:
            MamlaxError: if the checkpoints belong to another model, or all are damaged.
        """
        if not self.directory.exists():
            return None
        with self._reading() as (ocp, manager):
            steps = sorted(manager.all_steps(), reverse=True)
            for step, older in zip(steps, [*steps[1:], None], strict=False):
                try:
                    return self._read(ocp, manager, step, like)
                except MamlaxError:
                    raise
                except Exception as error:  # orbax reports damaged files in many ways
                    self._found_damage = True
                    warn(
                        f"the checkpoint of step {step} in {self.directory} is damaged "
                        f"({_reason(error)})"
                        + ("." if older is None else f"; going back to that of step {older}."),
                        stacklevel=2,
                    )
        if steps:
            raise MamlaxError(
                f"no checkpoint in {self.directory} can be read. Delete the run directory to start "
                "again, or choose another with --out."
            )
        return None

    def restore_step(self, step: int, like: PyTree) -> Restored:
        """The checkpoint of one step.

        Raises:
            MamlaxError: if it is missing, damaged, or belongs to another model.
        """
        try:
            with self._reading() as (ocp, manager):
                self._found_damage = True  # unless it can be read
                restored = self._read(ocp, manager, step, like)
                self._found_damage = False
                return restored
        except MamlaxError:
            raise
        except Exception as error:
            raise MamlaxError(
                f"the checkpoint of step {step} in {self.directory} cannot be read "
                f"({_reason(error)})."
            ) from error

    def close(self) -> None:
        """Release the directory."""
        if self._writer is not None:
            self._writer[1].close()
            self._writer = None

    def _read(self, ocp: Any, manager: Any, step: int, like: PyTree) -> Restored:
        """One checkpoint. MamlaxError if it is of another model, other errors if it is damaged."""
        template = arrays_of(like)
        only_info = ocp.args.Composite(info=ocp.args.JsonRestore())
        # the checksum comes first: a damaged name must not be reported as another model
        info = _checked(manager.restore(step, args=only_info)["info"])
        digest, shapes = info.pop("digest"), info.pop("shapes")
        if shapes != _shapes(template):
            raise MamlaxError(
                f"the checkpoint in {self.directory} is of another model or optimizer:\n"
                + _differences(shapes, _shapes(template))
                + "\nGive another directory, or delete this one."
            )
        only_state = ocp.args.Composite(state=ocp.args.StandardRestore(template))
        arrays = manager.restore(step, args=only_state)["state"]
        if digest != _digest(arrays):
            raise ValueError("its content does not match its digest")
        return Restored(step, with_arrays(like, arrays), info)

    def _open(self) -> tuple[PyTree, PyTree]:
        if self._writer is None:
            ocp = optional("orbax.checkpoint", "cli")
            self.directory.mkdir(parents=True, exist_ok=True)
            options = {
                "max_to_keep": self.keep,
                "enable_async_checkpointing": False,
                "cleanup_tmp_directories": True,
            }
            self._writer = ocp, _manager(ocp, self.directory, options)
        return self._writer

    @contextmanager
    def _reading(self) -> Iterator[tuple[PyTree, PyTree]]:
        """A read-only manager: it does not touch files that another process is writing."""
        ocp = optional("orbax.checkpoint", "cli")
        with (
            without_orbax_messages(),
            ignoring_follow_up_errors(lambda: self._found_damage),
            _manager(ocp, self.directory, {"read_only": True}) as manager,
        ):
            yield ocp, manager


def _manager(ocp: Any, directory: Path, options: dict[str, Any]) -> Any:
    """A manager that does not wait for other processes of the job: they write nothing."""
    if jax.process_count() > 1:
        this = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=this, active_processes={this}, barrier_sync_key_prefix="mamlax"
        )
        options = {**options, "create": False, "multiprocessing_options": alone}
    return ocp.CheckpointManager(directory, options=ocp.CheckpointManagerOptions(**options))


def _check_room(directory: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raise one error if the disk is too full, before each of orbax's threads raises one."""
    needed = sum(array.nbytes for array in arrays.values()) + _OVERHEAD
    free = shutil.disk_usage(directory).free
    if free < needed:
        reason = f"{os.strerror(errno.ENOSPC)}: {needed:,} bytes needed, {free:,} free"
        raise OSError(errno.ENOSPC, reason)


_OVERHEAD = 1 << 16  # bytes of a checkpoint's dozen small files


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


def _with_checksum(info: Json) -> Json:
    return {**info, "checksum": _checksum(info)}


def _checked(info: Json) -> Json:
    """`info` without its checksum, which must match."""
    info = dict(info)
    if info.pop("checksum", None) != _checksum(info):
        raise ValueError("its description does not match its checksum")
    return info


def _checksum(info: Json) -> str:
    return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()


def _reason(error: Exception) -> str:
    """The first line of an error. A long line loses its middle, because the cause comes last."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 240 else f"{line[:80]} … {line[-150:]}"
