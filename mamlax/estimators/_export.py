"""A trained run, or a saved model, in a form that others can use."""

import json
import warnings
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import MamlaxError
from .._files import replacing, write_json
from .._types import Batch
from ..recipes._experiment import experiment_in
from ..recipes._omniglot import OmniglotProblem
from ..recipes._recipe import SupervisedRecipe
from ..training._run_directory import read_run
from ._architecture import architecture_of
from ._columns import Column, Columns
from ._few_shot import FewShotRegressor
from ._images import FewShotImageClassifier, Reading
from ._learner import ArrayLearner, LearnerRecipe, LearnerSettings, options_of
from ._learner_file import Loaded
from ._program_description import PLATFORMS, adaptation_of, description_of_program
from ._targets import Values


def learner_of_run(directory: str | Path, *, data_dir: str | None = None) -> Loaded:
    """What a run of `mamlax train` has learned, ready to adapt, predict and save.

    Args:
        directory: the run directory.
        data_dir: where data sets are; the run's is looked at.

    Returns:
        A `FewShotImageClassifier` for images, a `FewShotRegressor` for sinusoids.

    Raises:
        MamlaxError: if the directory holds no trained run, or one of reinforcement learning.
    """
    directory = Path(directory)
    read_run(directory)  # refuses what is none
    experiment = experiment_in(directory, data_dir)
    recipe = experiment.recipe
    if not isinstance(recipe, SupervisedRecipe):
        raise MamlaxError(
            f"{directory} is a run of {recipe.name}: a policy adapts in its environment, from "
            "episodes of its own. Use it from Python, by mamlax.load_run."
        )
    main = experiment.stages["maml"]
    learned = experiment.learned(main, experiment.restore(main))
    _, meta_params = experiment.ready(main, learned)
    initial = jax.eval_shape(experiment.parts.init_params, jax.random.key(0))
    steps = _num_inner_steps(directory, recipe)
    is_class = experiment.parts.metric == "accuracy"
    settings = LearnerSettings(
        architecture_of(initial),
        LearnerRecipe(**options_of(recipe)),
        "cross-entropy" if is_class else "squared-error",
        0.0,
        steps,
    )
    learner = ArrayLearner(settings, meta_params)
    if is_class:
        shape = experiment.parts.train_tasks.data.examples.shape[1:]
        summary = {
            "recipe": recipe.name,
            "outer_step": learned.outer_step,
            "num_classes": len(experiment.parts.train_tasks.data.names),
        }
        if accuracy := _accuracy(directory, settings.num_inner_steps, experiment.parts.test_tasks):
            summary["accuracy"] = accuracy
        invert = isinstance(recipe.problem, OmniglotProblem)
        if settings.network["name"] != "conv4":
            raise MamlaxError(
                f"{directory} was trained without convolutions (--network); a file of images is "
                "for conv4."
            )
        return FewShotImageClassifier(learner, Reading(shape[0] == shape[1], invert), summary)
    return _regressor(learner, learned.outer_step)


def write_stablehlo(path: str | Path, model: Any) -> None:
    """Write a model as one program for processors, GPUs and TPUs, which runs without this package.

    A model that is not adapted becomes a program that adapts and predicts, of
    `(support_inputs [s, ...], support_targets, support_weights [s], query_inputs [q, ...])`, for
    any s and q above 0. An adapted one becomes a program that predicts, of `(query_inputs,)`. Both
    give the network's `[q, outputs]`. How columns or images become its numbers, and how its
    outputs are read, is written beside it as JSON.

    Args:
        path: of the file; the JSON's is the same with `.json` after it.
        model: an estimator or an image classifier.
    """
    learner: ArrayLearner = model.learner_
    settings, adapted = learner.settings, adaptation_of(model)
    adapt, shapes = settings.adapt_fn(), settings.network
    one = shapes.get("image_shape", (shapes.get("num_inputs"),))

    def adapt_and_predict(inputs, targets, weights, queries):
        params = adapt(learner.meta_params, Batch(inputs, targets, weights=weights))
        return settings.predict(params, queries, inputs)

    def predict(queries):
        assert adapted is not None
        params = eqx.combine(adapted.own, adapted.shared)
        return settings.predict(params, queries, adapted.support_inputs)

    s, q = jax.export.symbolic_shape("s, q")
    numbers = settings.loss == "squared-error"
    targets = jax.ShapeDtypeStruct(
        (s, shapes["num_outputs"]) if numbers else (s,), jnp.float32 if numbers else jnp.int32
    )
    queries = jax.ShapeDtypeStruct((q, *one), jnp.float32)
    support = (
        jax.ShapeDtypeStruct((s, *one), jnp.float32),
        targets,
        jax.ShapeDtypeStruct((s,), jnp.float32),
    )
    program, arguments = (
        (adapt_and_predict, (*support, queries)) if adapted is None else (predict, (queries,))
    )
    exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(*arguments)
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_bytes(exported.serialize())
    write_json(path.with_suffix(path.suffix + ".json"), description_of_program(model))


def _num_inner_steps(directory: Path, recipe: SupervisedRecipe) -> int:
    """How many steps adapt: those of validation, unless they diverged on the held-out tasks."""
    steps, trained = recipe.num_judged_inner_steps, recipe.num_inner_steps
    path = directory / "evaluation.json"
    if steps == trained or not path.exists():
        return steps
    curve = json.loads(path.read_text())["curve"]
    diverged = [one["num_inner_steps"] for one in curve if one["mean"] is None]
    if steps not in diverged:
        return steps
    warnings.warn(
        f"{steps} inner steps, those of the run's validation, diverged on its held-out tasks; the "
        f"file adapts by {trained}, as in training.",
        stacklevel=3,
    )
    return trained


def _accuracy(directory: Path, num_inner_steps: int, tasks: Any) -> dict[str, Any] | None:
    """What the run's evaluation says of so many inner steps, its queries apart; None: nothing."""
    path = directory / "evaluation.json"
    if not path.exists():
        return None
    evaluation = json.loads(path.read_text())
    curve = evaluation.get("non_transductive_curve", evaluation["curve"])
    found = [one for one in curve if one["num_inner_steps"] == num_inner_steps]
    if not found or found[0]["mean"] is None:
        return None
    about = {"num_tasks": evaluation["num_tasks"], "ways": tasks.ways, "shots": tasks.shots}
    return {"mean": found[0]["mean"], "ci95": found[0]["ci95"], **about}


def _regressor(learner: ArrayLearner, outer_step: int) -> FewShotRegressor:
    """An estimator that takes the network's own inputs, and gives its outputs."""
    network = learner.settings.network
    num_inputs, num_outputs = network["num_inputs"], network["num_outputs"]
    model = FewShotRegressor(algorithm=learner.settings.recipe.algorithm)
    model.columns_ = Columns(
        tuple(Column(str(i), limit=1e30) for i in range(num_inputs)), named=False
    )
    model.targets_ = Values((0.0,) * num_outputs, (1.0,) * num_outputs, num_outputs == 1)
    model.learner_, model.report_ = learner, None
    model.validation_curve_, model.num_groups_ = (), {}
    model.outer_step_, model.weight_scale_ = outer_step, 1.0
    model.n_features_in_ = num_inputs
    model._adapted, model.num_support_ = model._unadapted(), 0
    return model
