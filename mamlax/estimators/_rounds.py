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
from ._pooled_choice import PooledFit
from ._report import Report
from ._rows import Rows
from ._splits import TEST, TRAIN, VALIDATION, GroupSplit
from ._training_threads import training_threads


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
    one = _Round.of(rows, split, plan)
    trained = meta_train(
        plan, one.train, one.validation, pooled=one.pooled, report=_staged(report, "fit")
    )
    judged = one.judged(trained) if compare else None
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
    they say how many steps to take. Rounds are trained at the same time, in threads; pooled and
    simpler models are fitted in this one meanwhile.

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
    splits = [
        split
        for split in splits
        if (split.has(VALIDATION) or split.has(TEST)) and _can_adapt(rows, split)
    ]
    rounds, started = [], []
    with training_threads() as start:
        for number, split in enumerate(splits):
            stage = f"round {number + 1} of {len(splits)}"
            of_round = plan._replace(seed=(plan.seed + number + 1) % 2**31)
            one = _Round.of(rows, split, of_round)
            rounds.append(one)
            started.append(
                start(
                    meta_train,
                    of_round,
                    one.train,
                    one.validation,
                    pooled=one.pooled,
                    report=_staged(report, stage),
                )
            )
        pooled = plan.pooled(rows)

        def learn_from_all(report: Callable[[Json], None]) -> MetaTrained:
            return meta_train(
                plan,
                rows.with_pooled(pooled.cross_fitted),
                None,
                pooled=pooled,
                chosen=Validated.of([training.result() for training in started]),
                report=report,
            )

        last = start(learn_from_all, report=_staged(report, "fit"))
        found = []
        for one, training in zip(rounds, started, strict=True):
            of_round = training.result()
            found.append((of_round, one.judged(of_round)))
        trained = last.result()
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


class _Round(NamedTuple):
    """What a round learns from, is chosen by and is judged on.

    Attributes:
        plan: how to learn.
        train: rows of groups that are learned from, with predictions of the pooled model.
        validation: of those that choose; None: there are none.
        learned: of both, as simpler models learn from them.
        test: of groups held out.
        pooled: fitted to all but those held out.
    """

    plan: Plan
    train: Rows
    validation: Rows | None
    learned: Rows
    test: Rows
    pooled: PooledFit

    @staticmethod
    def of(rows: Rows, split: GroupSplit, plan: Plan) -> "_Round":
        """The parts of these rows; fits the pooled model."""
        part = split.parts[rows.groups]
        # a category, or a gap, that no group learned from has is nothing that is known
        known = np.any(rows.inputs[part == TRAIN] != 0, axis=0)
        if not known.all():
            rows = rows._replace(inputs=rows.inputs * known)
        learned, of_learned = rows.of(np.flatnonzero(part != TEST)), part[part != TEST]
        pooled = plan.pooled(learned)
        with_pooled = learned.with_pooled(pooled.cross_fitted)
        train, validation = (
            with_pooled.of(np.flatnonzero(of_learned == one)) for one in (TRAIN, VALIDATION)
        )
        test = rows.of(np.flatnonzero(part == TEST))
        has_validation = len(validation.inputs) > 0
        return _Round(plan, train, validation if has_validation else None, learned, test, pooled)

    def judged(self, trained: MetaTrained) -> Judged | None:
        """What is found on the groups held out; None where there are none to be judged on."""
        if not len(self.test.groups):
            return None
        plan = self.plan
        return judge(
            trained.learner,
            self.learned,
            self.test,
            classes=plan.num_outputs if plan.loss == "cross-entropy" else None,
            is_ordered=plan.is_ordered,
            seed=plan.seed,
        )


def _staged(report: Callable[[Json], None] | None, stage: str):
    return None if report is None else lambda line: report({**line, "stage": stage})
