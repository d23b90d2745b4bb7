"""Tasks of a table's groups: which rows are drawn, how often, and what stands in their places."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax

NUM_TASKS = 4_000
MIXED = [1, 2, 5, 9, 40, 300]
DRAWN = dict(max_support=6, num_query=3)
SIZES = [7, 12, 14, 15, 60, 1, 2, 5, 6]
FIXED = dict(max_support=4, num_query=3, num_support=4)


def table(sizes, **settings):
    """Rows of groups of these sizes, shuffled; a row's input is its number. And their groups."""
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    numbers = np.arange(len(groups), dtype=np.float32)
    weights = 1 + numbers / len(numbers)
    targets = groups[:, None].astype(np.float32)
    rows = mamlax.GroupedRows.of(numbers[:, None], targets, groups, weights=weights, **settings)
    return rows, groups


@eqx.filter_jit
def drawn_at_once(rows, keys, group):
    return jax.vmap(rows.sample if group is None else lambda key: rows.task_of(key, group))(keys)


def drawn(rows, group=None):
    """Many tasks, all of one group or of any; their rows' numbers, groups and weights."""
    keys = jax.random.split(jax.random.key(0), NUM_TASKS)
    tasks = drawn_at_once(rows, keys, None if group is None else jnp.asarray(group))

    def unpacked(batch):
        numbers, groups = batch.inputs[..., 0], batch.targets[..., 0]
        return np.asarray(numbers, int), np.asarray(groups, int), np.asarray(batch.weights)

    return unpacked(tasks.support), unpacked(tasks.query)


def assert_alike(counts, chance):
    """Each count is what the chance says, as far as chance goes."""
    deviation = np.sqrt(NUM_TASKS * chance * (1 - chance))
    np.testing.assert_array_less(np.abs(counts - NUM_TASKS * chance), 4.5 * deviation + 1e-6)


def test_support_and_query_are_different_rows_of_one_group():
    rows, groups = table(MIXED, **DRAWN)
    support, query = drawn(rows)
    numbers, found, weights = (np.concatenate(both, 1) for both in zip(support, query, strict=True))
    np.testing.assert_array_equal(groups[numbers], found)
    for row_numbers, row_groups, there in zip(numbers, found, weights > 0, strict=True):
        assert len(set(row_numbers[there])) == np.sum(there), "no row twice"
        assert len(set(row_groups[there])) == 1


def test_groups_are_equally_likely_whatever_their_size():
    _, (_, groups, _) = drawn(table(MIXED, **DRAWN)[0])
    assert_alike(np.bincount(groups[:, 0]), 1 / len(MIXED))


def test_small_supports_are_drawn_more_often_and_none_at_all_too():
    """n rows as often as log (n + 2) − log (n + 1), where a group has as many."""
    (_, _, weights), (_, groups, query) = drawn(table(MIXED, **DRAWN)[0])
    large = groups[:, 0] >= MIXED.index(9)
    share = np.mean(np.array(MIXED) >= 9)
    counts = np.bincount(np.sum(weights > 0, axis=1)[large], minlength=7)
    assert len(counts) == 7
    for number, count in enumerate(counts):
        assert_alike(count, share * np.log((number + 2) / (number + 1)) / np.log(8))
    first = np.sort(weights > 0, axis=1)[:, ::-1]
    np.testing.assert_array_equal(weights > 0, first, "rows that count come first")
    assert np.all(query[large] > 0), "the query is whole, however many rows the support has"


@pytest.mark.parametrize("group", range(5), ids=[f"{size}_rows" for size in SIZES[:5]])
def test_the_rows_of_a_group_are_equally_likely_in_support_and_query(group):
    """Also in a group of over twice the rows of a task, where not all of them are looked at."""
    rows, groups = table(SIZES, **FIXED)
    members = np.flatnonzero(groups == group)
    for (numbers, _, weights), number in zip(drawn(rows, group), (4, 3), strict=True):
        counts = np.bincount(numbers[weights > 0], minlength=len(groups))
        assert not counts[groups != group].any()
        assert_alike(counts[members], number / SIZES[group])


@pytest.mark.parametrize("size, in_support, in_query", [(1, 0, 1), (2, 1, 1), (5, 4, 1), (6, 4, 2)])
def test_small_groups_leave_a_row_to_judge_on_and_padding_weighs_nothing(
    size, in_support, in_query
):
    (_, _, first), (_, _, second) = drawn(table(SIZES, **FIXED)[0], SIZES.index(size))
    np.testing.assert_array_equal(first > 0, np.tile(np.arange(4) < in_support, (NUM_TASKS, 1)))
    np.testing.assert_array_equal(second > 0, np.tile(np.arange(3) < in_query, (NUM_TASKS, 1)))


