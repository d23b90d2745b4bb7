"""Operations that are programs themselves: loops, and solutions of equations, unrolled."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr

from ._graph import Graph, is_known
from ._numbers import chosen
from ._reductions import reduced_truth
from ._shapes import with_axes_after

MOST_TURNS = 1_000
"""Of a loop that is unrolled."""
Converted = Callable[[Graph, ClosedJaxpr, Sequence[str]], list[str]]
"""What adds a program to a graph; see `converted`."""


def _scan(converted: Converted, graph: Graph, equation: Any, *inputs: str) -> list[str]:
    """A loop, unrolled: it has a number of turns that is known."""
    settings = equation.params
    num_fixed, num_carried = _num_fixed_and_carried(settings)
    fixed, carried = inputs[:num_fixed], list(inputs[num_fixed : num_fixed + num_carried])
    rows, length = inputs[num_fixed + num_carried :], settings["length"]
    if not is_known(length):
        raise NotImplementedError(f"a loop of {length} turns, a number that is not known yet")
    if length > MOST_TURNS:
        raise NotImplementedError(f"a loop of {length:,} turns, more than {MOST_TURNS:,}")
    stacked: list[list[str]] = []
    turns = range(length)
    for turn in reversed(turns) if settings["reverse"] else turns:
        axis = graph.constant(np.array(turn, np.int64))
        of_turn = [graph.node("Gather", row, axis, axis=0) for row in rows]
        results = converted(graph, settings["jaxpr"], [*fixed, *carried, *of_turn])
        carried = results[:num_carried]
        stacked.append(
            [graph.node("Unsqueeze", one, graph.integers(0)) for one in results[num_carried:]]
        )
    stacked = stacked[::-1] if settings["reverse"] else stacked
    return carried + [graph.node("Concat", *parts, axis=0) for parts in zip(*stacked, strict=True)]


def _num_fixed_and_carried(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Inputs that are the same in every turn, and those that a turn gives to the next."""
    if "ft_in" in settings:  # since JAX 0.12: (fixed, carried, rows), as trees
        fixed, carried, _ = settings["ft_in"].unpack()
        return len(fixed), len(carried)
    return settings["num_consts"], settings["num_carry"]


def _while(converted: Converted, graph: Graph, equation: Any, *inputs: str) -> list[str]:
    """A loop; of several under `vmap`, which goes on while one of them does, the others wait."""
    settings = equation.params
    num_test, num_turn = settings["cond_nconsts"], settings["body_nconsts"]
    for_test, for_turn = inputs[:num_test], inputs[num_test : num_test + num_turn]
    start = num_test + num_turn
    states = [atom.aval for atom in equation.invars[start:]]
    rank = len(settings["cond_jaxpr"].out_avals[0].shape)

    def each_goes_on(state):
        return converted(graph, settings["cond_jaxpr"], [*for_test, *state])[0]

    def goes_on(state):
        return reduced_truth(graph, each_goes_on(state), "ReduceMax", range(rank))

    def turn(state):
        found = converted(graph, settings["body_jaxpr"], [*for_turn, *state])
        if rank == 0:
            return found
        those = each_goes_on(state)
        return [
            chosen(
                graph,
                with_axes_after(graph, those, rank, len(like.shape)),
                after,
                before,
                like.dtype,
            )
            for after, before, like in zip(found, state, states, strict=True)
        ]

    return graph.loop(inputs[start:], states, goes_on, turn)


def _linear_solve(converted: Converted, graph: Graph, equation: Any, *inputs: str) -> list[str]:
    """By the program that JAX solves with."""
    lengths, programs = equation.params["const_lengths"], equation.params["jaxprs"]
    start = lengths.matvec + lengths.vecmat
    consts = inputs[start : start + lengths.solve]
    return converted(graph, programs.solve, [*consts, *inputs[sum(lengths) :]])


def _cholesky(converted: Converted, graph: Graph, equation: Any, x: str) -> str:
    """The lower triangle whose product with its transpose a matrix is, column by column."""

    def factor(rest):
        columns, size = [], rest.shape[0]
        for index in range(size):
            column = rest[:, 0] / jnp.sqrt(rest[0, 0])
            columns.append(jnp.pad(column, (index, 0)))
            if index + 1 < size:  # ONNX has trouble with arrays of no numbers
                rest = rest[1:, 1:] - column[1:, None] * column[None, 1:]
        return jnp.stack(columns, axis=1)

    return _traced(converted, graph, factor, equation, x)


def _triangular_solve(
    converted: Converted, graph: Graph, equation: Any, triangle: str, targets: str
) -> str:
    """Row by row, each from those already found."""
    settings = equation.params
    if not settings["left_side"]:
        raise NotImplementedError("triangular_solve from the right has no equivalent here")

    def solve(triangle, targets):
        lower = settings["lower"] != settings["transpose_a"]
        triangle, size = triangle.T if settings["transpose_a"] else triangle, triangle.shape[0]
        if not lower:
            triangle, targets = jnp.flip(triangle), jnp.flip(targets, 0)
        found = []
        for index in range(size):
            divisor = 1 if settings["unit_diagonal"] else triangle[index, index]
            found.append(lax.index_in_dim(targets, 0) / divisor)
            if index + 1 < size:
                column = triangle[index + 1 :, index, None]
                targets = lax.slice_in_dim(targets, 1, size - index) - column * found[-1]
        return jnp.concatenate(found if lower else found[::-1])

    return _traced(converted, graph, solve, equation, triangle, targets)


def _traced(
    converted: Converted, graph: Graph, function: Callable[..., Any], equation: Any, *inputs: str
) -> str:
    """What a function of matrices computes."""
    arguments = [jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype) for x in equation.invars]
    if any(len(x.shape) != 2 for x in arguments):
        raise NotImplementedError(f"{equation.primitive.name} of several matrices at once")
    if not is_known(arguments[0].shape[0]):
        raise NotImplementedError(f"{equation.primitive.name} of a size that is not known yet")
    return converted(graph, jax.make_jaxpr(function)(*arguments), inputs)[0]


LOOPS: dict[str, Callable[..., str | list[str]]] = {
    "cholesky": _cholesky,
    "custom_linear_solve": _linear_solve,
    "scan": _scan,
    "triangular_solve": _triangular_solve,
    "while": _while,
}
"""By the names that JAX has for them; they take what converts programs first."""
