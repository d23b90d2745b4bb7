"""A search over learning rates and inner steps, which ends trials that promise little.

What    an Optuna study of sinusoid-5-shot. Each trial is a run; a tracker reports its validations
        to the study, and raises what ends the trial. Started in several shells, all work on the
        study in runs/search/study.db; started again, it goes on with it.
Run     python examples/search_with_optuna.py     (--smoke: under a minute; pip install optuna)
Takes   a quarter of an hour on one processor core that did other things too
Expect  a validation error of about 0.4, and half of the 12 trials ended early
"""

import sys
from pathlib import Path

import optuna  # pyright: ignore[reportMissingImports]

import mamlax

num_trials, num_outer_steps = (2, 1_000) if "--smoke" in sys.argv else (12, 5_000)
folder = Path("runs/search")
recipe = mamlax.config.RECIPES["sinusoid-5-shot"].changed(
    num_outer_steps=num_outer_steps,
    num_baseline_steps=0,
    log_interval=num_outer_steps // 10,
    validation_interval=num_outer_steps // 10,
    num_test_inner_steps=1,
)


class Pruning(mamlax.trackers.Tracker):
    name, raises = "optuna", (optuna.TrialPruned,)  # these end the run; other errors only warn

    def __init__(self, trial):
        self.trial = trial

    def log(self, series, step, values):
        if "validation/mse" in values:
            self.trial.report(values["validation/mse"], step)
            if self.trial.should_prune():
                raise optuna.TrialPruned(f"after {step} outer steps")


def objective(trial):
    chosen = recipe.changed(
        inner_learning_rate=trial.suggest_float("inner_learning_rate", 1e-3, 0.1, log=True),
        num_inner_steps=trial.suggest_int("num_inner_steps", 1, 3),
        outer_learning_rate=trial.suggest_float("outer_learning_rate", 1e-4, 1e-2, log=True),
    )
    run = folder / f"trial-{trial.number}"
    mamlax.train(chosen, directory=run, trackers=[Pruning(trial)])
    lines = mamlax.records.read_metrics(run / "metrics.jsonl")
    return min(filter(None, (line.get("validation/mse") for line in lines)), default=float("inf"))


folder.mkdir(parents=True, exist_ok=True)
pruner = optuna.pruners.MedianPruner(n_startup_trials=1)
study = optuna.create_study(
    storage=f"sqlite:///{folder}/study.db", pruner=pruner, study_name="search", load_if_exists=True
)
study.optimize(objective, n_trials=num_trials, catch=mamlax.TrainingDivergedError)
print(f"{study.best_value:.3f} with {study.best_params}")
