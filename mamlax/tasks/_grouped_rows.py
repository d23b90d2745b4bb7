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
    """Rows sorted by group. A task is a group: some of its rows are the support, others the query.

    Groups may differ in size, but all batches have the same shape. `weights` are 0 for places
    without a row, because the group has no more rows or the support is smaller. A loss must
    therefore weigh its examples by `weights`.

    Attributes:
        inputs: `[rows, ...]`, group after group.
        targets: `[rows, ...]`.
        weights: `[rows]`, how much each row counts.
        starts: `[groups]`, index of the first row of each group.
        sizes: `[groups]`, number of rows of each group. 0: there is no group here, nor after it.
        max_support: the largest support size. The size is drawn anew for each task; 0 and small
            sizes are drawn more often (the logarithm of one more is uniform), so that a model
            learns to adapt to few rows.
        num_support: a fixed support size instead (smaller in groups that are too small). None: the
            size is drawn.
        num_query: the largest query size.
        is_ordered: whether the rows of a group are in an order, such as time. The support is then
            the first rows, and the query is drawn from later rows.

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
        """Make one from rows in which the groups are in any order.

        Args:
            inputs: `[rows, ...]`.
            targets: `[rows, ...]`.
            groups: `[rows]`, labels that say which group a row belongs to.
            weights: `[rows]`, 0 or more. None: all rows have the same weight.
            max_support: the largest support size.
            num_query: the largest query size.
            num_support: a fixed support size. None: the size is drawn for each task.
            is_ordered: whether the order of the rows of a group matters.

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
        """The same, padded to the next powers of two of rows and groups. A program compiled for it
        can then be used for other tables of about this size.

        Args:
            num_rows: make room for at least this many rows.
            num_groups: make room for at least this many groups.
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

        The support has `[max_support, ...]` rows, the query `[num_query, ...]`. The drawn rows come
        first, with their weights; the other places have the weight 0. A group of one row has only a
        query.
        """
        group_key, key = jax.random.split(key)
        num_groups = jnp.sum(jnp.asarray(self.sizes) > 0)
        return self.task_of(key, choose(group_key, num_groups, 1)[0])

    def task_of(self, key, group) -> Task:
        """Draw rows of the group with this index, as `sample` does."""
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
    """`number` different indices in random order, and which of these are below `size`. If `size` is
    smaller than `number`, all indices below `size` come first.
    """
    indices = choose(key, jnp.maximum(size, number), number)
    there = indices < size
    # where each goes: counted, since a processor takes longer to sort
    places = jnp.where(there, jnp.cumsum(there), jnp.sum(there) + jnp.cumsum(~there)) - 1
    indices = jnp.zeros_like(indices).at[places].set(indices, unique_indices=True)
    return indices, indices < size
