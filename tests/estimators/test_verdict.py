"""The verdict of a report: it says what the errors of the groups show, and not more."""

import itertools
import json
import math
import re

import numpy as np
import pytest

from mamlax.estimators._comparison import Judged, report_of
from mamlax.estimators._entry import ADAPTED, OFFSET, TABICL, TREES, UNADAPTED, Entry
from mamlax.estimators._evidence import is_shown_positive, mean_and_interval
from mamlax.estimators._report import Report, report_from_json
from mamlax.estimators._simpler_models import SUPPORT_SIZES

SIZES = (1, 5, 10)
COLUMNS = [SUPPORT_SIZES.index(size) for size in SIZES]


def found(errors, units=None):
    """A report of errors `[groups, sizes]` of each model."""
    shape = (len(errors[ADAPTED]), len(SUPPORT_SIZES), 1)
    padded = {}
    for model, values in errors.items():
        padded[model] = np.full(shape, np.nan)
        padded[model][:, COLUMNS, 0] = values
    units = np.arange(shape[0]) if units is None else units
    return report_of([Judged(units, padded, np.array([[-1.0], [1.0]]))])


def simulated(means, num_groups, rng, tail=1.0, num_units=None):
    """Errors of groups, of which some are harder for all: means `[sizes]` for each model."""
    num_units = num_units or num_groups
    units = np.arange(num_groups) % num_units
    hard = np.exp(tail * rng.normal(size=(num_units, 1)))[units]
    own = {
        model: np.exp(0.5 * tail * rng.normal(size=(num_units, len(SIZES))))[units]
        for model in means
    }
    scale = math.exp(tail**2 / 2 + tail**2 / 8)
    return found({model: hard * own[model] * means[model] / scale for model in means}, units)


def means(adapted, offset, trees=(3.0, 3.0, 3.0)):
    given = {ADAPTED: adapted, UNADAPTED: (2.0, 2.0, 2.0), OFFSET: offset, TREES: trees}
    return {model: np.array(values) for model, values in given.items()}


def surely(*given):
    """A report of a thousand groups that are nearly alike: all is shown."""
    return simulated(means(*given), 1000, np.random.default_rng(0), tail=0.0005)


def test_a_simpler_model_that_is_close_everywhere_is_enough():
    assert surely((1.0, 0.5, 0.2), (1.05, 0.4, 0.21)).verdict == (
        f"Use {OFFSET}: it is simpler, and at every number of rows tried (1, 5 and 10) its error "
        "is at most 10 % larger than that of the adapted model (95 % confidence, 1000 groups)."
    )


def test_a_large_network_is_not_simpler():
    """TabICL is named where it is better, and not where it is only nearly as good."""
    others = (2.0, 2.0, 2.0)
    close, better = (
        simulated(
            {**means((1.0, 0.5, 0.2), others), TABICL: np.array(values)},
            1000,
            np.random.default_rng(0),
            tail=0.0005,
        ).verdict
        for values in ((1.05, 0.52, 0.21), (0.9, 0.4, 0.1))
    )
    assert close.startswith("At every number of rows tried (1, 5 and 10) the adapted model is the")
    assert better.startswith(f"With 1, 5 and 10 rows {TABICL} is better than the adapted model")


def test_a_simpler_model_that_is_worse_somewhere_is_not_enough():
    verdict = surely((1.0, 0.5, 0.2), (0.8, 0.4, 0.25)).verdict
    assert verdict == (
        "With 10 rows of support the adapted model is the best (95 % confidence, 1000 groups): use "
        f"it there. With 1 and 5 rows {OFFSET} is better than the adapted model (95 % confidence, "
        f"1000 groups): adapted 1.000, {OFFSET} 0.800 (1 row); adapted 0.500, {OFFSET} 0.400 (5 "
        "rows)."
    )


def test_the_adapted_model_is_the_best_where_all_others_are_worse():
    verdict = surely((1.0, 0.5, 0.2), (1.2, 0.9, 0.9)).verdict
    assert verdict == (
        "At every number of rows tried (1, 5 and 10) the adapted model is the best (95 % "
        "confidence, 1000 groups): use it."
    )


