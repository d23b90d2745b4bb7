"""Mistakes with the members of the family: what came, what was expected, what to write instead."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

import mamlax

SUPPORT = mamlax.Batch(jnp.ones((4, 2)), jnp.array([0, 1, 2, 0]))
TASKS = jax.tree.map(lambda x: x[None], mamlax.Task(SUPPORT, SUPPORT))
PARAMS = {"weight": jnp.ones((2, 3)), "bias": jnp.zeros(3), "order": jnp.arange(2)}


def loss_fn(params, batch):
    logits = batch.inputs @ params["weight"] + params["bias"][None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets).mean()


def set_head(params, weight, bias):
    return params | {"weight": weight, "bias": bias}


def make(algorithm=mamlax.maml, **options):
    return algorithm(
        loss_fn, **{"inner_optimizer": optax.sgd(0.1), "num_inner_steps": 2, **options}
    )


def adapt(algorithm=mamlax.maml, params=None, support=SUPPORT, **options):
    learner = make(algorithm, **options)
    return learner.adapt(learner.init(PARAMS) if params is None else params, support)


def plus_plus(**options):
    return mamlax.maml_plus_plus(
        loss_fn, **{"initial_step_size": 0.1, "num_inner_steps": 2, **options}
    )


def meta_sgd():
    return mamlax.meta_sgd(loss_fn, initial_step_size=0.1, num_inner_steps=2)


def proto(features=lambda params, batch: batch.inputs, ways=3, support=SUPPORT):
    return adapt(
        mamlax.proto_maml,
        features_fn=features,
        set_head=set_head,
        ways=ways,
        support=support,
    )


def nothing(params):
    return []


NOTHING = ["where selects no floating-point array", "e.g. lambda params: params.head", "['weight']"]
NO_LEAF = ["selects no leaf of params", "e.g. lambda params: params.head", "['order']"]
MISTAKES = {
    "where_nothing": (lambda: adapt(where=nothing), NOTHING),
    "where_integers": (lambda: adapt(where=lambda p: p["order"]), NOTHING),
    "where_a_name": (lambda: adapt(where=lambda p: "weight"), NOTHING),
    "anil_nothing": (lambda: adapt(mamlax.anil, head=nothing), [*NOTHING, "anil's head"]),
    "boil_everything": (lambda: adapt(mamlax.boil, head=lambda p: p), [*NOTHING, "boil's"]),
    "cavia_nothing": (
        lambda: adapt(mamlax.cavia, context=nothing),
        ["context selects no array", "context_size=5"],
    ),
    "imaml_nothing": (
        lambda: adapt(mamlax.imaml, proximal_strength=1.0, where=nothing),
        NOTHING,
    ),
    "reptile_nothing": (lambda: adapt(mamlax.reptile, where=nothing), NOTHING),
    "per_step_nothing": (lambda: adapt(per_step=nothing), ["per_step", *NO_LEAF]),
    "per_step_everything": (lambda: adapt(per_step=lambda p: p), NOTHING),
    "per_step_without_init": (
        lambda: adapt(per_step=lambda p: p["bias"], num_inner_steps=4, params=PARAMS),
        ["leading axis of 4", "got shape [3]", "learner.init(params)"],
    ),
    "per_step_of_another_number": (
        lambda: adapt(
            per_step=lambda p: p["bias"],
            num_inner_steps=1,
            params=make(per_step=lambda p: p["bias"]).init(PARAMS),
        ),
        ["leading axis of 1", "got shape [2, 3]"],
    ),
    "unicorn_nothing": (
        lambda: adapt(mamlax.unicorn_maml, head=nothing, ways=3),
        ["head", *NO_LEAF],
    ),
    "unicorn_without_init": (
        lambda: adapt(
            mamlax.unicorn_maml,
            head=lambda p: (p["weight"], p["bias"]),
            ways=3,
            params=PARAMS,
        ),
        ["one class", "got shape [3]", "learner.init(params)"],
    ),
    "proto_features": (
        lambda: proto(lambda params, batch: batch.inputs[:, None]),
        ["[examples, features]", "[4, 1, 2]", "[4]"],
    ),
    "proto_targets": (
        lambda: proto(support=SUPPORT._replace(targets=jnp.ones((4, 1), jnp.int32))),
        ["support.targets [examples]", "[4, 2]", "[4, 1]"],
    ),
    "proto_ways": (lambda: proto(ways=0), ["ways must be positive", "got 0"]),
    "unicorn_ways": (
        lambda: make(mamlax.unicorn_maml, head=lambda p: p, ways=-1),
        ["ways must be positive", "got -1"],
    ),
    "too_few_weights": (
        lambda: make(step_weights=[1.0]),
        ["step_weights", "each of the 2 inner steps", "got shape [1]"],
    ),
    "a_weight_alone": (
        lambda: make(step_weights=lambda outer_step: 1.0).meta_gradient(PARAMS, TASKS),
        ["each of the 2 inner steps", "got shape []"],
    ),
    "weights_without_steps": (
        lambda: make(step_weights=[], num_inner_steps=0),
        ["each of the 0 inner steps"],
    ),
    "scheduled_weights": (
        lambda: make(step_weights=lambda outer_step: jnp.ones(3)).meta_gradient(PARAMS, TASKS),
        ["step_weights", "each of the 2 inner steps", "got shape [3]"],
    ),
    "first_order_unrolled": (
        lambda: adapt(first_order=True, num_unrolled_steps=2),
        ["first_order=True unrolls no step", "num_unrolled_steps=2", "Give one"],
    ),
    "negative_unrolled": (
        lambda: adapt(num_unrolled_steps=-1),
        ["num_unrolled_steps must be 0 or more", "got -1"],
    ),
    "strength_zero": (
        lambda: make(mamlax.imaml, proximal_strength=0.0),
        ["proximal_strength must be a positive number", "got 0.0"],
    ),
    "strength_infinite": (
        lambda: make(mamlax.imaml, proximal_strength=float("inf")),
        ["positive number", "got inf"],
    ),
    "strength_nan": (
        lambda: make(mamlax.imaml, proximal_strength=float("nan")),
        ["positive number", "got nan"],
    ),
    "damping": (
        lambda: make(mamlax.imaml, proximal_strength=1.0, damping=-1.0),
        ["damping must be 0 or a positive number", "got -1.0"],
    ),
    "no_conjugate_gradients": (
        lambda: make(mamlax.imaml, proximal_strength=1.0, num_conjugate_gradient_steps=0),
        ["num_conjugate_gradient_steps must be 1 or more", "got 0"],
    ),
    "imaml_steps": (
        lambda: make(mamlax.imaml, proximal_strength=1.0, num_inner_steps=-1),
        ["num_inner_steps must be 0 or more", "got -1"],
    ),
    "reptile_steps": (
        lambda: make(mamlax.reptile, num_inner_steps=0),
        ["reptile needs num_inner_steps of 1 or more", "got 0"],
    ),
    "plus_plus_steps": (
        lambda: plus_plus(num_inner_steps=0),
        ["num_inner_steps must be 1 or more", "got 0"],
    ),
    "plus_plus_multi_step": (
        lambda: plus_plus(num_multi_step_outer_steps=-1),
        ["num_multi_step_outer_steps must be 0 or more", "got -1"],
    ),
    "plus_plus_first_order": (
        lambda: plus_plus(num_first_order_outer_steps=-2),
        ["num_first_order_outer_steps must be 0 or more", "got -2"],
    ),
    "step_sizes_for_no_step": (
        lambda: mamlax.learned_step_sizes(0.1, num_steps=0),
        ["num_steps must be positive, or None", "got 0"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    make_it, parts = MISTAKES[name]
    with pytest.raises(ValueError) as caught:
        make_it()
    for part in parts:
        assert part in str(caught.value), f"{part!r} is not in: {caught.value}"


def unchecked(fn):
    """Without the run-time type checks of the tests, which would speak first."""
    while hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    return fn


def test_choices_are_named():
    with pytest.raises(ValueError, match='per must be "entry" or "leaf", got \'layer\''):
        unchecked(mamlax.learned_step_sizes)(0.1, per="layer")
    inner_loop = functools.partial(unchecked(mamlax.inner_loop), loss_fn, optax.sgd(0.1))
    with pytest.raises(ValueError, match='"none", "steps" or "sqrt", got \'all\''):
        inner_loop(PARAMS, SUPPORT, num_steps=1, remat="all")
    maml = functools.partial(unchecked(mamlax.maml), inner_optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match='"none", "steps" or "sqrt", got \'step\''):
        maml(loss_fn, num_inner_steps=1, remat="step")
    with pytest.raises(ValueError, match="unrolls no step, got num_unrolled_steps=1"):
        maml(loss_fn, num_inner_steps=3, first_order=True, num_unrolled_steps=1)
    with pytest.raises(ValueError, match="step_weights are all zero"):
        maml(loss_fn, num_inner_steps=2, step_weights=[0.0, 0.0])


@pytest.mark.slow
def test_a_line_search_is_no_inner_optimizer():
    with pytest.raises(TypeError, match="lbfgs with its line search"):
        mamlax.inner_loop(loss_fn, optax.lbfgs(), PARAMS, SUPPORT, num_steps=1)
    without = optax.lbfgs(0.1, linesearch=None)
    assert mamlax.inner_loop(loss_fn, without, PARAMS, SUPPORT, num_steps=1).params is not None


def test_a_missing_axis_of_steps_is_named():
    learner = mamlax.maml(
        loss_fn, inner_optimizer=optax.sgd(0.1), num_inner_steps=2, support_per_step=True
    )
    with pytest.raises(ValueError, match="support_per_step"):
        learner.meta_gradient(PARAMS, TASKS)


def test_learned_optimizers_where_they_cannot_learn():
    learned = mamlax.learned_step_sizes(0.1)
    for algorithm, options in (
        (mamlax.reptile, {}),
        (mamlax.imaml, {"proximal_strength": 1.0}),
    ):
        with pytest.raises(TypeError, match="does not differentiate its inner loop"):
            unchecked(algorithm)(loss_fn, inner_optimizer=learned, num_inner_steps=1, **options)


def test_learned_optimizers_need_what_init_makes():
    learner = meta_sgd()
    for call in (
        lambda: learner.adapt(PARAMS, SUPPORT),
        lambda: learner.meta_gradient(PARAMS, TASKS),
    ):
        with pytest.raises(TypeError, match=r"learner.init\(params\) makes, got dict"):
            call()


@pytest.mark.parametrize(
    "where",
    [
        lambda p: [leaf for leaf in jax.tree.leaves(p) if leaf.ndim == 2],
        lambda p: jax.tree.map(jnp.asarray, p),
        lambda p: p.head,
    ],
    ids=["by_shape", "copied", "no_such_name"],
)
def test_a_part_is_selected_by_name(where):
    with pytest.raises((AttributeError, TypeError)) as caught:
        adapt(where=where)
    assert any("by name" in note and "stand-in" in note for note in caught.value.__notes__)
