"""The paper's evaluation of a run: the metric of the run and its baselines on held-out tasks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError
from .._processes import from_first, in_each, is_first
from ..config._catalog import RECIPES
from ..config._recipe import Recipe
from ..records._curves import Curves, write_curves
from ..records._description import RunDescription, environment
from ..records._evaluation import MAIN, Curve, Evaluation, curve_of, write_evaluation
from ..records._examples import write_examples
from ..training._evaluation import summarize
from ._agreement import check_agreement
from ._experiment import Announce, Experiment, experiment_in, silent
from ._fingerprints import fingerprints_of
from ._method import draws
from ._metric import TEST_SEED
from ._result import StageResult, restored_result
from ._stage import Stage
from .problems._parts import Parts, PolicyParts, SupervisedParts


def evaluate(
    directory: str | Path,
    *,
    num_tasks: int | None = None,
    num_inner_steps: int | None = None,
    data_dir: str | None = None,
    out: str | Path | None = None,
    baselines: bool = True,
    announce: Announce = silent,
    **problem: Any,
) -> Evaluation:
    """Evaluate a trained run again, e.g. on more tasks, and rewrite its `evaluation.json`.

    Several processes of `jax.distributed` that make the same call share the tasks, as in `train`;
    the first one has the directory, and calls `announce`.

    Args:
        directory: the run directory.
        num_tasks: held-out tasks; None: as in the recipe.
        num_inner_steps: inner steps; None: as in the recipe.
        data_dir: where data sets are.
        out: another directory for the evaluation; None: the run's.
        baselines: also evaluate the baselines, which takes most of the time.
        announce: called with the name of each phase before it starts; some compile for minutes.
        **problem: settings of the recipe's problem, in the place of those trained with: other
            held-out tasks, e.g. `test_ways=5, shots=5`, or of Omniglot `within_alphabet=True`; or
            other features, `mirrored_features=True`, `centered_features=True`. The evaluation then
            has a directory of its own, `out`.

    Raises:
        MamlaxError: if the directory holds no trained run, a number is out of range, or `problem`
            is no setting of it or comes without `out`.
    """
    announce = announce if is_first() else silent
    directory = Path(directory)
    place = directory if out is None else Path(out)
    holds_run = from_first(lambda: (place / "recipe.json").exists())
    in_each(lambda: _check_place(directory, place, holds_run, tuple(problem)))
    experiment: Experiment = in_each(
        lambda: experiment_in(directory, data_dir, announce, **problem)
    )
    settings = experiment.recipe.evaluation
    num_tasks = settings.num_test_tasks if num_tasks is None else num_tasks
    if num_inner_steps is None:
        num_inner_steps = settings.num_test_inner_steps
    if num_tasks < 1 or num_inner_steps < 0:
        raise MamlaxError(
            f"the evaluation needs tasks and steps, got {num_tasks} tasks and "
            f"{num_inner_steps} inner steps."
        )
    _check_processes(experiment, num_tasks, num_inner_steps)
    results = {
        name: restored_result(experiment, stage)
        for name, stage in experiment.stages.items()
        if baselines or name == MAIN
    }
    experiment = experiment._replace(directory=place)
    return evaluate_results(experiment, results, num_tasks, num_inner_steps, problem)


def _check_place(directory: Path, place: Path, holds_run: bool, changed: tuple[str, ...]) -> None:
    """Refuse to write an evaluation over that of other tasks, or into another run."""
    is_own = place.resolve() == directory.resolve()
    if changed and is_own:
        raise MamlaxError(
            f"{', '.join(changed)}: with other settings than the run's, this evaluation would "
            "replace that of the run. Give another directory (out, --out)."
        )
    if holds_run and not is_own:
        raise MamlaxError(f"{place} holds another run. Give a directory (out, --out) without one.")


def _check_processes(experiment: Experiment, num_tasks: int, num_inner_steps: int) -> None:
    """Refuse processes that were asked for different evaluations, or have different data."""
    recipe = experiment.recipe.changed(
        num_test_tasks=num_tasks, num_test_inner_steps=num_inner_steps
    )
    seeds = experiment.seeds
    asked = RunDescription(recipe, seeds.first, seeds.count, environment=environment())
    check_agreement(experiment, asked)


def evaluate_results(
    experiment: Experiment,
    results: Mapping[str, StageResult],
    num_tasks: int,
    num_inner_steps: int,
    problem: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Write `curves.npz`, `evaluation.json` and `examples.npz`; return the evaluation.

    Of several processes, the first one writes.
    """
    recipe, parts, directory = experiment.recipe, experiment.parts, experiment.directory
    metric_fn = _returns_and_successes(parts)
    curves, successes = {}, {}
    for name, one in results.items():
        stage = experiment.stages[name]
        curves[name] = _test_curves(
            experiment, stage, one, num_tasks, num_inner_steps, metric_fn=metric_fn
        )
        if metric_fn is not None:
            curves[name], successes[name] = curves[name]
    if isinstance(parts, PolicyParts):
        for name, bound in parts.bounds.items():
            values = _on_test_tasks(experiment, bound, num_tasks)
            curves[name] = np.repeat(values[:, None], num_inner_steps + 1, axis=1)
    means = {name: curve_of(summarize(curve)) for name, curve in curves.items()}
    evaluation = Evaluation(
        recipe=recipe.name,
        algorithm=recipe.algorithm.name,
        metric=parts.metric,
        num_tasks=num_tasks,
        num_seeds=experiment.seeds.count,
        transductive=isinstance(parts, SupervisedParts) and parts.transductive,
        outer_step=results[MAIN].outer_step,
        curve=means.pop(MAIN),
        baselines=means,
        inner_learning_rates={name: one.inner_learning_rate for name, one in results.items()},
        published=_published(recipe),
        seeds=[curve_of(summarize(curve)) for curve in curves[MAIN]]
        if experiment.seeds.count > 1
        else None,
        non_transductive_curve=_non_transductive_curve(
            experiment, results[MAIN], num_tasks, num_inner_steps
        ),
        success_curve=curve_of(summarize(successes[MAIN])) if successes else None,
        kind_curves=_kind_curves(experiment, curves[MAIN]),
        held_out=dict(problem) if problem else None,
    )
    if not is_first():
        return evaluation
    which = draws(TEST_SEED, num_tasks)
    fingerprints = fingerprints_of(experiment.method.task, parts.test_tasks, which)
    write_curves(directory, Curves(curves, fingerprints))
    write_evaluation(directory, evaluation)
    examples = parts.examples(
        _adapters(experiment, results), recipe.shown_inner_steps, evaluation.algorithm
    )
    if examples is not None:
        write_examples(directory, examples)
    return evaluation


