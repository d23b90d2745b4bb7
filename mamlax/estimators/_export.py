"""Export a trained run as a model, and a model as a program that needs no mamlax."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import rl
from .._errors import MamlaxError, warn
from .._files import Json, replacing, write_json
from .._types import Batch
from ..config._problems import ClassificationProblem, FolderProblem
from ..config._recipe import PolicyRecipe, SupervisedRecipe
from ..experiments._experiment import Experiment
from ..experiments._load import trained_in
from ..experiments._result import StageResult
from ..onnx._program import ABOUT_ONNX, write_program
from ..records._evaluation import CurvePoint, Evaluation, evaluation_path, read_evaluation
from ..records._settings import settings_as_json
from ._architecture import architecture_of
from ._columns import Column, Columns
from ._few_shot import FewShotRegressor
from ._images import FewShotImageClassifier, Reading
from ._learner import ArrayLearner, LearnerSettings
from ._load import Model
from ._policy import FewShotPolicy
from ._policy_program import acting_program, adapting_program, description_of_policy
from ._pooled import augmented
from ._pretrained import pretrained_of
from ._program_description import PLATFORMS, adaptation_of, description_of_program
from ._targets import Values


def learner_of_run(
    directory: str | Path, *, data_dir: str | None = None, with_pretrained: bool = False
) -> Model | FewShotPolicy:
    """The trained model of a run of `mamlax train`, ready to adapt, predict and save.

    Args:
        directory: the run directory.
        data_dir: the folder of data sets; the run's data set is read from it.
        with_pretrained: also load the run's pretrained baseline, as `pretrained_`, which
            `mamlax serve` shows beside the meta-learned network.

    Returns:
        A `FewShotImageClassifier` for images, a `FewShotRegressor` for sinusoids, a
        `FewShotPolicy` for reinforcement learning.

    Raises:
        MamlaxError: if the directory has no trained run, or no pretrained baseline although
            `with_pretrained` is set.
    """
    directory = Path(directory)
    experiment, result = trained_in(directory, data_dir)
    recipe, parts = experiment.recipe, experiment.parts
    evaluation = read_evaluation(directory) if evaluation_path(directory).exists() else None
    if isinstance(recipe, PolicyRecipe):
        if with_pretrained:
            raise MamlaxError("policies are exported alone, without their pretrained baseline.")
        return _policy(recipe, parts.train_tasks, result, evaluation)
    assert isinstance(recipe, SupervisedRecipe)
    is_class = isinstance(recipe.problem, ClassificationProblem)
    finished = jax.eval_shape(
        lambda key: parts.finish(key, parts.init_params(key)), jax.random.key(0)
    )
    settings = LearnerSettings(
        architecture_of(finished),
        recipe.algorithm,
        "cross-entropy" if is_class else "squared-error",
        0.0,
        _num_inner_steps(recipe, evaluation),
    )
    learner = ArrayLearner(settings, result.params)
    if is_class:
        model = _image_classifier(directory, experiment, learner, result.outer_step, evaluation)
    else:
        model = _regressor(learner, result.outer_step)
    if with_pretrained:
        model.pretrained_ = pretrained_of(experiment, evaluation, settings)
    return model


def write_stablehlo(path: str | Path, model: Model | FewShotPolicy) -> list[Path]:
    """Write a model as a program for CPUs, GPUs and TPUs, which runs without this package.

    A model that is not adapted becomes a program that adapts and predicts. Its arguments are
    `(support_inputs [s, ...], support_targets, support_weights [s], query_inputs [q, ...])`, for
    any s and q above 0. An adapted model becomes a program that predicts; its arguments are
    `(query_inputs,)`. Both return the network's outputs `[q, outputs]`. A JSON file beside the
    program says how columns or images become its inputs, and what its outputs mean.

    A policy becomes two programs: one acts; the other, with `.adapt` after its name, takes an inner
    step. See `acting_program` and `adapting_program`.

    Args:
        path: the file. The JSON file has the same name with `.json` after it.
        model: an estimator, an image classifier or a policy.

    Returns:
        The files written.
    """
    path = Path(path)
    described = path.with_suffix(path.suffix + ".json")
    if isinstance(model, FewShotPolicy):
        adapting = path.with_suffix(path.suffix + ".adapt")
        _write_program(path, acting_program(model))
        _write_program(adapting, adapting_program(model))
        write_json(described, description_of_policy(model))
        return [path, adapting, described]
    function, arguments = _program(model)
    _write_program(path, _exported(function, *arguments.values()))
    write_json(described, description_of_program(model))
    return [path, described]


def write_onnx(path: str | Path, model: Model | FewShotPolicy) -> list[Path]:
    """Write a model as an ONNX file, which runs in browsers and in programs in any language.

    It has the same inputs and outputs as the program of `write_stablehlo`, and the same JSON file
    beside it. The inputs are `support_inputs`, `support_targets`, `support_weights` and
    `query_inputs`; for an adapted model only `query_inputs`. The output is `outputs`.

    Args:
        path: the file. The JSON file has the same name with `.json` after it.
        model: an estimator or an image classifier.

    Returns:
        The files written.

    Raises:
        MamlaxError: if the model is a policy, or has an operation that ONNX does not have.
    """
    if isinstance(model, FewShotPolicy):
        raise MamlaxError(
            "policies are not written as ONNX. mamlax export --format stablehlo writes them."
        )
    path = Path(path)
    described = path.with_suffix(path.suffix + ".json")
    write_program(path, *_program(model))
    write_json(described, description_of_program(model, ABOUT_ONNX))
    return [path, described]


def _exported(function: Callable[..., Any], *arguments: jax.ShapeDtypeStruct) -> Any:
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)


def _write_program(path: Path, program: jax.export.Exported) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(program.serialize())


def _program(model: Model) -> tuple[Callable[..., Any], dict[str, jax.ShapeDtypeStruct]]:
    """The function that adapts and predicts (for an adapted model: predicts), and its arguments."""
    learner: ArrayLearner = model.learner_
    settings, adapted = learner.settings, adaptation_of(model)
    adapt = settings.adapt_fn()
    meta_params = jax.tree.map(jnp.asarray, learner.meta_params)  # NumPy's if they were loaded

    def adapt_and_predict(inputs, targets, weights, queries):
        inputs, queries = (augmented(learner.pooled, one) for one in (inputs, queries))
        params = adapt(meta_params, Batch(inputs, targets, weights=weights))
        return settings.predict(params, queries, inputs)

    def predict(queries):
        assert adapted is not None
        params = jax.tree.map(jnp.asarray, eqx.combine(adapted.own, adapted.shared))
        return settings.predict(params, augmented(learner.pooled, queries), adapted.support_inputs)

    arguments = arguments_of(learner)
    if adapted is not None:
        return predict, {"query_inputs": arguments["query_inputs"]}
    return adapt_and_predict, arguments


def arguments_of(learner: ArrayLearner) -> dict[str, jax.ShapeDtypeStruct]:
    """The arguments of a program that adapts and predicts, for any number of rows."""
    network, numbers = learner.settings.network, learner.settings.loss == "squared-error"
    one = network.get("image_shape", (learner.num_inputs,))
    s, q = jax.export.symbolic_shape("s, q")
    targets = (s, network["num_outputs"]) if numbers else (s,)
    return {
        "support_inputs": jax.ShapeDtypeStruct((s, *one), jnp.float32),
        "support_targets": jax.ShapeDtypeStruct(targets, jnp.float32 if numbers else jnp.int32),
        "support_weights": jax.ShapeDtypeStruct((s,), jnp.float32),
        "query_inputs": jax.ShapeDtypeStruct((q, *one), jnp.float32),
    }


def _policy(
    recipe: PolicyRecipe, env: rl.TaskEnv, result: StageResult, evaluation: Evaluation | None
) -> FewShotPolicy:
    summary: Json = {"recipe": recipe.name, "outer_step": result.outer_step}
    if evaluation is not None:
        summary["returns"] = [point.mean for point in evaluation.curve]
    return FewShotPolicy.of(
        result.params,
        env,
        algorithm=recipe.algorithm,
        episodes=recipe.episodes,
        environment=settings_as_json(recipe.problem),
        summary=summary,
    )


def _num_inner_steps(recipe: SupervisedRecipe, evaluation: Evaluation | None) -> int:
    """Number of inner steps of `adapt`: as in validation, unless it diverged on held-out tasks."""
    steps, trained = recipe.num_validation_inner_steps, recipe.algorithm.num_inner_steps
    point = None if evaluation is None else _point(evaluation.curve, steps)
    if steps == trained or point is None or point.mean is not None:
        return steps
    warn(
        f"{steps} inner steps, those of the run's validation, diverged on its held-out tasks; the "
        f"file adapts by {trained}, as in training.",
        stacklevel=3,
    )
    return trained


def _point(curve: list[CurvePoint], num_inner_steps: int) -> CurvePoint | None:
    return next((one for one in curve if one.num_inner_steps == num_inner_steps), None)


def _image_classifier(
    directory: Path,
    experiment: Experiment,
    learner: ArrayLearner,
    outer_step: int,
    evaluation: Evaluation | None,
) -> FewShotImageClassifier:
    if learner.settings.network["name"] != "conv4":
        raise MamlaxError(
            f"{directory} was trained without convolutions (--network); a file of images is for "
            "conv4."
        )
    recipe, classes = experiment.recipe, experiment.parts.train_tasks.data
    height, width, *_ = classes.examples.shape[1:]
    summary = {
        "recipe": recipe.name,
        "outer_step": outer_step,
        "num_classes": len(classes.names),
    }
    if accuracy := _accuracy(experiment, evaluation, learner.settings.num_inner_steps):
        summary["accuracy"] = accuracy
    problem = recipe.problem
    bits = problem.gray_bits if isinstance(problem, FolderProblem) else None
    reading = Reading(height == width, problem.is_drawing, bits)
    return FewShotImageClassifier(learner, reading, summary)


def _accuracy(
    experiment: Experiment, evaluation: Evaluation | None, num_inner_steps: int
) -> Json | None:
    """The evaluation's accuracy after this many inner steps, not transductive; None: unknown."""
    if evaluation is None:
        return None
    point = _point(evaluation.non_transductive_curve or evaluation.curve, num_inner_steps)
    if point is None or point.mean is None:
        return None
    tasks = experiment.parts.test_tasks
    about = {"num_tasks": evaluation.num_tasks, "ways": tasks.ways, "shots": tasks.shots}
    return {"mean": point.mean, "ci95": point.ci95, **about}


def _regressor(learner: ArrayLearner, outer_step: int) -> FewShotRegressor:
    """An estimator with the network's own inputs and outputs."""
    network = learner.settings.network
    num_inputs, num_outputs = network["num_inputs"], network["num_outputs"]
    model = FewShotRegressor(algorithm=learner.settings.algorithm.name)
    model.columns_ = Columns(
        tuple(Column(str(i), limit=1e30) for i in range(num_inputs)), named=False
    )
    model.targets_ = Values((0.0,) * num_outputs, (1.0,) * num_outputs, num_outputs == 1)
    model.learner_, model.report_, model.calibration_ = learner, None, None
    model.validation_curve_, model.num_groups_ = (), {}
    model.outer_step_, model.weight_scale_ = outer_step, 1.0
    model.n_features_in_ = num_inputs
    model._adapted, model.num_support_ = model._unadapted(), 0
    return model
