"""Few-shot tasks: which classes and examples they hold, how often, turned how; what is refused.

Examples carry their own class and index, so that a mix-up cannot go unseen.
"""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import mamlax
from mamlax.tasks._augmentation import rotate
from mamlax.tasks._choice import choose

SIZES = (5, 9, 6, 12, 5, 7, 8)
WAYS, SHOTS, NUM_QUERY, NUM_TASKS = 3, 2, 3, 4000
SMALLEST_P = 1e-3
KEY = jax.random.key(7)


def labeled(sizes=SIZES):
    """`[class, index]` as examples."""
    return mamlax.ClassArrays.of(
        {
            f"class {c}": np.array([[c, i] for i in range(size)], np.float32)
            for c, size in enumerate(sizes)
        }
    )


def pictures(dtype=np.uint8, side=3, sizes=(6, 4, 5)):
    """Square images with class and index in the middle, which turning leaves alone."""
    random = np.random.default_rng(0)
    classes = {}
    for c, size in enumerate(sizes):
        images = random.integers(0, 200, (size, side, side, 2)).astype(dtype)
        images[:, side // 2, side // 2, 0] = c
        images[:, side // 2, side // 2, 1] = np.arange(size)
        classes[f"class {c}"] = images
    return mamlax.ClassArrays.of(classes)


def draw(sampler, num_tasks, seed=0):
    """Many tasks in one program, as NumPy arrays."""
    tasks = jax.jit(lambda key: mamlax.sample_tasks(sampler.sample, key, num_tasks))(
        jax.random.key(seed)
    )
    return jax.tree.map(np.asarray, tasks)


def p_uniform(values, count):
    """The p-value of `values` being uniform over 0 … count − 1."""
    return stats.chisquare(np.bincount(values, minlength=count)).pvalue


@pytest.fixture(scope="module")
def tasks():
    """4,000 tasks as `(classes, indices)` of the support and of the query, `[tasks, ways, n]`."""
    drawn = draw(mamlax.FewShot(labeled(), ways=WAYS, shots=SHOTS, num_query=NUM_QUERY), NUM_TASKS)
    support = drawn.support.inputs.reshape(NUM_TASKS, WAYS, SHOTS, 2).astype(int)
    query = drawn.query.inputs.reshape(NUM_TASKS, WAYS, NUM_QUERY, 2).astype(int)
    np.testing.assert_array_equal(drawn.support.targets, np.tile([0, 0, 1, 1, 2, 2], (4000, 1)))
    np.testing.assert_array_equal(
        drawn.query.targets, np.tile([0, 0, 0, 1, 1, 1, 2, 2, 2], (4000, 1))
    )
    return support, query


def test_each_way_holds_one_class_and_ways_are_distinct(tasks):
    examples = np.concatenate(tasks, axis=2)
    classes = examples[..., 0]
    assert (classes == classes[:, :, :1]).all(), "a way mixes classes"
    ways = np.sort(classes[:, :, 0], axis=1)
    assert (np.diff(ways, axis=1) > 0).all(), "a class came twice in one task"


def test_no_example_comes_twice_in_a_task_and_all_exist(tasks):
    examples = np.concatenate(tasks, axis=2)
    indices = np.sort(examples[..., 1], axis=2)
    assert (np.diff(indices, axis=2) > 0).all(), "support and query overlap, or an example repeats"
    assert (examples[..., 1] < np.array(SIZES)[examples[..., 0]]).all()


def test_classes_are_uniform_at_every_place(tasks):
    classes = tasks[0][:, :, 0, 0]
    for way in range(WAYS):
        assert p_uniform(classes[:, way], len(SIZES)) > SMALLEST_P
    counts = np.bincount(classes.ravel(), minlength=len(SIZES))
    expected = NUM_TASKS * WAYS / len(SIZES)
    # drawn without replacement: counts vary less than a multinomial's by (n − 1)/(n − k)
    n = len(SIZES)
    statistic = ((counts - expected) ** 2 / expected).sum() * (n - 1) / (n - WAYS)
    assert stats.chi2.sf(statistic, n - 1) > SMALLEST_P


@pytest.mark.parametrize("part", [0, 1], ids=["support", "query"])
def test_examples_are_uniform_within_each_class_at_every_place(tasks, part):
    examples = tasks[part].reshape(-1, tasks[part].shape[2], 2)
    for place in range(examples.shape[1]):
        classes, indices = examples[:, place].T
        for c, size in enumerate(SIZES):
            assert p_uniform(indices[classes == c], size) > SMALLEST_P / len(SIZES)


@pytest.mark.parametrize("part", [0, 1], ids=["support", "query"])
def test_every_example_of_every_class_is_reached(tasks, part):
    reached = set(map(tuple, tasks[part].reshape(-1, 2)))
    assert reached == {(c, i) for c, size in enumerate(SIZES) for i in range(size)}


def test_ways_are_drawn_independently_of_examples(tasks):
    first = tasks[0][:, :, 0]
    big = (first[:, :, 0] == 3) | (first[:, :, 0] == 1)  # classes of 12 and 9: indices 0 … 8 of 1
    of_1 = first[(first[:, :, 0] == 1) & big][:, 1]
    assert p_uniform(of_1, 9) > SMALLEST_P
    pairs = first[:, 0, 1] % 5 * 5 + first[:, 1, 1] % 5
    small = np.isin(first[:, :2, 0], (0, 4)).all(axis=1)  # both classes have exactly 5 examples
    assert small.sum() > 150 and p_uniform(pairs[small], 25) > SMALLEST_P


@functools.partial(jax.jit, static_argnums=(0, 2))
def choose_often(num_keys, size, count):
    """`[num_keys, count]` selections, of a traced size."""
    return jax.vmap(lambda key: choose(key, size, count))(jax.random.split(KEY, num_keys))


@pytest.mark.parametrize(
    ("size", "count"), [(1, 1), (7, 1), (5, 2), (5, 3), (4, 4), (6, 3), (5, 5), (40, 2)]
)
@pytest.mark.slow
def test_every_selection_in_every_order_is_equally_likely(size, count):
    """By enumeration of all size!/(size − count)! of them."""
    orders = {order: i for i, order in enumerate(itertools.permutations(range(size), count))}
    drawn = np.asarray(choose_often(100 * len(orders), size, count))
    found = np.array([orders[order] for order in map(tuple, drawn.tolist())])  # all are distinct
    counts = np.bincount(found, minlength=len(orders))
    assert len(orders) == 1 or stats.chisquare(counts).pvalue > SMALLEST_P


def test_selections_of_large_sizes_are_distinct_uniform_and_reach_the_ends():
    size, count = 200_000, 16
    drawn = np.asarray(choose_often(20_000, size, count))
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    assert 0 <= drawn.min() < 20 and size - 20 < drawn.max() < size
    for place in range(count):
        assert p_uniform(drawn[:, place] * 100 // size, 100) > SMALLEST_P


def test_selections_are_the_same_in_any_precision():
    drawn = np.asarray(choose_often(10, 30, 5))
    with jax.enable_x64(True):
        again = np.asarray(choose_often(10, jnp.asarray(30, jnp.int64), 5))
    np.testing.assert_array_equal(drawn, again)
    assert drawn.dtype == again.dtype == np.int32


def test_support_and_query_are_exchangeable():
    """A class of four, two and two: each of the six splits is as likely."""
    sampler = mamlax.FewShot(labeled((4,)), ways=1, shots=2, num_query=2)
    drawn = draw(sampler, 3000)
    support = np.sort(drawn.support.inputs[..., 1], axis=1).astype(int)
    query = np.sort(drawn.query.inputs[..., 1], axis=1).astype(int)
    assert all({*one, *other} == {0, 1, 2, 3} for one, other in zip(support, query, strict=True))
    splits = {pair: i for i, pair in enumerate(itertools.combinations(range(4), 2))}
    assert p_uniform(np.array([splits[tuple(pair)] for pair in support.tolist()]), 6) > SMALLEST_P


@pytest.mark.slow
def test_one_very_large_class_costs_nothing():
    """32 tasks with a class of 200,000: the program's memory is that of its tasks."""
    classes = {f"{size}": np.zeros((size, 2)) for size in (20, 21, 22, 200_000)}
    sampler = mamlax.FewShot(mamlax.ClassArrays.of(classes), ways=3, shots=1)
    sampler = jax.tree.map(jnp.asarray, sampler)
    sample = eqx.filter_jit(lambda sampler, key: mamlax.sample_tasks(sampler.sample, key, 32))
    memory = sample.lower(sampler, jax.random.key(0)).compile().compiled.memory_analysis()
    assert memory.temp_size_in_bytes < 100_000  # a score per example would take 77 MB


def test_as_many_ways_and_examples_as_there_are():
    task = draw(mamlax.FewShot(labeled((4, 4)), ways=2, shots=1, num_query=3), 50)
    everything = np.concatenate([task.support.inputs, task.query.inputs], axis=1)
    for one in everything:
        assert len(set(map(tuple, one))) == 8


def test_query_is_as_large_as_support_by_default(key):
    task = jax.eval_shape(mamlax.FewShot(labeled(), ways=4, shots=2).sample, key)
    assert task.support.inputs.shape == task.query.inputs.shape == (8, 2)
    assert task.support.targets.shape == task.query.targets.shape == (8,)


@pytest.mark.slow
def test_same_key_same_task_under_jit_and_vmap(key):
    sampler = mamlax.FewShot(labeled(), ways=3, shots=1, num_query=2)
    # compared in NumPy: JAX would compile a program for every comparison
    eager = jax.tree.map(np.asarray, sampler.sample(key))
    compiled = eqx.filter_jit(sampler.sample)(key)
    keys = jnp.stack([jax.random.key(1), jax.random.key(2), key, jax.random.key(3)])
    mapped = jax.tree.map(np.asarray, jax.jit(jax.vmap(sampler.sample))(keys))
    jax.tree.map(np.testing.assert_array_equal, eager, compiled)
    jax.tree.map(np.testing.assert_array_equal, eager, jax.tree.map(lambda x: x[2], mapped))
    assert not (mapped.query.inputs[0] == eager.query.inputs).all()


@pytest.mark.slow
def test_reference_is_the_support_turned_alike():
    settings = dict(ways=3, shots=2, num_query=1, rotations=True)
    task = draw(mamlax.FewShot(pictures(), **settings, reference=True), 3)
    np.testing.assert_array_equal(task.query.reference, task.support.inputs)
    # the support's own inputs are its reference, which no examples stand for
    assert task.support.reference.shape == (3, 0, *task.support.inputs.shape[2:])
    plain = draw(mamlax.FewShot(pictures(), **settings), 3)
    assert plain.support.reference is None and plain.query.reference is None
    np.testing.assert_array_equal(plain.query.inputs, task.query.inputs)


@pytest.mark.parametrize("kind", ["episodes", "batches"])
@pytest.mark.slow
def test_models_normalized_by_the_support_take_their_reference_from_tasks(kind, key):
    data = labeled()
    if kind == "episodes":
        sampler = mamlax.FewShot(data, ways=3, shots=2, num_query=1, reference=True)
    else:
        sampler = mamlax.AllWays(data, num_examples=5, reference=True)
    one, batch = (
        mamlax.models.mlp(key, 2, 3, hidden_sizes=(8,), norm=norm) for norm in ("support", "batch")
    )
    task = jax.tree.map(jnp.asarray, draw(sampler, 1))
    support, query = jax.tree.map(lambda x: x[0], task)
    own = one(support.inputs, support.reference)
    np.testing.assert_allclose(own, batch(support.inputs), rtol=1e-5)
    logits = one(query.inputs, query.reference)
    joint = one(jnp.concatenate([support.inputs, query.inputs]), support.inputs)
    if kind == "episodes":
        np.testing.assert_allclose(logits, joint[-len(logits) :], rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(logits, own, rtol=1e-5)
        assert mamlax.AllWays(data, num_examples=5).sample(key).query.reference is None


def test_bytes_become_floats_between_0_and_1():
    data = mamlax.ClassArrays.of({"a": np.array([[0], [51], [255]], np.uint8)})
    task = draw(mamlax.FewShot(data, ways=1, shots=1, num_query=2), 1)
    values = np.concatenate([task.support.inputs, task.query.inputs], axis=1).ravel()
    assert values.dtype == np.float32
    np.testing.assert_allclose(np.sort(values), [0, 0.2, 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_other_numbers_stay_as_they_are(dtype):
    data = mamlax.ClassArrays.of({"a": np.full((2, 1), 200, dtype)})
    inputs = draw(mamlax.FewShot(data, ways=1, shots=1), 1).support.inputs
    assert inputs.dtype == dtype and inputs.item() == 200


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotate_is_rot90(turns):
    images = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)
    turned = jax.jit(rotate)(jnp.asarray(images), jnp.asarray(turns))
    np.testing.assert_array_equal(turned, np.rot90(images, turns, axes=(1, 2)))


def turns_of(data, images):
    """How often each image `[…, 3, 3, 2]` was turned, told from the original that it names."""
    images = np.rint(images * 255).astype(np.uint8)
    flat = images.reshape(-1, *images.shape[-3:])
    originals = data.examples[np.asarray(data.starts)[flat[:, 1, 1, 0]] + flat[:, 1, 1, 1]]
    matches = np.stack(
        [(np.rot90(originals, t, axes=(1, 2)) == flat).all(axis=(1, 2, 3)) for t in range(4)]
    )
    assert (matches.sum(axis=0) == 1).all(), "an image is no quarter turn of its original"
    return matches.argmax(axis=0).reshape(images.shape[:-3])


def test_examples_of_a_class_turn_alike_by_any_quarter_independently_of_other_classes():
    data, num_tasks = pictures(), 1500
    drawn = draw(
        mamlax.FewShot(data, ways=3, shots=2, num_query=2, rotations=True), num_tasks, seed=2
    )
    images = np.concatenate(
        [x.inputs.reshape(num_tasks, 3, 2, 3, 3, 2) for x in (drawn.support, drawn.query)], axis=2
    )
    turns = turns_of(data, images)
    assert (turns == turns[:, :, :1]).all(), "examples of one class are turned differently"
    turns = turns[:, :, 0]
    for way in range(3):
        assert p_uniform(turns[:, way], 4) > SMALLEST_P
    assert p_uniform(4 * turns[:, 0] + turns[:, 1], 16) > SMALLEST_P
    classes = np.rint(images[:, 0, 0, 1, 1, 0] * 255).astype(int)
    assert p_uniform(4 * classes + turns[:, 0], 12) > SMALLEST_P


def test_nothing_turns_unasked():
    data = pictures()
    drawn = draw(mamlax.FewShot(data, ways=3, shots=1), 100)
    assert (turns_of(data, drawn.support.inputs) == 0).all()


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(ways=8, shots=1), ["ways=8", "7 classes"]),
        (dict(ways=2, shots=4, num_query=2), ["'class 0'", "has 5", "6 examples"]),
        (dict(ways=2, shots=6), ["'class 0'", "has 5", "12 examples", "shots=6"]),
        (dict(ways=0, shots=1), ["ways", "positive", "0"]),
        (dict(ways=2, shots=0), ["shots", "positive"]),
        (dict(ways=2, shots=1, num_query=0), ["num_query", "positive"]),
    ],
)
def test_impossible_episodes_are_refused_with_the_numbers(settings, words):
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.FewShot(labeled(), **settings)
    for word in words:
        assert word in str(error.value)


def test_the_smallest_class_is_named_wherever_it_stands():
    with pytest.raises(mamlax.MamlaxError, match="'class 2' has 3"):
        mamlax.FewShot(labeled((9, 8, 3, 7)), ways=2, shots=2)


@pytest.mark.parametrize("shape", [(4, 5, 1), (4, 4), (4,)])
@pytest.mark.parametrize("what", ["episodes", "batches"])
def test_only_square_images_can_be_turned(shape, what):
    data = mamlax.ClassArrays.of({"a": np.zeros((4, *shape)), "b": np.zeros((4, *shape))})
    with pytest.raises(mamlax.MamlaxError, match="square.*" + str(list(shape)).replace("[", r"\[")):
        if what == "episodes":
            mamlax.FewShot(data, ways=2, shots=1, rotations=True)
        else:
            mamlax.AllWays(data, num_examples=2, rotations=True)


def test_select_keeps_order_names_and_examples():
    chosen = labeled().select([3, 0])
    assert chosen.names == ("class 3", "class 0") and list(chosen.sizes) == [12, 5]
    np.testing.assert_array_equal(chosen.examples[:, 0], [3] * 12 + [0] * 5)
    np.testing.assert_array_equal(chosen.starts, [0, 12])


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([0, 0, 1], ["0 to 6", "0 more than once"]),
        ([1, 7], ["0 to 6", "got 7"]),
        ([-1], ["0 to 6", "got -1"]),
        ([], ["no classes"]),
    ],
    ids=str,
)
def test_classes_that_cannot_be_selected(indices, words):
    with pytest.raises(mamlax.MamlaxError) as error:
        labeled().select(indices)
    for word in words:
        assert word in str(error.value)


