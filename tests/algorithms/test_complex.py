"""Complex parameters learn as the vectors of two real numbers that they are.

`PAIRS` writes the same problem in real numbers. A gradient step is the same in both, so that every
algorithm whose inner loop descends the gradient gives the same adapted parameters and the same
meta-gradient, in float64. The others are held against finite differences.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

SGD = optax.sgd(0.1)


def filtered(spectral, gain, inputs):
    """Half a layer of a spectral network: weights of frequencies, then a gain."""
    spectrum = jnp.fft.fft(inputs) * spectral[None]
    return gain[0] * jnp.fft.ifft(spectrum).real + jnp.abs(spectral.sum()) * gain[1]


def complex_loss(params, batch):
    predictions = filtered(params["spectral"], params["gain"], batch.inputs)
    return jnp.mean((jnp.tanh(predictions) - batch.targets) ** 2)


def paired_loss(params, batch):
    real, imaginary = params["spectral"]
    return complex_loss(params | {"spectral": real + 1j * imaginary}, batch)


def make_problem(dtype=np.float64):
    rng = np.random.default_rng(0)
    real, imaginary = rng.normal(size=(2, 4)).astype(dtype)
    gain = jnp.asarray([0.7, 0.2], dtype)
    params = {"spectral": jnp.asarray(real + 1j * imaginary), "gain": gain}
    pairs = {"spectral": (jnp.asarray(real), jnp.asarray(imaginary)), "gain": gain}

    def batch(size):
        inputs = rng.normal(size=(2, size, 4)).astype(dtype)
        return mamlax.Batch(jnp.asarray(inputs), jnp.sin(3 * jnp.asarray(inputs)))

    return params, pairs, mamlax.Task(batch(3), batch(5))


def as_pairs(tree):
    """Every complex array as two real ones."""
    return jax.tree.map(lambda x: (x.real, x.imag) if jnp.iscomplexobj(x) else x, tree)


def spectral_alone(params):
    return params["spectral"]


def gain_alone(params):
    return params["gain"]


def with_options(make, **options):
    return lambda loss_fn: make(loss_fn, **options)


def slow_but_for(rows, name):
    """Each compiles programs of its own."""
    return [pytest.param(row, marks=() if row == name else pytest.mark.slow) for row in rows]


STEPS = {"inner_optimizer": SGD, "num_inner_steps": 2}
PROXIMAL = STEPS | {"num_inner_steps": 200, "proximal_strength": 2.0}
SOLVED = PROXIMAL | {"num_conjugate_gradient_steps": 12}
SAME_AS_PAIRS = {
    "maml": with_options(mamlax.maml, **STEPS),
    "fomaml": with_options(mamlax.fomaml, **STEPS),
    "truncated": with_options(mamlax.maml, num_unrolled_steps=1, **STEPS),
    "momentum": with_options(
        mamlax.maml, inner_optimizer=optax.sgd(0.1, momentum=0.9), num_inner_steps=2
    ),
    "clipped_by_norm": with_options(
        mamlax.maml,
        inner_optimizer=optax.chain(optax.clip_by_global_norm(0.1), SGD),
        num_inner_steps=2,
    ),
    "weighted_steps": with_options(mamlax.maml, step_weights=[0.3, 0.7], **STEPS),
    "anil": with_options(mamlax.anil, head=spectral_alone, **STEPS),
    "boil": with_options(mamlax.boil, head=spectral_alone, **STEPS),
    "cavia": with_options(mamlax.cavia, context=gain_alone, **STEPS),
    "reptile": with_options(mamlax.reptile, **STEPS),
    "imaml": with_options(mamlax.imaml, **PROXIMAL),
    "imaml_of_complex": with_options(mamlax.imaml, where=spectral_alone, **PROXIMAL),
    "imaml_of_real": with_options(mamlax.imaml, where=gain_alone, **PROXIMAL),
}
CHECKED = {
    "maml": SAME_AS_PAIRS["maml"],
    "meta_sgd": with_options(mamlax.meta_sgd, initial_step_size=0.1, num_inner_steps=2),
    "meta_curvature": with_options(
        mamlax.meta_curvature, inner_learning_rate=0.1, num_inner_steps=2
    ),
    "maml_plus_plus": with_options(
        mamlax.maml_plus_plus,
        initial_step_size=0.1,
        num_inner_steps=2,
        num_multi_step_outer_steps=9,
    ),
    "adam": with_options(
        mamlax.maml, inner_optimizer=optax.adam(0.1, eps_root=1e-8), num_inner_steps=2
    ),
    "imaml": with_options(mamlax.imaml, **SOLVED),
    "imaml_of_complex": with_options(mamlax.imaml, where=spectral_alone, **SOLVED),
    "imaml_of_real": with_options(mamlax.imaml, where=gain_alone, **SOLVED),
}


@pytest.mark.parametrize("name", slow_but_for(SAME_AS_PAIRS, "anil"))
@jax.enable_x64(True)
def test_complex_numbers_are_pairs_of_real_ones(name):
    make, (params, pairs, tasks) = SAME_AS_PAIRS[name], make_problem()
    of_complex, of_pairs = make(complex_loss), make(paired_loss)
    (loss, info), gradient = jax.jit(of_complex.meta_gradient)(params, tasks)
    (same_loss, same_info), same_gradient = jax.jit(of_pairs.meta_gradient)(pairs, tasks)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)  # noqa: E731
    jax.tree.map(close, (loss, info), (same_loss, same_info))
    jax.tree.map(close, as_pairs(gradient), same_gradient)
    support = jax.tree.map(lambda x: x[0], tasks.support)
    adapted, same = of_complex.adapt(params, support), of_pairs.adapt(pairs, support)
    jax.tree.map(close, as_pairs(adapted.params), same.params)


@pytest.mark.parametrize("name", slow_but_for(CHECKED, "maml"))
def test_finite_differences(name):
    params, _, tasks = make_problem(np.float32)
    learner = CHECKED[name](complex_loss)
    report = mamlax.check_meta_gradient(learner, params, tasks, max_entries=20)
    assert report.passed, report
    spectral = next(leaf for leaf in report.leaves if "spectral" in leaf.name)
    assert (spectral.shape, spectral.num_checked) == ((4,), 8)  # both parts of each


def test_the_check_finds_a_gradient_that_is_conjugated():
    """As `jax.grad` gives it."""
    params, _, tasks = make_problem(np.float32)
    right = CHECKED["maml"](complex_loss)

    def meta_gradient(meta_params, tasks):
        result, gradient = right.meta_gradient(meta_params, tasks)
        return result, jax.tree.map(jnp.conj, gradient)

    report = mamlax.check_meta_gradient(
        right._replace(meta_gradient=meta_gradient), params, tasks, max_entries=20
    )
    wrong = [leaf.name for leaf in report.leaves if leaf.verdict(report.tolerance) == "WRONG"]
    assert wrong == ["['spectral']"]


def test_a_step_goes_to_the_minimum():
    """|z − 3 − 4i|² has it there; with `jax.grad` as it is, z would go to 3 − 4i and beyond."""
    target = jnp.array([3 + 4j])
    adapted = mamlax.inner_loop(
        lambda z, target: jnp.sum(jnp.abs(z - target) ** 2) / 2,
        optax.sgd(0.5),
        jnp.zeros(1, jnp.complex64),
        target,
        num_steps=20,
    )
    np.testing.assert_allclose(adapted.params, target, rtol=1e-5)
    assert adapted.params.dtype == jnp.complex64


def test_step_sizes_are_real():
    """So that they lengthen a step, and do not turn it."""
    params = make_problem(np.float32)[0]
    for per in "entry", "leaf":
        sizes = mamlax.learned_step_sizes(0.1, per=per).init(params)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(sizes)} == {"float32"}


@jax.enable_x64(True)
@pytest.mark.slow
def test_ridge_regression_of_complex_features():
    """The minimum of ‖FW − Y‖² + λ‖W‖² is (FᴴF + λ)⁻¹FᴴY."""
    rng = np.random.default_rng(0)
    inputs, targets = (rng.normal(size=(5, n)) + 1j * rng.normal(size=(5, n)) for n in (3, 2))
    learner = mamlax.ridge_maml(
        lambda params, batch: jnp.mean(jnp.abs(batch.inputs @ params[0] - batch.targets) ** 2),
        features_fn=lambda params, batch: batch.inputs,
        set_head=lambda params, weight, bias: (weight, bias),
        ridge=0.3,
        inner_optimizer=SGD,
        num_inner_steps=0,
    )
    params = (jnp.zeros((3, 2), complex), jnp.zeros(2, complex))
    weight, bias = learner.adapt(params, mamlax.Batch(jnp.asarray(inputs), targets)).params
    features = np.concatenate([inputs, np.ones((5, 1))], 1)
    adjoint = features.conj().T
    expected = np.linalg.solve(adjoint @ features + 0.3 * np.eye(4), adjoint @ targets)
    np.testing.assert_allclose(jnp.concatenate([weight, bias[None]]), expected, rtol=1e-10)


def test_class_means_of_complex_features_are_refused():
    learner = mamlax.proto_maml(
        complex_loss,
        features_fn=lambda params, batch: batch.inputs,
        set_head=lambda params, *_: params,
        ways=2,
        **STEPS,
    )
    support = mamlax.Batch(jnp.ones((2, 3), complex), jnp.arange(2))
    with pytest.raises(TypeError, match=r"real features, got complex64.*side by side"):
        learner.adapt(make_problem(np.float32)[0], support)


def test_what_is_computed_in_fewer_bits_leaves_complex_numbers_alone():
    params, _, tasks = make_problem(np.float32)
    seen = {}

    def loss_fn(params, batch):
        seen.update({name: leaf.dtype.name for name, leaf in params.items()})
        return complex_loss(params, batch)

    query = jax.tree.map(lambda x: x[0], tasks.query)
    jax.eval_shape(mamlax.with_compute_dtype(loss_fn), params, query)
    assert seen == {"spectral": "complex64", "gain": "bfloat16"}


@pytest.mark.slow
def test_training_moves_them_and_resumes(tmp_path):
    params, _, tasks = make_problem(np.float32)
    learner = mamlax.over_tasks(SAME_AS_PAIRS["maml"](complex_loss), batch_size=1)
    loop = mamlax.outer_loop(
        learner,
        optax.adam(1e-2),
        lambda key: jax.tree.map(lambda x: x[0], tasks),
        meta_batch_size=2,
    )

    def run(steps, directory):
        return mamlax.run(
            loop,
            params,
            key=jax.random.key(0),
            num_outer_steps=steps,
            log_interval=5,
            directory=directory,
        ).state

    whole = run(10, tmp_path / "whole")
    run(5, tmp_path / "parts")
    parts = run(10, tmp_path / "parts")
    moved = abs(whole.meta_params["spectral"] - params["spectral"])
    assert np.all(moved > 1e-3)
    assert eqx.tree_equal(whole, parts) and whole.meta_params["spectral"].dtype == jnp.complex64
