"""Train a recipe and its baselines, and evaluate them.

A run directory holds `recipe.json`, `metrics.jsonl`, `checkpoint/`, `evaluation.json`,
`curves.npz`, `examples.npz`, `figures/`, and under `baselines/` the logs and checkpoints of the
baselines.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from .._errors import MamlaxError, warn
from .._files import Json
from .._processes import from_first, in_each, is_first
from ..config._catalog import RECIPES
from ..config._recipe import Recipe
from ..config._settings import LARGEST_SEED, Count, Seed, check_setting
from ..records._description import RunDescription, environment, open_run
from ..records._evaluation import MAIN, Evaluation
from ..records._json import to_json
from ..records._metrics import read_metrics
from ..trackers._choice import trackers_of
from ..trackers._tracker import Tracker
from ..trackers._tracking import Tracking, tracking
from ..training._record import Record
from ..training._run import Run, TrainingDivergedError, TrainingFailedError, run
from ..training._validation import Validation
from ._agreement import check_agreement
from ._evaluate import evaluate_results
from ._experiment import (
    Announce,
    Experiment,
    check,
    experiment_of,
    initial_params,
    loop_of,
    silent,
)
from ._result import StageResult, finished, result_of, validation_score
from ._seeds import Seeds
from ._stage import Stage
from ._weights import arrays_of, matched_into, read_weights
from .problems._build import parts_of

Report = Callable[[str, Json], None]
Draw = Callable[[Path], Sequence[Path]]
_LARGE_RESIDUAL = 0.1
_AGAINST_DIVERGENCE = (
    "outer_learning_rate",
    "inner_learning_rate",
    "num_inner_steps",
    "gradient_clip",
    "max_unstable_share",
)
_OF_INNER_STEPS = ("inner_learning_rate", "num_inner_steps")  # which baselines do not train with


def train(
    recipe: Recipe,
    *,
    directory: str | Path,
    seed: int = 0,
    num_seeds: int = 1,
    data_dir: str | None = None,
    report: Report = silent,
    announce: Announce = silent,
    trackers: Sequence[str | Tracker] = (),
    draw: Draw | None = None,
) -> Evaluation:
    """Meta-train a recipe and its baselines in `directory` and evaluate; resumes an earlier run.

    Several processes of `jax.distributed` that make the same call train together: tasks are spread
    over the devices of all of them. The first one has the directory, calls `report`, `announce`
    and `draw`, and sends to the trackers.

    Args:
        recipe: the recipe.
        directory: the run directory.
        seed: the (first) seed.
        num_seeds: seeds trained side by side in one program.
        data_dir: where data sets are; see `omniglot`.
        report: called with what is running (the algorithm or a baseline's name) and each log line.
        announce: called with the name of each phase before it starts (some compile for minutes),
            and with where an earlier run resumes.
        trackers: where to watch the run: names (`"tensorboard"`, `"wandb"`, `"mlflow"`,
            `"trackio"`), or objects; see `mamlax.trackers`.
        draw: called with the directory after the evaluation; draws figures and returns their
            paths, for the trackers. `mamlax.plots.draw_run` is one.

    Returns:
        The evaluation, as written to `evaluation.json`.

    Raises:
        MamlaxError: if settings do not fit one another, the directory belongs to another run, or
            training diverged.

    Example:
        A recipe with other settings, the same as `mamlax train sinusoid boil --shots 5`::

            from mamlax.config import RECIPES

            recipe = RECIPES["sinusoid"].changed(algorithm="boil", shots=5)
            evaluation = mamlax.train(recipe, directory="runs/boil")
            print(evaluation.curve[1].mean)  # after one inner step
    """
    directory = Path(directory)
    chosen = in_each(lambda: trackers_of(trackers))  # before anything takes long
    if not is_first():
        report, announce, draw = silent, silent, None
    experiment = in_each(
        lambda: _prepared(recipe, directory, _seeds(seed, num_seeds), data_dir, announce)
    )
    seeds = experiment.seeds
    description = RunDescription(recipe, seeds.first, seeds.count, environment=environment())
    check_agreement(experiment, description)
    begin = in_each(lambda: _beginning(experiment, data_dir))  # before anything is written
    from_first(lambda: open_run(directory, description))
    named = {"recipe": recipe.name, "seed": seeds.first, "num_seeds": seeds.count}
    with tracking(chosen, directory, to_json({**named, **recipe.settings})) as tracked:
        results = _results(experiment, begin, report, tracked)
        evaluation = recipe.evaluation
        evaluation = evaluate_results(
            experiment, results, evaluation.num_test_tasks, evaluation.num_test_inner_steps
        )
        _track_evaluation(tracked, evaluation)
        if draw is not None:
            tracked.figures(draw(directory))
    return evaluation


def _seeds(first: Any, count: Any) -> Seeds:
    check_setting("seed", Seed, first)
    check_setting("num_seeds", Count, count)
    if first + count - 1 > LARGEST_SEED:
        raise MamlaxError(
            f"seed={first} and num_seeds={count} go beyond {LARGEST_SEED}, the largest seed. "
            "Choose a smaller seed."
        )
    return Seeds(int(first), int(count))


def _prepared(
    recipe: Recipe, directory: Path, seeds: Seeds, data_dir: str | None, announce: Announce
) -> Experiment:
    """The experiment, of which everything was checked that can be before anything is written."""
    if recipe.name not in RECIPES:
        raise MamlaxError(
            f"there is no recipe {recipe.name!r}: a run could not be read again. Keep the name of "
            "the recipe that it was made from, or add it to the catalog."
        )
    parts = parts_of(recipe, data_dir)
    experiment = experiment_of(
        recipe, parts, directory, seed=seeds.first, num_seeds=seeds.count, announce=announce
    )
    check(experiment)
    return experiment


def _results(
    experiment: Experiment, begin: PyTree, report: Report, tracked: Tracking
) -> dict[str, StageResult]:
    """Train all stages; first the baseline that the recipe begins from, if it does."""
    results, runs, source = {}, {}, experiment.recipe.training.init_from
    for name in sorted(experiment.stages, key=lambda name: name != source):
        if name == MAIN and source is not None and source in runs:
            begin = _from_baseline(experiment, runs[source], source)
        stage = experiment.stages[name]
        trained = train_stage(
            experiment,
            stage,
            _also_tracked(report, tracked, name),
            begin=begin if name == MAIN else None,
        )
        runs[name], results[name] = trained, result_of(experiment, stage, trained)
    return {name: results[name] for name in experiment.stages}


def train_stage(
    experiment: Experiment, stage: Stage, report: Report = silent, *, begin: PyTree = None
) -> Run | None:
    """Train a stage to its end, from its last checkpoint; None if it has nothing to train.

    It begins from `begin`; from random parameters where that is None.
    """
    if stage.train_tasks is None:
        return None
    _, run_key = experiment.seeds.keys(stage.key_index)
    experiment.announce(f"{stage.shown}: compiling")
    with _named_settings(experiment.recipe, stage):
        trained = _run(experiment, stage, run_key, report, begin)
    if is_first():
        lines = read_metrics(stage.directory / "metrics.jsonl")
        _warn_of_inexact_gradients(lines)
        _warn_of_validations(experiment, lines)
    return trained


def _run(experiment: Experiment, stage: Stage, key: PyTree, report: Report, begin: PyTree) -> Run:
    training = experiment.recipe.training
    return run(
        loop_of(experiment, stage),
        initial_params(experiment, stage) if begin is None else begin,
        key=key,
        num_outer_steps=stage.num_outer_steps,
        directory=stage.directory,
        log_interval=training.log_interval,
        checkpoint_interval=training.checkpoint_interval,
        validation=None if stage.is_baseline else _validation(experiment, stage),
        report=lambda line: report(stage.shown, {**line, "num_outer_steps": stage.num_outer_steps}),
        announce=lambda words: experiment.announce(f"{stage.shown}: {words}"),
    )


def _also_tracked(report: Report, tracked: Tracking, series: str) -> Report:
    """A report that is sent to the trackers too, with the stage's name as its series."""

    def both(shown: str, line: Json) -> None:
        report(shown, line)
        tracked.log(series, line)

    return both


def _track_evaluation(tracked: Tracking, evaluation: Evaluation) -> None:
    """Send the metric after 0, 1, … inner steps, which are the steps of these series."""
    for name, curve in {MAIN: evaluation.curve, **evaluation.baselines}.items():
        for point in curve:
            numbers = {evaluation.metric: point.mean, f"{evaluation.metric}_ci95": point.ci95}
            values = {key: value for key, value in numbers.items() if value is not None}
            tracked.values(f"evaluation/{name}", point.num_inner_steps, values)


def _beginning(experiment: Experiment, data_dir: str | None) -> PyTree:
    """The parameters that the recipe says to begin from; None: random ones, or a checkpoint's."""
    source, stage = experiment.recipe.training.init_from, experiment.stages[MAIN]
    if source is None or Record(stage.directory, is_shared=True).has_checkpoint:
        return None
    if source in experiment.parts.baselines:  # trained first, see `train`
        _check_baseline(experiment, source)
        return None
    arrays = read_weights(source, data_dir)
    return _matched(experiment, source, lambda: arrays)


def _check_baseline(experiment: Experiment, source: str) -> None:
    """Say, before anything is trained, what of a baseline will be begun from."""
    main, baseline = experiment.stages[MAIN], experiment.stages.get(source)
    if baseline is None or baseline.train_tasks is None:
        raise MamlaxError(
            f"init_from={source}: that baseline is not trained. Give pretrained and "
            f"num_baseline_steps of 1 or more (or ./{source} for a file of that name)."
        )
    if Path(source).exists():
        warn(
            f"init_from={source} is the baseline of that name, and no path. The file or folder "
            f"that is there is ./{source}.",
            stacklevel=3,
        )
    key = experiment.seeds.first_of(experiment.seeds.keys(0)[0])
    arrays = arrays_of(baseline.init_params(key))
    found = matched_into(main.init_params(key), arrays, source)
    experiment.announce(f"{main.shown}: will begin from {source}, which is trained first: {found}")


def _from_baseline(experiment: Experiment, trained: Run, source: str) -> PyTree:
    """The parameters that a baseline has learned, each seed its own."""
    if Record(experiment.stages[MAIN].directory, is_shared=True).has_checkpoint:
        return None
    return _matched(experiment, source, arrays_of, trained.best_state.meta_params)


def _matched(
    experiment: Experiment, source: str, arrays: Callable[..., Mapping[str, Any]], *learned: PyTree
) -> PyTree:
    """Initial parameters with `arrays(*learned)` in the place of those of their names."""
    stage = experiment.stages[MAIN]
    init_key, _ = experiment.seeds.keys(stage.key_index)

    def matched(key, *learned):
        return matched_into(stage.init_params(key), arrays(*learned), source)

    found = matched(*experiment.seeds.first_of((init_key, *learned)))
    experiment.announce(f"{stage.shown}: beginning from {source}: {found}")
    return experiment.seeds.each(lambda *args: matched(*args).params)(init_key, *learned)


@contextmanager
def _named_settings(recipe: Recipe, stage: Stage) -> Iterator[None]:
    """Add to errors of training the settings of the recipe that can prevent them."""
    try:
        yield
    except TrainingDivergedError as error:
        without = _OF_INNER_STEPS if stage.is_baseline else ()
        helpful = [x for x in _AGAINST_DIVERGENCE if x in recipe.settings and x not in without]
        raise TrainingDivergedError(f"{error} Settings to try: {', '.join(helpful)}.") from error
    except TrainingFailedError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TrainingFailedError(
            f"{error} Settings to try: task_batch_size, meta_batch_size. mamlax plan {recipe.name} "
            "says what fits."
        ) from error


def _validation(experiment: Experiment, stage: Stage) -> Validation | None:
    recipe = experiment.recipe
    if recipe.evaluation.validation_interval is None:
        return None
    metric = _validated_metric(experiment)

    def validate(state):
        score = validation_score(
            experiment,
            stage,
            finished(experiment, stage, state.meta_params),
            recipe.algorithm.inner_learning_rate,
            recipe.num_validation_inner_steps,
            recipe.evaluation.num_validation_tasks,
        )
        return {metric: score}

    interval = recipe.evaluation.validation_interval
    return Validation(validate, interval, metric, experiment.parts.maximize)


def _validated_metric(experiment: Experiment) -> str:
    return f"validation/{experiment.parts.metric}"


def _warn_of_inexact_gradients(lines: Sequence[Mapping[str, Any]]) -> None:
    """Warn if the implicit gradients at the end of training were far from exact."""
    residual = (lines[-1].get("train/residual") if lines else None) or 0.0
    if residual > _LARGE_RESIDUAL:
        warn(
            f"train/residual is {residual:.2g} at the end of training: conjugate gradients left so "
            "much of the linear system unsolved, and the meta-gradients were inexact. A larger "
            "proximal_strength or more num_conjugate_gradient_steps make them less so. "
            "(damping solves another, easier system: nearer to first order, not more exact.)",
            stacklevel=3,
        )


def _warn_of_validations(experiment: Experiment, lines: Sequence[Mapping[str, Any]]) -> None:
    """Warn if every validation diverged, so that no checkpoint could be chosen."""
    metric, recipe = _validated_metric(experiment), experiment.recipe
    values = [line[metric] for line in lines if metric in line]
    trained, validated = recipe.algorithm.num_inner_steps, recipe.num_validation_inner_steps
    if values and values.count(None) == len(values) and validated != trained:
        warn(
            f"every validation diverged: they take {validated} inner steps, training "
            f"{trained}. The last checkpoint is taken. num_validation_inner_steps={trained} "
            "would choose the best after as many as in training.",
            stacklevel=3,
        )