def test_classes_of_one_name_are_both_kept():
    data = labeled((2, 3))
    data = mamlax.ClassArrays(data.examples, data.starts, data.sizes, ("a", "a"))
    chosen = data.select([1, 0])
    assert chosen.names == ("a", "a") and list(chosen.sizes) == [3, 2]


BYTES = np.zeros((3, 2), np.uint8)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({}, ["no classes"]),
        ({"a": BYTES, "b": BYTES[:0]}, ["'b'", "no examples", "[0, 2]"]),
        ({"a": np.array(1.0)}, ["'a'", "no examples", "[]"]),
        ({"a": BYTES, "b": BYTES / 2.0}, ["uint8", "'a'", "float64", "'b'", "divided by 255"]),
        ({"a": BYTES, "b": np.zeros((3, 4), np.uint8)}, ["[2]", "'a'", "[4]", "'b'"]),
    ],
    ids=["none", "empty", "scalar", "dtypes", "shapes"],
)
def test_classes_that_do_not_fit_together(classes, words):
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.ClassArrays.of(classes)
    for word in words:
        assert word in str(error.value)


def test_batches_over_all_classes_are_uniform_over_classes_then_examples():
    batch = draw(mamlax.AllWays(labeled(), num_examples=20), 1000)
    inputs = batch.query.inputs.reshape(-1, 2).astype(int)
    np.testing.assert_array_equal(batch.query.targets.ravel(), inputs[:, 0])
    np.testing.assert_array_equal(batch.support.inputs, batch.query.inputs)
    assert p_uniform(inputs[:, 0], len(SIZES)) > SMALLEST_P
    for c, size in enumerate(SIZES):
        assert p_uniform(inputs[inputs[:, 0] == c, 1], size) > SMALLEST_P / len(SIZES)