def test_rows_keep_their_weights():
    for numbers, _, weights in drawn(table(SIZES, **FIXED)[0], SIZES.index(60)):
        np.testing.assert_allclose(weights, 1 + numbers / sum(SIZES), rtol=1e-6)


@pytest.mark.parametrize("group", range(5))
def test_a_group_with_rows_enough_fills_support_and_query(group):
    """However few rows a task has: a task without a query would count as solved."""
    rows, _ = table([2, 4, 5, 6, 8], max_support=1, num_query=1, num_support=1)
    (_, _, support), (_, _, query) = drawn(rows, group)
    assert np.all(support > 0)
    assert np.all(query > 0), f"in {np.mean(query == 0):.2%} of tasks nothing is left to judge on"


@pytest.mark.parametrize("number", [0, 2])
def test_a_fixed_number_of_support_rows(number):
    rows, _ = table([50, 60], max_support=6, num_query=3, num_support=number)
    (support, _, weights), (_, _, query) = drawn(rows)
    assert support.shape == (NUM_TASKS, max(number, 1))
    assert np.all(np.sum(weights > 0, axis=1) == number) and np.all(query > 0)


def test_in_an_order_the_support_is_the_first_rows_and_the_query_follows():
    """In groups of any size; what follows is drawn, without one row twice."""
    rows, groups = table(MIXED, is_ordered=True, **DRAWN)
    (support, found, there), (query, _, judged) = drawn(rows)
    for group, size in enumerate(MIXED):
        of_group = np.flatnonzero(found[:, 0] == group)
        members = np.flatnonzero(groups == group)  # a row's number is its place in the order
        for one in of_group[:200]:
            number = int(np.sum(there[one] > 0))
            np.testing.assert_array_equal(support[one][:number], members[:number])
            later = query[one][judged[one] > 0]
            assert len(later) == len(set(later)) == min(3, size - number)
            assert set(later) <= set(members[number:])
    large = found[:, 0] == MIXED.index(300)
    assert len(set(query[large].ravel())) > 250


def test_room_for_more_rows_and_groups_changes_no_task():
    rows, _ = table(MIXED, **DRAWN)
    padded = rows.padded(1000, 20)
    assert len(padded.inputs) == 1024 and len(padded.sizes) == 32
    jax.tree.map(np.testing.assert_array_equal, drawn(padded), drawn(rows))


def test_padding_a_table_changes_no_task():
    """With rows and groups of nothing added, the same key draws the same rows, of real groups."""
    rows, _ = table(MIXED, **DRAWN)
    padded = rows.padded()
    assert len(rows.inputs) == 357 and len(padded.inputs) == 512 and len(padded.sizes) == 8
    jax.tree.map(np.testing.assert_array_equal, drawn(padded), drawn(rows))


def test_padding_again_changes_nothing():
    rows, _ = table(MIXED, **DRAWN)
    once, twice = rows.padded(), rows.padded().padded()
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    assert jax.tree.structure(once) == jax.tree.structure(twice)


def test_targets_may_be_classes_and_inputs_pictures():
    rows = mamlax.GroupedRows.of(
        np.zeros((6, 4, 4, 1), np.float32), np.arange(6), list("aabbbb"), max_support=2, num_query=1
    )
    task = jax.eval_shape(rows.sample, jax.random.key(0))
    assert task.support.inputs.shape == (2, 4, 4, 1) and task.query.targets.shape == (1,)
    assert jnp.issubdtype(task.query.targets.dtype, jnp.integer)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(groups=[0, 0, 1]), ["4, 4, 3, 4 rows"]),
        (dict(targets=np.zeros((5, 1))), ["4, 5, 4, 4 rows"]),
        (dict(weights=np.ones(2)), ["4, 4, 4, 2 rows"]),
        (dict(inputs=np.zeros((0, 2)), targets=np.zeros((0, 1)), groups=[]), ["0, 0, 0, 0 rows"]),
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


def test_tasks_are_drawn_in_double_precision_too():
    rows, groups = table([3, 40, 7], **DRAWN)
    with jax.enable_x64(True):
        tasks = drawn_at_once(rows, jax.random.split(jax.random.key(0), 50), None)
    numbers = np.asarray(tasks.query.inputs[:, 0, 0], int)
    np.testing.assert_array_equal(groups[numbers], tasks.query.targets[:, 0, 0])
    assert set(groups[numbers]) == {0, 1, 2}
