"""Send a run to its trackers, and continue without those that fail."""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .._errors import warn
from .._files import Json
from .._processes import is_first
from ..records._evaluation import MAIN
from ..records._metrics import read_metrics
from ..records._trackers import TrackerState, read_trackers, write_trackers
from ._choice import trackers_of
from ._tracker import Status, TrackedRun, Tracker

_NO_METRICS = ("step", "num_outer_steps", "time/date")


class Tracking:
    """The trackers of a run during tracking; `tracking` makes it."""

    def __init__(
        self, trackers: Sequence[Tracker], run: TrackedRun, states: dict[str, TrackerState]
    ):
        self._run = run
        self._active = list(trackers)
        self._states = states
        self._sent: dict[str, dict[str, int]] = {one.name: {} for one in trackers}
        self._meant: BaseException | None = None

    def log(self, series: str, line: Mapping[str, Any]) -> None:
        """Send a line of `metrics.jsonl`.

        Args:
            series: `"main"`, or a baseline's name.
            line: the line.
        """
        self._each("sending numbers", lambda tracker: self._send(tracker, series, line))

    def values(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Send values that are not in `metrics.jsonl`, such as those of an evaluation.

        Args:
            series: the series that the values belong to.
            step: the step.
            values: values by name.
        """
        self._each("sending numbers", lambda tracker: tracker.log(series, step, values))

    def figures(self, paths: Sequence[Path]) -> None:
        """Send figures.

        Args:
            paths: PNG files.
        """
        for path in paths:
            self._each(
                "sending a figure", lambda tracker, path=path: tracker.figure(path.stem, path)
            )

    def _start(self) -> None:
        lines = _written(self._run.directory)
        last = {series: of[-1]["step"] for series, of in lines.items()}
        known = dict(self._states)
        for name, one in known.items():  # from here on, not all is sent to all of them
            self._states[name] = TrackerState(one.ids, last if one.sent is None else one.sent)
        if self._states != known:
            self._write()
        self._each("starting", lambda tracker: self._start_one(tracker, lines))

    def _start_one(self, tracker: Tracker, lines: Mapping[str, list[Json]]) -> None:
        known = self._states.get(tracker.name, TrackerState({}, {}))
        sent = known.sent or {}
        self._sent[tracker.name] = dict(sent)
        ids = dict(tracker.start(self._run._replace(ids=known.ids)) or {})
        self._states[tracker.name] = TrackerState(ids, sent)
        self._write()
        behind = [
            (series, line)
            for series, of in lines.items()
            for line in of
            if line["step"] > sent.get(series, 0)
        ]
        for series, line in behind:
            self._send(tracker, series, line)
        self._states[tracker.name] = TrackerState(ids)
        self._write()

    def _finish(self, status: Status) -> None:
        self._each("finishing", lambda tracker: tracker.finish(status))

    def _send(self, tracker: Tracker, series: str, line: Mapping[str, Any]) -> None:
        values = {
            name: math.nan if value is None else float(value)
            for name, value in line.items()
            if name not in _NO_METRICS and not isinstance(value, str)
        }
        tracker.log(series, line["step"], values)
        self._sent[tracker.name][series] = line["step"]

    def _each(self, doing: str, do: Callable[[Tracker], None]) -> None:
        """Call every tracker, even if an earlier one wants to end the run."""
        meant = None
        for tracker in list(self._active):
            try:
                with self._guarded(tracker, doing):
                    do(tracker)
            except tracker.raises as error:
                meant = meant or error
        if meant is not None:
            self._meant = meant
            raise meant

    @contextmanager
    def _guarded(self, tracker: Tracker, doing: str) -> Iterator[None]:
        """Drop a tracker that fails, with a warning. Exceptions in its `raises` pass through."""
        try:
            yield
        except tracker.raises:
            raise
        except Exception as error:
            self._active.remove(tracker)
            if tracker.name in self._states:
                ids = self._states[tracker.name].ids
                self._states[tracker.name] = TrackerState(ids, dict(self._sent[tracker.name]))
                with suppress(Exception):  # it is the tracker's failure that is told
                    self._write()
            what = textwrap.shorten(next(iter(str(error).strip().splitlines()), ""), 300)
            warn(
                f"the tracker {tracker.name} failed while {doing} ({type(error).__name__}: {what}) "
                "and is left out from here on. The run goes on, and metrics.jsonl has every line. "
                "The next time that this run is tracked, it is sent what it lacks.",
                stacklevel=4,
            )

    def _write(self) -> None:
        write_trackers(self._run.directory, self._states)


@contextmanager
def tracking(
    trackers: Sequence[str | Tracker],
    directory: str | Path,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Tracking]:
    """Track a run in your own code. (`mamlax.train` does this by itself.)

    The ids of the tracked run are stored in `trackers.json` of the directory, so that a resumed run
    continues the same tracked run. A tracker that is new to a run also gets the existing lines of
    `metrics.jsonl`. If several processes train, only the first one tracks.

    Args:
        trackers: names of trackers, or trackers.
        directory: the run directory.
        settings: settings to compare between runs; values must be JSON.

    Returns:
        A context manager. It yields the `Tracking` to send lines to.

    Raises:
        MamlaxError: if there is no tracker with this name, two trackers have the same name, or a
            library is missing.

    Example:
        In your own code::

            with mamlax.trackers.tracking(["tensorboard"], "runs/mine", {"rate": 0.01}) as tracked:
                report = lambda line: tracked.log("main", line)
                mamlax.run(loop, params, ..., directory="runs/mine", report=report)
    """
    directory = Path(directory)
    if not is_first():
        yield Tracking([], TrackedRun(directory.as_posix(), directory, {}), {})
        return
    run = TrackedRun(directory.as_posix(), directory, settings or {})
    tracked = Tracking(trackers_of(trackers), run, read_trackers(directory))
    try:
        tracked._start()
        yield tracked
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt) or error is tracked._meant
        tracked._finish("interrupted" if is_stopped else "failed")
        raise
    tracked._finish("finished")


def _written(directory: Path) -> dict[str, list[Json]]:
    """The lines of every `metrics.jsonl` of a run, by series."""
    paths = {MAIN: directory / "metrics.jsonl"}
    paths |= {path.parent.name: path for path in directory.glob("baselines/*/metrics.jsonl")}
    return {series: lines for series, path in paths.items() if (lines := read_metrics(path))}
