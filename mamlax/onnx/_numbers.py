"""Operations on each number of arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._graph import Graph

_TO_EVEN = 1
"""Of `jax.lax.RoundingMethod`."""

SAME = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "and": "And",
    "copy": "Identity",
    "copy_p": "Identity",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "optimization_barrier": "Identity",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "stop_gradient": "Identity",
    "sub": "Sub",
    "tanh": "Tanh",
}
"""Those that ONNX has with the same meaning, shape for shape."""


def _square(graph: Graph, _: Any, x: str) -> str:
    return graph.node("Mul", x, x)


def _integer_pow(graph: Graph, equation: Any, x: str) -> str:
    exponent = np.array(equation.params["y"], equation.invars[0].aval.dtype)
    return graph.node("Pow", x, graph.constant(exponent))


def _round(graph: Graph, equation: Any, x: str) -> str:
    if int(equation.params["rounding_method"]) != _TO_EVEN:
        raise NotImplementedError("round away from zero has no equivalent here")
    return graph.node("Round", x)


def _rsqrt(graph: Graph, _: Any, x: str) -> str:
    return graph.node("Reciprocal", graph.node("Sqrt", x))


def _log1p(graph: Graph, equation: Any, x: str) -> str:
    """log u · x / (u − 1) with u = 1 + x, which is exact where u is rounded (Kahan's way)."""
    one = _number(graph, equation, 1)
    u = graph.node("Add", x, one)
    near = graph.node("Equal", u, one)
    far = graph.node("Equal", graph.node("Abs", u), _number(graph, equation, np.inf))
    ratio = graph.node("Div", x, graph.node("Sub", u, one))
    plain = graph.node("Log", u)
    exact = graph.node("Where", far, plain, graph.node("Mul", plain, ratio))
    return graph.node("Where", near, x, exact)


def _expm1(graph: Graph, equation: Any, x: str) -> str:
    """(u − 1) · x / log u with u = exp x, where u is near 1 and the difference rough."""
    one = _number(graph, equation, 1)
    u = graph.node("Exp", x)
    plain = graph.node("Sub", u, one)
    is_near = graph.node("Less", graph.node("Abs", x), _number(graph, equation, 0.5))
    exact = graph.node("Div", graph.node("Mul", plain, x), graph.node("Log", u))
    exact = graph.node("Where", graph.node("Equal", u, one), x, exact)
    return graph.node("Where", is_near, exact, plain)


def _number(graph: Graph, equation: Any, value: float) -> str:
    return graph.constant(np.array(value, equation.invars[0].aval.dtype))


def _not_equal(graph: Graph, _: Any, x: str, y: str) -> str:
    return graph.node("Not", graph.node("Equal", x, y))


def _is_finite(graph: Graph, equation: Any, x: str) -> str:
    # which no NaN is
    return graph.node("Less", graph.node("Abs", x), _number(graph, equation, np.inf))


def _clamp(graph: Graph, _: Any, least: str, x: str, most: str) -> str:
    return graph.node("Min", graph.node("Max", x, least), most)


def _select(graph: Graph, equation: Any, which: str, *cases: str) -> str:
    if len(cases) != 2:
        raise NotImplementedError(f"a choice between {len(cases)} cases")
    dtype = equation.outvars[0].aval.dtype
    return chosen(graph, graph.cast(which, bool), cases[1], cases[0], dtype)


def chosen(graph: Graph, which: str, if_true: str, if_false: str, dtype: Any) -> str:
    """One array where a truth holds, another where it does not."""
    if np.dtype(dtype) != np.bool_:
        return graph.node("Where", which, if_true, if_false)
    # which runtimes do not have of truths
    numbers = [graph.cast(x, np.int32) for x in (if_true, if_false)]
    return graph.cast(graph.node("Where", which, *numbers), bool)


def _convert(graph: Graph, equation: Any, x: str) -> str:
    before, after = equation.invars[0].aval.dtype, np.dtype(equation.params["new_dtype"])
    if np.issubdtype(before, np.floating) and np.issubdtype(after, np.integer):
        return _as_integers(graph, equation, x, after)
    return graph.cast(x, after)


def _as_integers(graph: Graph, equation: Any, x: str, dtype: np.dtype) -> str:
    """Without a fraction; what is too large is the largest, and what is no number is zero."""
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    too_large = graph.node("GreaterOrEqual", x, _number(graph, equation, float(most) + 1))
    x = graph.node("Where", graph.node("IsNaN", x), _number(graph, equation, 0), x)
    x = graph.node("Where", too_large, _number(graph, equation, 0), x)
    x = graph.cast(graph.node("Max", x, _number(graph, equation, float(least))), dtype)
    return graph.node("Where", too_large, graph.constant(np.array(most, dtype)), x)


NUMBERS: dict[str, Callable[..., str | list[str]]] = {
    "clamp": _clamp,
    "convert_element_type": _convert,
    "expm1": _expm1,
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "ne": _not_equal,
    "round": _round,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "square": _square,
}
"""The others, by the names that JAX has for them."""
