"""The command line: typed functions handed to tyro.

Nothing heavy is imported before a command runs, so that `mamlax --help` answers at once.
"""

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from . import __version__
from ._console import (
    Progress,
    escape,
    say,
    say_paths,
    say_warning,
    show_choice,
    show_comparison,
    show_evaluation,
)
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
        _suggest_order(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = say_warning
            tyro.extras.subcommand_cli_from_dict(
                {
                    "recipes": recipes,
                    "train": train,
                    "plan": plan,
                    "evaluate": evaluate,
                    "plot": plot,
                    "film": film,
                    "compare": compare,
                    "fit": fit,
                    "adapt": adapt,
                    "inspect": inspect,
                    "export": export,
                },
                prog="mamlax",
                description=(
                    "Learning to learn: meta-train on many small tasks, adapt to a new one. "
                    "Start with: mamlax train sinusoid"
                ),
                args=arguments,
                config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes),
            )
            sys.stdout.flush()
    except BrokenPipeError:  # what reads our words, as head does, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell says of a command ended by SIGPIPE
    except KeyboardInterrupt as stop:  # a run that could write a checkpoint first says which
        resume = "stopped. Repeat the command to resume from the last checkpoint."
        say(escape(str(stop) or resume))
        return 130
    except (MamlaxError, ValueError) as error:
        say(f"[bold red]error:[/] {escape(str(error))}")
        return 1
    except OSError as error:
        room = " Make room, then repeat the command." if error.errno == errno.ENOSPC else ""
        say(f"[bold red]error:[/] {escape(str(error))}.{room}")
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

    with Progress() as progress:
        evaluation = _experiment.train(
            recipe,
            seed=seed,
            num_seeds=num_seeds,
            directory=out,
            data_dir=data_dir,
            report=progress,
        )
    show_evaluation(evaluation)
    say_paths([out / "evaluation.json", *plots.draw_run(out)])


def plan(recipe: _RecipeChoice, *, memory: str | None = None, data_dir: str | None = None) -> None:
    """Before training: memory, operations and time of an outer step, and the flags that fit.

    Compiles the outer step for several --task-batch-size and --remat, and times those that fit.

    Args:
        recipe: which recipe; its flags count, as in mamlax train.
        memory: What to fit in, e.g. 6GB or 512MiB; what is free where None.
        data_dir: A folder with one folder per data set (e.g. omniglot/); MAMLAX_DATA where None.
    """
    _prepare_jax()
    from .recipes import _plan

    size = None if memory is None else _plan.bytes_of(memory)
    found = _plan.plan(recipe, memory=size, data_dir=data_dir, report=show_choice)
    say(
        f"[bold]mamlax train {recipe.name} {found.best.flags}[/]  is the fastest that fits in "
        f"{_plan.in_bytes(found.memory)}; add the flags you gave here."
    )


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

    show_evaluation(
        _experiment.evaluate(
            run, num_tasks=num_tasks, num_inner_steps=num_inner_steps, data_dir=data_dir
        )
    )
    say_paths([run / "evaluation.json", *plots.draw_run(run)])


def plot(run: tyro.conf.Positional[Path]) -> None:
    """Draw the figures of a run again.

    Args:
        run: The run directory.
    """
    from . import plots

    if not (run / "metrics.jsonl").exists():
        why = "it has no metrics.jsonl" if run.exists() else "it does not exist"
        raise MamlaxError(f"{run} is not a run directory: {why}.")
    say_paths(plots.draw_run(run))


def film(run: tyro.conf.Positional[Path], *, of: str = "maml") -> None:
    """Film the animals of a run: episodes before and after each inner step, side by side.

    Args:
        run: The run directory.
        of: Whose episodes: maml, or pretrained.
    """
    from .recipes import _film

    say_paths([_film.film(run, name=of)])


def compare(
    runs: tyro.conf.Positional[tuple[Path, ...]], *, out: Path = Path("comparison")
) -> None:
    """Compare evaluated runs with the first one, task by task, and draw their curves together.

    Differences are paired where the runs were evaluated on the same held-out tasks.

    Args:
        runs: Two run directories or more.
        out: Where comparison.json and curves.png are written.
    """
    from . import plots
    from .recipes import _comparison

    show_comparison(_comparison.compare(runs, out))
    say_paths([out / "comparison.json", *plots.draw_comparison(out)])