def test_adapting_that_is_a_loss_is_not_the_best():
    verdict = surely((2.1, 0.5, 0.2), (2.6, 0.9, 0.9)).verdict
    assert verdict.startswith("With 5 and 10 rows of support the adapted model is the best")
    assert f"adapted 2.100, {UNADAPTED} 2.000 (1 row)" in verdict


def test_of_two_simpler_models_that_are_enough_the_better_is_named():
    assert surely((1.0, 0.5, 0.2), (1.05, 0.5, 0.2), (1.0, 0.45, 0.2)).verdict.startswith(
        f"Use {TREES}"
    )


def test_what_is_not_shown_is_said_with_both_errors():
    """A few groups that differ much: ten times the error may be chance."""
    errors = means((0.016,) * 3, (0.163,) * 3)
    report = found(
        {
            model: np.array([[values[0]]] * 5 + [[3 * values[0]]] * 3) * np.ones(3)
            + (model == OFFSET) * np.array([[2.0], *[[-0.1]] * 7])
            for model, values in errors.items()
        }
    )
    ours, theirs = (report.entry(model, 5).error for model in (ADAPTED, OFFSET))
    assert theirs > 5 * ours
    assert report.verdict.startswith("Cannot tell with 1, 5 and 10 rows (8 groups): adapted 0.028")
    assert f"adapted {ours:.3f}, {OFFSET} {theirs:.3f} (5 rows)" in report.verdict


def test_of_too_few_groups_there_is_no_verdict():
    rng = np.random.default_rng(0)
    for num_groups, words in ((1, "1 group held out"), (7, "7 groups held out")):
        verdict = simulated(means((1.0,) * 3, (2.0,) * 3), num_groups, rng).verdict
        assert verdict.startswith(f"Only {words}: too few to say which")
    sets = simulated(means((1.0,) * 3, (2.0,) * 3), 84, rng, num_units=4)
    assert sets.verdict.startswith("Only 4 sets of groups held out: too few")


def test_the_report_of_an_earlier_version_shows_nothing():
    """It was saved with intervals alone, each by itself."""
    entries = [
        dict(zip(Entry._fields[:7], (model, 5, error, 0.1, error - 1, 0.1, 12), strict=True))
        for model, error in ((ADAPTED, 1.0), (OFFSET, 1.5))
    ]
    saved = {"metric": "error", "num_groups": 12, "num_units": 12, "entries": entries}
    report = report_from_json(json.loads(json.dumps(saved)))
    assert report.verdict == (
        f"Cannot tell with 5 rows (12 groups): adapted 1.000, {OFFSET} 1.500 (5 rows)."
    )


def contradiction(report: Report) -> str | None:
    """What a verdict says that the table does not have."""
    verdict = report.verdict
    simpler = [model for model in report.models if model not in (ADAPTED, UNADAPTED)]

    def error(model, size):
        return report.entry(model, size).error

    if used := re.match(rf"Use ({'|'.join(map(re.escape, simpler))}):", verdict):
        for size in report.sizes:
            if error(used[1], size) > 1.1 * error(ADAPTED, size):
                return f"{used[1]} is not close with {size}"
    for sizes in best_at(report):
        for model in report.models:
            if model != ADAPTED and error(model, sizes) < error(ADAPTED, sizes):
                return f"{model} has the smaller error with {sizes}"
    for one, other in re.findall(r"adapted (\S+), .+? (\S+) \(\d+ rows?\)", verdict):
        for number in (one, other):
            if number not in str(report).removesuffix(verdict):
                return f"{number} is not in the table"
    return None


def best_at(report):
    """The sizes where the adapted model is said to be the best."""
    first = report.verdict.split(" of support the adapted model is the best")
    if report.verdict.startswith("At every number of rows tried"):
        return report.sizes
    return [int(one) for one in re.findall(r"\d+", first[0])] if len(first) > 1 else []


