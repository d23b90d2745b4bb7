"""Train, evaluate and draw a recipe: the pieces of the library put together.

A run directory holds `recipe.json`, `metrics.jsonl`, `checkpoint/`, `evaluation.json`,
`examples.npz`, `figures/`, and under `baselines/` the same for what MAML is compared with.
"""

import functools
import math
import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._files import replacing, write_json
from .._types import MamlaxError, MetaLearner, OuterLoop
from ..algorithms._maml import maml
from ..algorithms._outer_loop import outer_loop
from ..algorithms._over_tasks import adaptation_curves, over_tasks, sample_tasks
from ..training._evaluation import Point, summarize
from ..training._run import Run, Validation, restore_run, run
from ..training._run_directory import open_run, read_run
from ._catalog import RECIPES
from ._omniglot import OmniglotProblem
from ._recipe import Baseline, Parts, Recipe
from ._sinusoid import SinusoidProblem

_VALIDATION_KEY, _TEST_KEY = 1, 2
_STEP_SIZE_FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0)
_NUM_TUNING_TASKS = 100

Report = Callable[[str, dict[str, Any]], None]


def train(
    name: str,
    recipe: Recipe,
    *,
    seed: int = 0,
    num_seeds: int = 1,
    directory: Path,
    data_dir: str | None = None,
    report: Report = lambda stage, line: None,
) -> dict[str, Any]:
    """Meta-train a recipe and its baselines in `directory`, evaluate, draw; resume what is there.

    Args:
        name: the recipe's name.
        recipe: its settings.
        seed: the (first) seed.
        num_seeds: seeds trained side by side in one program.
        directory: the run directory.
        data_dir: where data sets are; see `omniglot`.
        report: called with what is running ("maml" or a baseline's name) and each log line.

    Returns:
        The evaluation, as written to `evaluation.json`.
    """
    if num_seeds < 1:
        raise MamlaxError(f"--num-seeds must be 1 or more, got {num_seeds}.")
    parts = recipe.problem.build(data_dir)
    open_run(directory, _description(name, recipe, seed, num_seeds))
    experiment = _Experiment(recipe, parts, directory, seed, num_seeds)
    learned = {stage: experiment.train(stage, report) for stage in experiment.stages}
    return experiment.evaluate(learned, recipe.num_test_tasks, recipe.num_test_inner_steps)