def fit(
    table: tyro.conf.Positional[Path],
    *,
    task_column: tuple[str, ...],
    target_column: tuple[str, ...],
    features: tuple[str, ...] = (),
    split_column: tuple[str, ...] = (),
    kind: Literal["auto", "values", "classes"] = "auto",
    out: Path = Path("model.safetensors"),
    algorithm: str = "auto",
    num_outer_steps: int = 2_000,
    max_support: int = 32,
    seed: int = 0,
) -> None:
    """Learn from a table with a column that says which task a row belongs to; save a model.

    A task is a machine, a patient, a station. Says in the end, on tasks held out, whether simpler
    models do as well, and draws it: a .png beside --out.

    Args:
        table: A csv, tsv (also .gz) or parquet; it comes first.
        task_column: Which task a row belongs to; several columns are taken together.
        target_column: What to predict.
        features: Columns to predict from; all others where none is given.
        split_column: Hold tasks of the same value out together: what tasks share that new ones will
            not, e.g. the month; several columns are taken together.
        kind: Whether the target is values or classes; auto: classes where it is text.
        out: The model; the report's figure has the same name with .png.
        algorithm: A member of the family; auto suits most tables.
        num_outer_steps: Outer steps, at most.
        max_support: The most rows to adapt on in training.
        seed: Seed of the split of the tasks, of initialization and of training.
    """
    _prepare_jax()
    from . import plots
    from .estimators import _commands

    with Progress() as progress:
        model = _commands.fit(
            table,
            task_columns=task_column,
            target_columns=target_column,
            features=features,
            split_columns=split_column,
            kind=kind,
            out=out,
            say=lambda words: say(escape(words)),
            report=lambda line: progress("fit", {**line, "num_outer_steps": num_outer_steps}),
            algorithm=algorithm,
            num_outer_steps=num_outer_steps,
            max_support=max_support,
            random_state=seed,
        )
    paths = [out]
    if model.report_ is None:
        say("Too few tasks to hold some out: nothing can be said about how well it does.")
    else:
        print(model.report_)
        paths.append(plots.draw_report(model.report_.as_json(), out.with_suffix(".png")))
    say_paths(paths)


def adapt(
    model: tyro.conf.Positional[Path],
    *,
    support: Path,
    query: Path,
    out: Path = Path("predictions.csv"),
) -> None:
    """Adapt a saved model to a new task and predict.

    Args:
        model: What mamlax fit or mamlax export wrote.
        support: A table of a few rows with the target; for images a folder of labelled ones, a
            folder for each class in it.
        query: A table to predict for; for images a folder.
        out: The predictions, a csv.
    """
    _prepare_jax()
    from .estimators import _commands

    adapted, count = _commands.adapt(model, support, query, out)
    given = getattr(adapted, "num_support_", None)
    words = "" if given is None else f" after adapting to {given} rows"
    say(f"{count} predictions{words}.")
    say_paths([out])


def inspect(model: tyro.conf.Positional[Path]) -> None:
    """Say what a saved model is: what it was fitted to, what it takes, how well it does.

    Args:
        model: What mamlax fit or mamlax export wrote.
    """
    from .estimators import _inspection

    print(_inspection.description_of(model))


def export(
    source: tyro.conf.Positional[Path],
    *,
    out: Path | None = None,
    format: Literal["safetensors", "stablehlo"] = "safetensors",
    data_dir: str | None = None,
) -> None:
    """Write a trained run as one file, or a run or model as a program of JAX.

    Args:
        source: A run directory, or a model that was written.
        out: The file; model.safetensors or model.stablehlo where None. Beside a program, FILE.json
            says how it is called.
        format: safetensors, for mamlax.load and mamlax adapt; or stablehlo, a jax.export program
            that adapts and predicts, or predicts if the model is adapted.
        data_dir: A folder with one folder per data set (e.g. omniglot/); MAMLAX_DATA where None.
    """
    if out is None:
        out = Path(f"model.{format}")
    beside = out.with_suffix(out.suffix + ".json")
    if source.exists() and source.resolve() in (out.resolve(), beside.resolve()):
        raise MamlaxError(f"{source} would be written over. Give another --out.")
    if not source.exists():
        raise MamlaxError(
            f"{source} does not exist. Give the directory of a run of mamlax train, or a model "
            "that mamlax fit or mamlax export wrote."
        )
    _prepare_jax()
    from .estimators import _export, _learner_file

    if source.is_dir():
        model = _export.learner_of_run(source, data_dir=data_dir)
    else:
        model = _learner_file.load(source)
    if format == "stablehlo":
        _export.write_stablehlo(out, model)
        say_paths([out, beside])
        return
    model.save(out)
    say_paths([out])


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
    if arguments[:1] not in (["train"], ["plan"]) or set(words) & RECIPES.keys():
        return
    for word in words:  # behind flags, a word may be the value of one
        near = nearest_recipe(word)
        if near or word == arguments[1]:
            raise MamlaxError(f"there is no recipe {word!r}.{near} mamlax recipes lists them all.")


def _suggest_order(arguments: list[str]) -> None:
    """Say that the table comes first where an option that takes several words would take it."""
    several = ("--task-column", "--target-column", "--features", "--split-column")
    option = ""
    for word in arguments[1:] if arguments[:1] == ["fit"] else []:
        if word.startswith("-"):
            option = word.replace("_", "-")
        elif option in several and Path(word).suffix in (".csv", ".tsv", ".parquet", ".gz"):
            others = " ".join(one for one in arguments[1:] if one != word)
            raise MamlaxError(
                f"{option} takes several words, and so would take {word}. The table comes first: "
                f"mamlax fit {word} {others}"
            )
