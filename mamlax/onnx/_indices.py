"""Numbers taken from, and added to, the places that indices say."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax

from ._graph import Graph
from ._shapes import counted, part_from, permuted, shape_of, undone


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
    clips = settings["mode"] == lax.GatherScatterMode.CLIP
    places = found.places(graph, indices, clips=clips)
    taken = graph.node("GatherND", permuted(graph, x, found.indexed + found.whole), places)
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
    part = part_from(graph, x, graph.cast(start, np.int64), lengths, last, axes)
    gone = numbers.collapsed_slice_dims
    return graph.node("Squeeze", part, graph.integers(*gone)) if gone else part


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
    places = found.places(graph, indices, clips=False)
    rank = len(shape_of(equation.invars[2]))
    others = [axis for axis in range(rank) if axis not in numbers.update_window_dims]
    updates = permuted(graph, updates, [*others, *map(int, numbers.update_window_dims)])
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
        self._batch_shape, self._batching = (
            indices_shape[:-1],
            [int(axis) for axis in indices_batching],
        )

    def places(self, graph: Graph, indices: str, *, clips: bool) -> str:
        """`[…, indexed axes]`, whole numbers; of batches, each its own."""
        indices = graph.cast(indices, np.int64)
        if clips:
            axes = self.indexed[len(self._batching) :]
            last = graph.sizes([self.shape[axis] for axis in axes])
            last = graph.node("Sub", last, graph.integers(1))
            indices = graph.node("Max", graph.node("Min", indices, last), graph.integers(0))
        of_batches = [
            graph.node(
                "Unsqueeze",
                counted(graph, self._batch_shape, axis),
                graph.integers(len(self._batch_shape)),
            )
            for axis in self._batching
        ]
        if not of_batches:
            return indices
        return graph.node("Concat", *of_batches, indices, axis=-1)


INDICES: dict[str, Callable[..., str | list[str]]] = {
    "gather": _gather,
    "scatter-add": _scatter_add,
}
"""By the names that JAX has for them."""
