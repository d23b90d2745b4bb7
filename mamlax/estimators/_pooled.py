"""One model for all groups, which adaptation starts from: a constant, a line, or boosted trees."""

from collections.abc import Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._errors import MamlaxError
from ._container import Container, named_arrays
from ._entry import CONSTANT, POOLED, TREES

Kind = Literal["none", "constant", "linear", "trees"]
WORDS = {"none": "no pooled model", "constant": CONSTANT, "linear": POOLED, "trees": TREES}
_PREFIX = "pooled"


class Constant(eqx.Module):
    """The same outputs for all inputs."""

    bias: Float[Array | np.ndarray, " outputs"]

    def __call__(self, inputs):
        """Outputs `[rows, outputs]` of inputs `[rows, features]`."""
        return jnp.zeros_like(inputs[:, :1]) + self.bias[None]


class Line(eqx.Module):
    """`x W + b`."""

    weight: Float[Array | np.ndarray, "features outputs"]
    bias: Float[Array | np.ndarray, " outputs"]

    def __call__(self, inputs):
        """Outputs `[rows, outputs]` of inputs `[rows, features]`."""
        return inputs @ self.weight + self.bias[None]


class Trees(eqx.Module):
    """For each output a number, and a sum of decision trees.

    A row goes from node 0 of a tree to the left where the feature of the node is at most its
    threshold, else to the right; a leaf leads to itself. Inputs have no gaps: columns say in a
    number of their own where a value is missing.
    """

    features: Int[Array | np.ndarray, "outputs trees nodes"]
    thresholds: Float[Array | np.ndarray, "outputs trees nodes"]
    lefts: Int[Array | np.ndarray, "outputs trees nodes"]
    rights: Int[Array | np.ndarray, "outputs trees nodes"]
    values: Float[Array | np.ndarray, "outputs trees nodes"]
    bias: Float[Array | np.ndarray, " outputs"]

    def __call__(self, inputs):
        """Outputs `[rows, outputs]` of inputs `[rows, features]`."""
        return jax.vmap(self._of_row)(inputs) + self.bias[None]

    def _of_row(self, row):
        def at(array, nodes):
            return jnp.take_along_axis(jnp.asarray(array), nodes[..., None], axis=-1)[..., 0]

        def step(state):
            nodes, _ = state
            is_left = row[at(self.features, nodes)] <= at(self.thresholds, nodes)
            after = jnp.where(is_left, at(self.lefts, nodes), at(self.rights, nodes))
            return after, jnp.any(after != nodes)

        roots = jnp.zeros(self.values.shape[:2], jnp.int32)
        leaves, _ = jax.lax.while_loop(lambda state: state[1], step, (roots, jnp.array(True)))
        return at(self.values, leaves).sum(-1)


Pooled = Constant | Line | Trees


def kind_of(pooled: Pooled | None) -> Kind:
    """What it is."""
    if pooled is None:
        return "none"
    kinds: dict[type, Kind] = {Constant: "constant", Line: "linear", Trees: "trees"}
    return kinds[type(pooled)]


def num_columns(pooled: Pooled | None) -> int:
    """Numbers that it adds to those of a row."""
    return 0 if pooled is None else pooled.bias.shape[0]


def augmented(pooled: Pooled | None, inputs: Any) -> Any:
    """Inputs `[rows, features]`, and what the pooled model says of them as columns after these."""
    if pooled is None:
        return inputs
    return jnp.concatenate([inputs, pooled(inputs)], axis=1)


def state_of(pooled: Pooled | None) -> Container:
    """What a file must hold of it, for `from_state`."""
    arrays = {} if pooled is None else named_arrays(_PREFIX, pooled)
    return Container({"pooled": kind_of(pooled)}, arrays)


def from_state(content: Container, num_inputs: int, num_outputs: int) -> Pooled | None:
    """What `state_of` gave; None of a file from before there were any.

    Args:
        content: of the file.
        num_inputs: numbers that a row becomes.
        num_outputs: of the network.

    Raises:
        MamlaxError: if an array is missing, or does not fit the others.
        ValueError: if it is of no kind that there is.
    """
    kind = content.header.get("pooled", "none")
    if kind not in WORDS:
        raise ValueError(f"a pooled model of kind {kind!r}")
    if kind == "none":
        return None
    shape = (num_inputs, num_outputs)
    if kind == "constant":
        return Constant(_array(content.arrays, "bias", np.float32, shape[1:]))
    if kind == "linear":
        return Line(
            _array(content.arrays, "weight", np.float32, shape),
            _array(content.arrays, "bias", np.float32, shape[1:]),
        )
    found = content.arrays.get(f"{_PREFIX}.values")
    shape = () if found is None else found.shape
    integers = {
        name: _array(content.arrays, name, np.int32, shape)
        for name in ("features", "lefts", "rights")
    }
    numbers = {
        name: _array(content.arrays, name, np.float32, shape) for name in ("thresholds", "values")
    }
    bias = _array(content.arrays, "bias", np.float32, (num_outputs,))
    if len(shape) != 3 or shape[0] != num_outputs or not shape[2]:
        raise MamlaxError(f"the trees have shape {list(shape)} for {num_outputs} outputs.")
    places = np.arange(shape[2])
    for name, above in (("features", num_inputs), ("lefts", shape[2]), ("rights", shape[2])):
        least = 0 if name == "features" else places  # children come after: no way is a circle
        if (integers[name] < least).any() or (integers[name] >= above).any():
            raise MamlaxError(f"the array {_PREFIX}.{name} leads out of the trees.")
    return Trees(**integers, **numbers, bias=bias)


def _array(
    arrays: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]
) -> np.ndarray:
    found = arrays.get(f"{_PREFIX}.{name}")
    if found is None:
        raise MamlaxError(f"the array {_PREFIX}.{name} is missing.")
    if found.dtype != dtype or found.shape != shape or not np.isfinite(found).all():
        raise MamlaxError(
            f"the array {_PREFIX}.{name} has shape {list(found.shape)} of {found.dtype}, or "
            f"numbers that are not finite; expected {list(shape)} of {np.dtype(dtype)}."
        )
    return found
