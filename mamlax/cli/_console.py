"""Output of the command line: progress, tables, messages.

rich is imported where something is printed, so that `mamlax --help` is fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import printable
from .._files import Json
from ._devices import without_damaged_programs
from ._hints import in_flags

if TYPE_CHECKING:
    from ..records._comparison import ComparedRun, Comparison
    from ..records._evaluation import Curve, CurvePoint, Evaluation


_live: list[Any] = []
"""The console that bars are shown on, while there are any: other lines would cut them."""


class Progress:
    """A progress bar for each training on a terminal, plain lines elsewhere.

    Trainings may run one after another or at the same time.

    Attributes:
        has_trained: whether there was anything to train.
        stopped: how training ended before its last outer step, in words; empty if it did not.
    """

    def __enter__(self):
        self.bar, self.status = None, None
        self.tasks, self.told = {}, {}  # by stage: its bar, and when its last line was printed
        self.has_trained, self.stopped = False, ""
        return self

    def announce(self, words: str) -> None:
        """Print the name of a phase; on a terminal it is shown until the next one starts."""
        console = _stderr()
        if not console.is_terminal:
            console.print(escape(words), soft_wrap=True, highlight=False)
            return
        self._close()
        self.status = console.status(escape(words))
        self.status.start()

    def __call__(self, stage: str, line: Json) -> None:
        import time

        console = _stderr()
        self.has_trained = True
        total = line["num_outer_steps"]
        rate = line["time/outer_steps_per_second"]
        speed = f"{rate:,.0f} steps/s" if rate >= 10 else f"{rate:.2g} steps/s"
        text = f"loss {line['train/query_loss']:.4g}"
        if "train/post_adaptation_return" in line:  # the loss of policies says little
            text = f"return {line['train/post_adaptation_return']:.4g}"
            refused = 1 - line.get("train/accepted", 1)
            if refused > 0.5:
                text += f"  {refused:.0%} of outer steps refused"
        for name, value in line.items():
            if name.startswith("validation/"):
                shown = f"{value:.4g}" if math.isfinite(value) else "diverged"
                text += f"  {name.replace('/', ' ')} {shown}"
        self.stopped = ""  # of an earlier training, of which there may be several
        if "stopped" in line:
            self.stopped = f"stopped after {line['step']} of {total} outer steps: {line['stopped']}"
        finished = line["step"] == total or self.stopped
        if not console.is_terminal:
            if finished or time.monotonic() - self.told.get(stage, -math.inf) > 10:
                left = "" if finished else f"  {(total - line['step']) / rate:.0f} s left"
                console.print(
                    f"{stage}: step {line['step']}/{total}  {text}  {speed}{left}",
                    soft_wrap=True,
                    highlight=False,
                )
                self.told[stage] = time.monotonic()
            self._say_why_stopped(stage, console)
            return
        if self.bar is None:
            self._close()
            self.bar = _bar(console)
            self.bar.start()
            _live.append(console)
        if stage not in self.tasks:
            self.tasks[stage] = self.bar.add_task(stage, total=total, text="")
        step, text = line["step"], f"{text}  {speed}"
        if self.stopped:
            total = step  # else it would show time left for ever
        self.bar.update(self.tasks[stage], completed=step, total=total, text=text)
        self._say_why_stopped(stage, self.bar.console)

    def _say_why_stopped(self, stage: str, console: Any) -> None:
        if self.stopped:
            console.print(escape(f"{stage}: {self.stopped}"), soft_wrap=True, highlight=False)

    def _close(self) -> None:
        for shown in (self.bar, self.status):
            if shown is not None:
                shown.stop()
        self.bar = self.status = None
        self.tasks, self.told = {}, {}
        _live.clear()

    def __exit__(self, *_):
        self._close()


def _bar(console: Any) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        console=console,
    )


def show_choice(choice: Any, *, first: bool) -> None:
    """Print a line for one choice of a plan; above the first, the names of the columns."""
    from ..experiments._plan import in_bytes

    columns = {
        "task-batch-size": choice.task_batch_size,
        "remat": choice.remat,
        "memory": in_bytes(choice.memory),
        "operations": f"{choice.flops:.2e}",
        "seconds": "does not fit" if choice.seconds is None else f"{choice.seconds:.3g}",
    }
    lines = [columns.keys()] * first + [columns.values()]
    for line in lines:
        cells = zip(columns, line, strict=True)
        print("  ".join(f"{cell!s:>{max(len(name), 12)}}" for name, cell in cells), flush=True)


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the metric of a run and its baselines after inner steps."""
    from rich.console import Console

    curves = {evaluation.algorithm: evaluation.curve}
    if evaluation.non_transductive_curve is not None:
        curves["not transductive"] = evaluation.non_transductive_curve
    if evaluation.success_curve is not None:
        curves["success rate"] = evaluation.success_curve
    curves.update(evaluation.kind_curves or {})
    curves.update(evaluation.baselines)
    note = " (transductive)" if evaluation.transductive else ""
    title = f"{_shown_metric(evaluation.metric)}, {_over(evaluation)}{note}"
    console = Console()
    console.print(f"[bold]{title}[/]", soft_wrap=True)
    _print_curves(console, curves, _mean_and_interval)


