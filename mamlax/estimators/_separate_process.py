"""Programs of other libraries, each in a process of its own, from one file to another.

Such a process is ended where it takes too long: a library that hangs in its own code cannot be
stopped otherwise.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from .._errors import warn
from ._entry import LeftOut

_TIME_LIMIT = 60.0


def run_separately(
    program: str, given: dict[str, np.ndarray], num_threads: int | None = None
) -> dict[str, np.ndarray]:
    """What a program of this folder makes of arrays, `python PROGRAM GIVEN.npz TAKEN.npz`.

    Args:
        program: the name of its file.
        given: arrays by name.
        num_threads: of OpenMP; None: as many as there are cores.

    Raises:
        LeftOut: if it fails, or takes longer than a minute.
    """
    path = Path(__file__).with_name(program)
    threads = str(num_threads or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        source, target = (Path(folder) / name for name in ("given.npz", "taken.npz"))
        np.savez(source, **given)  # pyright: ignore[reportArgumentType]
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(path), str(source), str(target)],
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
        with np.load(target) as found:
            return dict(found)
