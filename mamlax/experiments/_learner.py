"""From the settings of an algorithm to a learner."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from .._errors import MamlaxError
from .._types import LossFn, MetaLearner
from ..algorithms._anil import anil, boil
from ..algorithms._cavia import cavia
from ..algorithms._heads import proto_maml, unicorn_maml
from ..algorithms._learned_optimizer import LearnedOptimizer
from ..algorithms._maml import fomaml, maml
from ..algorithms._maml_plus_plus import maml_plus_plus
from ..algorithms._meta_curvature import learned_curvature
from ..algorithms._meta_sgd import learned_step_sizes
from ..algorithms._precision import with_compute_dtype
from ..algorithms._solved_heads import logistic_maml, ridge_maml
from ..config._algorithms import (
    Algorithm,
    Anil,
    Boil,
    Cavia,
    Fomaml,
    HeadOfTask,
    Imaml,
    LogisticMaml,
    MamlPlusPlus,
    MetaCurvature,
    MetaSgd,
    ProtoMaml,
    RidgeMaml,
    UnicornMaml,
    Unrolled,
    WithInnerOptimizer,
)

_INNER_OPTIMIZERS: dict[str, Callable[[PyTree], PyTree]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
    "adam-without-momentum": partial(optax.adam, b1=0.0),
    "sign": optax.sign_sgd,
    "learned-step-sizes": learned_step_sizes,
    "learned-curvature": learned_curvature,
}


def learner_of(
    algorithm: Algorithm,
    loss_fn: LossFn,
    *,
    inner_learning_rate: float | Array | None = None,
    num_outer_steps: int = 0,
    ways: int | None = None,
    normalizes: bool = False,
    support_per_step: bool = False,
) -> MetaLearner:
    """The learner that the settings of an algorithm describe.

    Args:
        algorithm: the settings.
        loss_fn: the loss of both loops.
        inner_learning_rate: replaces that of the settings; may be traced.
        num_outer_steps: outer steps of the training, for schedules that are a share of them.
        ways: classes of a task, for heads made for each task; None: it has no classes.
        normalizes: whether the model has shifts after normalization.
        support_per_step: whether supports are minibatches, one for each inner step.

    Raises:
        MamlaxError: if the algorithm cannot learn with these settings, or from tasks like these.
    """
    rate = algorithm.inner_learning_rate
    current: float | Array = rate if inner_learning_rate is None else inner_learning_rate
    options = {
        field.name: getattr(algorithm, field.name)
        for field in fields(algorithm)
        if field.name not in _NO_ARGUMENTS
    }
    if isinstance(algorithm, WithInnerOptimizer):
        name = algorithm.inner_optimizer
        optimizer = _inner_optimizer(
            name,
            # a learned optimizer only starts at this rate, which must not be traced
            rate if name.startswith("learned") else current,
            is_differentiated=isinstance(algorithm, Unrolled),
        )
        options["inner_optimizer"] = _clipped(optimizer, algorithm.inner_gradient_clip)
    if support_per_step:
        options["support_per_step"] = True
    if algorithm.compute_dtype != "float32":
        loss_fn = with_compute_dtype(loss_fn, jnp.dtype(algorithm.compute_dtype))
    match algorithm:
        case Fomaml():
            return fomaml(loss_fn, **options)
        case Anil():
            return anil(loss_fn, head=_head, **options)
        case Boil():
            return boil(loss_fn, head=_head, **options)
        case MetaSgd():
            return maml(loss_fn, inner_optimizer=learned_step_sizes(rate), **options)
        case MetaCurvature():
            return maml(loss_fn, inner_optimizer=learned_curvature(rate), **options)
        case MamlPlusPlus():
            return _maml_plus_plus(loss_fn, rate, num_outer_steps, normalizes, **options)
        case Cavia():
            return cavia(loss_fn, context=_context, **options)
        case ProtoMaml():
            options |= {"features_fn": _features_fn, "set_head": _set_head}
            return proto_maml(loss_fn, ways=_checked_ways(algorithm, ways), **options)
        case UnicornMaml():
            return unicorn_maml(loss_fn, head=_head, ways=_checked_ways(algorithm, ways), **options)
        case RidgeMaml():
            _check_no_ways(ways)
            return ridge_maml(loss_fn, **_of_solved_head(**options))
        case LogisticMaml():
            options = _of_solved_head(**options)
            return logistic_maml(loss_fn, ways=_checked_ways(algorithm, ways), **options)
    if isinstance(algorithm, Imaml):
        _check_convergence(algorithm)
    return _function_of(algorithm)(loss_fn, **options)


_NO_ARGUMENTS = (
    "inner_learning_rate",
    "inner_optimizer",
    "inner_gradient_clip",
    "inner_batch_size",
    "compute_dtype",
    "context_size",
)
"""Settings that are not passed on to an algorithm's function as they are."""


def _function_of(algorithm: Algorithm) -> Callable[..., MetaLearner]:
    """The function of an algorithm whose settings are its arguments: `imaml` in `_imaml.py`."""
    name = algorithm.name.replace("-", "_")
    return getattr(import_module(f"..algorithms._{name}", __package__), name)


