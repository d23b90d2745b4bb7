"""Few-shot classification of images."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PRNGKeyArray, PyTree

from ... import models
from ..._errors import MamlaxError
from ..._types import Batch
from ...config._problems import ClassificationProblem, OmniglotProblem
from ...records._evaluation import MAIN
from ...records._examples import FewShotExamples
from ...tasks._class_arrays import Splits
from ...tasks._few_shot import AllWays, FewShot
from ...tasks._placement import place
from ._parts import Baseline, SupervisedParts


def classification_parts(
    problem: ClassificationProblem, splits: Splits, *, context_size: int, head_adapts: bool
) -> SupervisedParts:
    """The parts of a classification problem.

    Args:
        problem: its settings.
        splits: the classes for training, validation and test.
        context_size: size of CAVIA's context.
        head_adapts: whether inner steps change the head; if not, it must not start at zero.
    """
    splits = place(splits, stream=problem.stream)
    test_ways = problem.test_ways or problem.ways
    with_reference = problem.norm == "support"
    num_query = problem.shots if problem.num_query is None else problem.num_query
    held_out = {
        "ways": test_ways,
        "shots": problem.shots,
        "num_query": num_query,
        "rotations": problem.rotations,
    }
    in_training = {
        "rotations": problem.rotations,
        "flips": problem.flips,
        "crop_padding": problem.crop_padding,
        "reference": with_reference,
    }
    train = FewShot(
        splits.train,
        ways=problem.ways,
        shots=problem.train_shots or problem.shots,
        num_query=num_query,
        **in_training,
    )
    validation = FewShot(splits.validation, **held_out, reference=with_reference)
    # with the support as reference, a transductive model is also evaluated non-transductively
    transductive = models.is_transductive(problem.norm)
    alphabets = [name.rpartition("/")[0] for name in splits.test.names]
    within_alphabet = isinstance(problem, OmniglotProblem) and problem.within_alphabet
    if within_alphabet:
        _check_alphabets(alphabets, test_ways)
    test = FewShot(
        splits.test,
        **held_out | {"rotations": problem.rotations and not within_alphabet},
        reference=with_reference or transductive,
        families=alphabets if within_alphabet else None,
    )
    _, height, width, num_channels = splits.train.examples.shape
    pretraining = AllWays(splits.train, num_examples=2 * problem.ways, **in_training)
    network = partial(
        _network,
        problem,
        image_shape=(height, width, num_channels),
        head_scale=_head_scale(problem, head_adapts),
    )
    finish = partial(_with_features, _features_after_training(problem))
    return SupervisedParts(
        init_params=partial(network, num_outputs=problem.ways, context_size=context_size),
        loss_fn=cross_entropy,
        metric="accuracy",
        metric_fn=accuracy,
        train_tasks=train,
        validation_tasks=validation,
        test_tasks=test,
        ways=problem.ways,
        test_ways=test_ways,
        transductive=transductive,
        non_transductive_fn=non_transductive_accuracy if transductive else None,
        normalizes=problem.norm != "none",
        baselines={
            "pretrained": Baseline(
                partial(network, num_outputs=pretraining.num_ways),
                pretraining,
                validation,
                test,
                partial(_with_new_head, partial(network, num_outputs=test_ways), finish),
            ),
            "random": Baseline(
                partial(network, num_outputs=test_ways), None, validation, test, finish
            ),
        },
        examples=partial(_examples, test, problem.is_drawing),
        finish=finish,
    )


def _check_alphabets(alphabets: Sequence[str], ways: int) -> None:
    """Refuse tasks that no alphabet has enough characters for; say which split has them."""
    largest, number = Counter(alphabets).most_common(1)[0]
    if number < ways:
        raise MamlaxError(
            f"within_alphabet: a task takes {ways} characters of one alphabet, and {largest}, of "
            f"which most are held out, has {number} of them. With split=alphabets (--split, in "
            f"training) whole alphabets are held out; or take {number} ways at most."
        )


def cross_entropy(params: PyTree, batch: Batch) -> PyTree:
    """The mean cross-entropy of a batch."""
    losses = optax.softmax_cross_entropy_with_integer_labels(_logits(params, batch), batch.targets)
    return jnp.mean(losses)


def accuracy(params: PyTree, batch: Batch) -> PyTree:
    """The share of a batch that is classified correctly."""
    return jnp.mean(jnp.argmax(_logits(params, batch), axis=-1) == batch.targets)


def non_transductive_accuracy(params: PyTree, batch: Batch) -> PyTree:
    """The accuracy with the query normalized by moments of the support."""
    return accuracy(replace(params, norm="support"), batch)


def _logits(params: PyTree, batch: Batch) -> PyTree:
    return params(batch.inputs, batch.reference)


def _head_scale(problem: ClassificationProblem, head_adapts: bool) -> float:
    if problem.head_scale is not None:
        return problem.head_scale
    return 0.0 if head_adapts else problem.channels**-0.5


def _network(
    problem: ClassificationProblem,
    key: PRNGKeyArray,
    *,
    image_shape: tuple[int, int, int],
    head_scale: float,
    num_outputs: int,
    context_size: int = 0,
) -> PyTree:
    if problem.network == "fully-connected":
        return models.mlp(
            key,
            int(np.prod(image_shape)),
            num_outputs,
            hidden_sizes=(256, 128, 64, 64),
            weight_scale=0.01,
            norm=problem.norm,
            context_size=context_size,
        )
    return models.conv4(
        key,
        image_shape,
        num_outputs,
        channels=problem.channels,
        downsample=problem.downsample,
        head_scale=head_scale,
        norm=problem.norm,
        context_size=context_size,
    )


def _features_after_training(problem: ClassificationProblem) -> dict[str, bool]:
    """What changes of the features of a network that is trained."""
    asked = {
        "mirrored_features": problem.mirrored_features,
        "centered_features": problem.centered_features,
    }
    changes = {name: True for name, is_asked in asked.items() if is_asked}
    if changes and problem.network != "conv4":
        raise MamlaxError(
            f"{next(iter(changes))} is for the network conv4, got {problem.network}. Leave it out, "
            "or take conv4."
        )
    if problem.centered_features and problem.norm not in ("batch", "support"):
        raise MamlaxError(
            "centered_features subtracts a mean over the batch, so the normalization must be batch "
            f"or support, got {problem.norm}."
        )
    return changes


def _with_features(changes: dict[str, bool], key: PRNGKeyArray, params: PyTree) -> PyTree:
    """The parameters with changed features; what else is learned may have the network's form."""
    if not changes:
        return params

    def is_network(x):
        return isinstance(x, models.Conv4)

    return jax.tree.map(
        lambda x: x.with_features(**changes) if is_network(x) else x, params, is_leaf=is_network
    )


