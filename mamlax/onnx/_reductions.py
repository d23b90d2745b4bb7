"""Operations that go along axes of arrays: sums, the largest, products."""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._graph import Graph
from ._shapes import permuted, shape_of


def _reduced(operation: str) -> Callable[..., str]:
    def reduce(graph: Graph, equation: Any, x: str) -> str:
        axes = equation.params["axes"]
        if not axes:
            return x
        return graph.node(operation, x, graph.integers(*axes), keepdims=0)

    return reduce


def _extreme(operation: str) -> Callable[..., str]:
    """The largest or smallest; no number, where one of those is none, as ONNX leaves open."""
    reduce = _reduced(operation)

    def reduce_extreme(graph: Graph, equation: Any, x: str) -> str:
        dtype = equation.invars[0].aval.dtype
        found = reduce(graph, equation, x)
        if not np.issubdtype(dtype, np.floating):
            return found
        broken = reduced_truth(graph, graph.node("IsNaN", x), "ReduceMax", equation.params["axes"])
        return graph.node("Where", broken, graph.constant(np.array(np.nan, dtype)), found)

    return reduce_extreme


def _truth(operation: str) -> Callable[..., str]:
    def reduce(graph: Graph, equation: Any, x: str) -> str:
        return reduced_truth(graph, x, operation, equation.params["axes"])

    return reduce


def reduced_truth(graph: Graph, x: str, operation: str, axes: Sequence[Any]) -> str:
    """Truths along axes: all of them by ReduceMin, any of them by ReduceMax."""
    if not axes:
        return x
    found = graph.node(operation, graph.cast(x, np.int32), graph.integers(*axes), keepdims=0)
    return graph.cast(found, bool)


def _place_of(operation: str) -> Callable[..., str]:
    def place(graph: Graph, equation: Any, x: str) -> str:
        (axis,), dtype = equation.params["axes"], equation.invars[0].aval.dtype
        if np.issubdtype(dtype, np.floating):  # what is no number comes first, as in JAX
            first = graph.constant(
                np.array({"ArgMax": np.inf, "ArgMin": -np.inf}[operation], dtype)
            )
            x = graph.node("Where", graph.node("IsNaN", x), first, x)
        found = graph.node(operation, x, axis=axis, keepdims=0)
        return graph.cast(found, equation.params["index_dtype"])

    return place


def _cumulated(graph: Graph, equation: Any, x: str) -> str:
    axis = graph.constant(np.array(equation.params["axis"], np.int64))
    return graph.node("CumSum", x, axis, reverse=int(equation.params["reverse"]))


def _dot(graph: Graph, equation: Any, left: str, right: str) -> str:
    """A product as Einstein writes it: a letter for each axis, the same one where it is summed."""
    (left_summed, right_summed), (left_batch, right_batch) = equation.params["dimension_numbers"]
    ranks = [len(shape_of(atom)) for atom in equation.invars]
    letters = iter(string.ascii_lowercase)
    of_left = [next(letters) for _ in range(ranks[0])]
    of_right = [""] * ranks[1]
    for here, there in zip((*left_batch, *left_summed), (*right_batch, *right_summed), strict=True):
        of_right[there] = of_left[here]
    of_right = [letter or next(letters) for letter in of_right]
    batch = [of_left[axis] for axis in left_batch]
    own = [
        letter
        for of_one, shared in (
            (of_left, (*left_batch, *left_summed)),
            (of_right, (*right_batch, *right_summed)),
        )
        for axis, letter in enumerate(of_one)
        if axis not in shared
    ]
    if ranks == [2, 2] and not batch and len(left_summed) == 1:  # a product of matrices is quicker
        left = permuted(graph, left, [1 - left_summed[0], left_summed[0]])
        right = permuted(graph, right, [right_summed[0], 1 - right_summed[0]])
        product = graph.node("MatMul", left, right)
    else:
        written = f"{''.join(of_left)},{''.join(of_right)}->{''.join(batch + own)}"
        product = graph.node("Einsum", left, right, equation=written)
    dtype = equation.outvars[0].aval.dtype
    return product if dtype == equation.invars[0].aval.dtype else graph.cast(product, dtype)


REDUCTIONS: dict[str, Callable[..., str | list[str]]] = {
    "argmax": _place_of("ArgMax"),
    "argmin": _place_of("ArgMin"),
    "cumsum": _cumulated,
    "dot_general": _dot,
    "reduce_and": _truth("ReduceMin"),
    "reduce_max": _extreme("ReduceMax"),
    "reduce_min": _extreme("ReduceMin"),
    "reduce_or": _truth("ReduceMax"),
    "reduce_sum": _reduced("ReduceSum"),
}
"""By the names that JAX has for them."""
