"""From an algorithm's name and options to a learner."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from .._errors import MamlaxError
from .._types import LossFn, MetaLearner
from ..algorithms._anil import anil, boil
from ..algorithms._cavia import cavia
from ..algorithms._heads import proto_maml, ridge_maml, unicorn_maml
from ..algorithms._imaml import imaml
from ..algorithms._maml import fomaml, maml
from ..algorithms._maml_plus_plus import maml_plus_plus
from ..algorithms._meta_curvature import learned_curvature
from ..algorithms._meta_sgd import learned_step_sizes
from ..algorithms._precision import with_compute_dtype
from ..algorithms._reptile import reptile
from ._recipe import SupervisedRecipe

_INNER_OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "adam": optax.adam,
    "adam-without-momentum": lambda rate: optax.adam(rate, b1=0.0),
    "sign": optax.sign_sgd,
    "learned-step-sizes": learned_step_sizes,
    "learned-curvature": learned_curvature,
}
_UNSET = {
    "inner_optimizer": None,
    "first_order": False,
    "num_unrolled_steps": None,
    "inner_batch_size": None,
    "remat": "none",
    "num_multi_step_outer_steps": None,
    "num_first_order_outer_steps": None,
    "per_step_normalization": None,
    "proximal_strength": None,
    "num_conjugate_gradient_steps": None,
    "damping": None,
    "ridge": None,
    "head_prior": False,
}
_ANY_WAYS = ("proto-maml", "unicorn-maml")
_LARGE_RESIDUAL = 0.1
_DIFFERENTIATED = ("inner_optimizer", "first_order", "num_unrolled_steps", "remat")
_OF_MAML = (*_DIFFERENTIATED, "inner_batch_size")


class _Setting(NamedTuple):
    """What a learner is made of; `options` are those of `maml` that it has a use for."""

    recipe: SupervisedRecipe
    loss_fn: LossFn
    normalizes: bool
    ways: int | None
    options: dict[str, Any]


def learner_of(
    recipe: SupervisedRecipe,
    loss_fn: LossFn,
    *,
    num_inner_steps: int,
    inner_learning_rate: Any,
    ways: int | None,
    normalizes: bool,
    support_per_step: bool = False,
) -> MetaLearner:
    """The learner that a recipe names.

    Args:
        recipe: the settings; its problem and evidence are not looked at.
        loss_fn: the loss of both loops.
        num_inner_steps: inner steps in training.
        inner_learning_rate: the inner step size, at least in the beginning.
        ways: classes of a task, for heads made for it; None: it has no classes.
        normalizes: whether the model has shifts after normalization.
        support_per_step: whether supports are minibatches, one for each inner step.

    Raises:
        MamlaxError: if the algorithm has no use for an option that is set, or for tasks like these.
    """
    check_options(recipe)
    _check_steps(recipe)
    make, used = _ALGORITHMS[recipe.algorithm]
    options = {name: getattr(recipe, name) for name in used if name in _DIFFERENTIATED}
    options["num_inner_steps"] = num_inner_steps
    if support_per_step:
        options["support_per_step"] = True
    if "inner_optimizer" in used:
        name = recipe.inner_optimizer or "sgd"
        # a learned one only starts there: a number, where the other may be traced
        rate = recipe.inner_learning_rate if name.startswith("learned") else inner_learning_rate
        make_optimizer = _INNER_OPTIMIZERS[name]
        if name.startswith("adam") and "remat" in used:  # differentiated: √v has no derivative at 0
            momentum = 0.0 if name == "adam-without-momentum" else 0.9
            make_optimizer = functools.partial(optax.adam, b1=momentum, eps_root=1e-8)
        options["inner_optimizer"] = make_optimizer(rate)
    if recipe.compute_dtype != "float32":
        loss_fn = with_compute_dtype(loss_fn, jnp.dtype(recipe.compute_dtype))
    return make(_Setting(recipe, loss_fn, normalizes, ways, options))


def uses(algorithm: str, option: str) -> bool:
    """Whether an algorithm has a use for an option."""
    return option in _ALGORITHMS[algorithm][1]


def check_options(recipe: SupervisedRecipe) -> None:
    """Refuse options that the algorithm has no use for.

    Raises:
        MamlaxError: naming the option, and the algorithms that it is for.
    """
    _, used = _ALGORITHMS[recipe.algorithm]
    for option, unset in _UNSET.items():
        value = getattr(recipe, option)
        if value != unset and option not in used:
            users = [name for name, (_, others) in _ALGORITHMS.items() if option in others]
            raise MamlaxError(
                f"--algorithm {recipe.algorithm} has no use for --{option.replace('_', '-')} (got "
                f"{value}); it is for {', '.join(users)}."
            )


def check_ways(recipe: SupervisedRecipe, ways: int | None, test_ways: int | None) -> None:
    """Refuse test tasks of other ways than the head has.

    Raises:
        MamlaxError: naming the algorithms whose heads are made for each task.
    """
    if ways != test_ways and recipe.algorithm not in _ANY_WAYS:
        raise MamlaxError(
            f"--algorithm {recipe.algorithm} learns a head for {ways} ways, which cannot adapt to "
            f"tasks of {test_ways}. Heads made for each task can: --algorithm "
            f"{' or '.join(_ANY_WAYS)}."
        )
    learned = str(recipe.inner_optimizer).startswith("learned")
    by_axis = recipe.algorithm == "unicorn-maml" and recipe.inner_optimizer == "learned-curvature"
    if learned and (ways != test_ways or by_axis) and recipe.algorithm in _ANY_WAYS:
        raise MamlaxError(
            f"--inner-optimizer {recipe.inner_optimizer} learns for a head of {ways} ways, which "
            f"--algorithm {recipe.algorithm} replaces by another. Give --inner-optimizer sgd."
        )


def warn_of(metrics: Mapping[str, Any]) -> None:
    """Warn where the meta-gradients at the end of a training were far from exact.

    Args:
        metrics: the last line of its log.
    """
    residual = metrics.get("train/residual") or 0.0
    if residual > _LARGE_RESIDUAL:
        warnings.warn(
            f"train/residual is {residual:.2g} at the end of training: conjugate gradients left so "
            "much of the linear system unsolved, and the meta-gradients were inexact. A larger "
            "--proximal-strength or more --num-conjugate-gradient-steps make them less so. "
            "(--damping solves another, easier system: nearer to first order, not more exact.)",
            stacklevel=2,
        )


def _check_steps(recipe: SupervisedRecipe) -> None:
    """Refuse steps with which an algorithm cannot learn."""
    if recipe.algorithm == "reptile" and recipe.num_inner_steps == 1:
        raise MamlaxError(
            "--algorithm reptile with one inner step is joint training on the support sets. Give "
            "--num-inner-steps 5 or more."
        )
    if recipe.algorithm == "imaml" and recipe.num_inner_steps == 1:
        raise MamlaxError(
            "--algorithm imaml with one inner step is far from the minimum at which its gradient "
            "holds. Give --num-inner-steps 16 or more; sinusoid-imaml is a recipe with settings "
            "that suit it."
        )
    if recipe.algorithm != "imaml" or recipe.inner_optimizer not in (None, "sgd"):
        return
    strength = 2.0 if recipe.proximal_strength is None else recipe.proximal_strength
    if recipe.inner_learning_rate * strength >= 2:
        raise MamlaxError(
            f"--algorithm imaml cannot converge: a step of {recipe.inner_learning_rate} on the "
            f"proximal term of strength {strength} overshoots by itself (their product must be "
            "below 2, and better below 1). Give a smaller --inner-learning-rate, and enough "
            "--num-inner-steps to come near the minimum: 16, say."
        )


def _head(params: Any) -> Any:
    return params.head


def _maml_plus_plus(setting: _Setting) -> MetaLearner:
    recipe, normalizes = setting.recipe, setting.normalizes
    per_step, multi_step = recipe.per_step_normalization, recipe.num_multi_step_outer_steps
    if per_step and not normalizes:
        raise MamlaxError("--per-step-normalization is set, but this problem's model has none.")
    if normalizes if per_step is None else per_step:
        setting.options["per_step"] = lambda params: params.shifts
    return maml_plus_plus(
        setting.loss_fn,
        initial_step_size=recipe.inner_learning_rate,
        num_multi_step_outer_steps=recipe.num_outer_steps // 10
        if multi_step is None
        else multi_step,
        num_first_order_outer_steps=recipe.num_first_order_outer_steps or 0,
        **setting.options,
    )


def _learned(optimizer: Callable[[Any], Any]) -> Callable[[_Setting], MetaLearner]:
    return lambda s: maml(
        s.loss_fn, inner_optimizer=optimizer(s.recipe.inner_learning_rate), **s.options
    )


def _imaml(setting: _Setting) -> MetaLearner:
    strength = setting.recipe.proximal_strength
    steps = setting.recipe.num_conjugate_gradient_steps
    return imaml(
        setting.loss_fn,
        proximal_strength=2.0 if strength is None else strength,
        num_conjugate_gradient_steps=5 if steps is None else steps,
        damping=setting.recipe.damping or 0.0,
        **setting.options,
    )


def _ways_of(setting: _Setting) -> int:
    if setting.ways is None:
        raise MamlaxError(
            f"--algorithm {setting.recipe.algorithm} makes a head for the classes of a task; "
            f"{setting.recipe.name} has none."
        )
    return setting.ways


def _features_fn(params: Any, batch: Any) -> Any:
    return params.features(batch.inputs, batch.reference)


def _set_head(params: Any, weight: Any, bias: Any) -> Any:
    return params.with_head(weight, bias)


def _proto_maml(setting: _Setting) -> MetaLearner:
    return proto_maml(
        setting.loss_fn,
        features_fn=_features_fn,
        set_head=_set_head,
        ways=_ways_of(setting),
        **setting.options,
    )


def _ridge_maml(setting: _Setting) -> MetaLearner:
    recipe = setting.recipe
    if setting.ways is not None:
        raise MamlaxError(
            f"--algorithm ridge-maml is for regression; {recipe.name} has classes. --algorithm "
            "proto-maml starts from class means."
        )
    return ridge_maml(
        setting.loss_fn,
        features_fn=_features_fn,
        set_head=_set_head,
        ridge=0.1 if recipe.ridge is None else recipe.ridge,
        head=_head if recipe.head_prior else None,
        **setting.options,
    )


# how each is made, and the options that it has a use for
_ALGORITHMS: dict[str, tuple[Callable[[_Setting], MetaLearner], tuple[str, ...]]] = {
    "maml": (lambda s: maml(s.loss_fn, **s.options), _OF_MAML),
    "fomaml": (
        lambda s: fomaml(s.loss_fn, **s.options),
        ("inner_optimizer", "inner_batch_size"),
    ),
    "anil": (lambda s: anil(s.loss_fn, head=_head, **s.options), _OF_MAML),
    "boil": (lambda s: boil(s.loss_fn, head=_head, **s.options), _OF_MAML),
    "meta-sgd": (_learned(learned_step_sizes), _OF_MAML[1:]),
    "maml-plus-plus": (
        _maml_plus_plus,
        (
            "num_unrolled_steps",
            "inner_batch_size",
            "remat",
            "num_multi_step_outer_steps",
            "num_first_order_outer_steps",
            "per_step_normalization",
        ),
    ),
    "meta-curvature": (_learned(learned_curvature), _OF_MAML[1:]),
    "imaml": (
        _imaml,
        ("inner_optimizer", "proximal_strength", "num_conjugate_gradient_steps", "damping"),
    ),
    "reptile": (
        lambda s: reptile(s.loss_fn, **s.options),
        ("inner_optimizer", "inner_batch_size"),
    ),
    "cavia": (
        lambda s: cavia(s.loss_fn, context=lambda params: params.context, **s.options),
        _OF_MAML,
    ),
    "proto-maml": (_proto_maml, _DIFFERENTIATED),
    "unicorn-maml": (
        lambda s: unicorn_maml(s.loss_fn, head=_head, ways=_ways_of(s), **s.options),
        _DIFFERENTIATED,
    ),
    "ridge-maml": (_ridge_maml, (*_DIFFERENTIATED, "ridge", "head_prior")),
}