def _with_new_head(
    network: Callable[[PyTree], PyTree],
    finish: Callable[[PyTree, PyTree], PyTree],
    key: PRNGKeyArray,
    params: PyTree,
) -> PyTree:
    """Replace the pretrained head by a new one for the ways of a task."""
    return finish(key, params.with_head(*network(key).head))


def _examples(
    tasks: FewShot,
    is_drawing: bool,
    adapters: Mapping[str, Callable[..., PyTree]],
    steps: tuple[int, ...],
    algorithm: str,
) -> FewShotExamples:
    """One task: its images, and predictions after some numbers of inner steps."""
    task = tasks.sample(jax.random.key(0))
    logits = [_logits(adapters[MAIN](task.support, n), task.query) for n in steps]
    return FewShotExamples(
        algorithm=algorithm,
        num_steps=np.array(steps),
        ways=tasks.ways,
        support_images=_drawable(task.support.inputs, is_drawing),
        query_images=_drawable(task.query.inputs, is_drawing),
        query_targets=np.asarray(task.query.targets),
        probabilities=np.asarray(jax.nn.softmax(jnp.stack(logits))),
    )


def _drawable(images: PyTree, is_drawing: bool) -> np.ndarray:
    """Images for figures: gray images without channels; drawings, whose ink is 1, inverted."""
    images = images[..., 0] if images.shape[-1] == 1 else images
    return np.asarray(1 - images if is_drawing else images)
