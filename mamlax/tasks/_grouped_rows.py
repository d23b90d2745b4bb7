"""Tasks from the rows of a table, one task for each group: a machine, a patient, a station."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from .._errors import MamlaxError
from .._types import Batch, Task
from ._choice import choose
from ._class_arrays import bounds_of

_OF_ROWS = ("inputs", "targets", "weights")


class GroupedRows(eqx.Module):
    """Rows sorted by group. A task is a group: some of its rows to adapt on, others to judge on.

    Groups may differ in size. Every batch has the same shape; `weights` are 0 where a group has no
    more rows, or the support fewer than the most, so a loss must weigh its examples by them.

    Attributes:
        inputs: `[rows, ...]`, group after group.
        targets: `[rows, ...]`.
        weights: `[rows]`, how much each row counts.
        starts: `[groups]`, index of the first row of each group.
        sizes: `[groups]`, number of rows of each group. 0: no group, and none after it.
        max_support: the most rows to adapt on. How many is drawn anew for each task, 0 and small
            numbers more often (the logarithm of one more is uniform), so that what learns from it
            learns to do with few.
        num_support: so many in each task instead (fewer in groups that have no more); None: drawn.
        num_query: the most rows to judge on.
        is_ordered: whether rows of a group stand in an order, as in time: those adapted on are then
            the first, and those judged on are drawn from what follows them.

    Example:
        >>> import jax, numpy as np, mamlax
        >>> rows = mamlax.GroupedRows.of(
        ...     inputs=np.arange(12.0).reshape(6, 2), targets=np.arange(6.0).reshape(6, 1),
        ...     groups=["b", "a", "b", "a", "b", "b"], max_support=3, num_query=2,
        ... )
        >>> rows.sizes.tolist()
        [2, 4]
        >>> task = rows.sample(jax.random.key(0))
        >>> task.support.inputs.shape, task.query.targets.shape
        ((3, 2), (2, 1))
    """

    inputs: Float[Array | np.ndarray, "rows ..."]
    targets: Shaped[Array | np.ndarray, "rows ..."]
    weights: Float[Array | np.ndarray, " rows"]
    starts: Int[Array | np.ndarray, " groups"]
    sizes: Int[Array | np.ndarray, " groups"]
    max_support: int = eqx.field(static=True)
    num_query: int = eqx.field(static=True)
    num_support: int | None = eqx.field(static=True, default=None)
    is_ordered: bool = eqx.field(static=True, default=False)

    @staticmethod
    def of(
        inputs,
        targets,
        groups,
        *,
        weights=None,
        max_support: int,
        num_query: int,
        num_support: int | None = None,
        is_ordered: bool = False,
    ) -> "GroupedRows":
        """From rows in any order.

        Args:
            inputs: `[rows, ...]`.
            targets: `[rows, ...]`.
            groups: `[rows]`, labels that say which group a row belongs to.
            weights: `[rows]`, 0 or more; None: all rows count alike.
            max_support: the most rows to adapt on.
            num_query: the most rows to judge on.
            num_support: so many rows to adapt on in each task; None: drawn.
            is_ordered: whether rows of a group stand in an order that counts.

        Raises:
            MamlaxError: if lengths differ, there are no rows, or a number is not positive.
        """
        inputs, targets, groups = np.asarray(inputs), np.asarray(targets), np.asarray(groups)
        weights = np.ones(len(inputs), np.float32) if weights is None else np.asarray(weights)
        lengths = [len(one) for one in (inputs, targets, groups, weights)]
        if len(set(lengths)) > 1 or not lengths[0]:
            raise MamlaxError(
                "inputs, targets, groups and weights must have one row each for the same rows, got "
                f"{', '.join(map(str, lengths))} rows."
            )
        if min(max_support, num_query, 1 if num_support is None else num_support + 1) < 1:
            raise MamlaxError(
                f"max_support and num_query must be positive and num_support not negative, got "
                f"{max_support}, {num_query} and {num_support}."
            )
        _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(index, kind="stable")
        return GroupedRows(
            inputs[order],
            targets[order],
            weights[order],
            *bounds_of(sizes),
            max_support if num_support is None else max(num_support, 1),
            num_query,
            num_support,
            is_ordered,
        )

    def padded(self, num_rows: int = 1, num_groups: int = 1) -> "GroupedRows":
        """The same, with as many rows and groups as the next powers of two: what is compiled for it
        serves other tables of about that size.

        Args:
            num_rows: make room for so many at least.
            num_groups: the same of groups.
        """

        def pad(array, least):
            array = np.asarray(array)
            more = (1 << (max(len(array), least) - 1).bit_length()) - len(array)
            return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])

        rows = {name: pad(getattr(self, name), num_rows) for name in _OF_ROWS}
        groups = {name: pad(getattr(self, name), num_groups) for name in ("starts", "sizes")}
        return dataclasses.replace(self, **rows, **groups)

    def sample(self, key) -> Task:
        """Draw a group, and rows of it without replacement.

        The support has `[max_support, ...]` rows, the query `[num_query, ...]`; those that are
        drawn come first and weigh as they do, the others 0. A group of one row is a query alone.
        """
        group_key, key = jax.random.split(key)
        num_groups = jnp.sum(jnp.asarray(self.sizes) > 0)
        return self.task_of(key, jax.random.randint(group_key, (), 0, num_groups))

    def task_of(self, key, group) -> Task:
        """Draw rows of the group with this number, as `sample` does."""
        row_key, number_key = jax.random.split(key)
        start, size = jnp.asarray(self.starts)[group], jnp.asarray(self.sizes)[group]
        if self.num_support is None:
            most = jnp.log(self.max_support + 2.0)
            drawn = jnp.exp(most * jax.random.uniform(number_key)).astype(jnp.int32) - 1
            num_support = jnp.minimum(drawn, self.max_support)
        else:
            num_support = jnp.asarray(self.num_support)
        # a row is left to be judged on
        num_support = jnp.minimum(num_support, size - 1)
        if self.is_ordered:
            later, is_later = _draw(row_key, size - num_support, self.num_query)
            first = jnp.arange(self.max_support)
            rows = jnp.concatenate([first, num_support + later])
            there = jnp.concatenate([first < size, is_later])
            after = self.max_support
        else:
            rows, there = _draw(row_key, size, self.max_support + self.num_query)
            after = num_support

        def batch(positions, counts):
            chosen = start + jnp.where(there[positions], rows[positions], 0)
            weights = jnp.asarray(self.weights)[chosen]
            return Batch(
                jnp.asarray(self.inputs)[chosen],
                jnp.asarray(self.targets)[chosen],
                weights=jnp.where(counts & there[positions], weights, 0),
            )

        first = jnp.arange(self.max_support)
        return Task(
            batch(first, first < num_support),
            batch(after + jnp.arange(self.num_query), jnp.ones(self.num_query, bool)),
        )


def _draw(key, size, number: int):
    """`number` different indices in random order, and which of them are below `size`: all that
    there are, first, where there are fewer.
    """
    indices = choose(key, jnp.maximum(size, number), number)
    indices = indices[jnp.argsort(indices >= size, stable=True)]
    return indices, indices < size
