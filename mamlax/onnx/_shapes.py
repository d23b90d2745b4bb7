"""Operations that move numbers, or repeat them, by shapes alone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax

from ._graph import Graph, is_known


def shape_of(atom: Any) -> tuple[Any, ...]:
    """Of a variable of a traced program; sizes may be symbols."""
    return atom.aval.shape


def _broadcast(graph: Graph, equation: Any, x: str) -> str:
    shape, places = equation.params["shape"], equation.params["broadcast_dimensions"]
    new = [axis for axis in range(len(shape)) if axis not in places]
    if new:
        x = graph.node("Unsqueeze", x, graph.integers(*new))
    before = [1] * len(shape)
    for axis, place in enumerate(places):
        before[place] = shape_of(equation.invars[0])[axis]
    return x if tuple(before) == tuple(shape) else graph.node("Expand", x, graph.sizes(shape))


def _reshape(graph: Graph, equation: Any, x: str) -> str:
    shape = shape_of(equation.outvars[0])
    unknown = [axis for axis, size in enumerate(shape) if not is_known(size)]
    if len(unknown) == 1:  # what is left
        shape = [-1 if axis in unknown else size for axis, size in enumerate(shape)]
    return graph.node("Reshape", x, graph.sizes(shape), allowzero=int(len(unknown) != 1))


def _squeeze(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Squeeze", x, graph.integers(*equation.params["dimensions"]))


def _expand_dims(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Unsqueeze", x, graph.integers(*equation.params["dimensions"]))


def _transpose(graph: Graph, equation: Any, x: str) -> str:
    return permuted(graph, x, equation.params["permutation"])


def permuted(graph: Graph, x: str, order: Sequence[int]) -> str:
    """An array with its axes in another order."""
    order = [int(axis) for axis in order]
    return x if order == sorted(order) else graph.node("Transpose", x, perm=order)


def with_axes_after(graph: Graph, x: str, rank: int, wanted: int) -> str:
    """An array of some rank, with axes of size 1 after its own until it has another."""
    more = range(rank, wanted)
    return graph.node("Unsqueeze", x, graph.integers(*more)) if more else x


def undone(order: Sequence[int]) -> list[int]:
    """The permutation that undoes one."""
    return sorted(range(len(order)), key=lambda place: order[place])


def _concatenate(graph: Graph, equation: Any, *parts: str) -> str:
    return graph.node("Concat", *parts, axis=equation.params["dimension"])


def _stack(graph: Graph, equation: Any, *parts: str) -> str:
    axis = equation.params["axis"]
    parts = tuple(graph.node("Unsqueeze", part, graph.integers(axis)) for part in parts)
    return graph.node("Concat", *parts, axis=axis)


def _slice(graph: Graph, equation: Any, x: str) -> str:
    starts, ends = equation.params["start_indices"], equation.params["limit_indices"]
    steps = equation.params["strides"] or [1] * len(starts)
    axes = [
        axis
        for axis, size in enumerate(shape_of(equation.invars[0]))
        if (starts[axis], ends[axis], steps[axis]) != (0, size, 1)
    ]
    if not axes:
        return x
    starts, ends = (
        graph.sizes([ends_or_starts[axis] for axis in axes]) for ends_or_starts in (starts, ends)
    )
    steps = graph.integers(*(steps[axis] for axis in axes))
    return graph.node("Slice", x, starts, ends, graph.integers(*axes), steps)


def _dynamic_slice(graph: Graph, equation: Any, x: str, *starts: str) -> str:
    """From places that are computed, and moved so that all of it is within the array."""
    sizes, shape = equation.params["slice_sizes"], shape_of(equation.invars[0])
    each = [
        graph.node("Unsqueeze", graph.cast(start, np.int64), graph.integers(0)) for start in starts
    ]
    lengths = graph.sizes(sizes)
    last = graph.node("Sub", graph.sizes(shape), lengths)
    start = graph.node("Concat", *each, axis=0)
    return part_from(graph, x, start, lengths, last, range(len(shape)))


def part_from(
    graph: Graph, x: str, start: str, lengths: str, last: str, axes: Sequence[Any]
) -> str:
    """A part of an array, moved so that all of it is within."""
    start = graph.node("Max", graph.node("Min", start, last), graph.integers(0))
    return graph.node("Slice", x, start, graph.node("Add", start, lengths), graph.integers(*axes))


def _reverse(graph: Graph, equation: Any, x: str) -> str:
    axes = equation.params["dimensions"]
    ends = np.iinfo(np.int64).min
    vectors = ([-1] * len(axes), [ends] * len(axes), axes, [-1] * len(axes))
    return graph.node("Slice", x, *(graph.integers(*values) for values in vectors))


def _pad(graph: Graph, equation: Any, x: str, value: str) -> str:
    widths = equation.params["padding_config"]
    shape = list(shape_of(equation.invars[0]))
    for axis, (_, _, between) in enumerate(widths):
        if between:  # a new axis of the number and what follows it, less what follows the last
            x = graph.node("Unsqueeze", x, graph.integers(axis + 1))
            after = graph.integers(0, between)
            x = graph.node("Pad", x, after, value, graph.integers(axis + 1))
            shape[axis] = shape[axis] * (between + 1)
            x = graph.node("Reshape", x, graph.sizes(shape))
            bounds = ([0], [-between], [axis], [1])
            x = graph.node("Slice", x, *(graph.integers(*values) for values in bounds))
            shape[axis] = shape[axis] - between
    before, after = ([width[end] for width in widths] for end in (0, 1))
    if any(before) or any(after):
        x = graph.node("Pad", x, graph.integers(*before, *after), value)
    return x


def _iota(graph: Graph, equation: Any, *_: str) -> str:
    shape, axis = shape_of(equation.outvars[0]), equation.params["dimension"]
    dtype = equation.params["dtype"]
    if all(is_known(size) for size in shape):
        return graph.constant(np.asarray(lax.broadcasted_iota(dtype, shape, axis)))
    return graph.cast(counted(graph, shape, axis), dtype)


def counted(graph: Graph, shape: Sequence[Any], axis: int) -> str:
    """0, 1, … along an axis, as whole numbers of 64 bits."""
    zero, one = (graph.constant(np.array(n, np.int64)) for n in (0, 1))
    size = graph.node("Squeeze", graph.sizes([shape[axis]]), graph.integers(0))
    numbers = graph.node("Range", zero, size, one)
    others = [i for i in range(len(shape)) if i != axis]
    if others:
        numbers = graph.node("Unsqueeze", numbers, graph.integers(*others))
    return graph.node("Expand", numbers, graph.sizes(shape))


def _size(graph: Graph, equation: Any) -> str:
    size = graph.node("Squeeze", graph.sizes([equation.params["dim"]]), graph.integers(0))
    return graph.cast(size, equation.outvars[0].aval.dtype)


def _split(graph: Graph, equation: Any, x: str) -> list[str]:
    sizes = equation.params["sizes"]
    return graph.nodes("Split", len(sizes), x, graph.sizes(sizes), axis=equation.params["axis"])


def _tile(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Tile", x, graph.sizes(equation.params["reps"]))


SHAPES: dict[str, Callable[..., str | list[str]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "dim_as_value": _size,
    "dynamic_slice": _dynamic_slice,
    "expand_dims": _expand_dims,
    "iota": _iota,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
"""By the names that JAX has for them."""
