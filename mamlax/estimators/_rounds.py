"""Judge what a table teaches on groups that were not learned from; then learn from all of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from .._files import Json
from ._calibration import Calibration
from ._comparison import Judged, judge, report_of
from ._fitting import MetaTrained, Plan, Validated, meta_train
from ._pooled import kind_of
from ._report import Report
from ._rows import Rows
from ._splits import TEST, TRAIN, VALIDATION, GroupSplit


class Learned(NamedTuple):
    """A learner, and what is known of it.

    Attributes:
        trained: the learner.
        report: None where no group was held out, or none of those had two rows.
        calibration: what intervals are made from; None where there is no report, and of classes.
        counts: of the groups that it learned from, was chosen by, and was judged on.
    """

    trained: MetaTrained
    report: Report | None
    calibration: Calibration | None
    counts: dict[str, int]


def learn_once(
    rows: Rows,
    split: GroupSplit,
    plan: Plan,
    *,
    compare: bool,
    report: Callable[[Json], None] | None = None,
) -> Learned:
    """Learn from some groups, and be judged on others.

    Args:
        rows: of all groups.
        split: which are learned from.
        plan: how.
        compare: whether to be judged.
        report: called with each log line, whose `stage` is `fit`.

    Raises:
        MamlaxError: if no group that is learned from has two rows.
    """
    if not _can_adapt(rows, split):
        raise MamlaxError(_NOTHING)
    trained, judged = _round(rows, split, plan, compare=compare, report=_staged(report, "fit"))
    return _learned([(trained, judged)], trained, plan, split.counts)


def learn_in_rounds(
    rows: Rows,
    splits: Sequence[GroupSplit],
    plan: Plan,
    *,
    report: Callable[[Json], None] | None = None,
) -> Learned:
    """Learn from all groups, after rounds of which each holds some out to be judged on them.

    All rounds share their compiled programs, and so does the training that comes after. Of it,
    they say how many steps to take.

    Args:
        rows: of all groups.
        splits: of each round.
        plan: how to learn.
        report: called with each log line, which says in `stage` what it is of.

    Raises:
        MamlaxError: if no group has two rows.
    """
    if plan.is_meta and np.bincount(rows.groups).max(initial=0) < 2:
        raise MamlaxError(_NOTHING)
    found = []
    splits = [
        split
        for split in splits
        if (split.has(VALIDATION) or split.has(TEST)) and _can_adapt(rows, split)
    ]
    for number, split in enumerate(splits):
        stage = f"round {number + 1} of {len(splits)}"
        of_round = plan._replace(seed=(plan.seed + number + 1) % 2**31)
        found.append(_round(rows, split, of_round, compare=True, report=_staged(report, stage)))
    fitted = plan.pooled(rows)
    trained = meta_train(
        plan,
        rows.with_pooled(fitted.cross_fitted),
        None,
        pooled=fitted,
        chosen=Validated.of([one for one, _ in found]),
        report=_staged(report, "fit"),
    )
    counts = {TRAIN: len(np.unique(rows.groups)), VALIDATION: 0, TEST: 0}
    return _learned(found, trained, plan, counts)


def _learned(
    rounds: Sequence[tuple[MetaTrained, Judged | None]],
    trained: MetaTrained,
    plan: Plan,
    counts: dict[str, int],
) -> Learned:
    """What rounds found of models of their own, beside the one that is used."""
    judged = [one for _, one in rounds if one is not None]
    if not judged:
        return Learned(trained, None, None, counts)
    report = report_of(judged, is_ordered=plan.is_ordered)
    if plan.starts_from_pooled:
        starts = [kind_of(one.learner.pooled) for one in (*(one for one, _ in rounds), trained)]
        report = report._replace(pooled=tuple(starts))
    scores = [score for one in judged for score in one.scores]
    return Learned(trained, report, Calibration.of(scores), counts)


def print_line(line: Json) -> None:
    """A log line, as text."""
    text = f"{line['stage']}, outer step {line['step']}: loss {line['train/query_loss']:.4g}"
    if "validation/loss" in line:
        text += f", on groups held out {line['validation/loss']:.4g}"
    print(text, flush=True)
    if "stopped" in line:
        print(f"stopped after outer step {line['step']}: {line['stopped']}", flush=True)


_NOTHING = (
    "no group that is learned from has two rows: there is nothing to adapt to and be judged on. "
    "Are these the groups that you mean?"
)


def _can_adapt(rows: Rows, split: GroupSplit) -> bool:
    is_train = (split.parts == TRAIN)[rows.groups]
    return len(split.names) == 1 or int(np.bincount(rows.groups[is_train]).max(initial=0)) > 1


def _round(
    rows: Rows,
    split: GroupSplit,
    plan: Plan,
    *,
    compare: bool,
    report: Callable[[Json], None] | None,
) -> tuple[MetaTrained, Judged | None]:
    """Meta-train on some groups, choose by some, and compare on others."""
    part = split.parts[rows.groups]
    # a category, or a gap, that no group learned from has is nothing that is known
    known = np.any(rows.inputs[part == TRAIN] != 0, axis=0)
    if not known.all():
        rows = rows._replace(inputs=rows.inputs * known)
    test = rows.of(np.flatnonzero(part == TEST))
    learned = rows.of(np.flatnonzero(part != TEST))
    fitted = plan.pooled(learned)
    learned, of_learned = learned.with_pooled(fitted.cross_fitted), part[part != TEST]
    train, validation = (
        learned.of(np.flatnonzero(of_learned == one)) for one in (TRAIN, VALIDATION)
    )
    trained = meta_train(
        plan, train, validation if len(validation.inputs) else None, pooled=fitted, report=report
    )
    if not (compare and len(test.groups)):
        return trained, None
    judged = judge(
        trained.learner,
        rows.of(np.flatnonzero(part != TEST)),
        test,
        classes=plan.num_outputs if plan.loss == "cross-entropy" else None,
        is_ordered=plan.is_ordered,
        seed=plan.seed,
    )
    return trained, judged


def _staged(report: Callable[[Json], None] | None, stage: str):
    return None if report is None else lambda line: report({**line, "stage": stage})
