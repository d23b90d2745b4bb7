"""Commands that make and use saved models."""

import shlex
from pathlib import Path
from typing import Literal

import tyro

from .._errors import MamlaxError
from ..config._settings import Count, InnerFraction, Seed
from ..records._evaluation import evaluation_path
from . import _devices
from ._commands import flags_of
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
    num_outer_steps: Count | None = None,
    max_support: Count = 32,
    seed: Seed = 0,
) -> None:
    """Learn a model from a table in which a column says which task each row belongs to; save it.

    A task is a machine, a patient, a station. A report on held-out tasks says whether simpler
    models do as well. It is printed, and drawn as a .png beside --out.

    Args:
        table: The table: a csv, tsv (also .gz), parquet or feather file. Give it first.
        task_column: The column that says which task a row belongs to. Several are used together.
        target_column: The column to predict.
        features: The columns to predict from. Default: all other columns, except an index.
        split_column: Tasks with the same value are held out together. Name what tasks share and
            new tasks will not, e.g. the month. Several columns are used together.
        order_column: Numbers or dates that order the rows of a task. The model then adapts to the
            first rows of a task, as it will in use.
        kind: Whether the target is numbers (values) or classes. auto: text and true/false are
            classes.
        pooled: The model of all tasks together that adaptation starts from: linear, trees or none.
            auto: the one with the smallest error on held-out tasks.
        categories: Features that hold names although they look like numbers, e.g. codes.
        missing: Words that mean a missing value, in every column. (Empty cells always do.)
            Default: NA, NaN, None, null and the like, but not in names of tasks and classes.
        decimal_mark: The decimal mark of numbers in text. auto: the mark that fits the column.
        out: The file for the model. The figure of the report has the same name, with .png.
        algorithm: The meta-learning algorithm. auto suits most tables.
        num_outer_steps: The largest number of outer steps. Default: 500 for ridge-maml and
            logistic-maml (auto), else 2000.
        max_support: The largest support size used in training.
        seed: Seed of the split of the tasks, of the initialization and of the training.
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
            report=lambda line: progress(line["stage"], line),
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
        paths.append(plots.draw_report(model.report_.as_json(), _fitted_table.figure_of(out)))
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
    interval: InnerFraction | None = None,
    out: Path = Path("predictions.csv"),
    adapted_out: Path | None = None,
) -> None:
    """Adapt a saved model to one new task or to many, and predict.

    Args:
        model: A model file of mamlax fit or mamlax export.
        support: The rows to adapt to: a table with the target. For images: a folder with one
            folder of images for each class.
        query: The rows to predict: a table. For images: a folder.
        task_column: The column, in both tables, that says which task a row belongs to. The model
            adapts to each task separately. Several columns are used together. Default: all rows
            are one task.
        decimal_mark: The decimal mark of numbers in text. Default: that of the table the model was
            fitted to.
        interval: Also write prediction intervals with this coverage, e.g. 0.9, as two columns.
        out: The csv file for the predictions.
        adapted_out: A file for the adapted model, for mamlax predict. Default: it is not saved.
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
    interval: InnerFraction | None = None,
    out: Path = Path("predictions.csv"),
) -> None:
    """Predict with a model that is already adapted, to one task or to many.

    Args:
        model: A file of mamlax adapt --adapted-out, or of save in Python.
        query: The rows to predict: a table. For images: a folder.
        task_column: The column that says which task a row belongs to, for a model adapted to many
            tasks. Default: the column given when it was adapted.
        decimal_mark: The decimal mark of numbers in text. Default: that of the table the model was
            fitted to.
        interval: Also write prediction intervals with this coverage, e.g. 0.9, as two columns.
        out: The csv file for the predictions.
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
    split_column: tuple[str, ...] = (),
    order_column: str | None = None,
    support_sizes: tuple[int, ...] = (),
    decimal_mark: Literal["auto", "point", "comma"] | None = None,
    seed: Seed = 0,
    out: Path | None = None,
) -> None:
    """Measure how well a saved model predicts another table, adapted to each task and not adapted.

    Args:
        model: A model file of mamlax fit.
        table: A table with the target, of tasks that the model has not learned from.
        task_column: The column that says which task a row belongs to. Default: as in the table the
            model was fitted to.
        target_column: The target. Default: as in the table the model was fitted to.
        split_column: Tasks with the same value share something, such as the weather of a month, and
            count as one in intervals. Default: as in the table the model was fitted to.
        order_column: Numbers or dates that order the rows of a task. The model then adapts to the
            first rows of a task. Default: to rows drawn at random.
        support_sizes: How many rows to adapt to. Default: several sizes from 1 to 50, if tasks
            have twice as many rows.
        decimal_mark: The decimal mark of numbers in text. Default: that of the table the model was
            fitted to.
        seed: Seed of the rows drawn at random.
        out: A JSON file for the result. Default: it is only printed.
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
        splits=split_column,
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
    """Describe a saved model: what it was fitted to, what it needs, how well it predicts.

    Args:
        model: A model file of mamlax fit or mamlax export.
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
    """Save a trained run as a model file, or a run or model as a program that needs no mamlax.

    Args:
        source: A run directory, or a model file.
        out: The file to write. Default: beside a model file, with its name; else
            model.safetensors, model.stablehlo or model.onnx. For a program, FILE.json says how to
            call it. A policy has a second program, FILE.adapt.
        format: safetensors: a model for mamlax.load and mamlax adapt. stablehlo (for JAX) or onnx
            (for browsers and other languages): a program that adapts and predicts; for an adapted
            model, a program that predicts.
        with_pretrained: Also store the run's pretrained baseline, which mamlax serve shows beside
            the meta-learned network.
        data_dir: A folder with one folder per data set (e.g. omniglot/). Default: MAMLAX_DATA.
    """
    if out is None:
        out = source.with_suffix(f".{format}") if source.is_file() else Path(f"model.{format}")
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
            run, place = shlex.quote(str(source)), flags_of({"data_dir": data_dir})
            say(escape(f"{words}mamlax evaluate {run}{place}"))
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
