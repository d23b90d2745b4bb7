"""Trackio."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._extras import optional
from ._tracker import Status, TrackedRun, Tracker, full_name


class Trackio(Tracker):
    """A run of Trackio, in local files, or as Trackio's environment variables say: `trackio show`.

    The project is `TRACKIO_PROJECT`, or mamlax.

    Args:
        **options: arguments of `trackio.init`, e.g. `project="mine", space_id="me/metrics"`.
    """

    name = "trackio"
    install = "pip install trackio"

    def __init__(self, **options: Any):
        self._library = optional("trackio", install=self.install)
        self._options = options

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Start a run, or continue the run with this name."""
        project = os.environ.get("TRACKIO_PROJECT", "mamlax")
        # Trackio finds a run again by its name alone
        ids = run.ids or {
            "project": self._options.get("project", project),
            "name": f"{run.name} {secrets.token_hex(3)}",
        }
        options = {"config": dict(run.settings), "embed": False, **self._options, **ids}
        self._tracked = self._library.init(resume="allow", **options)
        return ids

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Send the values."""
        named = {full_name(series, name): value for name, value in values.items()}
        self._tracked.log(named, step=step)

    def figure(self, name: str, path: Path) -> None:
        """Send the figure."""
        self._tracked.log({f"figures/{name}": self._library.Image(str(path))}, step=0)

    def finish(self, status: Status) -> None:
        """Wait until all is sent."""
        self._tracked.finish()
