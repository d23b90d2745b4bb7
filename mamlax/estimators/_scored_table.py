"""What the command score does: a saved model is judged on another table."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .._errors import MamlaxError, warn
from .._files import write_json
from ._comparison import Judged, judge, report_of
from ._entry import ADAPTED
from ._few_shot import FewShotClassifier, FewShotRegressor
from ._load import load
from ._model_table import Model, features_of, inputs_of, with_targets
from ._names import labels_of
from ._numerals import DecimalMark
from ._order import positions_in, warn_of_time
from ._order_column import order_of
from ._report import Report
from ._rows import Rows
from ._simpler_models import SUPPORT_SIZES
from ._splits import numbered, units_of
from ._table_summary import assumptions
from ._tables import Table, listed, read_table


def score(
    path: Path,
    table_path: Path,
    *,
    tasks: Sequence[str],
    targets: Sequence[str] = (),
    splits: Sequence[str] = (),
    order: str | None = None,
    sizes: Sequence[int] = (),
    decimal_mark: DecimalMark | None = None,
    seed: int = 0,
    out: Path | None = None,
    say: Callable[[str], None],
) -> Report:
    """Judge a saved model on a table, adapted and not.

    Args:
        path: the model.
        table_path: a table with the target.
        tasks: columns that say which task a row belongs to; empty: those that it was fitted by.
        targets: columns of the target; empty: as they were called in the table fitted.
        splits: columns that say which tasks count as one draw, because they share something; empty:
            those that it was fitted by, where the table has them.
        order: by which rows of a task come one after another; None: in no order.
        sizes: numbers of rows to adapt on; empty: those of a report that half of the tasks have.
        decimal_mark: what decimals begin with; None: as in the table fitted.
        seed: of the rows drawn, where they have no order.
        out: a file for the report as JSON.
        say: called with what had to be assumed of the table.

    Raises:
        MamlaxError: if the model is none of tables, a column is missing or makes no sense, or tasks
            have too few rows.
    """
    model = _model_of_tables(path)
    tasks = list(tasks or model.task_names_ or ())
    if not tasks:
        raise MamlaxError(
            f"{path} does not say what tells tasks apart. Give the column that says which task a "
            "row belongs to: --task-column."
        )
    names = list(targets or model.target_names_ or ["target"])
    if len(names) != len(model.target_names_ or names):
        raise MamlaxError(
            f"{path} predicts {listed(model.target_names_ or [])}, and --target-column names "
            f"{len(names)} columns."
        )
    conventions = model.reading_
    if decimal_mark is not None:
        conventions = conventions._replace(decimal_mark=decimal_mark)
    table = read_table(table_path)
    table.check_has(tasks, "--task-column")
    table.check_has([order] if order is not None else [], "--order-column")
    table.check_has(splits, "--split-column")
    there, y, columns = with_targets(model, table, names, conventions)
    if not len(there):
        raise MamlaxError(f"{names[0]!r} is missing in every row of {table_path}.")
    labels, groups = numbered(
        "tasks", labels_of(there, tasks, "--task-column", conventions), len(y)
    )
    splits = list(splits) or _known_splits(model, path, table)
    units = np.arange(len(labels))
    if splits:
        shared = labels_of(there, splits, "--split-column", conventions)
        units = units_of("--split-column", shared, groups, labels)[1]
    beside = [*names, *tasks, *splits, *([order] if order is not None else [])]
    inputs = inputs_of(model, there, beside, conventions)
    if words := assumptions(there, [*inputs, *columns]):
        say(words)
    X = features_of(model, inputs, len(there))
    if order is not None:
        positions = positions_in(order_of(there, order, conventions), len(y))
    else:
        positions = np.arange(len(y))
        warn_of_time(X, groups)
        if model.report_ is not None and model.report_.is_ordered:
            warn(
                f"{path} was fitted with rows in an order, and support rows are drawn at random "
                "here. Name the order with --order-column.",
                stacklevel=2,
            )
    ones = np.ones(len(y), np.float32)
    rows = Rows(model.columns_.encode(X), model.targets_.encode(y), ones, groups, units[groups])
    chosen = tuple(sorted(set(sizes))) or tuple(size for size in SUPPORT_SIZES if size)
    judged = judge(
        model.learner_,
        None,
        rows.of(positions),
        classes=model.targets_.num_outputs if isinstance(model, FewShotClassifier) else None,
        is_ordered=order is not None,
        sizes=chosen,
        seed=seed,
    )
    report = _report_of(judged, chosen if sizes else (), there, len(labels), order is not None)
    if out is not None:
        write_json(out, report.as_json())
    return report


def _model_of_tables(path: Path) -> Model:
    model = load(path)
    if not isinstance(model, FewShotRegressor | FewShotClassifier):
        raise MamlaxError(
            f"{path} holds a {type(model).__name__}: mamlax score judges models of tables, which "
            "mamlax fit or FewShotRegressor and FewShotClassifier write."
        )
    return model


def _known_splits(model: Model, path: Path, table: Table) -> list[str]:
    """The columns that a model was fitted by; none, with a warning, where the table lacks one."""
    names = model.split_names_ or []
    if absent := [name for name in names if name not in table.names]:
        warn(
            f"{path} was fitted with tasks of one {listed(names)} held out together, and "
            f"{table.path} has no column {absent[0]!r}: tasks are taken for independent of one "
            "another here, and intervals may be too narrow.",
            stacklevel=3,
        )
        return []
    return names


def _report_of(
    judged: Judged | None, chosen: tuple[int, ...], table: Table, num_tasks: int, is_ordered: bool
) -> Report:
    """What was found; refuses sizes for which tasks have too few rows."""
    if judged is None:
        raise MamlaxError(
            f"no task in {table.path} has two rows with a target: there is nothing to adapt to "
            "and be judged on."
        )
    counts = (~np.isnan(judged.errors[ADAPTED][:, :, 0])).sum(0)
    report = report_of([judged], is_ordered=is_ordered)
    absent = [size for size in chosen if size not in report.sizes]
    if absent or not report.sizes:
        size = absent[0] if absent else judged.sizes[0]
        raise MamlaxError(
            f"{counts[judged.sizes.index(size)]} of {num_tasks} tasks in {table.path} have the "
            f"{2 * size} rows that {size} of support take: the other half is judged on. Give a "
            "smaller number to --support-sizes, or a table with longer tasks."
        )
    metric = report.metric.replace("the rows held out", "these rows")
    return report._replace(metric=metric, num_rounds=0)