def test_turned_classes_are_classes_of_their_own():
    data = pictures()
    sampler = mamlax.AllWays(data, num_examples=10, rotations=True)
    assert sampler.num_ways == 12 and mamlax.AllWays(data, num_examples=10).num_ways == 3
    batch = draw(sampler, 300)
    classes = np.rint(batch.query.inputs[..., 1, 1, 0] * 255).astype(int)
    turns = turns_of(data, batch.query.inputs)
    np.testing.assert_array_equal(batch.query.targets, 4 * classes + turns)
    assert p_uniform(batch.query.targets.ravel(), 12) > SMALLEST_P


def outer_loop(sample_task):
    learner = mamlax.maml(
        lambda params, batch: params * jnp.mean(batch.inputs),
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=1,
    )
    return mamlax.outer_loop(learner, optax.sgd(0.1), sample_task, meta_batch_size=2)


@pytest.fixture
def warn_about_constants():
    """JAX warns, and so fails the test, where a program has more than 10 kB of constants."""
    before = jax.config.jax_captured_constants_warn_bytes
    jax.config.update("jax_captured_constants_warn_bytes", 10_000)
    yield
    jax.config.update("jax_captured_constants_warn_bytes", before)


@pytest.mark.parametrize("kind", ["episodes", "batches"])
@pytest.mark.slow
def test_data_are_arguments_of_the_compiled_run_and_not_constants(kind, key, warn_about_constants):
    data = mamlax.ClassArrays.of({c: np.ones((50, 300), np.float32) for c in "abc"})  # 180 kB
    data = jax.tree.map(jnp.asarray, data)
    sampler = (
        mamlax.FewShot(data, ways=2, shots=1)
        if kind == "episodes"
        else mamlax.AllWays(data, num_examples=2)
    )
    loop = outer_loop(sampler.sample)
    mamlax.run(loop, jnp.zeros(()), key=key, num_outer_steps=2, log_interval=2)
    assert any(np.shape(leaf) == (150, 300) for leaf in jax.tree.leaves(loop.step))


