"""A real table with groups, five splits: `results/tables_beijing_air.json`.

    .venv/bin/python -m benchmarks.accuracy.tables DATA        # 8 minutes on one core

DATA holds beijing_air/beijing_air_12stations.csv.gz (UCI 501). A task is a station-month, months
are held out whole, columns are those of the weather. The error is relative to the variance of the
target over the rows held out; intervals are over the five splits (Student's t), each of which holds
out 15 % of the months. The target is PM2.5 as it is, and its logarithm.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

import mamlax
from benchmarks import report

COLUMNS = ["TEMP", "PRES", "DEWP", "RAIN", "wd", "WSPM"]
SIZES = (0, 1, 2, 5, 10, 20, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--note", default="")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "tables_beijing_air.json")
    args = parser.parse_args()
    machine = report.machine()
    table = pd.read_csv(args.data / "beijing_air" / "beijing_air_12stations.csv.gz")
    table = table[table["PM2.5"].notna()].reset_index(drop=True)
    month = (table["year"] * 100 + table["month"]).to_numpy()
    station_month = (table["station"] + month.astype(str)).to_numpy()
    results = {}
    for name, target in (("PM2.5", table["PM2.5"]), ("log PM2.5", np.log(table["PM2.5"]))):
        reports, seconds = [], []
        for split in range(args.splits):
            began = time.perf_counter()
            model = mamlax.FewShotRegressor(test_fraction=0.15, refit=False, random_state=split)
            model.fit(table[COLUMNS], target, groups=station_month, split_by=month)
            seconds.append(round(time.perf_counter() - began, 1))
            reports.append(model.report())
            print(name, split, seconds[-1], reports[-1], sep="\n", flush=True)
        results[name] = {
            "seconds_to_fit_and_compare": seconds,
            "errors": {
                model: {str(size): summary(reports, model, size) for size in SIZES}
                for model in reports[0].models
            },
        }
    versions = report.versions("jax", "mamlax", "scikit-learn", "pandas")
    document = {"note": args.note, "machine": machine, "versions": versions, "results": results}
    report.write_report(args.output, document)


def summary(reports: list[mamlax.Report], model: str, size: int) -> dict[str, object]:
    """Mean over splits, 95 % interval, and each of them."""
    errors = [one.entry(model, size).error for one in reports]
    (point,) = mamlax.summarize(np.array(errors)[:, None, None])  # splits in the place of seeds
    return {
        "mean": round(point.mean, 4),
        "ci95": round(point.ci95, 4),
        "splits": [round(error, 4) for error in errors],
    }


if __name__ == "__main__":
    main()
