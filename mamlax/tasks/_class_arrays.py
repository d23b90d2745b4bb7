"""Examples sorted by class: the form in which all data sets of classes are stored."""

import itertools
import operator
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Int, Shaped

from .._errors import MamlaxError
from ._streaming import Streamed


class ClassArrays(eqx.Module):
    """Examples sorted by class, with the start and the size of each class.

    Classes may have different sizes. Unsigned bytes are treated as pixels: tasks convert them to
    floats in [0, 1]. Data read from files are a memory map. They take no memory until you put them
    on a device, with `mamlax.place` or `jax.tree.map(jnp.asarray, data)`.

    Attributes:
        examples: `[examples, ...]`, class after class.
        starts: `[classes]`, index of the first example of each class.
        sizes: `[classes]`, number of examples of each class.
        names: the name of each class.
    """

    examples: Shaped[Array | np.ndarray, "examples ..."] | Streamed
    starts: Int[Array | np.ndarray, " classes"]
    sizes: Int[Array | np.ndarray, " classes"]
    names: tuple[str, ...] = eqx.field(static=True)

    @staticmethod
    def of(classes: dict[str, np.ndarray]) -> "ClassArrays":
        """Make one from a dictionary of class name → `[examples, ...]`, in the dictionary's order.

        Raises:
            MamlaxError: if there is no class, a class has no examples, or classes differ in dtype
                or in the shape of an example.

        Example:
            >>> import numpy as np, mamlax
            >>> data = mamlax.ClassArrays.of({"a": np.zeros((3, 2)), "b": np.ones((5, 2))})
            >>> data.examples.shape, data.sizes.tolist()
            ((8, 2), [3, 5])
        """
        return _joined(tuple(classes), [np.asarray(examples) for examples in classes.values()])

    def select(self, indices: Sequence[int]) -> "ClassArrays":
        """Only the classes with these indices, in this order.

        If the classes already lie side by side in this order, the result is a view (also of a
        memory map). Otherwise they are copied.

        Raises:
            MamlaxError: if an index is repeated or is not in 0 … classes − 1, or there is none.
        """
        indices, last = [operator.index(i) for i in indices], len(self.names) - 1
        absent = [f"{i}" for i in indices if not 0 <= i <= last]
        repeated = [f"{i} more than once" for i, count in Counter(indices).items() if count > 1]
        for wrong in (*absent, *repeated):
            raise MamlaxError(f"select takes different indices from 0 to {last}, got {wrong}.")
        names = tuple(self.names[i] for i in indices)
        if isinstance(self.examples, Streamed):
            chosen = self._select(self.examples.rows, indices, names)
            return eqx.tree_at(lambda data: data.examples, chosen, replace_fn=Streamed)
        return self._select(np.asanyarray(self.examples), indices, names)

    def _select(
        self, examples: np.ndarray, indices: list[int], names: tuple[str, ...]
    ) -> "ClassArrays":
        starts, sizes = np.asarray(self.starts), np.asarray(self.sizes)
        ends = starts + sizes
        if not indices or any(ends[i] != starts[j] for i, j in itertools.pairwise(indices)):
            return _joined(names, [examples[starts[i] : ends[i]] for i in indices])
        first = starts[indices[0]]
        view = examples[first : ends[indices[-1]]]
        return ClassArrays(view, starts[indices] - first, sizes[indices], names)


class Splits(NamedTuple):
    """Classes for meta-training, for validation (to choose a checkpoint), and for meta-test."""

    train: ClassArrays
    validation: ClassArrays
    test: ClassArrays


def bounds_of(sizes: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and sizes of classes (or groups) that lie one after another."""
    counts = np.array(sizes, np.int32)
    return (np.cumsum(counts) - counts).astype(np.int32), counts


def in_splits(data: ClassArrays, num_classes: tuple[int, int, int]) -> Splits:
    """The first classes for meta-training, the next for validation, the last for meta-test."""
    train, validation, test = num_classes
    indices = range(train + validation + test)
    return Splits(
        data.select(indices[:train]),
        data.select(indices[train : train + validation]),
        data.select(indices[train + validation :]),
    )


def _joined(names: tuple[str, ...], classes: list[np.ndarray]) -> ClassArrays:
    if not classes:
        raise MamlaxError(
            "got no classes, expected one or more: ClassArrays.of({name: [examples, ...], ...}), "
            "data.select([index, ...])."
        )
    first = classes[0]
    for name, examples in zip(names, classes, strict=True):
        if not examples.ndim or not len(examples):
            raise MamlaxError(
                f"class {name!r} has no examples, expected an array [examples, ...] of one or "
                f"more, got shape {list(examples.shape)}. Leave it out."
            )
        if examples.dtype != first.dtype:
            raise MamlaxError(
                f"classes must have one dtype, got {first.dtype} in class {names[0]!r} and "
                f"{examples.dtype} in class {name!r}. Convert them alike: bytes (uint8) are taken "
                "for pixels and divided by 255, other numbers stay as they are."
            )
        if examples.shape[1:] != first.shape[1:]:
            raise MamlaxError(
                f"examples must have one shape, got {list(first.shape[1:])} in class "
                f"{names[0]!r} and {list(examples.shape[1:])} in class {name!r}. Resize them."
            )
    starts, sizes = bounds_of([len(examples) for examples in classes])
    return ClassArrays(np.concatenate(classes), starts, sizes, names)