def _published(recipe: Recipe) -> dict[str, list[float]] | None:
    """The published means; None if there are none, or if the problem was changed."""
    curves = recipe.evidence.curves
    if not curves or recipe.problem != RECIPES[recipe.name].problem:
        return None
    return {name: list(curve) for name, curve in curves.items()}


def _test_curves(
    experiment: Experiment,
    stage: Stage,
    result: StageResult,
    num_tasks: int,
    num_inner_steps: int,
    note: str = "",
    metric_fn: Callable[..., PyTree] | None = None,
) -> PyTree:
    """The metric on the held-out tasks, `[(seeds,) tasks, steps + 1]`."""
    experiment.announce(f"{stage.shown}: evaluating on {num_tasks} held-out tasks{note}")
    metric_fn = metric_fn or experiment.parts.metric_fn
    curves = experiment.curves_of(stage.make_learner, metric_fn, num_inner_steps, num_tasks)
    return curves(result.params, result.inner_learning_rate, stage.test_tasks, TEST_SEED)


def _returns_and_successes(parts: Parts) -> Callable[..., PyTree] | None:
    """Both in one evaluation, where the environment says when a task is solved; None elsewhere."""
    success_fn = parts.success_fn if isinstance(parts, PolicyParts) else None
    if success_fn is None:
        return None
    return lambda trajectory: (parts.metric_fn(trajectory), success_fn(trajectory))


def _non_transductive_curve(
    experiment: Experiment, result: StageResult, num_tasks: int, num_inner_steps: int
) -> PyTree:
    parts = experiment.parts
    if not isinstance(parts, SupervisedParts) or parts.non_transductive_fn is None:
        return None
    main = experiment.stages[MAIN]
    curves = _test_curves(
        experiment,
        main,
        result,
        num_tasks,
        num_inner_steps,
        note=", not transductive",
        metric_fn=parts.non_transductive_fn,
    )
    return curve_of(summarize(curves))


def _on_test_tasks(
    experiment: Experiment, function: Callable[[PyTree], PyTree], num_tasks: int
) -> np.ndarray:
    """A function of each held-out task, `[tasks]`: a bound of its return, or whether it is of a
    kind.
    """
    tasks, method = experiment.parts.test_tasks, experiment.method
    of_one = jax.vmap(lambda draw: function(method.task(tasks, draw)))
    return np.asarray(of_one(draws(TEST_SEED, num_tasks)))


def _kind_curves(experiment: Experiment, curves: np.ndarray) -> dict[str, Curve] | None:
    """The curve of each kind of tasks that is among those of the evaluation."""
    parts, num_tasks = experiment.parts, curves.shape[-2]
    if not isinstance(parts, PolicyParts) or not parts.kinds:
        return None
    of_kind = {
        name: _on_test_tasks(experiment, is_of_kind, num_tasks)
        for name, is_of_kind in parts.kinds.items()
    }
    return {
        name: curve_of(summarize(curves[..., chosen, :]))
        for name, chosen in of_kind.items()
        if chosen.any()
    }


def _adapters(
    experiment: Experiment, results: Mapping[str, StageResult]
) -> dict[str, Callable[..., PyTree]]:
    """For each stage, a function that adapts its first seed to the tasks of the examples."""
    return {
        name: experiment.method.adapter(
            experiment.stages[name].make_learner,
            experiment.stages[name].test_tasks,
            experiment.seeds.first_of(one.params),
            one.inner_learning_rate,
        )
        for name, one in results.items()
    }