def test_the_verdict_never_contradicts_the_table():
    rng = np.random.default_rng(0)
    verdicts = set()
    for seed in range(60):
        num_groups = int(rng.choice([5, 9, 30, 100]))
        near = rng.choice([0.05, 0.5, 1.5])
        errors = {
            model: np.exp(near * rng.normal(size=3)) for model in means((1.0,) * 3, (1.0,) * 3)
        }
        report = simulated(errors, num_groups, rng, tail=rng.choice([0.1, 0.5, 1.5]))
        assert contradiction(report) is None, (seed, str(report))
        verdicts.add(report.verdict.split()[0])
    assert verdicts >= {"Use", "At", "With", "Cannot"}


TRUTHS = {
    "all alike": ((1.0,) * 3, (1.0,) * 3, (1.0,) * 3),
    "adapted hardly worse than allowed": ((1.12,) * 3, (1.0,) * 3, (1.0,) * 3),
    "a simpler one hardly worse than allowed": ((1.0,) * 3, (1.12,) * 3, (1.0, 1.0, 1.12)),
    "ten times better with many": ((1.0, 0.2, 0.1), (1.0, 1.0, 1.0), (1.5, 1.5, 1.5)),
}


@pytest.mark.parametrize("num_groups", [8, 30])
@pytest.mark.parametrize("tail", [0.3, 1.2])
@pytest.mark.parametrize("truth", TRUTHS)
def test_a_verdict_that_is_wrong_by_a_tenth_is_rare(truth, tail, num_groups):
    """In at most one of twenty."""
    errors = means(*TRUTHS[truth])
    rng, wrong, number = np.random.default_rng(0), 0, 40
    for _ in range(number):
        report = simulated(errors, num_groups, rng, tail)
        wrong += is_wrong(report, errors)
    assert wrong <= number / 20


def is_wrong(report, errors):
    for model, values in errors.items():
        if report.verdict.startswith(f"Use {model}:") and any(values > 1.1 * errors[ADAPTED]):
            return True
    return any(
        1.1 * errors[model][SIZES.index(size)] < errors[ADAPTED][SIZES.index(size)]
        for size, model in itertools.product(best_at(report), errors)
    )


def test_what_is_much_better_is_said_to_be():
    """Forty groups, ten times the error: no verdict that is always cautious."""
    rng, errors = np.random.default_rng(0), means((1.0, 0.2, 0.1), (1.1, 1.0, 1.0))
    said = sum(set(best_at(simulated(errors, 40, rng))) >= {5, 10} for _ in range(20))
    assert said >= 19


def test_what_is_a_little_better_everywhere_is_said_to_be_enough():
    rng, errors = np.random.default_rng(0), means((1.0,) * 3, (0.8,) * 3)
    said = sum(
        simulated(errors, 60, rng, tail=0.5).verdict.startswith(f"Use {OFFSET}") for _ in range(20)
    )
    assert said >= 19


def test_groups_held_out_together_show_no_more_than_one():
    values = 1 + np.random.default_rng(1).normal(size=40)
    alone = is_shown_positive(values, np.arange(40), 0.95)
    assert alone and not is_shown_positive(np.repeat(values[:4], 10), np.repeat(range(4), 10), 0.99)
    mean, half = mean_and_interval(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    np.testing.assert_allclose((mean, half), mean_and_interval(values, np.arange(40)))


def test_a_long_tail_that_was_not_drawn_is_reckoned_with():
    """Nine differences a little above zero and the tail on the other side: Student is too sure."""
    rng, number = np.random.default_rng(0), 400
    draws = [1.2 - np.exp(rng.normal(size=20) * 1.2 - 0.72) for _ in range(number)]
    # in truth the mean is 0.2: how often is it shown to be above 0.2?
    wrong = sum(is_shown_positive(one - 0.2, np.arange(20), 0.99) for one in draws)
    students = sum((one - 0.2).mean() / (one.std(ddof=1) / np.sqrt(20)) > 2.54 for one in draws)
    assert wrong < 0.05 * number < students
