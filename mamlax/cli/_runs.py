"""Commands on recipes and their runs."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .. import __version__
from .._errors import MamlaxError
from ..config._catalog import RECIPES
from ..config._job import Job
from ..config._recipe import Recipe
from ..config._settings import Count, Natural, Seed, Several
from ..records._description import OtherRunError
from . import _devices
from ._commands import command_of, command_of_run, flags_of
from ._console import (
    Progress,
    escape,
    say,
    say_paths,
    show_choice,
    show_comparison,
    show_evaluation,
)
from ._job import joined

_ALONE = Job()

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


def recipes() -> None:
    """List the recipes: what each one reproduces, the published results, and ours."""
    from rich.console import Console

    console = Console(highlight=False)
    for name, recipe in RECIPES.items():
        evidence = recipe.evidence
        measured = "; ".join(filter(None, (evidence.measured, evidence.duration)))
        console.print(f"[bold]{name}[/]\n  {evidence.summary} ({evidence.paper})", soft_wrap=True)
        console.print(f"  published  {evidence.expected}", soft_wrap=True)
        console.print(f"  here       {measured or 'not measured yet'}\n", soft_wrap=True)
    console.print(
        "mamlax train RECIPE trains one; mamlax train RECIPE --help lists its algorithms and flags."
    )


def train(
    recipe: _RecipeChoice,
    *,
    seed: Seed = 0,
    num_seeds: Count = 1,
    out: Path | None = None,
    data_dir: str | None = None,
    track: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    job: Job = _ALONE,
) -> None:
    """Meta-train a recipe, evaluate it and its baselines, and draw the figures.

    To use another algorithm, write it after the recipe: mamlax train sinusoid boil. --help lists
    the usual settings, --help-all every setting. To resume an interrupted run, repeat its command.

    Args:
        recipe: The recipe to train.
        seed: Seed of the initialization and of the training.
        num_seeds: How many seeds to train at the same time, starting at --seed.
        out: The run directory. Default: runs/RECIPE/SEED.
        data_dir: A folder with one folder per data set (e.g. omniglot/). Default: MAMLAX_DATA.
        track: Where to follow the run: tensorboard, wandb, mlflow or trackio. Give it again for
            several.
        job: Several processes that train one run together.
    """
    if out is None:
        last = seed + num_seeds - 1
        out = Path("runs") / recipe.name / (str(seed) if num_seeds == 1 else f"{seed}-{last}")
    _devices.prepare_jax()
    with joined(job):
        _train(recipe, seed, num_seeds, out, data_dir, track, job)


def _train(
    recipe: Recipe,
    seed: int,
    num_seeds: int,
    out: Path,
    data_dir: str | None,
    track: tuple[str, ...],
    job: Job,
) -> None:
    from .. import plots
    from .._processes import is_first
    from ..experiments import _train

    figures = []

    def draw(directory: Path) -> list[Path]:
        figures.extend(plots.draw_run(directory))
        return figures

    others = {"data_dir": data_dir, "track": track, "job": job}
    with _ways_out_of_another_run(out, **others), Progress() as progress:
        evaluation = _train.train(
            recipe,
            seed=seed,
            num_seeds=num_seeds,
            directory=out,
            data_dir=data_dir,
            report=progress,
            announce=progress.announce,
            trackers=track,
            draw=draw,
        )
    if not is_first():
        return
    if not progress.has_trained:
        run, place = shlex.quote(str(out)), flags_of({"data_dir": data_dir})
        again = f"mamlax evaluate {run}{place} or mamlax plot {run}"
        words = f"{out} was trained already; it was only evaluated again. The next time: {again}."
        say(escape(words))
    show_evaluation(evaluation)
    say_paths([out / "evaluation.json", *figures])


@contextmanager
def _ways_out_of_another_run(out: Path, **flags: Any) -> Iterator[None]:
    """If the directory holds another run, name the commands that help, with these other flags."""
    try:
        yield
    except OtherRunError as error:
        ways = "To train this one: the same command with another --out DIR."
        if error.found.mamlax == __version__:
            ways += f"\nTo resume that one: {command_of_run(error.found, out, **flags)}"
        raise MamlaxError(f"{error}\n{ways}") from error


def plan(recipe: _RecipeChoice, *, memory: str | None = None, data_dir: str | None = None) -> None:
    """Before training, measure memory, operations and time of an outer step; find flags that fit.

    Compiles the outer step for several values of --task-batch-size and --remat, and times those
    that fit in memory.

    Args:
        recipe: The recipe. Its flags count, as in mamlax train.
        memory: Memory to fit in, with its unit, e.g. 6GB or 512MiB. Default: the free memory.
        data_dir: A folder with one folder per data set (e.g. omniglot/). Default: MAMLAX_DATA.
    """
    _devices.prepare_jax()
    from ..experiments import _plan

    size = None if memory is None else _plan.bytes_of(memory)
    found = _plan.plan(
        recipe,
        memory=size,
        data_dir=data_dir,
        report=show_choice,
        announce=lambda words: say(escape(words)),
    )
    command = command_of(found.recipe) + flags_of({"data_dir": data_dir})
    say(f"The fastest that fits in {_plan.in_bytes(found.memory)}:\n[bold]{escape(command)}[/]")


def evaluate(
    run: tyro.conf.Positional[Path],
    *,
    num_tasks: Count | None = None,
    num_inner_steps: Natural | None = None,
    ways: Several | None = None,
    shots: Count | None = None,
    num_query: Count | None = None,
    within_alphabet: bool = False,
    mirrored_features: bool | None = None,
    centered_features: bool | None = None,
    baselines: bool = True,
    out: Path | None = None,
    data_dir: str | None = None,
    job: Job = _ALONE,
) -> None:
    """Evaluate a trained run again: with more tasks or inner steps, other tasks or features.

    Replaces its evaluation.json and its figures, unless --out names another directory.

    Args:
        run: The run directory.
        num_tasks: Number of held-out tasks. Default: the recipe's number.
        num_inner_steps: Number of inner steps. Default: the recipe's number.
        ways: Classes per task. A number other than in training needs proto-maml,
            unicorn-maml or logistic-maml.
        shots: Support examples, per class in classification.
        num_query: Query examples, per class in classification.
        within_alphabet: Omniglot only: the characters of a task are from one alphabet, not rotated.
        mirrored_features: Images: average the features of each image and of its mirror image.
            Default: as in the run.
        centered_features: Images: subtract from features their mean over the batch, and scale them
            to one length. For proto-maml and logistic-maml. Default: as in the run.
        baselines: Also evaluate the baselines, which takes most of the time.
        out: The directory for the evaluation. Required if tasks or features differ from the
            recipe's.
        data_dir: A folder with one folder per data set (e.g. omniglot/). Default: MAMLAX_DATA.
        job: Several processes that share the tasks.
    """
    _devices.prepare_jax()
    asked = {
        "test_ways": ways,
        "shots": shots,
        "num_query": num_query,
        "mirrored_features": mirrored_features,
        "centered_features": centered_features,
    }
    problem: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    if within_alphabet:
        problem["within_alphabet"] = True
    with joined(job):
        _evaluate(run, num_tasks, num_inner_steps, data_dir, out, baselines, problem)


def _evaluate(
    run: Path,
    num_tasks: int | None,
    num_inner_steps: int | None,
    data_dir: str | None,
    out: Path | None,
    baselines: bool,
    problem: dict[str, Any],
) -> None:
    from .. import plots
    from .._processes import is_first
    from ..experiments import _evaluate

    with Progress() as progress:
        evaluation = _evaluate.evaluate(
            run,
            num_tasks=num_tasks,
            num_inner_steps=num_inner_steps,
            data_dir=data_dir,
            out=out,
            baselines=baselines,
            announce=progress.announce,
            **problem,
        )
    if not is_first():
        return
    show_evaluation(evaluation)
    directory = run if out is None else out
    say_paths([directory / "evaluation.json", *plots.draw_run(directory)])


def plot(run: tyro.conf.Positional[Path]) -> None:
    """Draw the figures of a run again.

    Args:
        run: The run directory.
    """
    from .. import plots

    if not (run / "metrics.jsonl").exists():
        why = "it has no metrics.jsonl" if run.exists() else "it does not exist"
        raise MamlaxError(f"{run} is not a run directory: {why}.")
    say_paths(plots.draw_run(run))


def film(run: tyro.conf.Positional[Path], *, of: str = "main") -> None:
    """Make a film of a locomotion run: episodes before and after each inner step, side by side.

    Args:
        run: The run directory.
        of: Whose episodes: main (what the recipe trained), or pretrained.
    """
    from ..experiments import _film

    say_paths([_film.film(run, name=of)])


def compare(
    runs: tyro.conf.Positional[tuple[Path, ...]], *, out: Path = Path("comparison")
) -> None:
    """Compare evaluated runs with the first one, task by task, and draw their curves in one figure.

    Differences are paired if the runs were evaluated on the same held-out tasks.

    Args:
        runs: Two run directories or more.
        out: The directory for comparison.json and curves.png.
    """
    from .. import plots
    from ..experiments import _compare

    show_comparison(_compare.compare(runs, out))
    say_paths([out / "comparison.json", *plots.draw_comparison(out)])
