"""Operations on each number of arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._graph import Graph

SAME = {  # of the same meaning, shape for shape
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


def _rsqrt(graph: Graph, _: Any, x: str) -> str:
    return graph.node("Reciprocal", graph.node("Sqrt", x))


def _log1p(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Log", graph.node("Add", x, _one(graph, equation)))


def _expm1(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Sub", graph.node("Exp", x), _one(graph, equation))


def _one(graph: Graph, equation: Any) -> str:
    return graph.constant(np.ones((), equation.invars[0].aval.dtype))


def _not_equal(graph: Graph, _: Any, x: str, y: str) -> str:
    return graph.node("Not", graph.node("Equal", x, y))


def _is_finite(graph: Graph, equation: Any, x: str) -> str:
    infinity = graph.constant(np.array(np.inf, equation.invars[0].aval.dtype))
    return graph.node("Less", graph.node("Abs", x), infinity)  # which no NaN is


def _clamp(graph: Graph, _: Any, least: str, x: str, most: str) -> str:
    return graph.node("Min", graph.node("Max", x, least), most)


def _select(graph: Graph, equation: Any, which: str, if_false: str, if_true: str) -> str:
    dtype = equation.outvars[0].aval.dtype
    return chosen(graph, graph.cast(which, bool), if_true, if_false, dtype)


def chosen(graph: Graph, which: str, if_true: str, if_false: str, dtype: Any) -> str:
    if np.dtype(dtype) != np.bool_:
        return graph.node("Where", which, if_true, if_false)
    # which runtimes do not have of truths
    numbers = [graph.cast(x, np.int32) for x in (if_true, if_false)]
    return graph.cast(graph.node("Where", which, *numbers), bool)


def _convert(graph: Graph, equation: Any, x: str) -> str:
    return graph.cast(x, equation.params["new_dtype"])


NUMBERS: dict[str, Callable[..., str | list[str]]] = {
    "clamp": _clamp,
    "convert_element_type": _convert,
    "expm1": _expm1,
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "ne": _not_equal,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "square": _square,
}
"""The others."""
