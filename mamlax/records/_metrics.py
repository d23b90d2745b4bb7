"""`metrics.jsonl`: one line per log interval, append-only, cut back to the checkpoint on resume."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from .._errors import MamlaxError, warn
from .._files import Json, bytes_of, remedy, replacing


def append_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Add one line; numbers that are not finite, as in diverged validations, become null."""
    line = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
    with _file_errors(path, "written"), path.open("a") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def read_metrics(path: Path) -> list[Json]:
    """All whole lines of a `metrics.jsonl`.

    A last line cut short by a crash is left out; other damaged ones too, with a warning.
    """
    with _file_errors(path, "read"):
        texts = bytes_of(path).split(b"\n") if path.exists() else []
    lines = [_parsed(text) for text in texts]
    # what comes after the last newline is empty, or the beginning of a line
    damaged = [number for number, line in enumerate(lines[:-1], 1) if line is None]
    if damaged:
        warn(
            f"{path} is damaged in {'line' if len(damaged) == 1 else 'lines'} "
            f"{', '.join(map(str, damaged[:5]))}{', …' * (len(damaged) > 5)}: left out.",
            stacklevel=2,
        )
    return [line for line in lines if line is not None]


def read_series(path: Path) -> list[Json]:
    """The lines of a `metrics.jsonl` that have the same metrics, beside those of validations.

    All lines of a run have; one with others is damaged, and is left out with a warning.
    """
    lines = read_metrics(path)
    names = [frozenset(name for name in line if name[:11] != "validation/") for line in lines]
    usual = Counter(names).most_common(1)[0][0] if names else frozenset()
    steps = [line["step"] for line, own in zip(lines, names, strict=True) if own != usual]
    if steps:
        warn(
            f"{path} is damaged: the line of step {steps[0]} has other metrics than most lines"
            f"{f', and so have {len(steps) - 1} more' * (len(steps) > 1)}. Left out.",
            stacklevel=2,
        )
    return [line for line, own in zip(lines, names, strict=True) if own == usual]


def keep_metrics_until(path: Path, step: int) -> None:
    """Remove lines after `step`, which will be computed again."""
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with _file_errors(path, "written"), replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))


def _parsed(text: bytes) -> Json | None:
    try:
        line = json.loads(text)
    except ValueError:  # no JSON, or not even text
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    numbers = (value for name, value in line.items() if name != "time/date")
    return line if all(type(value) in (int, float, NoneType) for value in numbers) else None


@contextmanager
def _file_errors(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MamlaxError(
            f"{path} could not be {what} ({error}). {remedy(error)}, then repeat the command to "
            "resume."
        ) from error