def check_ways(algorithm: Algorithm, ways: int | None, test_ways: int | None) -> None:
    """Check that test tasks have as many ways as the head and the inner optimizer.

    Raises:
        MamlaxError: naming the algorithms whose heads are made for each task.
    """
    if not (isinstance(algorithm, HeadOfTask) and algorithm.takes_any_ways):
        if ways == test_ways:
            return
        raise MamlaxError(
            f"{algorithm.name} learns a head for {ways} ways, which cannot adapt to tasks of "
            f"{test_ways}. proto-maml, unicorn-maml and logistic-maml make a head for each task."
        )
    optimizer = algorithm.inner_optimizer
    by_axis = isinstance(algorithm, UnicornMaml) and optimizer == "learned-curvature"
    if optimizer.startswith("learned") and (ways != test_ways or by_axis):
        raise MamlaxError(
            f"the inner optimizer {optimizer} learns for a head of {ways} ways, which "
            f"{algorithm.name} replaces by another. Give inner_optimizer=sgd."
        )


def _inner_optimizer(name: str, rate: float | Array, *, is_differentiated: bool) -> PyTree:
    make: Callable[..., PyTree] = _INNER_OPTIMIZERS[name]
    if name.startswith("adam") and is_differentiated:  # √v has no derivative at 0
        return make(rate, eps_root=1e-8)
    return make(rate)


def _clipped(optimizer: PyTree, limit: float | None) -> PyTree:
    """The optimizer after clipping gradients to norm `limit`."""
    if limit is None:
        return optimizer
    clip = optax.stateless(lambda gradient, _: _at_most(limit, gradient))
    if isinstance(optimizer, LearnedOptimizer):
        return optimizer._replace(build=lambda meta: optax.chain(clip, optimizer.build(meta)))
    return optax.chain(clip, optimizer)


def _at_most(limit: float, gradient: PyTree) -> PyTree:
    """A gradient of at most this norm; unlike optax's, with a derivative also where it is zero."""
    squared = sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(gradient))
    is_long = squared > limit**2
    factor = jnp.where(is_long, limit / jnp.sqrt(jnp.where(is_long, squared, 1.0)), 1.0)
    return jax.tree.map(lambda x: x * factor.astype(x.dtype), gradient)


def _maml_plus_plus(
    loss_fn: LossFn,
    initial_step_size: float,
    num_outer_steps: int,
    normalizes: bool,
    *,
    num_multi_step_outer_steps: int | None,
    per_step_normalization: bool | None,
    **options: Any,
) -> MetaLearner:
    if per_step_normalization and not normalizes:
        raise MamlaxError("per_step_normalization is set, but this problem's model has none.")
    if normalizes if per_step_normalization is None else per_step_normalization:
        options["per_step"] = _shifts
    if num_multi_step_outer_steps is None:
        num_multi_step_outer_steps = num_outer_steps // 10
    return maml_plus_plus(
        loss_fn,
        initial_step_size=initial_step_size,
        num_multi_step_outer_steps=num_multi_step_outer_steps,
        **options,
    )


def _of_solved_head(*, head_prior: bool, **options: Any) -> dict[str, Any]:
    return {
        "features_fn": _features_fn,
        "set_head": _set_head,
        "head": _head if head_prior else None,
        "offset_fn": _offset_fn,
        **options,
    }


def _check_no_ways(ways: int | None) -> None:
    if ways is not None:
        raise MamlaxError(
            "ridge-maml is for regression, and this problem has classes. logistic-maml does the "
            "same for classes; proto-maml starts from class means."
        )


def _check_convergence(algorithm: Imaml) -> None:
    rate, strength = algorithm.inner_learning_rate, algorithm.proximal_strength
    if algorithm.inner_optimizer == "sgd" and rate * strength >= 2:
        raise MamlaxError(
            f"imaml cannot converge: a step of {rate} on the proximal term of strength {strength} "
            "overshoots by itself (their product must be below 2, and better below 1). Give a "
            "smaller inner_learning_rate, and enough num_inner_steps to come near the minimum: 16, "
            "say."
        )


def _checked_ways(algorithm: Algorithm, ways: int | None) -> int:
    if ways is None:
        raise MamlaxError(
            f"{algorithm.name} makes a head for the classes of a task; this problem has none."
        )
    return ways


def _head(params: PyTree) -> PyTree:
    return params.head


def _context(params: PyTree) -> PyTree:
    return params.context


def _shifts(params: PyTree) -> PyTree:
    return params.shifts


def _features_fn(params: PyTree, batch: PyTree) -> PyTree:
    return params.features(batch.inputs, batch.reference)


def _offset_fn(params: PyTree, batch: PyTree) -> PyTree:
    """What a model adds to the outputs of its head; most add nothing."""
    return params.offset(batch.inputs) if hasattr(params, "offset") else 0.0


def _set_head(params: PyTree, weight: PyTree, bias: PyTree) -> PyTree:
    return params.with_head(weight, bias)
