"""A search over learning rates and inner steps, which ends trials that promise little.

What    an Optuna study of sinusoid-5-shot. Each trial is a run; a tracker reports its validations
        to the study, and raises what ends the trial. Start the command several times, in several
        shells: all work on the study in runs/search/study.db, and a later one goes on with it.
Run     python examples/search_with_optuna.py          (--smoke: under a minute)
Takes   TAKES on one processor core; needs: pip install optuna
Expect  EXPECT 1
"""

import math
import sys
from pathlib import Path

import optuna

import mamlax
from mamlax.config import RECIPES

smoke = "--smoke" in sys.argv
folder = Path("runs/search")
num_trials, num_outer_steps = (3, 20) if smoke else (20, 5_000)
small = (
    {"hidden_sizes": (8,), "num_validation_tasks": 20, "num_test_inner_steps": 2} if smoke else {}
)
recipe = RECIPES["sinusoid-5-shot"].changed(
    num_outer_steps=num_outer_steps,
    num_baseline_steps=0,
    log_interval=num_outer_steps // 20,
    validation_interval=num_outer_steps // 10,
    num_test_tasks=100,
    **small,
)


class Pruning(mamlax.trackers.Tracker):
    """Reports validations to a trial; `raises` lets the end of a trial through."""

    name, raises = "optuna", (optuna.TrialPruned,)

    def __init__(self, trial):
        self.trial, self.best = trial, math.inf

    def log(self, series, step, values):
        error = values.get("validation/mse") if series == "main" else None
        if error is None:
            return
        self.best = min(self.best, error)
        self.trial.report(error, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"after {step} outer steps")


def objective(trial):
    chosen = recipe.changed(
        inner_learning_rate=trial.suggest_float("inner_learning_rate", 1e-3, 0.1, log=True),
        num_inner_steps=trial.suggest_int("num_inner_steps", 1, 5),
        outer_learning_rate=trial.suggest_float("outer_learning_rate", 1e-4, 1e-2, log=True),
    )
    pruning = Pruning(trial)
    mamlax.train(chosen, directory=folder / f"trial-{trial.number}", trackers=[pruning])
    return pruning.best


folder.mkdir(parents=True, exist_ok=True)
study = optuna.create_study(
    study_name=recipe.name,
    storage=f"sqlite:///{folder}/study.db",
    load_if_exists=True,
    pruner=optuna.pruners.MedianPruner(n_startup_trials=1 if smoke else 5),
)
study.optimize(objective, n_trials=num_trials, catch=mamlax.TrainingDivergedError)
print(f"{study.best_value:.3f} with {study.best_params}")
