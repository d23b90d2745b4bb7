"""Train, evaluate and draw a recipe: the pieces of the library put together.

A run directory holds `recipe.json`, `metrics.jsonl`, `checkpoint/`, `evaluation.json`,
`curves.npz`, `examples.npz`, `figures/`, and under `baselines/` the same for what MAML is compared
with.
"""

import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import MamlaxError
from .._files import replacing, write_json
from .._types import OuterLoop
from ..algorithms._over_tasks import check_micro_batches
from ..training._evaluation import as_json, summarize
from ..training._metrics import read_metrics
from ..training._run import Run, Validation, restore_run, run
from ..training._run_directory import open_run, read_run
from ._algorithm import warn_of
from ._catalog import RECIPES
from ._curves import Curves, fingerprints_of, write_curves
from ._parts import Parts
from ._recipe import Recipe
from ._settings import check_evaluation, check_settings, description_of, recipe_from
from ._stage import Learned, Stage, stages_of

_VALIDATION_SEED, _TEST_SEED = 1, 2
_STEP_SIZE_FACTORS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_NUM_TUNING_TASKS = 100

Report = Callable[[str, dict[str, Any]], None]
Announce = Callable[[str], None]


def _silent(*_: Any) -> None:
    """Nobody is told."""


def train(
    recipe: Recipe,
    *,
    seed: int = 0,
    num_seeds: int = 1,
    directory: Path,
    data_dir: str | None = None,
    report: Report = _silent,
    announce: Announce = _silent,
) -> dict[str, Any]:
    """Meta-train a recipe and its baselines in `directory` and evaluate; resume what is there.

    Args:
        recipe: what to do.
        seed: the (first) seed.
        num_seeds: seeds trained side by side in one program.
        directory: the run directory.
        data_dir: where data sets are; see `omniglot`.
        report: called with what is running (the algorithm or a baseline's name) and each log line.
        announce: called with what begins, before what may compile for minutes.

    Returns:
        The evaluation, as written to `evaluation.json`.
    """
    if num_seeds < 1:
        raise MamlaxError(f"--num-seeds must be 1 or more, got {num_seeds}.")
    check_settings(recipe)
    parts = recipe.build(data_dir)
    experiment = Experiment(recipe, parts, directory, seed, num_seeds, announce)
    experiment.check()
    may_grow = tuple(f"settings.{name}" for name in recipe.may_grow)
    open_run(directory, description_of(recipe, seed, num_seeds), may_grow=may_grow)
    learned = {
        name: experiment.learned(stage, experiment.train(stage, report))
        for name, stage in experiment.stages.items()
    }
    return experiment.evaluate(learned, recipe.num_test_tasks, recipe.num_test_inner_steps)


def evaluate(
    directory: Path,
    *,
    num_tasks: int | None = None,
    num_inner_steps: int | None = None,
    data_dir: str | None = None,
    announce: Announce = _silent,
) -> dict[str, Any]:
    """Evaluate a trained run again, e.g. on more tasks, and rewrite its `evaluation.json`.

    Args:
        directory: the run directory.
        num_tasks: held-out tasks; as the recipe says where None.
        num_inner_steps: inner steps; as the recipe says where None.
        data_dir: where data sets are.
        announce: called with what begins, before what may compile for minutes.
    """
    experiment = experiment_in(directory, data_dir, announce)
    recipe = experiment.recipe
    num_tasks = recipe.num_test_tasks if num_tasks is None else num_tasks
    if num_inner_steps is None:
        num_inner_steps = recipe.num_test_inner_steps
    check_evaluation(num_tasks, num_inner_steps)
    learned = {
        name: experiment.learned(stage, experiment.restore(stage))
        for name, stage in experiment.stages.items()
    }
    return experiment.evaluate(learned, num_tasks, num_inner_steps)


def experiment_in(
    directory: Path, data_dir: str | None, announce: Announce = _silent
) -> "Experiment":
    """The experiment whose run a directory holds."""
    description = read_run(directory)
    recipe = recipe_from(description)
    seed, num_seeds = description["seed"], description["num_seeds"]
    return Experiment(recipe, recipe.build(data_dir), directory, seed, num_seeds, announce)


