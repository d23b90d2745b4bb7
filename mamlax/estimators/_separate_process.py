"""Programs of other libraries, each in a process of its own, from one file to another.

Such a process is ended where it takes too long: a library that hangs in its own code cannot be
stopped otherwise.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from .._cores import num_threads
from .._errors import warn
from ._entry import LeftOut

_TIME_LIMIT = 60.0


def is_installed(library: str) -> bool:
    """Whether there is such a library, without importing it."""
    return importlib.util.find_spec(library) is not None


def run_separately(
    program: str, given: dict[str, np.ndarray], most_threads: int | None = None
) -> dict[str, np.ndarray]:
    """What a program of this folder makes of arrays, `python PROGRAM GIVEN.npz TAKEN.npz`.

    Args:
        program: the name of its file.
        given: arrays by name.
        most_threads: of OpenMP; None: as many as this process may use.

    Raises:
        LeftOut: if it fails, or takes longer than a minute.
    """
    path = Path(__file__).with_name(program)
    threads = min(most_threads or num_threads(), num_threads())
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = (Path(folder) / name for name in ("given.npz", "taken.npz"))
            np.savez(source, **given)  # pyright: ignore[reportArgumentType]
            done = subprocess.run(
                [sys.executable, "-P", str(path), str(source), str(target)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIME_LIMIT,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )
            if done.returncode:
                *_, last = (f"exit status {done.returncode}", *done.stderr.strip().splitlines())
                raise LeftOut(f"it failed ({last.strip()[:200]})")
            for line in done.stdout.splitlines():
                if "[Warning]" in line:
                    warn(line.strip()[:200], stacklevel=2)
            with np.load(target) as found:
                return dict(found)
    except subprocess.TimeoutExpired as error:
        raise LeftOut(f"it took longer than {_TIME_LIMIT:g} seconds") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise LeftOut(f"it could not be asked ({error})") from error
