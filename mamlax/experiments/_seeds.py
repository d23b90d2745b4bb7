"""The seeds of a run: one, or several trained side by side in one program."""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


@dataclass(frozen=True)
class Seeds:
    """Consecutive seeds.

    Attributes:
        first: the first seed.
        count: the number of seeds.
    """

    first: int
    count: int

    def keys(self, index: int) -> tuple[PyTree, PyTree]:
        """Keys for initialization and training, a different pair for each index; `[seeds]` keys if
        there are several seeds."""

        def pair(key):
            return tuple(jax.random.split(jax.random.fold_in(key, index)))

        keys = [jax.random.key(self.first + i) for i in range(self.count)]
        return pair(keys[0]) if self.count == 1 else jax.vmap(pair)(jnp.stack(keys))

    def each(self, fn: Callable[..., PyTree]) -> Callable[..., PyTree]:
        """`fn` for each seed: mapped over a leading axis if there are several."""
        return fn if self.count == 1 else eqx.filter_vmap(fn)

    def first_of(self, tree: PyTree) -> PyTree:
        """The part of `tree` that belongs to the first seed."""
        if self.count == 1:
            return tree
        return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, tree)
