"""Using a fitted table model, and fitting a large table: `results/speed_estimators.json`.

    .venv/bin/python -m benchmarks.speed.estimators        # 3 minutes on 2 cores

Adapting to 10 support rows of a new task and predicting 10 others, from pandas frames, warm;
adapting to 10,000 tasks of 10 rows in one call; fitting 1,300 rows of 65 groups in a fresh process,
compilation included, and once more in the same process, as it is by default, in one round, and
without a report; and fitting 1,000,000 rows of 20,000 groups, once, with the most that the process
held. Random data with 8 columns of numbers and one of categories.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mamlax
from benchmarks import report

FITS = {"default": {}, "refit=False": {"refit": False}, "compare=False": {"compare": False}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--note", default="")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_estimators.json")
    parser.add_argument("--fit", choices=FITS, help="fit 65 groups in this way, and nothing else")
    args = parser.parse_args()
    if args.fit is not None:
        first, again = (seconds_of_fit(**FITS[args.fit]) for _ in range(2))
        print(json.dumps({"first": first, "again": again}))
        return
    machine = report.machine()
    results = {
        make.__name__: use_of(make) for make in (mamlax.FewShotRegressor, mamlax.FewShotClassifier)
    }
    results["fit_65_groups_seconds"] = {
        way: report.run_process(sys.executable, __spec__.name, ["--fit", way], env={}, cores=None)
        for way in FITS
    }
    X, y, groups = rows(1_000_000, 20_000, classes=False)
    before, began = report.peak_memory_mib(), time.perf_counter()
    mamlax.FewShotRegressor(test_fraction=0.15, refit=False, random_state=0).fit(
        X, y, groups=groups
    )
    results["fit_1000000_rows"] = {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_memory_mib": report.peak_memory_mib(),
        "peak_memory_before_mib": before,
    }
    print(results, flush=True)
    versions = report.versions("jax", "mamlax", "scikit-learn", "pandas")
    document = {"note": args.note, "machine": machine, "versions": versions, "results": results}
    report.write_report(args.output, document)


def seconds_of_fit(**settings: Any) -> float:
    """Of 65 groups of 20 rows."""
    X, y, groups = rows(1_300, 65, classes=False)
    began = time.perf_counter()
    mamlax.FewShotRegressor(random_state=0, **settings).fit(X, y, groups=groups)
    return round(time.perf_counter() - began, 1)


def use_of(make: Any) -> dict[str, float]:
    """Milliseconds to adapt and predict, seconds to adapt to many tasks."""
    classes = make is mamlax.FewShotClassifier
    X, y, groups = rows(20_000, 400, classes)
    model = make(num_outer_steps=100, compare=False, random_state=0).fit(X, y, groups=groups)
    many = rows(100_000, 10_000, classes)

    def one() -> None:
        model.adapt(X[:10], y[:10]).predict(X[10:20])

    one(), model.adapt_many(*many)
    return {
        "adapt_and_predict_ms": round(1e3 * report.seconds_per_call(one, 2.0), 3),
        "adapt_10000_tasks_seconds": round(
            report.seconds_per_call(lambda: model.adapt_many(*many), 2.0), 3
        ),
    }


def rows(number: int, num_groups: int, classes: bool):
    """A table, its target and its groups, in random order."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.arange(number) % num_groups)
    X = pd.DataFrame(rng.normal(size=(number, 8)).astype(np.float32))
    X.columns = [f"x{i}" for i in range(8)]
    X["kind"] = rng.choice(["a", "b", "c"], number)
    y = rng.normal(size=num_groups)[groups] + X["x0"].to_numpy()
    return X, np.where(y > 0, "high", "low") if classes else y, groups


if __name__ == "__main__":
    main()
