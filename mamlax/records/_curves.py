"""`curves.npz`: the metric in each held-out task, and fingerprints of these tasks."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from ._arrays import arrays_in, check_shape, write_arrays
from ._evaluation import MAIN, rewrite_with

_FINGERPRINTS = "fingerprints"


class Curves(NamedTuple):
    """The content of a `curves.npz`.

    Attributes:
        metric: by name, "main" and each baseline: `[tasks, steps + 1]` of one seed, or
            `[seeds, tasks, steps + 1]`; the metric after 0, 1, … inner steps.
        fingerprints: `[tasks]`, a number for each task that identifies it.
    """

    metric: dict[str, np.ndarray]
    fingerprints: np.ndarray

    def same_tasks(self, other: "Curves") -> bool:
        """Whether both were evaluated on the same tasks, up to rounding on other machines."""
        ours, theirs = self.fingerprints, other.fingerprints
        tolerance = 1e-3 * np.abs(ours).max()
        return ours.shape == theirs.shape and bool(np.all(np.abs(ours - theirs) <= tolerance))


def write_curves(directory: Path, curves: Curves) -> None:
    """Write the `curves.npz` of a run directory, atomically."""
    arrays = {name: np.asarray(values, np.float32) for name, values in curves.metric.items()}
    arrays[_FINGERPRINTS] = np.asarray(curves.fingerprints, np.float32)
    write_arrays(directory / "curves.npz", arrays)


def read_curves(directory: Path) -> Curves:
    """Read the `curves.npz` of a run directory.

    Raises:
        MamlaxError: if there is none, or it is damaged; saying how to write it.
    """
    path, remedy = directory / "curves.npz", rewrite_with(directory)
    if not path.exists():
        raise MamlaxError(f"{path} is missing: the metric of each task was not kept. {remedy}")
    with arrays_in(path, remedy) as arrays:
        fingerprints = arrays.pop(_FINGERPRINTS)
        if "maml" in arrays:  # its name in mamlax 0.1.0
            arrays = {MAIN: arrays.pop("maml"), **arrays}
        if MAIN not in arrays:
            raise KeyError(MAIN)
        sizes: dict[str, int] = {}
        check_shape(_FINGERPRINTS, fingerprints, "tasks", sizes)
        for name, values in arrays.items():
            axes = "tasks steps" if values.ndim < 3 else "seeds tasks steps"
            check_shape(name, values, axes, sizes)
        if 0 in sizes.values():
            raise ValueError("it holds no tasks")
    return Curves(arrays, fingerprints)
