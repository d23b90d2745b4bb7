"""The cost of an outer step: operations as counted by hand, and memory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

import mamlax
from mamlax.training._cost import _flops, cost_of

pytestmark = pytest.mark.slow  # compiles a program for each case

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
PRODUCT = 2 * 3 * 4 * 5


def flops(fn, *arguments):
    return _flops(jax.make_jaxpr(fn)(*arguments).jaxpr)


def test_a_matrix_product_is_two_operations_for_each_term():
    assert flops(jnp.matmul, A, B) == PRODUCT
    batched = flops(jax.vmap(jnp.matmul), jnp.ones((7, 3, 4)), jnp.ones((7, 4, 5)))
    assert batched == 7 * PRODUCT


def test_a_convolution_is_two_operations_for_each_tap():
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    num_outputs = 2 * 6 * 5 * 8  # examples, height, width, channels
    found = flops(convolve, jnp.ones((2, 6, 5, 3)), jnp.ones((3, 3, 3, 8)))
    assert found == 2 * num_outputs * 9 * 3


def test_convolution_of_many_images_and_its_derivatives():
    """Each of its three maps costs the same, also for tasks with kernels of their own."""
    images, kernel = jnp.ones((20, 64, 64, 3)), jnp.ones((3, 3, 3, 8))
    expected = 2 * 20 * 32 * 32 * 8 * 27

    def convolve(images, kernel):
        return mamlax.models.convolve(images, kernel, stride=2)

    assert flops(convolve, images, kernel) == expected
    both = flops(jax.grad(lambda *arrays: convolve(*arrays).sum(), (0, 1)), images, kernel)
    assert 3 * expected <= both < 3.1 * expected
    tasks = jnp.ones((4, *images.shape)), jnp.ones((4, *kernel.shape))
    assert flops(jax.vmap(convolve), *tasks) == 4 * expected


def test_other_operations_count_once_per_result():
    assert flops(lambda x: jnp.tanh(x) + x, A) == 2 * 12
    assert flops(lambda x: x.T.reshape(2, 6)[:1], A) == 0, "only moves numbers"


def test_a_scan_counts_every_step():
    def repeated(length):
        return lambda a: jax.lax.scan(lambda a, _: (a @ a, None), a, None, length=length)[0]

    assert flops(repeated(9), jnp.ones((3, 3))) == 9 * 2 * 27
    nested = lambda a: jax.lax.map(repeated(4), a)  # noqa: E731
    assert flops(nested, jnp.ones((5, 3, 3))) == 5 * 4 * 2 * 27


def test_a_switch_counts_its_larger_branch():
    def either(order):
        branches = [[lambda a: a @ a, lambda a: a @ a @ a][i] for i in order]
        return lambda index, a: jax.lax.switch(index, branches, a)

    for order in ((0, 1), (1, 0)):
        alternatives = flops(either(order), 0, jnp.ones((3, 3)))
        assert 2 * 2 * 27 <= alternatives < 2 * 2 * 27 + 10  # and the index, clamped


def test_calls_and_recomputation_are_counted():
    def deep(a):
        return jnp.sum(jnp.sin(a @ a) @ a)

    a = jnp.ones((3, 3))
    assert flops(jax.jit(deep), a) == flops(deep, a)
    stored, again = (flops(jax.grad(fn), a) for fn in (deep, jax.checkpoint(deep)))
    assert again - stored >= 2 * 27, "the first product is needed again"
    assert again - stored <= flops(deep, a)


def test_a_mesh_counts_all_its_devices():
    mesh = Mesh(np.array(jax.devices()[:2]), ("tasks",))
    spec = PartitionSpec("tasks")
    shared = jax.shard_map(jax.vmap(lambda a: a @ a), mesh=mesh, in_specs=spec, out_specs=spec)
    x = jnp.ones((6, 3, 3))
    assert flops(shared, x) == flops(jax.vmap(lambda a: a @ a), x) == 6 * 2 * 27


def test_a_linear_solve_counts_its_solution_once():
    """It also holds programs for its derivative and its transpose, which do not run."""

    def solve(a, b):
        return jax.lax.custom_linear_solve(
            lambda x: a @ x,
            b,
            lambda product, b: product(b) + product(b),
            transpose_solve=lambda product, b: product(b),
            symmetric=True,
        )

    assert flops(solve, jnp.ones((3, 3)), jnp.ones(3)) == 2 * (2 * 9) + 3


def loss_fn(params, batch):
    return jnp.mean((params(batch.inputs) - batch.targets) ** 2)


TASKS = mamlax.Sinusoids(shots=5)


@pytest.fixture(scope="module")
def costs():
    """Costs of MAML with six inner steps, on one or two devices."""

    def of(meta_batch_size=4, devices=1, batch_size=None, **options):
        learner = mamlax.maml(
            loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=6, **options
        )
        mesh = None if devices == 1 else Mesh(np.array(jax.devices()[:devices]), ("tasks",))
        learner = mamlax.over_tasks(learner, batch_size=batch_size, mesh=mesh)
        loop = mamlax.outer_loop(
            learner, optax.adam(1e-3), TASKS.sample, meta_batch_size=meta_batch_size
        )
        params = mamlax.models.mlp(jax.random.key(0), 1, 1, hidden_sizes=(32,))
        return cost_of(loop, params), loop, params

    return {
        "plain": of(),
        "many": of(meta_batch_size=64),
        "one by one": of(meta_batch_size=64, batch_size=1),
        "remat": of(remat="steps"),
        "two devices": of(devices=2),
    }


@pytest.mark.slow
def test_memory_holds_the_state_and_grows_with_the_meta_batch(costs):
    plain, loop, params = costs["plain"]
    state = loop.init(params)
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    # the state is an argument and a result
    assert plain.memory >= 2 * state_bytes > 0
    assert isinstance(plain.memory, int)
    # intermediate values grow with the number of tasks; arguments and results do not
    assert costs["many"][0].memory - 2 * state_bytes > 8 * (plain.memory - 2 * state_bytes)
    assert costs["one by one"][0].memory < costs["many"][0].memory


def test_operations_are_those_of_all_tasks(costs):
    cost = {name: cost.flops for name, (cost, _, _) in costs.items()}
    assert cost["many"] == pytest.approx(16 * cost["plain"], rel=0.05)
    assert cost["one by one"] == pytest.approx(cost["many"], rel=0.05)
    assert cost["two devices"] == pytest.approx(cost["plain"], rel=0.05)
    assert 1.1 * cost["plain"] < cost["remat"] < 2 * cost["plain"]


def test_cores_of_one_processor_share_its_memory(costs):
    """Two devices with half the tasks each need as much memory as one device with all tasks."""
    assert costs["two devices"][0].memory > 0.9 * costs["plain"][0].memory


def test_the_compiled_step_is_the_step(costs):
    cost, loop, params = costs["plain"]
    key = jax.random.key(3)
    found, expected = cost.step(key, loop.init(params)), jax.jit(loop.step)(key, loop.init(params))
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
