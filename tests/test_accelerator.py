"""The same numbers on an accelerator as on a processor; for machines that have one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="no accelerator"),
]


def squared_error(model, batch):
    return jnp.mean((model(batch.inputs) - batch.targets) ** 2)


def cross_entropy(model, batch):
    logits = model(batch.inputs)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets).mean()


def waves():
    tasks = mamlax.sample_tasks(mamlax.Sinusoids(shots=5).sample, jax.random.key(0), 4)
    return mamlax.models.mlp(jax.random.key(1), 1, 1, weight_scale=0.3), squared_error, tasks


def images():
    pixels = np.random.default_rng(0).integers(256, size=(8, 6, 16, 16, 3), dtype=np.uint8)
    data = mamlax.ClassArrays.of({f"{c}": rows for c, rows in enumerate(pixels)})
    few_shot = mamlax.FewShot(data, ways=3, shots=1, num_query=2)
    tasks = mamlax.sample_tasks(few_shot.sample, jax.random.key(0), 4)
    params = mamlax.models.conv4(jax.random.key(1), (16, 16, 3), 3, channels=8)
    return params, cross_entropy, tasks


def on_both(fn, *args):
    """The result on this device and on the processor."""
    there = jax.jit(fn)(*args)
    with jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("highest"):
        here = jax.jit(fn)(*jax.device_put(args, jax.devices("cpu")[0]))
    return jax.tree.map(np.asarray, (there, here))


@pytest.mark.parametrize("problem", [waves, images])
@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradients_agree_with_the_processors(problem, first_order):
    params, loss_fn, tasks = problem()
    learner = mamlax.maml(
        loss_fn, inner_optimizer=optax.sgd(0.05), num_inner_steps=2, first_order=first_order
    )
    with jax.default_matmul_precision("highest"):  # an accelerator's own is ten bits
        there, here = on_both(lambda *args: learner.meta_gradient(*args)[1], params, tasks)
    for mine, theirs in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-3, atol=2e-5)


def test_a_run_learns():
    learner = mamlax.maml(squared_error, inner_optimizer=optax.sgd(0.01), num_inner_steps=1)
    loop = mamlax.outer_loop(
        learner, optax.adam(1e-3), mamlax.Sinusoids(shots=10).sample, meta_batch_size=25
    )
    lines = []
    params = mamlax.models.mlp(jax.random.key(0), 1, 1)
    mamlax.run(
        loop,
        params,
        key=jax.random.key(1),
        num_outer_steps=2000,
        report=lines.append,
        log_interval=500,
    )
    losses = [line["train/query_loss"] for line in lines]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
