"""Tasks of a table's groups: which rows are drawn, how often, and what stands in their places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax

NUM_TASKS = 4_000


def table(sizes, **settings):
    """Rows of groups of these sizes, shuffled; a row's input is its number, its target its group."""
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    numbers = np.arange(len(groups), dtype=np.float32)
    rows = mamlax.GroupedRows.of(
        numbers[:, None], groups[:, None].astype(np.float32), groups, **settings
    )
    return rows, groups


def drawn(rows, num_tasks=NUM_TASKS, group=None):
    """Many tasks, all of one group or of any; their rows' numbers, groups and weights."""
    keys = jax.random.split(jax.random.key(0), num_tasks)
    draw = rows.sample if group is None else lambda key: rows.task_of(key, group)
    tasks = jax.jit(jax.vmap(draw))(keys)

    def unpacked(batch):
        return np.asarray(batch.inputs[..., 0], int), batch.targets[..., 0], batch.weights

    return unpacked(tasks.support), unpacked(tasks.query)


def assert_alike(counts, chance, num_tasks=NUM_TASKS):
    """Each count is what the chance says, as far as chance goes."""
    deviation = np.sqrt(num_tasks * chance * (1 - chance))
    np.testing.assert_array_less(np.abs(counts - num_tasks * chance), 4.5 * deviation)


@pytest.mark.parametrize("sizes", [[1, 2, 5, 9], [40, 300, 13]], ids=["small", "large"])
def test_support_and_query_are_different_rows_of_one_group(sizes):
    rows, groups = table(sizes, max_support=4, num_query=3)
    (support, support_groups, first), (query, query_groups, second) = drawn(rows, 1_000)
    np.testing.assert_array_equal(groups[support], support_groups)
    for there_support, there_query, *task in zip(
        first > 0, second > 0, support, query, support_groups, query_groups, strict=True
    ):
        numbers = [*task[0][there_support], *task[1][there_query]]
        assert len(set(numbers)) == len(numbers), "no row twice"
        assert len({*task[2][there_support], *task[3][there_query]}) == 1
    assert set(query_groups[:, 0].astype(int)) == set(range(len(sizes))), "all groups come"


def test_groups_are_equally_likely_whatever_their_size():
    rows, _ = table([1, 30, 2, 7, 100], max_support=4, num_query=3)
    _, (_, groups, _) = drawn(rows)
    assert_alike(np.bincount(groups[:, 0].astype(int), minlength=5), 1 / 5)


@pytest.mark.parametrize("size", [7, 12, 14, 15, 60], ids=lambda size: f"{size}_rows")
def test_the_rows_of_a_group_are_equally_likely_in_support_and_query(size):
    """Also where more rows are drawn than looked at: a group of over twice the rows of a task."""
    rows, groups = table([3, size], max_support=4, num_query=3, num_support=4)
    (support, _, first), (query, _, second) = drawn(rows, group=1)
    members = np.flatnonzero(groups == 1)
    for numbers, weights, number in ((support, first, 4), (query, second, 3)):
        counts = np.bincount(numbers[weights > 0], minlength=len(groups))
        assert not counts[groups != 1].any()
        assert_alike(counts[members], number / size)


@pytest.mark.parametrize("size", [3, 4, 5, 6, 8], ids=lambda size: f"{size}_rows")
def test_a_group_with_rows_enough_fills_support_and_query(size):
    rows, _ = table([size, 2], max_support=1, num_query=1, num_support=1)
    (_, _, first), (_, _, second) = drawn(rows, group=0)
    assert first.min() == 1
    assert second.min() == 1, f"in {np.mean(second == 0):.2%} of tasks nothing is left to judge on"


@pytest.mark.parametrize("size, in_support, in_query", [(1, 0, 1), (2, 1, 1), (5, 4, 1), (6, 4, 2)])
def test_small_groups_leave_a_row_to_judge_on_and_padding_weighs_nothing(
    size, in_support, in_query
):
    rows, _ = table([size, 50], max_support=4, num_query=3, num_support=4)
    (support, _, first), (query, _, second) = drawn(rows, 200, group=0)
    assert support.shape == (200, 4) and query.shape == (200, 3)
    np.testing.assert_array_equal(first, np.tile(np.arange(4) < in_support, (200, 1)))
    np.testing.assert_array_equal(second, np.tile(np.arange(3) < in_query, (200, 1)))


