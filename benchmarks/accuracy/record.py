"""Keep the results of finished runs: `results/<recipe>[-first-order].json`, or `--name`.

    .venv/bin/mamlax train sinusoid --num-seeds 3 --out runs/sinusoid/0-2      # minutes to hours
    .venv/bin/python -m benchmarks.accuracy.record runs/sinusoid/0-2           # seconds

Run it on the machine that trained. Writes the evaluation with the command that repeats the run, the
versions and machine it ran with, and what meta-training took: outer steps per second (median over
log intervals), the seconds in compiled steps, and those by the clock from the first line of the log
to the last, validation and checkpoints included (and other work, where the machine had some), and
the last metrics of its log; of policies also their returns in training. What began from its
pretrained baseline has the same of that.

`--evaluation` takes another evaluation of a run, which `mamlax evaluate --out` wrote.
"""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from mamlax import records
from mamlax.cli._commands import command_of
from mamlax.config import RECIPES, Recipe

_MOST_RETURNS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--name", help="of the file, for another variant of a recipe (one run)")
    parser.add_argument("--evaluation", type=Path, help="a directory with another evaluation of it")
    parser.add_argument("--note", default="", help="what else there is to know of these runs")
    args = parser.parse_args()
    for run in args.runs:
        description = records.read_run(run)
        evaluation = records.read_evaluation(args.evaluation or run)
        recipe = description.recipe.changed(  # perhaps evaluated again, by mamlax evaluate
            num_test_tasks=evaluation.num_tasks,
            num_test_inner_steps=evaluation.curve[-1].num_inner_steps,
        )
        path = report.RESULTS / f"{args.name or name_of(recipe)}.json"
        beginning = run / "baselines" / str(recipe.training.init_from)
        pretraining = (
            {"pretraining": training(records.read_metrics(beginning / "metrics.jsonl"))}
            if beginning.is_dir()
            else {}
        )
        report.write_report(
            path,
            {
                "repeat": repeated_by(recipe, description.seed, description.num_seeds)
                + evaluated_by(evaluation),
                "note": args.note,
                "machine": {k: v for k, v in report.machine().items() if k != "load_before"},
                "versions": {"mamlax": description.mamlax, **description.environment},
                **pretraining,
                "training": training(records.read_metrics(run / "metrics.jsonl")),
                "evaluation": json.loads(
                    ((args.evaluation or run) / "evaluation.json").read_text()
                ),
            },
        )
        print(path.relative_to(report.ROOT))


def name_of(recipe: Recipe) -> str:
    """The recipe's name, and what the run is beside it."""
    ours, usual = (one.settings.get("first_order") for one in (recipe, RECIPES[recipe.name]))
    return f"{recipe.name}-first-order" if ours and not usual else recipe.name


def repeated_by(recipe: Recipe, seed: int, num_seeds: int) -> str:
    """The command line that repeats a run."""
    words = [command_of(recipe)]
    if seed:
        words.append(f"--seed {seed}")
    if num_seeds != 1:
        words.append(f"--num-seeds {num_seeds}")
    return " ".join(words)


def evaluated_by(evaluation: records.Evaluation) -> str:
    """The command line that repeats an evaluation with other settings than the recipe's."""
    if evaluation.held_out is None:
        return ""
    flags = [
        f"--{name.removeprefix('test_').replace('_', '-')}"
        + ("" if name == "within_alphabet" else f" {value}")
        for name, value in evaluation.held_out.items()
    ]
    return f" && mamlax evaluate RUN {' '.join(flags)} --out DIRECTORY"


def training(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What meta-training took, from its log."""
    steps = [0, *(line["step"] for line in lines)]
    rates = [line["time/outer_steps_per_second"] for line in lines]
    dates = [datetime.fromisoformat(line["time/date"]) for line in lines]
    seconds = [
        (end - start) / rate for start, end, rate in zip(steps, steps[1:], rates, strict=False)
    ]
    name = "train/post_adaptation_return"
    returns = {line["step"]: round(line[name], 1) for line in lines if name in line}
    every = -(-len(returns) // _MOST_RETURNS) or 1
    thinned = dict(list(returns.items())[::-every][::-1])  # with the last
    return {
        "num_outer_steps": steps[-1],
        "median_outer_steps_per_second": report.rounded_median(rates),
        "seconds": round(sum(seconds), 1),
        "seconds_by_the_clock": (dates[-1] - dates[0]).total_seconds(),
        "last": {key: value for key, value in lines[-1].items() if key.startswith("train/")},
        **({"returns": thinned} if thinned else {}),
    }


if __name__ == "__main__":
    main()