def evaluate(
    directory: Path,
    *,
    num_tasks: int | None = None,
    num_inner_steps: int | None = None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Evaluate a trained run again, e.g. on more tasks, and rewrite its `evaluation.json`.

    Args:
        directory: the run directory.
        num_tasks: held-out tasks; as the recipe says where None.
        num_inner_steps: inner steps; as the recipe says where None.
        data_dir: where data sets are.
    """
    description = read_run(directory)
    recipe = recipe_from(description["settings"])
    parts = recipe.problem.build(data_dir)
    seed, num_seeds = description["seed"], description["num_seeds"]
    experiment = _Experiment(recipe, parts, directory, seed, num_seeds)
    learned = {stage: experiment.restore(stage) for stage in experiment.stages}
    return experiment.evaluate(
        learned,
        recipe.num_test_tasks if num_tasks is None else num_tasks,
        recipe.num_test_inner_steps if num_inner_steps is None else num_inner_steps,
    )


def recipe_from(settings: dict[str, Any]) -> Recipe:
    """A recipe from its settings as `recipe.json` has them."""
    problems = {"SinusoidProblem": SinusoidProblem, "OmniglotProblem": OmniglotProblem}
    problem = dict(settings["problem"])
    kind = problems[problem.pop("kind")]
    problem = {k: tuple(v) if isinstance(v, list) else v for k, v in problem.items()}
    return Recipe(**{**settings, "problem": kind(**problem)})


def _description(name: str, recipe: Recipe, seed: int, num_seeds: int) -> dict[str, Any]:
    settings = asdict(recipe)
    del settings["evidence"]
    settings["problem"]["kind"] = type(recipe.problem).__name__
    return {
        "recipe": name,
        "seed": seed,
        "num_seeds": num_seeds,
        "mamlax": version("mamlax"),
        "settings": settings,
        "environment": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("jax", "jaxlib", "optax", "equinox", "numpy")},
            "devices": [str(device.device_kind) for device in jax.devices()],
            "machine": platform.machine(),
        },
    }


class _Learned(NamedTuple):
    """What one stage has learned: parameters, and the step size they are fine-tuned with."""

    meta_params: Any
    inner_learning_rate: float
    sample_test: Callable[[Any], Any]
    outer_step: int


class _Experiment:
    """One recipe in one directory: MAML and its baselines, each a stage with the same steps."""

    def __init__(self, recipe: Recipe, parts: Parts, directory: Path, seed: int, num_seeds: int):
        self.recipe, self.parts, self.directory = recipe, parts, directory
        self.num_seeds = num_seeds
        self.stages = ["maml", *parts.baselines]
        keys = [jax.random.key(seed + i) for i in range(num_seeds)]
        self.key = keys[0] if num_seeds == 1 else jnp.stack(keys)

    def train(self, stage: str, report: Report) -> _Learned:
        """Run a stage to its end, from its last checkpoint if there is one."""
        num_outer_steps = self._num_outer_steps(stage)
        if num_outer_steps == 0:
            return self._learned(stage, None)
        init_key, run_key = self._keys(stage)
        loop = self._loop(stage)
        trained = run(
            loop,
            self._init_params(stage, init_key),
            key=run_key,
            num_outer_steps=num_outer_steps,
            directory=self._directory(stage),
            log_interval=self.recipe.log_interval,
            checkpoint_interval=self.recipe.checkpoint_interval,
            validation=self._validation() if stage == "maml" else None,
            report=lambda line: report(stage, {**line, "num_outer_steps": num_outer_steps}),
        )
        return self._learned(stage, trained)

    def restore(self, stage: str) -> _Learned:
        """What a stage has learned so far, from its checkpoints."""
        if self._num_outer_steps(stage) == 0:
            return self._learned(stage, None)
        init_key, _ = self._keys(stage)
        loop = self._loop(stage)
        return self._learned(
            stage,
            restore_run(
                loop,
                self._init_params(stage, init_key),
                self._directory(stage),
                seeds=self.num_seeds > 1,
            ),
        )

    def evaluate(
        self, learned: dict[str, _Learned], num_tasks: int, num_inner_steps: int
    ) -> dict[str, Any]:
        """Write `evaluation.json` and `examples.npz`; return the former."""
        if num_tasks < 1 or num_inner_steps < 0:
            raise MamlaxError(
                f"the evaluation needs tasks and steps, got {num_tasks} tasks and "
                f"{num_inner_steps} inner steps."
            )
        curves = self._curves(num_inner_steps, num_tasks)
        results = {
            stage: curves(one.meta_params, one.inner_learning_rate, one.sample_test, _TEST_KEY)
            for stage, one in learned.items()
        }
        main = results.pop("maml")
        evaluation = {
            "metric": self.parts.metric,
            "num_tasks": num_tasks,
            "num_seeds": self.num_seeds,
            "transductive": self.parts.transductive,
            "outer_step": learned["maml"].outer_step,
            "curve": _as_json(summarize(main)),
            "baselines": {name: _as_json(summarize(curves)) for name, curves in results.items()},
            "baseline_inner_learning_rates": {
                name: learned[name].inner_learning_rate for name in results
            },
        }
        if self.num_seeds > 1:
            evaluation["seeds"] = [_as_json(summarize(curves)) for curves in main]
        write_json(self.directory / "evaluation.json", evaluation)

        def adapt(stage, support, num_steps):
            one = learned[stage]
            learner = self._learner(num_steps, one.inner_learning_rate)
            return learner.adapt(self._first_seed(one.meta_params), support).params

        examples = {k: np.asarray(v) for k, v in self.parts.examples(adapt).items()}
        with replacing(self.directory / "examples.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **examples)
        return evaluation

    def _num_outer_steps(self, stage: str) -> int:
        recipe = self.recipe
        if stage == "maml":
            return recipe.num_outer_steps
        if self.parts.baselines[stage].sample_train is None:
            return 0
        steps = recipe.num_baseline_steps
        return recipe.num_outer_steps if steps is None else steps

    def _directory(self, stage: str) -> Path:
        return self.directory if stage == "maml" else self.directory / "baselines" / stage

    def _keys(self, stage: str) -> tuple[Any, Any]:
        """Keys for initialization and training, another pair per stage."""
        index = self.stages.index(stage)

        def keys(key):
            return tuple(jax.random.split(jax.random.fold_in(key, index)))

        return keys(self.key) if self.num_seeds == 1 else jax.vmap(keys)(self.key)

    def _per_seed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return fn if self.num_seeds == 1 else eqx.filter_vmap(fn)

    def _first_seed(self, tree: Any) -> Any:
        if self.num_seeds == 1:
            return tree
        return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, tree)

    def _init_params(self, stage: str, key: Any) -> Any:
        source = self.parts if stage == "maml" else self.parts.baselines[stage]
        return self._per_seed(source.init_params)(key)

    def _learner(self, num_inner_steps: int, inner_learning_rate: Any) -> MetaLearner:
        return maml(
            self.parts.loss_fn,
            inner_optimizer=optax.sgd(inner_learning_rate),
            num_inner_steps=num_inner_steps,
            first_order=self.recipe.first_order,
            remat=self.recipe.remat,
        )

    def _loop(self, stage: str) -> OuterLoop:
        recipe = self.recipe
        is_main = stage == "maml"
        learner = self._learner(
            recipe.num_inner_steps if is_main else 0, recipe.inner_learning_rate
        )
        mesh = self._mesh(recipe.meta_batch_size)
        num_devices = 1 if mesh is None else mesh.size
        batch_size = recipe.task_batch_size
        if batch_size is not None:  # several at once are welcome where there is no inner loop
            batch_size = math.gcd(
                recipe.meta_batch_size // num_devices, batch_size if is_main else 8 * batch_size
            )
        learner = over_tasks(learner, batch_size=batch_size, mesh=mesh)
        steps = self._num_outer_steps(stage)
        rate = recipe.outer_learning_rate
        optimizer = optax.adam(
            optax.cosine_decay_schedule(rate, steps) if recipe.outer_schedule == "cosine" else rate
        )
        if recipe.gradient_clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(recipe.gradient_clip), optimizer)
        sample = self.parts.sample_train if is_main else self.parts.baselines[stage].sample_train
        return outer_loop(
            learner, optimizer, sample, meta_batch_size=recipe.meta_batch_size
        )

    def _mesh(self, num_tasks: int) -> jax.sharding.Mesh | None:
        """The devices that share `num_tasks` tasks; None where it is one."""
        devices, wanted = jax.devices(), self.recipe.num_devices
        if wanted is not None and wanted > len(devices):
            raise MamlaxError(f"--num-devices {wanted}, but this machine offers {len(devices)}.")
        count = math.gcd(num_tasks, wanted or len(devices))
        if count == 1 or self.num_seeds > 1:
            return None
        return jax.sharding.Mesh(np.array(devices[:count]), ("tasks",))

    def _learned(self, stage: str, trained: Run | None) -> _Learned:
        """What a stage learned; the step size of a baseline is chosen on validation tasks."""
        rate = self.recipe.inner_learning_rate
        if stage == "maml":
            best = trained.best_state.meta_params
            return _Learned(best, rate, self.parts.sample_test, trained.best_step)
        baseline = self.parts.baselines[stage]
        key, _ = self._keys(stage)
        params = self._init_params(stage, key) if trained is None else trained.state.meta_params
        params = self._per_seed(baseline.finish)(key, params)
        rates = [factor * rate for factor in _STEP_SIZE_FACTORS]
        sample, steps = baseline.sample_validation, self.recipe.num_test_inner_steps
        scores = [self._score(params, r, sample, steps, _NUM_TUNING_TASKS) for r in rates]
        best = np.nanargmax(scores) if self.parts.metric == "accuracy" else np.nanargmin(scores)
        return _Learned(params, rates[best], baseline.sample_test, self._num_outer_steps(stage))

    def _validation(self) -> Validation | None:
        recipe, key = self.recipe, f"validation/{self.parts.metric}"
        if recipe.validation_interval is None:
            return None

        def validate(state):
            score = self._score(
                state.meta_params,
                recipe.inner_learning_rate,
                self.parts.sample_validation,
                recipe.num_inner_steps,
                recipe.num_validation_tasks,
            )
            return {key: score}

        return Validation(
            validate, recipe.validation_interval, key, self.parts.metric == "accuracy"
        )

    def _score(
        self,
        params: Any,
        inner_learning_rate: float,
        sample: Callable[[Any], Any],
        num_inner_steps: int,
        num_tasks: int,
    ) -> float:
        """The mean metric after `num_inner_steps` on validation tasks."""
        curves = self._curves(num_inner_steps, num_tasks)
        return float(np.mean(curves(params, inner_learning_rate, sample, _VALIDATION_KEY)[..., -1]))

    @functools.cache  # noqa: B019  an experiment lives as long as its command
    def _curves(self, num_inner_steps: int, num_tasks: int) -> Callable[..., np.ndarray]:
        """`curves(params, inner_learning_rate, sample, seed) -> [(seeds,) tasks, steps + 1]`.

        The step size is an argument of the compiled program, so that trying several is cheap.
        """

        @eqx.filter_jit
        def curves(params, inner_learning_rate, sample, seed):
            tasks = sample_tasks(sample, jax.random.key(seed), num_tasks)
            of_one = adaptation_curves(
                self._learner(0, inner_learning_rate),
                self.parts.metric_fn,
                num_inner_steps=num_inner_steps,
                batch_size=self.recipe.task_batch_size,
                mesh=self._mesh(num_tasks),
            )
            return self._per_seed(lambda params: of_one(params, tasks))(params)

        return lambda params, rate, sample, seed: np.asarray(
            curves(params, jnp.asarray(rate, jnp.float32), sample, jnp.asarray(seed))
        )


def _as_json(points: list[Point]) -> list[dict[str, Any]]:
    return [point._asdict() for point in points]


__all__ = ["RECIPES", "evaluate", "recipe_from", "train"]