def test_small_supports_are_drawn_more_often_and_none_at_all_too():
    """n rows as often as log (n + 2) − log (n + 1)."""
    rows, _ = table([50, 60], max_support=6, num_query=3)
    (_, _, weights), (_, _, query) = drawn(rows)
    counts = np.bincount(np.sum(weights > 0, axis=1), minlength=7)
    assert len(counts) == 7
    for number, count in enumerate(counts):
        assert_alike(count, np.log((number + 2) / (number + 1)) / np.log(8))
    np.testing.assert_array_equal(weights, -np.sort(-weights, axis=1), "rows that count are first")
    assert query.min() == 1, "the query is whole, however many rows the support has"


def test_a_fixed_number_of_support_rows():
    rows, _ = table([50, 60], max_support=6, num_query=3, num_support=2)
    (support, _, weights), _ = drawn(rows, 100)
    assert support.shape == (100, 2) and np.all(weights == 1)
    rows, _ = table([50, 60], max_support=6, num_query=3, num_support=0)
    (_, _, weights), (_, _, query) = drawn(rows, 100)
    assert not np.any(weights) and np.all(query == 1)


def test_rows_keep_their_weights():
    groups = np.repeat([0, 1], 8)
    weights = np.linspace(0.5, 2, 16).astype(np.float32)
    numbers = np.arange(16, dtype=np.float32)[:, None]
    rows = mamlax.GroupedRows.of(
        numbers, numbers, groups, weights=weights, max_support=4, num_query=3, num_support=4
    )
    for numbers, _, found in drawn(rows, 50):
        np.testing.assert_array_equal(found, weights[numbers])


def test_padding_a_table_changes_no_task():
    """With rows and groups of nothing added, the same key draws the same rows, of real groups."""
    rows, _ = table([3, 20, 1, 7, 6], max_support=4, num_query=3)
    padded = rows.padded()
    assert len(rows.inputs) == 37 and len(padded.inputs) == 64 and len(padded.sizes) == 8
    keys = jax.random.split(jax.random.key(1), 300)
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.jit(jax.vmap(padded.sample))(keys),
        jax.jit(jax.vmap(rows.sample))(keys),
    )


def test_padding_again_changes_nothing():
    rows, _ = table([3, 20, 1, 7, 6], max_support=4, num_query=3)
    once, twice = rows.padded(), rows.padded().padded()
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    assert jax.tree.structure(once) == jax.tree.structure(twice)


def test_targets_may_be_classes_and_inputs_pictures():
    rows = mamlax.GroupedRows.of(
        np.zeros((6, 4, 4, 1), np.float32), np.arange(6), list("aabbbb"), max_support=2, num_query=1
    )
    task = rows.sample(jax.random.key(0))
    assert task.support.inputs.shape == (2, 4, 4, 1) and task.query.targets.shape == (1,)
    assert jnp.issubdtype(task.query.targets.dtype, jnp.integer)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(groups=[0, 0, 1]), ["4, 4, 3, 4 rows"]),
        (dict(targets=np.zeros((5, 1))), ["4, 5, 4, 4 rows"]),
        (dict(weights=np.ones(2)), ["4, 4, 4, 2 rows"]),
        (dict(inputs=np.zeros((0, 2)), targets=np.zeros((0, 1)), groups=[]), ["0, 0, 0, 0"]),
        (dict(max_support=0), ["max_support", "0, 1 and None"]),
        (dict(num_query=0), ["num_query", "2, 0 and None"]),
        (dict(num_support=-1), ["num_support", "2, 1 and -1"]),
    ],
)
def test_rows_that_make_no_tasks_are_refused(changes, words):
    settings = dict(
        inputs=np.zeros((4, 2)),
        targets=np.zeros((4, 1)),
        groups=[0, 0, 1, 1],
        max_support=2,
        num_query=1,
    )
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.GroupedRows.of(**{**settings, **changes})
    for word in words:
        assert word in str(error.value)
