"""Data on the device or streamed from the host: the same tasks, bit for bit, in every program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

import mamlax
from mamlax.tasks import _placement
from mamlax.tasks._streaming import Streamed, rows_of

SIZES = (6, 4, 5, 7)
SETTINGS = dict(ways=3, shots=1, num_query=2)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Pictures in a memory map on disk."""
    path = tmp_path_factory.mktemp("map") / "examples.npy"
    random = np.random.default_rng(0)
    np.save(path, random.integers(0, 256, (sum(SIZES), 4, 4, 1)).astype(np.uint8))
    starts = (np.cumsum(SIZES) - SIZES).astype(np.int32)
    examples = np.load(path, mmap_mode="r")
    return mamlax.ClassArrays(examples, starts, np.array(SIZES, np.int32), tuple("abcd"))


def samplers(data, kind="episodes"):
    """On the device, and streamed."""
    for stream in (False, True):
        placed = mamlax.place(data, stream=stream)
        if kind == "episodes":
            yield mamlax.FewShot(placed, **SETTINGS).sample
        else:
            yield mamlax.AllWays(placed, num_examples=3).sample


def assert_equal(one, other):
    one, other = (jax.tree.map(np.asarray, tree) for tree in (one, other))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert jax.tree.map(lambda x: x.dtype, one) == jax.tree.map(lambda x: x.dtype, other)


def compiled(program, sample, key):
    return jax.jit(lambda key: program(sample, key))(key)


def in_scan(sample, key):
    def step(total, key):
        tasks = mamlax.sample_tasks(sample, key, 2)
        return total + tasks.query.inputs.sum(), tasks

    return jax.lax.scan(step, jnp.zeros(()), jax.random.split(key, 3))


def shared_over_devices(sample, key):
    keys = jax.random.split(key, 4)
    return jax.shard_map(
        jax.vmap(sample),
        mesh=Mesh(np.array(jax.devices()[:2]), ("tasks",)),
        in_specs=PartitionSpec("tasks"),
        out_specs=PartitionSpec("tasks"),
        check_vma=False,
    )(keys)


