"""Trees and an intercept of each group, fitted together by GPBoost where that is installed.

It runs in a process of its own, which is ended where it takes too long: a library that hangs in its
own code cannot be stopped otherwise.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from .._errors import warn
from ._entry import LeftOut
from ._rows import Rows

_TIME_LIMIT = 60.0
_MOST_ROWS = 50_000
_FEW_ROWS = 20_000
_PROGRAM = Path(__file__).with_name("_gpboost_program.py")


def is_gpboost_there() -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec("gpboost") is not None


def gpboost_predictions(
    train: Rows, supports: list[Rows], queries: list[Rows], seed: int
) -> list[np.ndarray]:
    """What it says of queries: its trees, and the group's intercept given the support.

    Args:
        train: rows of the groups to learn from.
        supports: one of each query.
        queries: what to predict.
        seed: of the groups drawn, where they are too many.

    Returns:
        Outputs `[rows, outputs]` of each query.

    Raises:
        LeftOut: if it fails, or takes longer than a minute.
    """
    train = train.of_some(_MOST_ROWS, seed, by_rows=True)
    asked = [one.inputs for pair in zip(supports, queries, strict=True) for one in pair]
    trees, prior = _run(train, np.concatenate(asked))
    found = np.split(trees, np.cumsum([len(one) for one in asked])[:-1])
    outputs = []
    for support, of_support, of_query in zip(supports, found[::2], found[1::2], strict=True):
        weights = support.weights[:, None]
        missed = np.sum(weights * (support.targets - of_support), axis=0)
        outputs.append(of_query + missed / (weights.sum() + prior))
    return outputs


def _run(train: Rows, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What trees say of inputs `[rows, outputs]`, and rows that the prior of an intercept counts as
    `[outputs]`.
    """
    threads = "1" if len(train.inputs) < _FEW_ROWS else str(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        given, taken = (Path(folder) / name for name in ("given.npz", "taken.npz"))
        np.savez(given, **train._asdict(), asked=inputs)
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(_PROGRAM), str(given), str(taken)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIME_LIMIT,
                env=os.environ | {"OMP_NUM_THREADS": threads},
            )
        except subprocess.TimeoutExpired as error:
            raise LeftOut(f"it took longer than {_TIME_LIMIT:g} seconds") from error
        except OSError as error:
            raise LeftOut(f"it could not be started ({error})") from error
        if done.returncode:
            *_, last = (f"exit status {done.returncode}", *done.stderr.strip().splitlines())
            raise LeftOut(f"it failed ({last.strip()[:200]})")
        for line in done.stdout.splitlines():
            if "[Warning]" in line:
                warn(line.strip()[:200], stacklevel=2)
        with np.load(taken) as found:
            return found["trees"], found["prior"]
