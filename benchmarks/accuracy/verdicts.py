"""Is the verdict of a report true? Tables of a known law: `results/verdicts.json`.

    .venv/bin/python -m benchmarks.accuracy.verdicts --seeds 20 --processes 2

Each table has 40 groups of 24 rows. What a verdict says is checked on 300 fresh groups, with the
model that was fitted to all 40 and the simpler models fitted to the same. *Use X* is wrong where X
is more than 10 % worse than the adapted model at a number of rows that was tried; *the adapted
model is the best* where, at a number of rows that it is said of, a simpler one is more than 10 %
better. In at most one of twenty tables that may be.
"""

import argparse
import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mamlax
from benchmarks import report
from mamlax.estimators._comparison import judge, report_of
from mamlax.estimators._entry import ADAPTED, UNADAPTED
from mamlax.estimators._rows import Rows

NUM_GROUPS, NUM_ROWS, NUM_FRESH = 40, 24, 400  # of which a report takes 300
MARGIN = 1.1
SAID = ("law", "seed", "seconds", "verdict", "wrong")

LAWS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "offset": lambda x, z: 2 * x[0] + z[0],
    "slopes": lambda x, z: z[0] + (2 + z[1]) * x[0],
    "curves": lambda x, z: z[0] + (1 + z[1]) * np.sin(3 * x[0]) + z[2] * np.cos(3 * x[0]),
    "nothing": lambda x, z: 2 * x[0],
}
"""Targets from two columns, the second of which says nothing, and three numbers of a group."""
NOISE = {"offset": 0.3, "slopes": 0.1, "curves": 0.1, "nothing": 0.5}


def table(
    law: str, num_groups: int, seed: int, num_rows: int = NUM_ROWS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), num_rows)
    x, z = rng.uniform(-1, 1, (len(groups), 2)), rng.normal(size=(num_groups, 3))
    noise = NOISE[law] * rng.normal(size=len(groups))
    return x, LAWS[law](x.T, z[groups].T) + noise, groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--note", default="")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "verdicts.json")
    args = parser.parse_args()
    machine, found = report.machine(), []
    versions = report.versions("jax", "mamlax", "scikit-learn", "numpy")
    asked = [(law, seed) for seed in range(args.seeds) for law in LAWS]
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for one in pool.imap(checked, asked):
            found.append(one)
            print(*(one[name] for name in SAID), sep="\n  ", flush=True)
            num_wrong = sum(bool(one["wrong"]) for one in found)
            results = {"num_tables": len(found), "num_wrong": num_wrong, "tables": found}
            header = {"note": args.note, "machine": machine, "versions": versions}
            report.write_report(args.output, {**header, "results": results})
    print(f"wrong: {num_wrong} of {len(found)}")


def checked(law_and_seed: tuple[str, int]) -> dict[str, object]:
    """A verdict, what is wrong with it, and errors on fresh groups."""
    law, seed = law_and_seed
    x, y, groups = table(law, NUM_GROUPS, seed)
    began = time.perf_counter()
    model = mamlax.FewShotRegressor(random_state=seed).fit(x, y, groups=groups)
    seconds = round(time.perf_counter() - began, 1)
    fresh = table(law, NUM_FRESH, 10_000 + seed)
    judged = judge(
        model.learner_,
        encoded(model, x, y, groups),
        encoded(model, *fresh),
        classes=None,
        seed=seed,
    )
    assert judged is not None
    said, truth = model.report(), report_of([judged])
    return {
        "law": law,
        "seed": seed,
        "seconds": seconds,
        "verdict": said.verdict,
        "wrong": wrong(said, truth),
        "said": errors_of(said),
        "true": errors_of(truth),
    }


def encoded(model: mamlax.FewShotRegressor, x, y, groups) -> Rows:
    ones = np.ones(len(x), np.float32)
    return Rows(model.columns_.encode(x), model.targets_.encode(y), ones, groups, groups)


def wrong(said: mamlax.Report, truth: mamlax.Report) -> list[str]:
    """What a verdict says that is not so, by more than a tenth."""
    faults = []
    simpler = [model for model in said.models if model not in (ADAPTED, UNADAPTED)]
    for model in simpler:
        for size in said.sizes:
            ours, theirs = (truth.entry(one, size).error for one in (ADAPTED, model))
            if said.verdict.startswith(f"Use {model}:") and theirs > MARGIN * ours:
                faults.append(f"{model} is {theirs / ours:.2f} of the adapted with {size} rows")
            if size in best_at(said) and ours > MARGIN * theirs:
                faults.append(f"the adapted is {ours / theirs:.2f} of {model} with {size} rows")
    return faults


def best_at(said: mamlax.Report) -> list[int]:
    """The numbers of rows with which the adapted model is said to be the best."""
    if said.verdict.startswith("At every number of rows tried"):
        return said.sizes
    first, *more = said.verdict.split(" of support the adapted model is the best")
    return [int(number) for number in re.findall(r"\d+", first)] if more else []


def errors_of(one: mamlax.Report) -> dict[str, dict[str, float]]:
    return {
        model: {str(size): round(one.entry(model, size).error, 5) for size in one.sizes}
        for model in one.models
    }


if __name__ == "__main__":
    main()