PROGRAMS = {
    "one": lambda sample, key: sample(key),
    "scan of vmap": in_scan,
    "map": lambda sample, key: jax.lax.map(sample, jax.random.split(key, 4), batch_size=2),
    "shard_map": shared_over_devices,
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.slow
def test_streamed_tasks_are_the_resident_ones_bit_for_bit(mapped, program, key):
    assert_equal(*(compiled(PROGRAMS[program], sample, key) for sample in samplers(mapped)))


def test_batches_over_all_classes_are_streamed_alike(mapped, key):
    one, other = samplers(mapped, "batches")
    assert_equal(compiled(PROGRAMS["one"], one, key), compiled(PROGRAMS["one"], other, key))


@pytest.mark.slow
def test_outside_of_jit_tasks_are_streamed_alike(mapped, key):
    assert_equal(*(sample(key) for sample in samplers(mapped)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_other_numbers_are_streamed_in_the_precision_of_the_device(dtype):
    rows, indices = np.arange(8).reshape(4, 2).astype(dtype), jnp.array([[1, 3], [0, 0]])
    one, other = (
        jax.jit(lambda indices, examples=examples: rows_of(examples, indices))(indices)
        for examples in (jnp.asarray(rows), Streamed(rows))
    )
    assert_equal(one, other)


@pytest.mark.slow
def test_a_training_run_on_streamed_data_ends_with_the_same_bits(mapped, key):
    learner = mamlax.maml(
        lambda params, batch: jnp.mean(
            (batch.inputs.mean((1, 2, 3)) * params - batch.targets) ** 2
        ),
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=1,
    )
    ends = []
    for sample in samplers(mapped):
        loop = mamlax.outer_loop(learner, optax.sgd(0.1), sample, meta_batch_size=2)
        run = mamlax.run(loop, jnp.ones(()), key=key, num_outer_steps=4, log_interval=2)
        ends.append(run.state.meta_params)
    assert_equal(*ends)
    assert ends[0] != 1


def test_only_the_rows_asked_for_are_read_and_nothing_is_held(mapped, key):
    """Not even as a constant: the program's memory is that of its tasks."""
    asked = []

    class Watched(np.ndarray):
        def __getitem__(self, indices):
            asked.append(np.shape(indices))
            return super().__getitem__(indices)

    watched = np.asarray(mapped.examples).view(Watched)
    data = mamlax.ClassArrays(watched, mapped.starts, mapped.sizes, mapped.names)
    sampler = mamlax.FewShot(mamlax.place(data, stream=True), **SETTINGS)
    assert not any(np.ndim(leaf) == 4 for leaf in jax.tree.leaves(sampler))
    asked.clear()
    program = jax.jit(lambda key: mamlax.sample_tasks(sampler.sample, key, 5))
    jax.block_until_ready(program(key))
    assert asked == [(5, 3, 3)], "one call of the host for all tasks, of their rows alone"


def test_streamed_data_are_selected_without_a_copy(mapped):
    data = mamlax.place(mapped, stream=True)
    part = data.select([1, 2])
    assert isinstance(part.examples, Streamed) and part.names == ("b", "c")
    assert np.shares_memory(part.examples.rows, mapped.examples)
    np.testing.assert_array_equal(part.examples.rows, mapped.examples[6:15])
    assert part.starts.tolist() == [0, 4] and part.sizes.tolist() == [4, 5]


def is_streamed(splits):
    return [isinstance(split.examples, Streamed) for split in splits]


def test_what_fits_goes_to_the_device_training_data_first(mapped):
    splits = mamlax.Splits(mapped.select([0, 1]), mapped.select([2]), mapped.select([3]))
    sizes = [split.examples.nbytes for split in splits]  # 160, 80, 112
    for max_bytes, expected in (
        (sum(sizes), [False, False, False]),
        (sum(sizes) - 1, [False, False, True]),
        (sizes[0] + sizes[2], [False, False, True]),
        (sizes[0], [False, True, True]),
        (sizes[0] - 1, [True, False, True]),
        (0, [True, True, True]),
    ):
        placed = mamlax.place(splits, max_bytes=max_bytes)
        assert is_streamed(placed) == expected and isinstance(placed, mamlax.Splits)
        for part, original in zip(placed, splits, strict=True):
            rows = part.examples.rows if isinstance(part.examples, Streamed) else part.examples
            np.testing.assert_array_equal(rows, original.examples)
            if isinstance(part.examples, Streamed):
                assert np.shares_memory(rows, original.examples), "a copy"
            else:
                assert isinstance(part.examples, jax.Array)


def test_what_is_free_decides_by_itself(mapped, monkeypatch):
    assert is_streamed([mamlax.place(mapped)]) == [False], "560 bytes fit any machine"
    monkeypatch.setattr(_placement, "_free_bytes", lambda: mapped.examples.nbytes - 1)
    assert is_streamed([mamlax.place(mapped)]) == [True]
    assert is_streamed([mamlax.place(mapped, stream=False)]) == [False]
    monkeypatch.setattr(_placement, "_free_bytes", lambda: None)
    assert is_streamed([mamlax.place(mapped)]) == [False]


class Device:
    def __init__(self, stats):
        self.memory_stats = lambda: stats


def test_half_of_what_is_free_on_the_device_or_of_the_machines_memory(monkeypatch):
    stats = {"bytes_limit": 1000, "bytes_in_use": 200}
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(stats)])
    assert _placement._free_bytes() == 400
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(None)])
    monkeypatch.setattr(_placement.os, "sysconf", {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 8}.get)
    assert _placement._free_bytes() == 40


def test_what_was_placed_can_be_placed_again(mapped, key):
    streamed, resident = (mamlax.place(mapped, stream=stream) for stream in (True, False))
    assert is_streamed([mamlax.place(streamed, stream=False)]) == [False]
    again = mamlax.place(resident, stream=True)
    assert is_streamed([again]) == [True]
    np.testing.assert_array_equal(again.examples.rows, mapped.examples)
    assert mamlax.place(streamed, stream=True).examples.rows is mapped.examples


def test_contradictions_are_refused(mapped):
    with pytest.raises(mamlax.MamlaxError, match=r"stream=True and max_bytes=3.*Give one"):
        mamlax.place(mapped, stream=True, max_bytes=3)
    with pytest.raises(mamlax.MamlaxError, match="0 or more, got -1"):
        mamlax.place(mapped, max_bytes=-1)
