"""Do intervals hold what they promise? Coverage on fresh groups: `results/intervals.json`.

    .venv/bin/python -m benchmarks.accuracy.intervals --seeds 2    # four models a seed

Tables of 40 groups and a known law, those of `verdicts`. After 3, 10 and 30 rows of support in 400
fresh groups: the share of the rows after them that lie in their intervals of 90 %, the mean width
of the intervals, and that of the narrowest that would have the coverage if they were of one width.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import mamlax
from benchmarks import report
from benchmarks.accuracy.verdicts import LAWS, NUM_FRESH, NUM_GROUPS, table

COVERAGE, SIZES, NUM_QUERY = 0.9, (3, 10, 30), 24
NUM_ROWS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--note", default="")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "intervals.json")
    args = parser.parse_args()
    machine, found = report.machine(), []
    for law in LAWS:
        for seed in range(args.seeds):
            found.append({"law": law, "seed": seed, **covered(law, seed)})
            print(found[-1], flush=True)
    means = {
        str(size): {
            law: round(
                np.mean([one["covered"][str(size)] for one in found if one["law"] == law]), 3
            )
            for law in LAWS
        }
        for size in SIZES
    }
    print(means)
    versions = report.versions("jax", "mamlax", "scikit-learn", "numpy")
    results = {"coverage": COVERAGE, "means": means, "tables": found}
    document = {"note": args.note, "machine": machine, "versions": versions, "results": results}
    report.write_report(args.output, document)


def covered(law: str, seed: int) -> dict[str, object]:
    """Coverage and widths, by the number of rows of support."""
    x, y, groups = table(law, NUM_GROUPS, seed, NUM_ROWS)
    began = time.perf_counter()
    model = mamlax.FewShotRegressor(random_state=seed).fit(x, y, groups=groups)
    found: dict[str, object] = {"seconds": round(time.perf_counter() - began, 1)}
    x, y, groups = table(law, NUM_FRESH, 10_000 + seed, NUM_ROWS)
    place = np.arange(len(y)) % NUM_ROWS
    query = place >= NUM_ROWS - NUM_QUERY
    shares, widths, of_one_width = {}, {}, {}
    for size in SIZES:
        support = place < size
        adapted = model.adapt_many(x[support], y[support], groups[support])
        lower, upper = adapted.predict_interval(x[query], groups[query], COVERAGE)
        errors = np.abs(y[query] - adapted.predict(x[query], groups[query]))
        is_within = (lower <= y[query]) & (y[query] <= upper)
        shares[str(size)] = round(float(is_within.mean()), 4)
        widths[str(size)] = round(float(np.mean(upper - lower)), 4)
        of_one_width[str(size)] = round(2 * float(np.quantile(errors, COVERAGE)), 4)
    return {**found, "covered": shares, "width": widths, "width_of_one": of_one_width}


if __name__ == "__main__":
    main()
