"""Inspect programs that JAX has traced: their equations, and which of them variables reach."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
from jax.extend.core import Literal


def equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr and of jaxprs inside it, except those that contain others."""
    for equation in jaxpr.eqns:
        inner = [x for x in jax.tree.leaves(equation.params) if hasattr(x, "eqns")]
        for one in inner:
            yield from equations(one)
        if not inner:
            yield equation


def reached(equations: Iterable[Any], variables: Iterable[Any]) -> set[Any]:
    """`variables` and all variables that the equations compute from them."""
    found = set(variables)
    for equation in equations:
        if reads(equation, found):
            found.update(equation.outvars)
    return found


def reads(equation: Any, variables: set[Any]) -> bool:
    """Whether an equation reads one of the variables."""
    return any(is_in(variables, x) for x in equation.invars)


def is_in(variables: set[Any], x: Any) -> bool:
    """Whether `x` is one of the variables; a literal is not."""
    return not isinstance(x, Literal) and x in variables
