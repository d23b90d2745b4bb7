"""Families of classes, for tasks whose classes all belong to one family."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._errors import MamlaxError
from ._choice import choose
from ._class_arrays import bounds_of


class Families(eqx.Module):
    """Classes sorted by family.

    Attributes:
        classes: `[classes]`, family after family.
        starts: `[families]`, index of the first class of each family.
        sizes: `[families]`, number of classes of each family.
    """

    classes: Int[Array | np.ndarray, " classes"]
    starts: Int[Array | np.ndarray, " families"]
    sizes: Int[Array | np.ndarray, " families"]

    def choose(self, key, count: int) -> Array:
        """`count` different classes of one random family; all families are equally likely."""
        family_key, class_key = jax.random.split(key)
        family = jax.random.randint(family_key, (), 0, len(self.starts))
        starts, sizes = jnp.asarray(self.starts), jnp.asarray(self.sizes)
        return jnp.asarray(self.classes)[starts[family] + choose(class_key, sizes[family], count)]


def families_of(names: Sequence[str], num_classes: int, ways: int) -> Families:
    """The families that have `ways` classes or more.

    Args:
        names: the name of the family of each class.
        num_classes: number of classes.
        ways: classes per task.

    Raises:
        MamlaxError: if there are not `num_classes` names, or no family has enough classes.
    """
    if len(names) != num_classes:
        raise MamlaxError(
            f"families must name the family of each class: got {len(names)} names for "
            f"{num_classes} classes."
        )
    of_each = {name: [i for i, one in enumerate(names) if one == name] for name in sorted({*names})}
    enough = [classes for classes in of_each.values() if len(classes) >= ways]
    if not enough:
        largest = max(of_each, key=lambda name: len(of_each[name]))
        raise MamlaxError(
            f"ways={ways}, but the largest family, {largest!r}, has {len(of_each[largest])} "
            "classes. Ask for at most as many."
        )
    starts, sizes = bounds_of([len(classes) for classes in enough])
    return Families(np.concatenate(enough).astype(np.int32), starts, sizes)
