"""The command line: typed functions handed to tyro.

Nothing heavy is imported before a command runs, so that `mamlax --help` answers at once.
"""

import errno
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from . import __version__
from ._errors import MamlaxError
from ._files import cache_directory
from .recipes._catalog import RECIPES, nearest_recipe
from .recipes._recipe import Recipe

if TYPE_CHECKING:
    _RecipeChoice = Recipe
else:
    _RecipeChoice = Annotated[
        tyro.extras.subcommand_type_from_defaults(
            RECIPES,
            descriptions={
                name: f"{recipe.evidence.summary} ({recipe.evidence.paper})."
                for name, recipe in RECIPES.items()
            },
            prefix_names=False,
        ),
        tyro.conf.arg(name=""),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"mamlax {__version__}")
        return 0
    try:
        _suggest_recipe(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            tyro.extras.subcommand_cli_from_dict(
                {"recipes": recipes, "train": train, "evaluate": evaluate, "plot": plot},
                prog="mamlax",
                description=(
                    "Learning to learn: meta-train on many small tasks, adapt to a new one. "
                    "Start with: mamlax train sinusoid"
                ),
                args=arguments,
                config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes),
            )
    except KeyboardInterrupt as stop:  # a run that could write a checkpoint first says which
        resume = "stopped. Repeat the command to resume from the last checkpoint."
        _say(_escape(str(stop) or resume))
        return 130
    except (MamlaxError, ValueError) as error:
        _say(f"[bold red]error:[/] {_escape(str(error))}")
        return 1
    except OSError as error:
        room = " Make room, then repeat the command." if error.errno == errno.ENOSPC else ""
        _say(f"[bold red]error:[/] {_escape(str(error))}.{room}")
        return 1
    return 0


def recipes() -> None:
    """List the recipes: what they repeat, what was published, and what was measured here."""
    from rich.console import Console

    console = Console(highlight=False)
    for name, recipe in RECIPES.items():
        evidence = recipe.evidence
        measured = "; ".join(filter(None, (evidence.measured, evidence.duration)))
        console.print(f"[bold]{name}[/]\n  {evidence.summary} ({evidence.paper})", soft_wrap=True)
        console.print(f"  published  {evidence.expected}", soft_wrap=True)
        console.print(f"  here       {measured or 'not measured yet'}\n", soft_wrap=True)
    console.print("mamlax train RECIPE trains one; mamlax train RECIPE --help lists its flags.")


def train(
    recipe: _RecipeChoice,
    *,
    seed: int = 0,
    num_seeds: int = 1,
    out: Path | None = None,
    data_dir: str | None = None,
) -> None:
    """Meta-train a recipe, evaluate it beside its baselines and draw the figures.

    Resume an interrupted run by repeating its command.

    Args:
        recipe: which recipe.
        seed: Seed of initialization and training.
        num_seeds: Seeds to train side by side in one program, from --seed on.
        out: The run directory; runs/RECIPE/SEED where None.
        data_dir: A folder with one folder per data set (e.g. omniglot/); MAMLAX_DATA where None.
    """
    if out is None:
        last = seed + num_seeds - 1
        out = Path("runs") / recipe.name / (str(seed) if num_seeds == 1 else f"{seed}-{last}")
    _prepare_jax()
    from . import plots
    from .recipes import _experiment

    with _Progress() as progress:
        evaluation = _experiment.train(
            recipe,
            seed=seed,
            num_seeds=num_seeds,
            directory=out,
            data_dir=data_dir,
            report=progress,
        )
    _show(evaluation)
    _say_paths([out / "evaluation.json", *plots.draw_run(out)])


def evaluate(
    run: tyro.conf.Positional[Path],
    *,
    num_tasks: int | None = None,
    num_inner_steps: int | None = None,
    data_dir: str | None = None,
) -> None:
    """Evaluate a trained run again, e.g. on more tasks or with more inner steps.

    Rewrites its evaluation.json and its figures.

    Args:
        run: The run directory.
        num_tasks: Held-out tasks; as the recipe says where None.
        num_inner_steps: Inner steps; as the recipe says where None.
        data_dir: A folder with one folder per data set (e.g. omniglot/); MAMLAX_DATA where None.
    """
    _prepare_jax()
    from . import plots
    from .recipes import _experiment

    _show(
        _experiment.evaluate(
            run, num_tasks=num_tasks, num_inner_steps=num_inner_steps, data_dir=data_dir
        )
    )
    _say_paths([run / "evaluation.json", *plots.draw_run(run)])


