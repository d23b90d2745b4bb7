"""Weights that one has, as the parameters to begin with: matched by name and shape."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._errors import MamlaxError, printable
from .._extras import optional
from ._load import trained_in

_MOST_NAMES = 5  # of each kind, in words


class LoadedWeights(NamedTuple):
    """Parameters with what a file or run holds of them.

    Attributes:
        params: the parameters, those that were found replaced.
        matched: names of the parameters that were found.
        missing: names of those that were not: they stay as they were.
        other_shapes: `name: shape there, shape here` of those that were found in another shape:
            they stay as they were, too.
        unused: names of arrays there that no parameter took.
    """

    params: PyTree
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    other_shapes: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.other_shapes)
        said = [f"{len(self.matched)} of {total} parameters were found"]
        said += _listed("not there", self.missing)
        said += _listed("of another shape there", self.other_shapes)
        said += _listed("not used", self.unused)
        return "; ".join(said) + "."


def load_into(params: PyTree, source: str | Path, *, data_dir: str | None = None) -> LoadedWeights:
    """Parameters with the weights of a file, or of a run: meta-training begins from what one has.

    An array belongs to a parameter if its name has the same words in the same order, whatever
    separates them, or ends with them, or the parameter's ends with its: `encoder.layers.0.weight`
    and `['layers'][0]['weight']`. Where several arrays would do, none is taken, nor is one that
    several parameters would take. It must have the same shape; nothing is transposed.

    Args:
        params: parameters, e.g. of a model that was just made.
        source: a safetensors file, whoever wrote it, or the directory of a run.
        data_dir: where data sets are, for a run.

    Returns:
        The parameters, and what was found and what was not; printed, it is a sentence.

    Raises:
        MamlaxError: if the source cannot be read, holds numbers that are not finite, or nothing in
            it fits.

    Example:
        >>> import jax, mamlax, numpy as np, pathlib, safetensors.numpy, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.safetensors"
        >>> safetensors.numpy.save_file({"net.weights.0": np.ones((1, 8), np.float32)}, path)
        >>> model = mamlax.models.mlp(jax.random.key(0), 1, 1, hidden_sizes=(8,))
        >>> loaded = mamlax.load_into(model, path)
        >>> print(loaded)
        1 of 4 parameters were found; not there: weights.1, biases.0, biases.1.
        >>> float(loaded.params.weights[0].mean())
        1.0
    """
    return matched_into(params, read_weights(source, data_dir), source)


def read_weights(source: str | Path, data_dir: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file or of a run, by name.

    Raises:
        MamlaxError: if there is no such file or run, it cannot be read, or it holds numbers that
            are not finite.
    """
    arrays = _arrays_in(Path(source), data_dir)
    if broken := [name for name, array in arrays.items() if not _is_finite(array)]:
        raise MamlaxError(f"{source}: {printable(broken[0])} has numbers that are not finite.")
    return arrays


def arrays_of(params: PyTree) -> dict[str, Array]:
    """The arrays of parameters, by name."""
    return dict(_named(params))


def _arrays_in(source: Path, data_dir: str | None) -> dict[str, np.ndarray]:
    if source.is_dir():
        _, result = trained_in(source, data_dir)
        return {name: np.asarray(array) for name, array in arrays_of(result.params).items()}
    if not source.is_file():
        raise MamlaxError(
            f"{source} does not exist. Weights to begin with are in a safetensors file, or in the "
            "directory of a run."
        )
    library = optional("safetensors.numpy", "tabular")
    try:
        return library.load_file(source)
    except Exception as error:  # of the format, or numbers that NumPy lacks
        raise MamlaxError(
            f"{source} is no safetensors file, or is damaged ({printable(str(error))})."
        ) from error


def matched_into(
    params: PyTree, arrays: Mapping[str, np.ndarray | Array], source: str | Path
) -> LoadedWeights:
    """What of `arrays` fits `params`; see `load_into`.

    Raises:
        MamlaxError: if nothing does.
    """
    there = {name: _words(name) for name in arrays}
    claims = {name: _only(name, there) for name, _ in _named(params)}
    claimed = Counter(claims.values())
    taken, matched, missing, other_shapes = {}, [], [], []
    for name, leaf in _named(params):
        found = claims[name]
        is_shared = claimed[found] > 1 and there.get(found or "") != _words(name)
        if found is None or is_shared:
            missing.append(name)
        elif arrays[found].shape != leaf.shape:
            shapes = f"{list(arrays[found].shape)} there, {list(leaf.shape)} here"
            other_shapes.append(f"{name}: {shapes}")
        else:
            matched.append(name)
            taken[name] = found
    unused = [printable(name) for name in arrays if name not in taken.values()]
    if not matched:
        raise MamlaxError(
            f"nothing in {source} has the name and shape of a parameter. Parameters begin with: "
            f"{_begin_with(_named(params))}. There: {_begin_with(arrays.items()) or 'no arrays'}."
        )

    def replaced(path, leaf):
        found = taken.get(_name(path)) if eqx.is_inexact_array(leaf) else None
        return leaf if found is None else jnp.asarray(arrays[found], leaf.dtype)

    params = jax.tree_util.tree_map_with_path(replaced, params)
    return LoadedWeights(params, *map(tuple, (matched, missing, other_shapes, unused)))


def _named(params: PyTree) -> list[tuple[str, PyTree]]:
    """Names of the parameters that can be learned, and themselves."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(params, eqx.is_inexact_array))
    return [(_name(path), leaf) for path, leaf in leaves]


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[A-Za-z0-9_]+", name))


def _only(name: str, there: Mapping[str, tuple[str, ...]]) -> str | None:
    """The one array that belongs to a name: of the same words, or, if alone, of an end of them."""
    ours = _words(name)
    same = [other for other, words in there.items() if words == ours]
    ends = [other for other, words in there.items() if _is_end(words, ours) or _is_end(ours, words)]
    return next((found[0] for found in (same, ends) if len(found) == 1), None)


def _is_end(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return bool(words) and others[-len(words) :] == words


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(np.asarray(array, np.float32)).all())


def _begin_with(named: Iterable[tuple[str, Any]]) -> str:
    first = list(named)[:_MOST_NAMES]
    return ", ".join(f"{printable(name)} {list(array.shape)}" for name, array in first)


def _listed(what: str, names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return [f"{what}: {', '.join(names[:_MOST_NAMES])}{more}"]
