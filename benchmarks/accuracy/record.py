"""Keep the results of finished runs: `results/<recipe>[-first-order].json`, or `--name`.

    .venv/bin/mamlax train sinusoid --num-seeds 3 --out runs/sinusoid/0-2      # minutes to hours
    .venv/bin/python -m benchmarks.accuracy.record runs/sinusoid/0-2           # seconds

Run it on the machine that trained. Writes the evaluation with the command that repeats the run, the
versions and machine it ran with, and what meta-training took: outer steps per second (median over
log intervals), the seconds in compiled steps, and those by the clock from the first line of the log
to the last, validation and checkpoints included (and other work, where the machine had some), and
the last metrics of its log.
"""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from mamlax.recipes import RECIPES, _settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--name", help="of the file, for another variant of a recipe (one run)")
    parser.add_argument("--note", default="", help="what else there is to know of these runs")
    args = parser.parse_args()
    for run in args.runs:
        description = json.loads((run / "recipe.json").read_text())
        evaluation = json.loads((run / "evaluation.json").read_text())
        evaluated = {  # perhaps again, by mamlax evaluate
            "num_test_tasks": evaluation["num_tasks"],
            "num_test_inner_steps": evaluation["curve"][-1]["num_inner_steps"],
        }
        description["settings"] |= evaluated
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        path = report.RESULTS / f"{args.name or name_of(description)}.json"
        report.write_report(
            path,
            {
                "repeat": command_of(description),
                "note": args.note,
                "machine": {k: v for k, v in report.machine().items() if k != "load_before"},
                "versions": {"mamlax": description["mamlax"], **description["environment"]},
                "training": training(lines),
                "evaluation": evaluation,
            },
        )
        print(path.relative_to(report.ROOT))


def name_of(description: dict[str, Any]) -> str:
    """The recipe's name, and what the run is beside it."""
    name = description["recipe"]
    first_order = description["settings"]["first_order"] and not RECIPES[name].first_order
    return f"{name}-first-order" if first_order else name


def command_of(description: dict[str, Any]) -> str:
    """The command line that repeats a run."""
    words = [_settings.command_of(_settings.recipe_from(description))]
    for name, default in (("seed", 0), ("num_seeds", 1)):
        if description[name] != default:
            words.append(f"--{name.replace('_', '-')} {description[name]}")
    return " ".join(words)


def training(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What meta-training took, from its log."""
    steps = [0, *(line["step"] for line in lines)]
    rates = [line["time/outer_steps_per_second"] for line in lines]
    dates = [datetime.fromisoformat(line["time/date"]) for line in lines]
    seconds = [
        (end - start) / rate for start, end, rate in zip(steps, steps[1:], rates, strict=False)
    ]
    return {
        "num_outer_steps": steps[-1],
        "median_outer_steps_per_second": report.rounded_median(rates),
        "seconds": round(sum(seconds), 1),
        "seconds_by_the_clock": (dates[-1] - dates[0]).total_seconds(),
        "last": {key: value for key, value in lines[-1].items() if key.startswith("train/")},
    }


if __name__ == "__main__":
    main()
