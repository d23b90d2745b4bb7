"""What is recomputed changes no number; what is stored is what the documentation says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

pytestmark = pytest.mark.slow  # compiles a program for each case

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 16)  # 6 and 12 do not divide into segments


def loss_fn(params, batch):
    return jnp.mean((jnp.tanh(batch * params) - jnp.sin(batch)) ** 2)


def make_problem(num_examples=4):
    """A parameter for every feature of a batch of its own for each inner step."""
    rng = np.random.default_rng(0)
    draw = functools.partial(rng.normal, size=(num_examples, 3))
    return jnp.asarray(rng.normal(size=3)), jnp.stack([jnp.asarray(draw()) for _ in range(16)])


@functools.cache
def results(remat):
    """Of loops of all lengths, in one program: momentum, probes and batches in order."""

    def all_lengths(params, batches):
        def objective(params, length):
            adaptation = mamlax.inner_loop(
                lambda p, b: loss_fn(p[None], b),
                optax.sgd(0.3, momentum=0.5),
                params,
                batches[:length],
                num_steps=length,
                support_per_step=True,
                probe_fn=lambda params: params,
                remat=remat,
            )
            loss = jnp.sum(adaptation.params**3) + jnp.sum(adaptation.support_losses)
            return loss, adaptation

        return [jax.value_and_grad(objective, has_aux=True)(params, n) for n in LENGTHS]

    with jax.enable_x64(True):
        return jax.jit(all_lengths)(*make_problem())


@pytest.mark.parametrize("remat", ["steps", "sqrt"])
@jax.enable_x64(True)
def test_recomputing_changes_nothing(remat):
    for length, found, expected in zip(LENGTHS, results(remat), results("none"), strict=True):
        assert found[0][1].probes.shape == (length + 1, 3)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13, err_msg=str(length))


def test_truncated_unrolling_and_recomputing_go_together():
    params, batches = make_problem()

    def gradient(remat):
        learner = mamlax.maml(
            lambda p, b: loss_fn(p[None], b),
            inner_optimizer=optax.sgd(0.3),
            num_inner_steps=9,
            num_unrolled_steps=5,
            remat=remat,
        )
        tasks = mamlax.Task(batches[:1], batches[1:2])
        return jax.jit(learner.meta_gradient)(params, tasks)[1]

    np.testing.assert_allclose(gradient("sqrt"), gradient("none"), rtol=1e-5)


SIZE = 8192  # of an intermediate value of one step, in bytes


@functools.cache
def stored(algorithm, num_inner_steps, **options):
    """The largest number of bytes that the compiled meta-gradient holds at once."""

    def many_values(params, batch):
        hidden = batch * params
        for _ in range(6):
            hidden = jnp.tanh(hidden) + 0.1 * batch
        return jnp.mean(hidden**2)

    learner = algorithm(
        many_values,
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=num_inner_steps,
        **options,
    )
    batch = jnp.ones((1, SIZE // 4))
    compiled = jax.jit(learner.meta_gradient).lower(jnp.ones(()), mamlax.Task(batch, batch))
    return compiled.compile().memory_analysis().temp_size_in_bytes


def per_step(algorithm, **options):
    """Bytes that a further inner step costs, in intermediate values."""
    few, many = 10, 50
    growth = stored(algorithm, many, **options) - stored(algorithm, few, **options)
    return growth / (many - few) / SIZE


def test_maml_stores_every_step():
    assert per_step(mamlax.maml) > 5


def test_first_order_stores_none():
    assert per_step(mamlax.fomaml) < 0.1


@pytest.mark.parametrize("remat", ["steps", "sqrt"])
def test_recomputed_steps_store_parameters_alone(remat):
    assert per_step(mamlax.maml, remat=remat) < 0.1


def test_implicit_memory_is_flat():
    assert per_step(mamlax.imaml, proximal_strength=1.0) < 0.1


def test_truncated_memory_is_flat():
    assert per_step(mamlax.maml, num_unrolled_steps=5) < 0.1


def test_the_root_schedule_stores_fewer_parameters():
    """With parameters that are large beside the loss: 64 of them against about 2 · 8."""

    def stored_with(remat):
        learner = mamlax.maml(
            lambda params, batch: jnp.mean(jnp.sin(params) * batch),
            inner_optimizer=optax.sgd(0.1),
            num_inner_steps=65,
            remat=remat,
        )
        params, tasks = jnp.ones(2048), mamlax.Task(jnp.ones(1), jnp.ones(1))
        compiled = jax.jit(learner.meta_gradient).lower(params, tasks).compile()
        return compiled.memory_analysis().temp_size_in_bytes / params.nbytes

    of_steps, of_root = stored_with("steps"), stored_with("sqrt")
    assert of_steps > 64
    assert of_root < 32


def count_tanh(remat, num_inner_steps):
    """Evaluations of a tanh in the program, each as often as the loops around it run."""
    learner = mamlax.maml(
        lambda params, batch: jnp.mean(jnp.tanh(params * batch)),
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=num_inner_steps,
        remat=remat,
    )
    tasks = mamlax.Task(jnp.ones((1, 2)), jnp.ones((1, 2)))

    def count(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            inner = [x for x in jax.tree.leaves(equation.params) if hasattr(x, "eqns")]
            total += times * sum(map(count, inner)) + (equation.primitive.name == "tanh")
        return total

    return count(jax.make_jaxpr(learner.meta_gradient)(jnp.ones(()), tasks).jaxpr)


@pytest.mark.parametrize("num_inner_steps", [1, 2, 3, 5, 10, 12, 17])
def test_what_is_not_stored_is_recomputed(num_inner_steps):
    """Once more with `"steps"`, and twice in whole segments of `"sqrt"`."""
    none, steps, sqrt = (count_tanh(remat, num_inner_steps) for remat in ("none", "steps", "sqrt"))
    assert none == num_inner_steps + 1, "and the query"
    assert steps == 2 * num_inner_steps + 1
    size = int((num_inner_steps - 1) ** 0.5)
    segments = (num_inner_steps - 1) // size * size if size > 1 else 0
    assert sqrt == steps + segments