@pytest.mark.slow
def test_the_alarm_about_constants_works(key, warn_about_constants):
    hidden = jnp.arange(45_000.0).reshape(150, 300)

    def sample(key):
        row = hidden[jax.random.randint(key, (), 0, 150)][None]
        return mamlax.Task(mamlax.Batch(row, row), mamlax.Batch(row, row))

    with pytest.warns(UserWarning, match="constants"):
        mamlax.run(outer_loop(sample), jnp.zeros(()), key=key, num_outer_steps=2, log_interval=2)


def of_families(sizes):
    """Classes of several families, mixed, whose examples are their own index."""
    names = [f"family {f}" for f, size in enumerate(sizes) for _ in range(size)]
    names = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    data = mamlax.ClassArrays.of({f"class {i}": np.full((4, 1), i) for i in range(len(names))})
    return data, names


def test_classes_of_a_task_are_of_one_family(key):
    data, names = of_families([3, 2, 5])
    tasks = mamlax.FewShot(data, ways=3, shots=1, num_query=2, families=names)
    keys = jax.random.split(key, 2000)
    drawn = np.asarray(jax.jit(jax.vmap(tasks.sample))(keys).support.inputs)[..., 0].astype(int)
    families = np.array([int(name[-1]) for name in names])[drawn]
    assert (families == families[:, :1]).all()
    assert all(len({*classes}) == 3 for classes in drawn.tolist())
    # one family is too small; the others come alike often, and so do the classes of each
    found, counts = np.unique(families[:, 0], return_counts=True)
    assert found.tolist() == [0, 2] and abs(counts[0] - 1000) < 4 * 2000**0.5 / 2
    of_class = np.bincount(drawn.ravel(), minlength=10)
    sizes = np.array([3, 2, 5])[[int(name[-1]) for name in names]]
    expected = np.where(sizes == 2, 0, 1000 * 3 / sizes)
    assert (np.abs(of_class - expected) < 4 * np.sqrt(expected) + 1e-9).all()


@pytest.mark.parametrize(
    ("ways", "change", "words"),
    [
        (6, lambda names: names, "ways=6, but the largest family, 'family 2', has 5 classes"),
        (2, lambda names: names[:-1], "got 9 names for 10 classes"),
    ],
)
def test_families_that_do_not_fit_are_refused(ways, change, words):
    data, names = of_families([3, 2, 5])
    with pytest.raises(mamlax.MamlaxError, match=words):
        mamlax.FewShot(data, ways=ways, shots=1, families=change(names))