class Experiment:
    """One recipe in one directory."""

    def __init__(
        self,
        recipe: Recipe,
        parts: Parts,
        directory: Path,
        seed: int,
        num_seeds: int,
        announce: Announce = _silent,
    ):
        self.recipe, self.parts, self.directory = recipe, parts, directory
        self.announce = announce
        self.num_seeds, self.method = num_seeds, recipe.method(parts)
        self.stages = stages_of(recipe, parts, directory)
        keys = [jax.random.key(seed + i) for i in range(num_seeds)]
        self.key = keys[0] if num_seeds == 1 else jnp.stack(keys)

    def check(self) -> None:
        """Refuse before training what could not be trained."""
        recipe, num_tasks = self.recipe, self.recipe.meta_batch_size
        num_devices = self.num_devices
        if recipe.num_devices is not None and num_devices != recipe.num_devices:
            raise MamlaxError(
                f"{num_tasks} tasks do not divide over --num-devices {recipe.num_devices}."
            )
        try:
            check_micro_batches(num_tasks // num_devices, recipe.task_batch_size)
            for stage in self.stages.values():
                if stage.train_tasks is not None:
                    self.loop(stage)
        except (ValueError, TypeError) as error:  # of settings that do not fit one another
            raise MamlaxError(str(error)) from error

    @property
    def num_devices(self) -> int:
        """How many devices share the tasks of a meta-batch."""
        mesh = self._mesh(self.recipe.meta_batch_size)
        return 1 if mesh is None else mesh.size

    def loop(self, stage: Stage) -> OuterLoop:
        """What trains a stage."""
        if stage.train_tasks is None:
            raise ValueError("this stage has nothing to train.")
        return self.method.outer_loop(stage, self._mesh(self.recipe.meta_batch_size))

    def train(self, stage: Stage, report: Report) -> Run | None:
        """Run a stage to its end, from its last checkpoint; None if it has nothing to train."""
        if stage.train_tasks is None:
            return None
        init_key, run_key = self._keys(stage)
        shown = self._shown(stage)
        self.announce(f"{shown}: preparing")
        trained = run(
            self.loop(stage),
            self._per_seed(stage.init_params)(init_key),
            key=run_key,
            num_outer_steps=stage.num_outer_steps,
            directory=stage.directory,
            log_interval=self.recipe.log_interval,
            checkpoint_interval=self.recipe.checkpoint_interval,
            validation=None if stage.is_baseline else self._validation(stage),
            report=lambda line: report(shown, {**line, "num_outer_steps": stage.num_outer_steps}),
        )
        lines = read_metrics(stage.directory / "metrics.jsonl")
        for line in lines[-1:]:
            warn_of(line)
        self._warn_of_validations(lines)
        return trained

    def restore(self, stage: Stage) -> Run | None:
        """What a stage's checkpoints hold; None if it has nothing to train."""
        if stage.train_tasks is None:
            return None
        lines = read_metrics(stage.directory / "metrics.jsonl")
        taken = lines[-1]["step"] if lines else 0
        if taken < stage.num_outer_steps:
            unfinished = (
                f"{self.directory} is unfinished: {stage.name} has taken {taken} of "
                f"{stage.num_outer_steps} outer steps. Repeat its mamlax train to finish it."
            )
            if not (stage.directory / "checkpoint").exists():
                raise MamlaxError(unfinished)
            warnings.warn(f"{unfinished} This is what there is so far.", stacklevel=2)
        init_key, _ = self._keys(stage)
        params = self._per_seed(stage.init_params)(init_key)
        return restore_run(self.loop(stage), params, stage.directory, seeds=self.num_seeds > 1)

    def learned(self, stage: Stage, trained: Run | None) -> Learned:
        """The result of a stage; the step size of a baseline is chosen on validation tasks."""
        init_key, _ = self._keys(stage)
        if trained is None:
            params, outer_step = self._per_seed(stage.init_params)(init_key), 0
        else:
            params, outer_step = trained.best_state.meta_params, trained.best_step
        params = self._per_seed(stage.finish)(init_key, params)
        rate = self.recipe.inner_learning_rate
        if stage.is_baseline:
            rates = [factor * rate for factor in _STEP_SIZE_FACTORS]
            steps = self.recipe.num_tuning_inner_steps
            self.announce(f"{stage.name}: choosing an inner learning rate")
            scores = [self._score(stage, params, r, steps, _NUM_TUNING_TASKS) for r in rates]
            best = np.nanargmax if self.parts.maximize else np.nanargmin
            rate = rates[best(scores)]
            if rate == 0.0:
                self.announce(f"{stage.name}: no inner learning rate helps; it stays unadapted")
        return Learned(params, rate, outer_step)

    def evaluate(
        self, learned: dict[str, Learned], num_tasks: int, num_inner_steps: int
    ) -> dict[str, Any]:
        """Write `curves.npz`, `evaluation.json` and `examples.npz`; return the second."""
        curves = {
            name: self._test_curves(self.stages[name], one, num_inner_steps, num_tasks)
            for name, one in learned.items()
        }
        for name, values in self._bounds(num_tasks).items():
            curves[name] = np.repeat(values[:, None], num_inner_steps + 1, axis=1)
        keys = jax.random.split(jax.random.key(_TEST_SEED), num_tasks)
        tasks = self.stages["maml"].test_tasks
        write_curves(self.directory, Curves(curves, fingerprints_of(self.method.task, tasks, keys)))
        results = {name: as_json(summarize(curve)) for name, curve in curves.items()}
        rates = {name: one.inner_learning_rate for name, one in learned.items()}
        evaluation = {
            "recipe": self.recipe.name,
            "algorithm": self.recipe.learner_name,
            "metric": self.parts.metric,
            "num_tasks": num_tasks,
            "num_seeds": self.num_seeds,
            "transductive": self.parts.transductive,
            "outer_step": learned["maml"].outer_step,
            "curve": results.pop("maml"),
            "baselines": results,
            "inner_learning_rates": rates,
        }
        published = self.recipe.evidence.curves  # of other tasks, if the problem was changed
        if published and self.recipe.problem == RECIPES[self.recipe.name].problem:
            evaluation["published"] = {name: list(curve) for name, curve in published.items()}
        if self.num_seeds > 1:
            evaluation["seeds"] = [as_json(summarize(curve)) for curve in curves["maml"]]
        if self.parts.non_transductive_fn is not None:
            other = self._test_curves(
                self.stages["maml"], learned["maml"], num_inner_steps, num_tasks, transductive=False
            )
            evaluation["non_transductive_curve"] = as_json(summarize(other))
        write_json(self.directory / "evaluation.json", evaluation)

        adapters = {
            name: self.method.adapter(
                self.stages[name].test_tasks,
                self._first_seed(one.params),
                one.inner_learning_rate,
                fine_tuned=self.stages[name].is_baseline,
            )
            for name, one in learned.items()
        }
        arrays = self.parts.examples(adapters, self.recipe.shown_inner_steps)
        examples = {name: np.asarray(array) for name, array in arrays.items()}
        if examples:
            examples["algorithm"] = np.asarray(evaluation["algorithm"])
            path = self.directory / "examples.npz"
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **examples)
        return evaluation

    def ready(self, stage: Stage, one: Learned) -> tuple[Any, Any]:
        """A learner with the steps of training, and the parameters of the first seed."""
        steps, rate = self.recipe.num_inner_steps, one.inner_learning_rate
        learner = self.method.learner(stage.test_tasks, steps, rate, fine_tuned=False)
        return learner, self._first_seed(one.params)

    def _shown(self, stage: Stage) -> str:
        """What a stage is called where people read it."""
        return stage.name if stage.is_baseline else self.recipe.learner_name

    def _keys(self, stage: Stage) -> tuple[Any, Any]:
        """Keys for initialization and training, another pair for each stage."""

        def keys(key):
            return tuple(jax.random.split(jax.random.fold_in(key, stage.key_index)))

        return keys(self.key) if self.num_seeds == 1 else jax.vmap(keys)(self.key)

    def _per_seed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return fn if self.num_seeds == 1 else eqx.filter_vmap(fn)

    def _first_seed(self, tree: Any) -> Any:
        if self.num_seeds == 1:
            return tree
        return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, tree)

    def _mesh(self, num_tasks: int) -> jax.sharding.Mesh | None:
        """The devices that share `num_tasks` tasks; None where it is one."""
        devices, wanted = jax.devices(), self.recipe.num_devices
        if wanted is not None and wanted > len(devices):
            raise MamlaxError(f"--num-devices {wanted}, but this run can use {len(devices)}.")
        count = math.gcd(num_tasks, wanted or len(devices))
        if count == 1:
            return None
        return jax.sharding.Mesh(np.array(devices[:count]), ("tasks",))

    def _validation(self, stage: Stage) -> Validation | None:
        recipe, metric = self.recipe, f"validation/{self.parts.metric}"
        if recipe.validation_interval is None:
            return None

        def validate(state):
            rate, num_tasks = recipe.inner_learning_rate, recipe.num_validation_tasks
            steps = recipe.num_judged_inner_steps
            return {metric: self._score(stage, state.meta_params, rate, steps, num_tasks)}

        return Validation(validate, recipe.validation_interval, metric, self.parts.maximize)

    def _warn_of_validations(self, lines: list[dict[str, Any]]) -> None:
        """Warn where no checkpoint could be chosen, since every validation diverged."""
        metric, recipe = f"validation/{self.parts.metric}", self.recipe
        values = [line[metric] for line in lines if metric in line]
        trained, validated = recipe.num_inner_steps, recipe.num_judged_inner_steps
        if values and values.count(None) == len(values) and validated != trained:
            warnings.warn(
                f"every validation diverged: they take {validated} inner steps, training "
                f"{trained}. The last checkpoint is taken. --num-validation-inner-steps {trained} "
                "would choose the best after as many as in training.",
                stacklevel=2,
            )

    def _score(
        self,
        stage: Stage,
        params: Any,
        inner_learning_rate: float,
        num_inner_steps: int,
        num_tasks: int,
    ) -> float:
        """The mean metric after `num_inner_steps` on validation tasks."""
        curves = self._curves(num_inner_steps, num_tasks, fine_tuned=stage.is_baseline)
        values = curves(params, inner_learning_rate, stage.validation_tasks, _VALIDATION_SEED)
        return float(np.mean(values[..., -1]))

    def _test_curves(
        self,
        stage: Stage,
        one: Learned,
        num_inner_steps: int,
        num_tasks: int,
        *,
        transductive: bool = True,
    ) -> np.ndarray:
        """The metric on the held-out tasks, `[(seeds,) tasks, steps + 1]`."""
        words = "" if transductive else ", not transductive"
        self.announce(f"{self._shown(stage)}: evaluating on {num_tasks} held-out tasks{words}")
        curves = self._curves(
            num_inner_steps, num_tasks, fine_tuned=stage.is_baseline, transductive=transductive
        )
        return curves(one.params, one.inner_learning_rate, stage.test_tasks, _TEST_SEED)

    @functools.cache  # noqa: B019  an experiment lives as long as its command
    def _curves(
        self, num_inner_steps: int, num_tasks: int, *, fine_tuned: bool, transductive: bool = True
    ) -> Callable[..., np.ndarray]:
        """`curves(params, inner_learning_rate, tasks, seed) -> [(seeds,) tasks, steps + 1]`.

        The step size is an argument of the compiled program, so that trying several is cheap.
        """

        @eqx.filter_jit
        def curves(params, inner_learning_rate, tasks, seed):
            keys = jax.random.split(jax.random.key(seed), num_tasks)
            of_one = self.method.curves(
                tasks,
                num_inner_steps,
                inner_learning_rate,
                self._mesh(num_tasks),
                fine_tuned=fine_tuned,
                transductive=transductive,
            )
            return self._per_seed(lambda params: of_one(params, keys))(params)

        return lambda params, rate, tasks, seed: np.asarray(
            curves(params, jnp.asarray(rate, jnp.float32), tasks, jnp.asarray(seed))
        )

    def _bounds(self, num_tasks: int) -> dict[str, np.ndarray]:
        """What is known of the held-out tasks without learning, by name: `[tasks]`."""
        keys = jax.random.split(jax.random.key(_TEST_SEED), num_tasks)

        def on_tasks(bound):
            tasks = self.stages["maml"].test_tasks
            return np.asarray(jax.vmap(lambda key: bound(self.method.task(tasks, key)))(keys))

        return {name: on_tasks(bound) for name, bound in self.parts.bounds.items()}