def plot(run: tyro.conf.Positional[Path]) -> None:
    """Draw the figures of a run again.

    Args:
        run: The run directory.
    """
    from . import plots

    if not (run / "metrics.jsonl").exists():
        why = "it has no metrics.jsonl" if run.exists() else "it does not exist"
        raise MamlaxError(f"{run} is not a run directory: {why}.")
    _say_paths(plots.draw_run(run))


def _prepare_jax() -> None:
    """Make every processor core a device, and keep compiled programs between runs.

    Tasks spread over single-threaded cores run faster than threads inside small products.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    import jax

    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    num_cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", num_cores)
    jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _suggest_recipe(arguments: list[str]) -> None:
    """Name the nearest recipe where no word is one; tyro would only list them all."""
    words = [word for word in arguments[1:] if not word.startswith("-")]
    if arguments[:1] != ["train"] or set(words) & RECIPES.keys():
        return
    for word in words:  # behind flags, a word may be the value of one
        near = nearest_recipe(word)
        if near or word == arguments[1]:
            raise MamlaxError(f"there is no recipe {word!r}.{near} mamlax recipes lists them all.")


class _Progress:
    """A progress bar on a terminal, plain lines elsewhere."""

    def __enter__(self):
        self.stage, self.bar, self.last = None, None, 0.0
        return self

    def __call__(self, stage: str, line: dict[str, Any]) -> None:
        import time

        from rich.console import Console

        console = Console(stderr=True)
        total = line["num_outer_steps"]
        rate = line["time/outer_steps_per_second"]
        text = f"loss {line['train/query_loss']:.4g}"
        if "train/post_adaptation_return" in line:  # the loss of episodes says little
            text = f"return {line['train/post_adaptation_return']:.4g}"
            refused = 1 - line.get("train/accepted", 1)
            if refused > 0.5:
                text += f"  {refused:.0%} of outer steps refused"
        for name, value in line.items():
            if name.startswith("validation/"):
                shown = f"{value:.4g}" if math.isfinite(value) else "diverged"
                text += f"  {name.replace('/', ' ')} {shown}"
        if not console.is_terminal:
            finished = line["step"] == total
            if finished or stage != self.stage or time.monotonic() - self.last > 10:
                left = (total - line["step"]) / rate
                console.print(
                    f"{stage}: step {line['step']}/{total}  {text}  {rate:.4g} steps/s  "
                    f"{left:.0f} s left",
                    soft_wrap=True,
                    highlight=False,
                )
                self.last = time.monotonic()
            self.stage = stage
            return
        if stage != self.stage:
            self._close()
            self._open(console, stage, total)
            self.stage = stage
        assert self.bar is not None
        self.bar.update(self.task, completed=line["step"], text=f"{text}  {rate:,.0f} steps/s")

    def _open(self, console, stage: str, total: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.bar.start()
        self.task = self.bar.add_task(stage, total=total, text="")

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __exit__(self, *_):
        self._close()


def _show(evaluation: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    curves = {"maml": evaluation["curve"], **evaluation["baselines"]}
    last = evaluation["curve"][-1]["num_inner_steps"]
    shown = [step for step in (0, 1, 2, 3, 5, 10) if step <= last]
    shown += [last] * (last not in shown)
    seeds = evaluation["num_seeds"]
    over = f"{evaluation['num_tasks']} held-out tasks" + (f", {seeds} seeds" if seeds > 1 else "")
    note = " (transductive)" if evaluation["transductive"] else ""
    table = Table(box=None, header_style="bold", title_justify="left")
    console = Console()
    metric = evaluation["metric"]
    shown_metric = metric if metric == "return" else f"query {metric}"
    console.print(f"[bold]{shown_metric}, {over}{note}[/]", soft_wrap=True)
    table.add_column("inner steps", justify="right", no_wrap=True)
    for name in curves:
        table.add_column(name, justify="right", no_wrap=True)
    for step in shown:
        table.add_row(str(step), *(_mean_and_interval(curve[step]) for curve in curves.values()))
    console.width = max(console.width, 80)
    console.print(table)


def _mean_and_interval(point: dict[str, Any]) -> str:
    if point["mean"] is None:
        return "diverged"
    interval = "" if point["ci95"] is None else f" ±{_short(point['ci95'])}"
    return _short(point["mean"]) + interval


def _short(number: float) -> str:
    return f"{number:.3f}" if abs(number) < 100 else f"{number:.2g}"


def _say_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        _say(_escape(str(path)))


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"[bold yellow]warning:[/] {_escape(str(message))}")


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(text, soft_wrap=True, highlight=False)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
