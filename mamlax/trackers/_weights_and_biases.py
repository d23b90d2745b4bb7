"""Weights & Biases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._errors import MamlaxError
from .._extras import optional
from ._tracker import Status, TrackedRun, Tracker, full_name

_EXIT_STATUS = {"finished": 0, "interrupted": 130, "failed": 1}
_SECONDS = 30


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases. `WANDB_MODE=offline` stores it in `wandb/` of the run directory.

    The project is `WANDB_PROJECT`, or mamlax. Other environment variables of wandb work as usual.
    Each series has its own step as the horizontal axis, such as `step` and `pretrained/step`.

    Args:
        **options: arguments of `wandb.init`, e.g. `project="mine", group="rates", mode="offline"`.
    """

    name = "wandb"
    install = "pip install wandb"

    def __init__(self, **options: Any):
        self._library = optional("wandb", install=self.install)
        self._options = options

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """Start a run, or continue the run with the id."""
        wandb = self._library
        options = {
            "project": os.environ.get("WANDB_PROJECT", "mamlax"),
            "dir": str(run.directory),
            "name": run.name,
            "config": dict(run.settings),
            **self._options,
        }
        # nothing is waited for without end, not even an answer; the terminal is left as it is
        wandb.setup(wandb.Settings(login_timeout=_SECONDS))
        settings = wandb.Settings(console="off", init_timeout=_SECONDS)
        options = {"settings": settings, "reinit": "create_new", **options, **run.ids}
        self._axes = set()
        # settings of a run that resumes may have grown
        self._tracked = wandb.init(resume="allow", allow_val_change=True, **options)
        if self._tracked.disabled:  # also where nobody answered
            raise MamlaxError("it is disabled: wandb login, or WANDB_MODE=offline")
        return {"id": self._tracked.id, "project": self._tracked.project}

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Send the values, with the step as their horizontal axis."""
        axis = full_name(series, "step")
        named = {full_name(series, name): value for name, value in values.items()}
        for name in named.keys() - self._axes:
            self._tracked.define_metric(name, step_metric=axis)
        self._axes |= named.keys()
        self._tracked.log({axis: step, **named})

    def figure(self, name: str, path: Path) -> None:
        """Send the figure."""
        self._tracked.log({f"figures/{name}": self._library.Image(str(path))})

    def finish(self, status: Status) -> None:
        """Wait until all is sent."""
        self._tracked.finish(exit_code=_EXIT_STATUS[status])
