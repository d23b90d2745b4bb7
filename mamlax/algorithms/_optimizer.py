"""A step of an optax optimizer, in either loop, and the errors for optimizers that do not fit."""

from typing import Any, Literal, TypeAlias

import jax
import optax
from jaxtyping import PyTree

from ._program import equations

Loop: TypeAlias = Literal["inner", "outer"]


def check_is_optimizer(optimizer: Any, loop: Loop) -> None:
    """Raise if this is not an optax transformation."""
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"the {loop} optimizer must be an optax transformation, e.g. optax.sgd(0.1), got "
            f"{optimizer!r}."
        )


def optimizer_state(optimizer: optax.GradientTransformation, params: PyTree, loop: Loop) -> Any:
    """The state before the first step. `params` are the arrays to update, None elsewhere."""
    try:
        return optimizer.init(params)
    except Exception as error:
        raise TypeError(
            f"the {loop} optimizer does not fit the parameters: {_first_line(error)}. Labels "
            f"(optax.multi_transform) and masks must be {_where_labels_go(params)}."
        ) from error


def optimizer_step(
    optimizer: optax.GradientTransformation,
    gradient: PyTree,
    state: Any,
    params: PyTree,
    value: PyTree,
    loop: Loop,
) -> tuple[PyTree, Any]:
    """`params` after a step, and the optimizer's state.

    Raises:
        TypeError: if the optimizer needs more than gradients, parameters and the loss's value.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    try:
        updates, state = optimizer.update(gradient, state, params, value=value)
        after = optax.apply_updates(params, updates)
        shapes = [[list(x.shape) for x in jax.tree.leaves(tree)] for tree in (params, after)]
        if shapes[0] != shapes[1]:
            raise ValueError("it turns parameters of shapes {} into {}".format(*shapes))
        return after, state
    except Exception as error:
        raise TypeError(
            f"the {loop} optimizer takes no step: {_first_line(error)}. It is given gradients, "
            "parameters and the value of the loss. What evaluates the loss again (optax.lbfgs with "
            "its line search, sam, sophia), needs gradients of single examples (dpsgd) or keeps "
            "parameters of its own (lookahead) cannot be used. The page Optimizers of the "
            "documentation has a table of those that can."
        ) from error


def check_differentiable(optimizer: optax.GradientTransformation, params: PyTree) -> None:
    """Raise for an inner optimizer with a `stop_gradient`: the meta-gradient would be wrong."""

    def step(params):
        state = optimizer_state(optimizer, params, "inner")
        return optimizer_step(optimizer, params, state, params, 1.0, "inner")

    if any(x.primitive.name == "stop_gradient" for x in equations(jax.make_jaxpr(step)(params))):
        raise ValueError(
            "the inner optimizer stops a gradient inside, so that the meta-gradient would not be "
            "that of the loss. Of optax.lbfgs this is the scale of its first step: give "
            "scale_init_precond=False beside linesearch=None. Else take another optimizer, or "
            "first_order=True, which differentiates none."
        )


def _first_line(error: Exception) -> str:
    """The first line of the message, without its full stop."""
    return str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__


def _where_labels_go(params: PyTree) -> str:
    if callable(params):  # optax calls labels or a mask that is callable, as such a module is
        return (
            "a function of the parameters that returns them: optax takes a module that can be "
            "called for such a function"
        )
    return "in the structure of the (meta-)parameters, or a function of these"
