"""`curves.npz`: what each held-out task gave, and by what its tasks are known again.

Nothing here imports JAX before tasks are drawn, so that comparing runs answers at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from .._errors import MamlaxError
from .._files import replacing

_FINGERPRINTS = "fingerprints"


class Curves(NamedTuple):
    """The content of a `curves.npz`.

    Attributes:
        metric: by name, "maml" and each baseline: `[tasks, steps + 1]` of one seed, or
            `[seeds, tasks, steps + 1]`; the metric after 0, 1, … inner steps.
        fingerprints: `[tasks]`, a number for each task: see `fingerprints_of`.
    """

    metric: dict[str, np.ndarray]
    fingerprints: np.ndarray

    def same_tasks(self, other: "Curves") -> bool:
        """Whether both were evaluated on the same tasks, up to the rounding of another machine."""
        ours, theirs = self.fingerprints, other.fingerprints
        tolerance = 1e-3 * np.abs(ours).max()
        return ours.shape == theirs.shape and bool(np.all(np.abs(ours - theirs) <= tolerance))


def fingerprints_of(task_of: Callable[[Any, Any], Any], tasks: Any, keys: Any) -> np.ndarray:
    """A number for each task that tells it from others: a weighted sum of the numbers in it.

    Settings alone would not do: the same ones draw other tasks from another folder of images, and
    settings of the model leave the tasks as they are.

    Args:
        task_of: `task_of(tasks, key) -> task`.
        tasks: where tasks come from.
        keys: a key for each task.

    Returns:
        `[tasks]`
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    def fingerprint(task):
        total = jnp.zeros(())
        for place, leaf in enumerate(jax.tree.leaves(_given(task))):
            if eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.number) and leaf.size:
                # of both signs, so that tasks differ by more than they have in common
                weights = jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32) + place)
                numbers = leaf.astype(jnp.float32).reshape(-1)
                total += jnp.sum(weights * numbers) / jnp.sqrt(jnp.float32(leaf.size))
        return total

    @eqx.filter_jit
    def of_all(tasks, keys):
        # in sequence: hundreds of tasks of images at once would need gigabytes
        return jax.lax.map(lambda key: fingerprint(task_of(tasks, key)), keys)

    return np.asarray(of_all(tasks, keys))


def _given(task: Any) -> Any:
    """What a task is made of; not how a model is told of it, such as a support set said again."""
    from .._types import Task

    if isinstance(task, Task) and hasattr(task.support, "inputs"):
        return [(batch.inputs, batch.targets) for batch in task]
    return task


def write_curves(directory: Path, curves: Curves) -> None:
    """Write `curves.npz` into a run directory, atomically."""
    arrays = {name: np.asarray(values, np.float32) for name, values in curves.metric.items()}
    arrays[_FINGERPRINTS] = np.asarray(curves.fingerprints, np.float32)
    with replacing(directory / "curves.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_curves(directory: Path) -> Curves:
    """Read the `curves.npz` of a run directory.

    Raises:
        MamlaxError: if there is none, as in a run that an older version evaluated, or it is
            damaged; saying how to make it.
    """
    path = directory / "curves.npz"
    again = f"Write it with: mamlax evaluate {directory}"
    if not path.exists():
        raise MamlaxError(
            f"{path} is missing: the run was evaluated by a version of mamlax that did not keep "
            f"what each task gave. {again}"
        )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = dict(file)
        fingerprints = arrays.pop(_FINGERPRINTS)
        shapes = {values.shape[-2:] for values in arrays.values()}
        if "maml" not in arrays or shapes != {(len(fingerprints), arrays["maml"].shape[-1])}:
            raise ValueError(f"arrays of {sorted(shapes)} for {len(fingerprints)} tasks")
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise MamlaxError(f"{path} is damaged ({error}). {again}") from error
    return Curves(arrays, fingerprints)
