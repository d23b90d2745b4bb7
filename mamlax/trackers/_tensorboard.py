"""TensorBoard: event files in the run directory, written without TensorFlow."""

import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._extras import optional
from ._tracker import Status, TrackedRun, Tracker


class TensorBoard(Tracker):
    """Event files in `tensorboard/` of the run directory: `tensorboard --logdir runs`.

    Each series is a folder with the same tags, so that TensorBoard draws a recipe's main network
    and its baselines in one chart.

    Args:
        directory: another directory for the files. No other run may use it.
    """

    name = "tensorboard"
    install = "pip install 'mamlax[track]'"

    def __init__(self, directory: str | Path | None = None):
        self._library = optional("tensorboardX", install=self.install)
        self._chosen = None if directory is None else Path(directory)
        self._writers: dict[str, Any] = {}

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Write the settings as a table."""
        self._directory = self._chosen or run.directory / "tensorboard"
        self._writers = {}
        rows = [f"| {name} | {value} |" for name, value in run.settings.items()]
        if not run.ids:
            table = "\n".join(["| setting | value |", "|---|---|", *rows])
            self._writer("main", 0).add_text("settings", table, 0)
        return {"directory": str(self._directory)}

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Write the values. After a resume, older values of the same or a later step are hidden."""
        writer = self._writer(series, step)
        for name, value in values.items():
            if math.isfinite(value):  # the writer prints a line for each that is not
                writer.add_scalar(name, value, step)
        writer.flush()

    def figure(self, name: str, path: Path) -> None:
        """Write the figure."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._writer("figures", 0).add_image(name, pixels, 0, dataformats="HWC")

    def finish(self, status: Status) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, series: str, step: int) -> Any:
        if series not in self._writers:
            self._writers[series] = self._library.SummaryWriter(
                str(self._directory / series),
                purge_step=step,
                filename_suffix=f".{secrets.token_hex(4)}",  # files are called by the second
            )
        return self._writers[series]
