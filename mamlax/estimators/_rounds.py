"""Judge what a table teaches on groups that were not learned from; then learn from all of them."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from .._files import Json
from ._calibration import Calibration
from ._comparison import Judged, judge, report_of
from ._fitting import MetaTrained, Plan, Validated, meta_train
from ._pooled import kind_of
from ._pooled_choice import PooledFit
from ._remarks import left_out_of
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
    trained = one.trained(_staged(report, "fit"))
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
    with training_threads() as trainings:
        for number, split in enumerate(splits):
            stage = f"round {number + 1} of {len(splits)}"
            of_round = plan._replace(seed=(plan.seed + number + 1) % 2**31)
            rounds.append(_Round.of(rows, split, of_round))
            started.append(trainings.start(rounds[-1].trained, _staged(report, stage)))
        pooled = plan.pooled(rows)

        def learn_from_all(report: Callable[[Json], None]) -> MetaTrained:
            # the rounds were started before, so that none waits for a thread
            chosen = Validated.of([one.result() for one in started])
            learned = rows.with_pooled(pooled.cross_fitted)
            return meta_train(plan, learned, None, pooled=pooled, chosen=chosen, report=report)

        last = trainings.start(learn_from_all, _staged(report, "fit"))
        found: list[tuple[MetaTrained, Judged | None]] = []
        for one, training in zip(rounds, started, strict=True):
            trained = trainings.result(training)
            remarks = [judged.remarks for _, judged in found if judged is not None]
            found.append((trained, one.judged(trained, left_out_of(remarks))))
        trained = trainings.result(last)
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
        rows: of all groups, as the round knows them.
        part: `[rows]`, which part each is of.
        pooled: fitted to all but those held out.
    """

    plan: Plan
    rows: Rows
    part: np.ndarray
    pooled: PooledFit

    @staticmethod
    def of(rows: Rows, split: GroupSplit, plan: Plan) -> "_Round":
        """Of these rows; fits the pooled model."""
        part = split.parts[rows.groups]
        # a category, or a gap, that no group learned from has is nothing that is known
        known = np.any(rows.inputs[part == TRAIN] != 0, axis=0)
        if not known.all():
            rows = rows._replace(inputs=rows.inputs * known)
        return _Round(plan, rows, part, plan.pooled(rows.of(part != TEST)))

    def trained(self, report: Callable[[Json], None] | None) -> MetaTrained:
        """Meta-train on some groups, and choose by others."""
        learned = self.rows.of(self.part != TEST).with_pooled(self.pooled.cross_fitted)
        train, validation = (
            learned.of(self.part[self.part != TEST] == part) for part in (TRAIN, VALIDATION)
        )
        return meta_train(
            self.plan,
            train,
            validation if len(validation.inputs) else None,
            pooled=self.pooled,
            report=report,
        )

    def judged(self, trained: MetaTrained, without: Collection[str] = ()) -> Judged | None:
        """Compare on groups held out; None where there are none.

        Args:
            trained: by `trained`.
            without: simpler models that are not tried.
        """
        test = self.rows.of(self.part == TEST)
        if not len(test.groups):
            return None
        plan = self.plan
        return judge(
            trained.learner,
            self.rows.of(self.part != TEST),
            test,
            classes=plan.num_outputs if plan.loss == "cross-entropy" else None,
            is_ordered=plan.is_ordered,
            without=without,
            seed=plan.seed,
        )


def _staged(report: Callable[[Json], None] | None, stage: str):
    return None if report is None else lambda line: report({**line, "stage": stage})
