"""`metrics.jsonl`: one line per log interval, append-only, cut back to the checkpoint on resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._errors import MamlaxError
from .._files import replacing


def append_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Add one line."""
    try:
        with path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")
    except OSError as error:
        raise MamlaxError(
            f"{path} could not be written ({error}). Make room, then repeat the command to resume."
        ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a `metrics.jsonl`; a line cut short by a crash is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def keep_metrics_until(path: Path, step: int) -> None:
    """Drop lines after `step`: what follows is computed again."""
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
