"""Commands on saved models, of tables or of runs."""

import shlex
from pathlib import Path
from typing import Literal

import tyro

from .._errors import MamlaxError
from ..records._evaluation import evaluation_path
from . import _devices
from ._console import Progress, escape, say, say_paths


def fit(
    table: tyro.conf.Positional[Path],
    *,
    task_column: tuple[str, ...],
    target_column: tuple[str, ...],
    features: tuple[str, ...] = (),
    split_column: tuple[str, ...] = (),
    order_column: str | None = None,
    kind: Literal["auto", "values", "classes"] = "auto",
    pooled: Literal["auto", "none", "linear", "trees"] = "auto",
    categories: tuple[str, ...] = (),
    missing: tuple[str, ...] | None = None,
    decimal_mark: Literal["auto", "point", "comma"] = "auto",
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
        table: A csv, tsv (also .gz), parquet or feather; it comes first.
        task_column: Which task a row belongs to; several columns are taken together.
        target_column: What to predict.
        features: Columns to predict from; all others where none is given, but for an index.
        split_column: Hold tasks of the same value out together: what tasks share that new ones will
            not, e.g. the month; several columns are taken together.
        order_column: By which rows of a task come one after another, numbers or dates: what is
            adapted to are then the first, as in use.
        kind: Whether the target is values or classes; auto: classes where it is text.
        pooled: One model for all tasks, which adaptation starts from: a linear one, trees, or none;
            auto: what errs least on tasks held out.
        categories: Features that hold names, though they look like numbers, as codes do.
        missing: Words that mean that a value is missing, in any column, beside empty cells. Where
            none is given: NA, NaN, None, null and their like, but not in names of tasks and
            classes.
        decimal_mark: What decimals begin with in text; auto: what fits a column.
        out: The model; the report's figure has the same name with .png.
        algorithm: A member of the family; auto suits most tables.
        num_outer_steps: Outer steps, at most.
        max_support: The most rows to adapt on in training.
        seed: Seed of the split of the tasks, of initialization and of training.
    """
    _devices.prepare_jax()
    from .. import plots
    from ..estimators import _fitted_table
    from ..estimators._conventions import Conventions

    columns = _fitted_table.Chosen(
        task_column, target_column, features, split_column, categories, order_column
    )
    with Progress() as progress:
        model = _fitted_table.fit(
            table,
            columns,
            kind=kind,
            conventions=Conventions(missing, decimal_mark),
            out=out,
            say=lambda words: say(escape(words)),
            report=lambda line: progress(
                line["stage"], {**line, "num_outer_steps": num_outer_steps}
            ),
            algorithm=algorithm,
            pooled=pooled,
            num_outer_steps=num_outer_steps,
            max_support=max_support,
            random_state=seed,
        )
    paths = [out]
    if model.report_ is None:
        say("Too few tasks to hold some out: how well the model does was not measured.")
    else:
        print(model.report_)
        paths.append(plots.draw_report(model.report_.as_json(), out.with_suffix(".png")))
    if progress.stopped:
        say(escape(f"Training {progress.stopped}. The model is of step {model.outer_step_}."))
    say_paths(paths)


def adapt(
    model: tyro.conf.Positional[Path],
    *,
    support: Path,
    query: Path,
    task_column: tuple[str, ...] = (),
    decimal_mark: Literal["auto", "point", "comma"] | None = None,
    interval: float | None = None,
    out: Path = Path("predictions.csv"),
    adapted_out: Path | None = None,
) -> None:
    """Adapt a saved model to a new task, or to many, and predict.

    Args:
        model: What mamlax fit or mamlax export wrote.
        support: A table of a few rows with the target; for images a folder of labelled ones, a
            folder for each class in it.
        query: A table to predict for; for images a folder.
        task_column: Which task a row belongs to, in both tables: each task is adapted to; several
            columns are taken together. Where none is given, all rows are of one task.
        decimal_mark: What decimals in tables of text begin with; as for the table fitted where
            None.
        interval: Also write where each value lies with this coverage, e.g. 0.9, in two columns.
        out: The predictions, a csv.
        adapted_out: A file for the adapted model, for mamlax predict; none where None.
    """
    _devices.prepare_jax()
    from ..estimators import _commands

    done = _commands.adapt(
        model,
        support,
        query,
        out,
        say=lambda words: say(escape(words)),
        tasks=task_column,
        decimal_mark=decimal_mark,
        interval=interval,
        adapted_out=adapted_out,
    )
    say(done)
    say_paths([out, *([adapted_out] if adapted_out is not None else [])])


def predict(
    model: tyro.conf.Positional[Path],
    query: tyro.conf.Positional[Path],
    *,
    task_column: tuple[str, ...] = (),
    decimal_mark: Literal["auto", "point", "comma"] | None = None,
    interval: float | None = None,
    out: Path = Path("predictions.csv"),
) -> None:
    """Predict by a model that is adapted already, to one task or to many.

    Args:
        model: What mamlax adapt wrote with --adapted-out, or save in Python.
        query: A table to predict for; for images a folder.
        task_column: Which task a row belongs to, where the model is adapted to many; as when it was
            adapted where none is given.
        decimal_mark: What decimals in tables of text begin with; as for the table fitted where
            None.
        interval: Also write where each value lies with this coverage, e.g. 0.9, in two columns.
        out: The predictions, a csv.
    """
    _devices.prepare_jax()
    from ..estimators import _commands

    done = _commands.predict(
        model,
        query,
        out,
        say=lambda words: say(escape(words)),
        tasks=task_column,
        decimal_mark=decimal_mark,
        interval=interval,
    )
    say(done)
    say_paths([out])


def score(
    model: tyro.conf.Positional[Path],
    table: tyro.conf.Positional[Path],
    *,
    task_column: tuple[str, ...] = (),
    target_column: tuple[str, ...] = (),
    order_column: str | None = None,
    support_sizes: tuple[int, ...] = (),
    decimal_mark: Literal["auto", "point", "comma"] | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Judge a saved model of tables on another table, adapted to each task in it and not.

    Args:
        model: What mamlax fit wrote.
        table: A table with the target, of tasks that the model has not learned from.
        task_column: Which task a row belongs to; as in the table fitted where none is given.
        target_column: The target; as in the table fitted where none is given.
        order_column: By which rows of a task come one after another: those adapted to are then the
            first. Else they are drawn at random.
        support_sizes: Numbers of rows to adapt to; where none is given, 1 to 50, as far as tasks
            have twice as many rows.
        decimal_mark: What decimals in a table of text begin with; as for the table fitted where
            None.
        seed: Seed of the rows drawn.
        out: A file for the result as JSON; none where None.
    """
    if any(size < 1 for size in support_sizes):
        raise MamlaxError(
            f"--support-sizes are 1 or more rows, got {min(support_sizes)}. The model without "
            "adapting is judged in any case."
        )
    if out is not None and out.resolve() in {model.resolve(), table.resolve()}:
        raise MamlaxError(f"{out} is read by this command. Give another --out for the result.")
    _devices.prepare_jax()
    from ..estimators import _scored_table

    report = _scored_table.score(
        model,
        table,
        tasks=task_column,
        targets=target_column,
        order=order_column,
        sizes=support_sizes,
        decimal_mark=decimal_mark,
        seed=seed,
        out=out,
        say=lambda words: say(escape(words)),
    )
    print(report)
    say_paths([out] if out is not None else [])


def inspect(model: tyro.conf.Positional[Path]) -> None:
    """Say what a saved model is: what it was fitted to, what it takes, how well it does.

    Args:
        model: What mamlax fit or mamlax export wrote.
    """
    from ..estimators import _inspection

    print(_inspection.description_of(model))


def export(
    source: tyro.conf.Positional[Path],
    *,
    out: Path | None = None,
    format: Literal["safetensors", "stablehlo", "onnx"] = "safetensors",
    with_pretrained: bool = False,
    data_dir: str | None = None,
) -> None:
    """Write a trained run as one file, or a run or model as a program that needs no mamlax.

    Args:
        source: A run directory, or a model that was written.
        out: The file; model.safetensors, model.stablehlo or model.onnx where None. Beside a
            program, FILE.json says how it is called; a policy has a second program, FILE.adapt.
        format: safetensors, for mamlax.load and mamlax adapt; or a program that adapts and
            predicts, or predicts if the model is adapted: stablehlo, for JAX, or onnx, for
            browsers and other languages.
        with_pretrained: Also keep the run's pretrained baseline in the file, which mamlax serve
            shows beside what was meta-learned.
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
    _devices.prepare_jax()
    from ..estimators import _commands, _export, _load
    from ..estimators._adapted_many import AdaptedMany

    if with_pretrained and not (source.is_dir() and format == "safetensors"):
        raise MamlaxError(
            "--with-pretrained is for a run that is written as a model: a program holds one "
            f"network. Got {source} and --format {format}."
        )
    if source.is_dir():
        model = _export.learner_of_run(source, data_dir=data_dir, with_pretrained=with_pretrained)
        if not evaluation_path(source).exists():
            words = f"{source} was never evaluated: nothing says how well it does. To measure it: "
            say(escape(f"{words}mamlax evaluate {shlex.quote(str(source))}"))
    else:
        model = _load.load(source)
    if isinstance(model, AdaptedMany):
        raise MamlaxError(
            f"{source} is adapted to {len(model.groups)} tasks: mamlax predict predicts by it. "
            "Export the model that it was made of, or one adapted to a single task."
        )
    if out.is_file():
        say(escape(f"{out} is there already: it is replaced."))
    if format != "safetensors":
        write = {"stablehlo": _export.write_stablehlo, "onnx": _export.write_onnx}[format]
        say_paths(write(out, model))
        return
    model.save(out)
    say(escape(_commands.what_it_takes(model)))
    say_paths([out])
