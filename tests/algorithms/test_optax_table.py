"""The table of `docs/optimizers.md`: each of optax's transformations, inside and outside."""

import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import mamlax

from .test_inner_optimizers import loss_fn, make_learner, make_problem

PAGE = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text()
ROWS = {
    code: (inside.replace("*", ""), outside)
    for code, inside, outside in re.findall(
        r"^\| `(.+?)` \| (.+?) \| (\w+) \|", PAGE.split("## The table")[1], re.M
    )
}
REFUSED = r"takes no step|does not fit|stops a gradient"
# what makes optimizers of others or of functions, and is in no row of its own
PARTS = {
    "chain",
    "named_chain",
    "conditionally_mask",
    "conditionally_transform",
    "selective_transform",
    "inject_stateful_hyperparams",
    "stateless",
    "stateless_with_tree_map",
    "with_extra_args_support",
    "partition",  # multi_transform
    "identity",
    "scale",
    "set_to_zero",
    "freeze",
    "trace",
    "measure_with_ema",
    "snapshot",
    "optimistic_adam",  # deprecated
    "dpsgd",  # differentially_private_aggregate, and a step
}


def made(code):
    return eval(code, {"optax": optax, "jax": jax})


def by_inside(*verdicts):
    return [code for code, (inside, _) in ROWS.items() if inside in verdicts]


def check_inside(code, *, dead):
    with jax.enable_x64(True):
        problem = make_problem(dead=dead)
    return mamlax.check_meta_gradient(
        make_learner(made(code)), *problem, max_entries=2, tolerance=1e-4
    )


def test_every_transformation_has_a_row():
    public = {
        name
        for module in (optax, optax.contrib)
        for name, value in vars(module).items()
        if not name.startswith(("_", "scale_by_")) and inspect.isfunction(value)
        if "GradientTransformation" in str(inspect.signature(value).return_annotation)
    }
    missing = {name for name in public - PARTS if not re.search(rf"\b{name}\(", "\n".join(ROWS))}
    assert missing - {"inject_hyperparams"} == set()
    verdicts = {"right", "right, NaN at zero", "NaN", "float32", "refused"}
    assert {inside for inside, _ in ROWS.values()} == verdicts


@pytest.mark.parametrize("code", by_inside("right"))
@pytest.mark.slow
def test_right_inside(code):
    report = check_inside(code, dead=True)
    assert report.passed, report


@pytest.mark.parametrize("code", by_inside("right, NaN at zero"))
@pytest.mark.slow
def test_right_inside_but_at_zero(code):
    report = check_inside(code, dead=False)
    assert report.passed, report
    report = check_inside(code, dead=True)
    assert not report.passed and "The gradient is not finite" in str(report)


@pytest.mark.parametrize("code", by_inside("NaN"))
@pytest.mark.slow
def test_never_right_inside(code):
    assert "The gradient is not finite" in str(check_inside(code, dead=False))


@pytest.mark.parametrize("code", by_inside("float32"))
@pytest.mark.slow
def test_computed_in_float32(code):
    assert "The loss computes in float32 somewhere" in str(check_inside(code, dead=False))


@pytest.mark.parametrize("code", by_inside("refused"))
def test_refused_inside(code):
    params, tasks = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), make_problem())
    with pytest.raises((TypeError, ValueError), match=REFUSED):
        jax.eval_shape(make_learner(made(code)).meta_gradient, params, tasks)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, marks=() if outside == "refused" else pytest.mark.slow)
        for code, (_, outside) in ROWS.items()
    ],
)
def test_outside(code):
    """The same as optax by hand, or refused in a sentence."""
    params, tasks = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), make_problem())
    task = jax.tree.map(lambda x: x[0], tasks)
    learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.1), num_inner_steps=0)
    optimizer = made(code)
    loop = mamlax.outer_loop(learner, optimizer, lambda key: task, meta_batch_size=1)
    if ROWS[code][1] == "refused":
        with pytest.raises(TypeError, match=REFUSED):
            jax.eval_shape(loop.step, jax.random.key(0), loop.init(params))
        return
    found = mamlax.run(loop, params, key=jax.random.key(0), num_outer_steps=3).state.meta_params

    optimizer = optax.with_extra_args_support(optimizer)

    @jax.jit
    def by_hand(params, state):
        value, gradient = jax.value_and_grad(loss_fn)(params, task.query)
        updates, state = optimizer.update(gradient, state, params, value=value)
        return optax.apply_updates(params, updates), state

    expected, state = params, optimizer.init(params)
    for _ in range(3):
        expected, state = by_hand(expected, state)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, found, expected)