def show_comparison(comparison: Comparison) -> None:
    """Print the metric of each run, its difference to the first, and notes on pitfalls."""
    from rich.console import Console

    console = Console(highlight=False)
    runs, differences = comparison.runs, comparison.differences
    better = "less" if comparison.metric == "mse" else "more"
    console.print(
        f"[bold]{_shown_metric(comparison.metric)}, {better} is better[/]", soft_wrap=True
    )
    for run in runs:
        settings = ", ".join(f"{name}={value}" for name, value in run.settings.items())
        note = ", transductive" if run.transductive else ""
        about = f"{run.name}: {_over(run)}{note}" + (f"; {settings}" if settings else "")
        console.print(f"  {escape(about)}", soft_wrap=True)
    _print_curves(console, {run.name: run.curve for run in runs}, _mean_and_interval)

    console.print(
        f"\n[bold]difference to {escape(runs[0].name)}, 95 % interval over tasks[/]",
        soft_wrap=True,
    )
    _print_curves(console, {one.name: one.curve for one in differences}, _signed)
    for note in _notes(comparison):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def _notes(comparison: Comparison) -> list[str]:
    """Notes that a reader of a comparison needs to interpret it."""
    runs = comparison.runs
    notes = [
        f"{one.name} is not paired: {one.why_unpaired}."
        for one in comparison.differences
        if not one.paired
    ]
    for run in runs:
        counts = run.num_diverged
        if any(counts):
            step = next(step for step, count in enumerate(counts) if count)
            notes.append(
                f"{run.name} diverged on {max(counts)} of {run.num_tasks} tasks, the first "
                f"after {step} inner steps; no mean is given there."
            )
    if any(run.num_seeds > 1 for run in runs):
        notes.append(
            "With several seeds, the first table's interval is over seeds; a difference is that "
            "of the mean over seeds in each task."
        )
    if len({run.transductive for run in runs}) > 1:
        notes.append(
            "Some runs are transductive: their predictions depend on the other query examples; "
            "those of the other runs do not."
        )
    return notes


def _print_curves(
    console: Any, curves: dict[str, Curve], text: Callable[[CurvePoint], str]
) -> None:
    """Print a table with a column for each curve, and rows for steps that all curves have."""
    from rich.measure import Measurement
    from rich.table import Table

    last = min(map(len, curves.values())) - 1
    shown = [step for step in (0, 1, 2, 3, 5, 10) if step <= last]
    shown += [last] * (last not in shown)
    table = Table(box=None, header_style="bold")
    table.add_column("inner steps", justify="right", no_wrap=True)
    for name in curves:
        table.add_column(escape(name), justify="right", no_wrap=True)
    for step in shown:
        table.add_row(str(step), *(text(curve[step]) for curve in curves.values()))
    # rather let the terminal wrap lines than truncate numbers
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _shown_metric(metric: str) -> str:
    return metric if metric == "return" else f"query {metric}"


def _over(one: Evaluation | ComparedRun) -> str:
    seeds = f", {one.num_seeds} seeds" if one.num_seeds > 1 else ""
    return f"{one.num_tasks} held-out tasks{seeds}"


def _signed(point: CurvePoint) -> str:
    """A difference, with as many decimals as its interval justifies."""
    mean, ci95 = point.mean, point.ci95
    if mean is None:
        return "diverged"
    if abs(mean) >= 100:
        digits = ".1f" if abs(mean) < 1e5 else ".2g"
        return f"{mean:+{digits}}" + ("" if ci95 is None else f" ±{ci95:{digits}}")
    decimals = 3 if not ci95 else max(3, min(6, 1 - math.floor(math.log10(ci95))))
    return f"{mean:+.{decimals}f}" + ("" if ci95 is None else f" ±{ci95:.{decimals}f}")


def _mean_and_interval(point: CurvePoint) -> str:
    mean, ci95 = point.mean, point.ci95
    if mean is None:
        return "diverged"
    digits = ".2g" if 0 < abs(mean) < 0.01 or abs(mean) >= 1e5 else ".3f"
    digits = ".1f" if 100 <= abs(mean) < 1e5 else digits
    return f"{mean:{digits}}" + ("" if ci95 is None else f" ±{ci95:{digits}}")


def say_paths(paths: Sequence[Path]) -> None:
    """Print the paths of files written, one per line, to the error stream."""
    for path in paths:
        say(escape(str(path)))


def say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning without the line of code; replaces `warnings.showwarning`."""
    words = in_flags(without_damaged_programs(str(message)))
    say(f"[bold yellow]warning:[/] {escape(words)}")


def say(text: str) -> None:
    """Print to the error stream, with markup."""
    _stderr().print(text, soft_wrap=True, highlight=False)


def _stderr() -> Any:
    from rich.console import Console

    return _live[0] if _live else Console(stderr=True)


def escape(text: str) -> str:
    """Escape markup and control characters."""
    from rich import markup

    return markup.escape(printable(text))
