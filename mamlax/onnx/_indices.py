"""Numbers taken from, and added to, the places that indices say."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax

from ._graph import Graph
from ._numbers import chosen
from ._reductions import reduced_truth
from ._shapes import counted, part_from, permuted, shape_of, undone, with_axes_after

_FILLS = lax.GatherScatterMode.FILL_OR_DROP


def _gather(graph: Graph, equation: Any, x: str, indices: str) -> str:
    numbers, settings = equation.params["dimension_numbers"], equation.params
    if len(shape_of(equation.invars[1])) == 1:
        return _part(graph, equation, x, indices)
    found = _Places(
        shape_of(equation.invars[0]),
        shape_of(equation.invars[1]),
        numbers.start_index_map,
        numbers.operand_batching_dims,
        numbers.start_indices_batching_dims,
    )
    sizes = settings["slice_sizes"]
    if any(sizes[axis] != 1 for axis in found.indexed) or any(
        sizes[axis] != found.shape[axis] for axis in found.whole
    ):
        raise NotImplementedError("gather takes parts of axes, which has no equivalent here")
    places, within = found.places(graph, indices)
    taken = graph.node("GatherND", permuted(graph, x, found.indexed + found.whole), places)
    if settings["mode"] == _FILLS:
        taken = _filled(graph, equation, found.of_each(graph, within), taken)
    # axes of the indices come first now, then those taken whole: where do they belong?
    offsets = [
        place
        for place, axis in zip(numbers.offset_dims, _kept(found.shape, numbers), strict=True)
        if axis in found.whole
    ]
    shape = shape_of(equation.outvars[0])
    others = [axis for axis in range(len(shape)) if axis not in numbers.offset_dims]
    taken = permuted(graph, taken, undone(others + offsets))
    if len(shape) == len(others) + len(offsets):
        return taken
    return graph.node("Reshape", taken, graph.sizes(shape))


def _part(graph: Graph, equation: Any, x: str, start: str) -> str:
    """A gather of one part, as long as its sizes say, from a place along some axes."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape, axes = shape_of(equation.invars[0]), numbers.start_index_map
    if any(sizes[axis] != shape[axis] for axis in range(len(shape)) if axis not in axes):
        raise NotImplementedError("gather takes parts of axes, which has no equivalent here")
    lengths = graph.sizes([sizes[axis] for axis in axes])
    last = graph.node("Sub", graph.sizes([shape[axis] for axis in axes]), lengths)
    start = graph.cast(start, np.int64)
    part = part_from(graph, x, start, lengths, last, axes)
    if equation.params["mode"] == _FILLS:
        least = graph.node("GreaterOrEqual", start, graph.integers(0))
        both = graph.node("And", least, graph.node("LessOrEqual", start, last))
        within = reduced_truth(graph, both, "ReduceMin", [0])
        part = _filled(graph, equation, within, part)
    gone = numbers.collapsed_slice_dims
    return graph.node("Squeeze", part, graph.integers(*gone)) if gone else part


def _filled(graph: Graph, equation: Any, within: str, taken: str) -> str:
    """What was taken, or where it was not within the array what JAX has there."""
    dtype, value = equation.outvars[0].aval.dtype, equation.params["fill_value"]
    if value is None:
        is_truth, is_real = np.dtype(dtype) == np.bool_, np.issubdtype(dtype, np.floating)
        value = True if is_truth else np.nan if is_real else np.iinfo(dtype).min
    return chosen(graph, within, taken, graph.constant(np.array(value, dtype)), dtype)


def _kept(shape: Sequence[Any], numbers: Any) -> list[int]:
    """Axes of the operand that the result of a gather has."""
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    return [axis for axis in range(len(shape)) if axis not in gone]


def _scatter_add(graph: Graph, equation: Any, x: str, indices: str, updates: str) -> str:
    numbers = equation.params["dimension_numbers"]
    found = _Places(
        shape_of(equation.invars[0]),
        shape_of(equation.invars[1]),
        numbers.scatter_dims_to_operand_dims,
        numbers.operand_batching_dims,
        numbers.scatter_indices_batching_dims,
    )
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    if set(gone) != set(found.indexed):
        raise NotImplementedError("scatter-add to parts of axes, which has no equivalent here")
    places, within = found.places(graph, indices)
    rank = len(shape_of(equation.invars[2]))
    others = [axis for axis in range(rank) if axis not in numbers.update_window_dims]
    updates = permuted(graph, updates, [*others, *map(int, numbers.update_window_dims)])
    if equation.params["mode"] == _FILLS:
        none = graph.constant(np.zeros((), equation.invars[2].aval.dtype))
        updates = graph.node("Where", found.of_each(graph, within), updates, none)
    order = found.indexed + found.whole
    added = graph.node("ScatterND", permuted(graph, x, order), places, updates, reduction="add")
    return permuted(graph, added, undone(order))


class _Places:
    """Which numbers of an array a gather or a scatter means.

    Attributes:
        shape: of the array.
        indexed: its axes that indices say the place along, those of batches first.
        whole: its other axes.
    """

    def __init__(self, shape, indices_shape, indexed, batching, indices_batching):
        self.shape = shape
        self.indexed = [int(axis) for axis in (*batching, *indexed)]
        self.whole = [axis for axis in range(len(shape)) if axis not in self.indexed]
        self._batch_shape = indices_shape[:-1]
        self._batching = [int(axis) for axis in indices_batching]

    def places(self, graph: Graph, indices: str) -> tuple[str, str]:
        """`[…, indexed axes]`, whole numbers moved to be within the array, of batches each its own;
        and `[…]`, whether they were within.
        """
        indices = graph.cast(indices, np.int64)
        axes = self.indexed[len(self._batching) :]
        last = graph.sizes([self.shape[axis] for axis in axes])
        last = graph.node("Sub", last, graph.integers(1))
        moved = graph.node("Max", graph.node("Min", indices, last), graph.integers(0))
        same = graph.node("Equal", moved, indices)
        within = reduced_truth(graph, same, "ReduceMin", [len(self._batch_shape)])
        rank = len(self._batch_shape)
        of_batches = [
            with_axes_after(graph, counted(graph, self._batch_shape, axis), rank, rank + 1)
            for axis in self._batching
        ]
        if of_batches:
            moved = graph.node("Concat", *of_batches, moved, axis=-1)
        return moved, within

    def of_each(self, graph: Graph, within: str) -> str:
        """The same truth for all numbers that are taken whole."""
        rank = len(self._batch_shape)
        return with_axes_after(graph, within, rank, rank + len(self.whole))


INDICES: dict[str, Callable[..., str | list[str]]] = {
    "gather": _gather,
    "scatter-add": _scatter_add,
}
"""By the names that JAX has for them."""
