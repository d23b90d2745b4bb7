"""A policy that observes its task, and never adapts: `results/<recipe>-oracle.json`.

    .venv/bin/python -m benchmarks.accuracy.oracle ant-direction --num-outer-steps 125   # an hour

It tells about what adaptation can reach in an environment. If it does badly, look for the fault in
the environment or in the outer loop; if it does well, in the adaptation. It is trained as the
recipe's baseline of that name: the same outer loop and network, and as many episodes per outer step
as the recipe collects before and after its inner steps.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.accuracy.record import training
from mamlax import records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--num-outer-steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-kl", type=float, help="of the trust region; default: the recipe's")
    parser.add_argument("--directory", type=Path, help="for checkpoints and the log")
    parser.add_argument("--name", help="of the file, instead of <recipe>-oracle")
    parser.add_argument("--note", default="", help="what else there is to know of this run")
    args = parser.parse_args()
    machine = report.machine()
    trust = "" if args.max_kl is None else f"-{args.max_kl}"
    directory = args.directory or Path("runs") / f"{args.recipe}-oracle{trust}" / str(args.seed)
    returns, steps = trained(args, directory)
    report.write_report(
        report.RESULTS / f"{args.name or f'{args.recipe}-oracle'}.json",
        {
            "note": args.note,
            "machine": machine,
            "versions": report.versions("mamlax", "jax", "mujoco"),
            "training": training(records.read_metrics(steps)),
            "returns": returns,
        },
    )


def trained(args: Any, directory: Path) -> tuple[dict[str, Any], Path]:
    """Train it, and evaluate it: `{kind of task: {mean, ci95}}`, and where its log is."""
    import jax
    import numpy as np

    from mamlax.config import RECIPES
    from mamlax.experiments._experiment import experiment_of
    from mamlax.experiments._method import draws
    from mamlax.experiments._metric import TEST_SEED
    from mamlax.experiments._result import result_of
    from mamlax.experiments._train import train_stage
    from mamlax.experiments.problems._build import parts_of
    from mamlax.training._evaluation import summarize

    changes = {} if args.max_kl is None else {"max_kl": args.max_kl}
    recipe = RECIPES[args.recipe].changed(num_baseline_steps=args.num_outer_steps, **changes)
    parts: Any = parts_of(recipe, None)
    experiment = experiment_of(
        recipe, parts, directory, seed=args.seed, num_seeds=1, announce=print
    )
    stage = experiment.stages.get("oracle")
    if stage is None or stage.train_tasks is None:
        raise SystemExit(f"{args.recipe} has no oracle to train.")
    result = result_of(experiment, stage, train_stage(experiment, stage, _show), 0.0)
    num_tasks = recipe.evaluation.num_test_tasks
    curves = experiment.curves_of(stage.make_learner, parts.metric_fn, 0, num_tasks)(
        result.params, 0.0, stage.test_tasks, TEST_SEED
    )
    tasks = jax.vmap(lambda draw: experiment.method.task(stage.test_tasks, draw))(
        draws(TEST_SEED, num_tasks)
    )
    kinds = {name: np.asarray(jax.vmap(of)(tasks)) for name, of in parts.kinds.items()}
    chosen = {"all": np.ones(num_tasks, bool), **kinds}
    returns = {
        name: {"num_tasks": int(mask.sum())} | summarize(curves[mask])[0]._asdict()
        for name, mask in chosen.items()
    }
    return returns, stage.directory / "metrics.jsonl"


def _show(name: str, line: dict[str, Any]) -> None:
    print(name, line["step"], f"{line['train/post_adaptation_return']:.1f}", flush=True)


if __name__ == "__main__":
    main()
