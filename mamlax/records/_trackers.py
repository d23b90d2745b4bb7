"""`trackers.json`: how trackers find their run again."""

from dataclasses import dataclass
from pathlib import Path

from .._files import write_json
from ._json import from_json, read_json, to_json

_REMEDY = "Delete it: trackers then begin a run of their own anew."


@dataclass(frozen=True)
class TrackerState:
    """What is known of a run in one tracker.

    Attributes:
        ids: what finds its run again.
        sent: the last step sent of each series, where the run went on without the tracker; None:
            all was sent.
    """

    ids: dict[str, str]
    sent: dict[str, int] | None = None


def read_trackers(directory: Path) -> dict[str, TrackerState]:
    """The trackers of a run by name; none if it has no `trackers.json`.

    Raises:
        MamlaxError: if the file is damaged.
    """
    path = _path(directory)
    if not path.exists():
        return {}
    found = read_json(path, _REMEDY)
    return {name: from_json(one, TrackerState, path, _REMEDY) for name, one in found.items()}


def write_trackers(directory: Path, states: dict[str, TrackerState]) -> None:
    """Write the `trackers.json` of a run directory, atomically."""
    write_json(_path(directory), to_json(states))


def _path(directory: Path) -> Path:
    return directory / "trackers.json"
