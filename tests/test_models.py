"""The networks compute what they say: shapes, convolution, pooling, and what each norm looks at."""

import dataclasses
import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamlax import models
from mamlax.models._conv4 import _max_pool
from mamlax.models._normalization import _num_groups, normalization

NORMS = ("batch", "support", "group", "layer", "none")
CHANNELS = 16  # two groups


def make_mlp(norm):
    """Random biases too, so that nothing about them is left out."""
    rng = np.random.default_rng(0)
    sizes = (6, CHANNELS, CHANNELS, 3)
    shapes = list(itertools.pairwise(sizes))
    weights = [jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32) for shape in shapes]
    biases = [jnp.asarray(rng.normal(size=n), jnp.float32) for n in sizes[1:]]
    return models.MLP(weights, biases, norm)


def make_conv(norm, downsample="stride", num_blocks=1):
    """Fewer blocks than the four of `conv4`."""
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 2, CHANNELS), *[(3, 3, CHANNELS, CHANNELS)] * (num_blocks - 1)]
    kernels = [jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32) for shape in shapes]
    shifts = [jnp.asarray(rng.normal(size=CHANNELS), jnp.float32) for _ in shapes]
    weight = jnp.asarray(rng.normal(size=(CHANNELS, 3)), jnp.float32)
    return models.Conv4(kernels, shifts, weight, jnp.arange(3.0), downsample, norm)


MODELS = {
    "mlp": (make_mlp, (6,)),
    "conv": (make_conv, (5, 6, 2)),
    "conv_pool": (functools.partial(make_conv, downsample="pool", num_blocks=2), (7, 6, 2)),
}
every_norm = pytest.mark.parametrize("norm", NORMS)
either_model = pytest.mark.parametrize("name", ["mlp", "conv"])


@functools.cache
def predictor(name, norm):
    """One compilation for all tests that use four examples and a reference of four, or none."""
    return eqx.filter_jit(MODELS[name][0](norm))


def examples(name, seed=0):
    """Four inputs far from standard, so that moments matter."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(2.0 + 3.0 * rng.normal(size=(4, *MODELS[name][1])), jnp.float32)


def references(norm):
    """What a model may be called with beside `x`, as functions of it."""
    given = [lambda x: x, lambda x: x + 1, lambda x: x[:1], lambda x: x[:0]]
    return given if norm == "support" else [lambda x: None, *given]


def largest_difference(one, two):
    return float(np.abs(np.asarray(one) - np.asarray(two)).max())


@pytest.mark.parametrize(
    ("shape", "downsample", "num_features"),
    [
        ((28, 28, 1), "stride", 4),
        ((5, 9, 3), "stride", 4),
        ((16, 16, 1), "pool", 4),
        ((84, 84, 3), "pool", 4 * 5 * 5),
        ((33, 47, 2), "pool", 4 * 2 * 2),
    ],
    ids=str,
)
@every_norm
def test_conv4_shapes(shape, downsample, num_features, norm):
    make = functools.partial(models.conv4, channels=4, downsample=downsample, norm=norm)
    model = eqx.filter_eval_shape(make, jax.random.key(0), shape, 5)
    assert (model.downsample, model.norm) == (downsample, norm)
    kernels = [(3, 3, shape[-1], 4)] + 3 * [(3, 3, 4, 4)]
    assert [kernel.shape for kernel in model.kernels] == kernels
    assert [shift.shape for shift in model.shifts] == 4 * [(4,)]
    assert (model.head_weight.shape, model.head_bias.shape) == ((num_features, 5), (5,))
    inputs = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    for reference_of in references(norm):
        outputs = eqx.filter_eval_shape(lambda f, x, r=reference_of: f(x, r(x)), model, inputs)
        assert (outputs.shape, outputs.dtype) == ((2, 5), jnp.float32)


@every_norm
def test_mlp_shapes(norm):
    make = functools.partial(models.mlp, hidden_sizes=(4, 8), norm=norm)
    model = eqx.filter_eval_shape(make, jax.random.key(0), 6, 2)
    assert [weight.shape for weight in model.weights] == [(6, 4), (4, 8), (8, 2)]
    assert [bias.shape for bias in model.biases] == [(4,), (8,), (2,)]
    assert model.norm == norm
    for shape in ((5, 6), (5, 3, 2, 1)):  # inputs are flattened
        inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
        for reference_of in references(norm):
            outputs = eqx.filter_eval_shape(lambda f, x, r=reference_of: f(x, r(x)), model, inputs)
            assert (outputs.shape, outputs.dtype) == ((5, 2), jnp.float32)


def test_default_networks_of_the_paper():
    model = eqx.filter_eval_shape(models.mlp, jax.random.key(0), 1, 1)
    assert [weight.shape for weight in model.weights] == [(1, 40), (40, 40), (40, 1)]
    assert model.norm == "none"
    model = eqx.filter_eval_shape(models.conv4, jax.random.key(0), (28, 28, 1), 5)
    assert [kernel.shape[-1] for kernel in model.kernels] == [64] * 4
    assert (model.norm, model.downsample) == ("batch", "stride")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 2), (3, 1), (5, 8), (8, 7)], ids=str)
@jax.enable_x64(True)
def test_convolution_is_that_of_lax(size, stride):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape)) for shape in ((2, *size, 3), (3, 3, 3, 4)))

    @jax.jit
    def both(x, kernel):
        expected = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return models.convolve(x, kernel, stride=stride), expected

    found, expected = both(x, kernel)
    assert found.dtype == jnp.float64 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(2, 2), (6, 7), (7, 4), (5, 5)], ids=str)
def test_max_pool_is_that_of_lax(size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, 3)) - 5.0)
    window = (1, 2, 2, 1)

    @jax.jit
    def both(x):
        expected = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
        return _max_pool(x), expected

    found, expected = both(x)
    np.testing.assert_array_equal(found, expected)


def derivatives_of_three_orders(fn, x):
    """The gradient of a curved function of `fn`, and its changes along a line, of two orders."""
    rng = np.random.default_rng(1)
    direction = jnp.asarray(rng.normal(size=x.shape))
    weights = jnp.asarray(rng.normal(size=jax.eval_shape(fn, x).shape))

    def gradient(t):
        return jax.grad(lambda x: jnp.sum(weights * jnp.sin(fn(x))))(x + t * direction)

    def change(t):
        return jax.jvp(gradient, (t,), (1.0,))

    return jax.jit(lambda: (change(0.0), jax.jvp(change, (0.0,), (1.0,))[1]))()


@jax.enable_x64(True)
def test_derivatives_of_max_pool():
    """Equal numbers, as in an empty part of an image, share the gradient."""
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    x[0, :2, :2] = 1.0
    x[0, 2:4, 2:4, 0] = [[2.0, 1.0], [2.0, 0.0]]
    x = jnp.asarray(x)

    def plain(x):
        return x[:, :4].reshape(2, 2, 2, 3, 2, 3).max((2, 4))

    gradient = jax.grad(lambda x: jnp.sum(_max_pool(x)))(x)
    np.testing.assert_array_equal(gradient[0, :2, :2], 0.25)
    np.testing.assert_array_equal(gradient[0, 2:4, 2:4, 0], [[0.5, 0.0], [0.5, 0.0]])
    found, expected = (derivatives_of_three_orders(fn, x) for fn in (_max_pool, plain))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), found, expected)
    lost = jax.grad(lambda x: jnp.sum(_max_pool(x) ** 2))(x.at[1, 0, 0, 0].set(jnp.nan))
    assert np.isnan(lost[1, :2, :2, 0]).all() and np.isfinite(lost[0]).all()


@pytest.mark.parametrize("norm", ["batch", "group"])
@jax.enable_x64(True)
def test_derivatives_of_normalization(norm):
    """As JAX differentiates the formula by itself."""
    x = jnp.asarray(3.0 + np.random.default_rng(0).normal(size=(4, 3, 2, CHANNELS)))

    def plain(x):
        grouped = x.reshape(4, 3, 2, -1, 8) if norm == "group" else x
        axes = (1, 2, 4) if norm == "group" else (0, 1, 2)
        mean, variance = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
        return ((grouped - mean) / jnp.sqrt(variance + 1e-3)).reshape(x.shape)

    found, expected = (
        derivatives_of_three_orders(fn, x) for fn in (lambda x: normalization(x, norm)(x), plain)
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11), found, expected
    )


def test_the_derivative_of_normalization_does_not_depend_on_the_mean():
    """Also with the few bits of bfloat16, where numbers are far from zero."""
    x = jnp.asarray(16.0 + np.random.default_rng(0).normal(size=(64, 2, 2, 2)), jnp.bfloat16)
    _, change = jax.jvp(lambda x: normalization(x, "batch")(x), (x,), (jnp.ones_like(x),))
    assert change.dtype == jnp.bfloat16 and np.abs(change.astype(np.float32)).max() < 0.02


@pytest.mark.parametrize("channels", [1, 4, 5])
@jax.enable_x64(True)
def test_the_derivative_by_the_kernel_with_few_channels(channels):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(48, 61, 62, channels)))
    kernel = jnp.asarray(rng.normal(size=(3, 2, channels, 4)))
    assert "convolve" in str(
        jax.make_jaxpr(functools.partial(models.convolve, stride=2))(images, kernel)
    )

    def gradient(convolve):
        return jax.jit(jax.grad(lambda kernel: jnp.sum(convolve(images, kernel) ** 3)))(kernel)

    found = gradient(lambda *a: models.convolve(*a, stride=2))
    expected = gradient(lambda *a: convolved(*a, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("channels", [4, 5])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_derivatives_of_convolution_of_many_images_in_half_precision(dtype, channels):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(24, 29, 31, channels)), dtype)
    kernel = jnp.asarray(rng.normal(size=(3, 3, channels, 2)), dtype)
    scale = 0.01

    def gradients(convolve, *arrays):
        def loss(images, kernel):
            return scale * jnp.sum(convolve(images, kernel).astype(jnp.float32) ** 2)

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(*arrays)

    assert "convolve" in str(jax.make_jaxpr(models.convolve)(images, kernel))
    found = gradients(models.convolve, images, kernel)
    expected = gradients(
        lambda *a: convolved(*a, 1), *(x.astype(jnp.float32) for x in (images, kernel))
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        error = np.asarray(ours, np.float32) - np.asarray(theirs)
        assert np.abs(error).max() < 0.02 * np.abs(theirs).max()


def normalized_by_hand(x, norm, epsilon=1e-3):
    """The norms in numpy: over which axes are moments taken?"""
    if norm == "none":
        return x
    if norm in ("batch", "support"):  # per channel, over examples and positions
        grouped, axes = x, tuple(range(x.ndim - 1))
    else:  # per example and group of eight channels, over positions
        num_groups = 1 if norm == "layer" else x.shape[-1] // 8
        grouped = np.stack(np.split(x, num_groups, axis=-1), axis=1)
        axes = tuple(range(2, grouped.ndim))
    mean, variance = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
    normalized = (grouped - mean) / np.sqrt(variance + epsilon)
    return normalized if grouped is x else np.concatenate(np.moveaxis(normalized, 1, 0), axis=-1)


def convolved_by_hand(x, kernel, stride):
    """A sum over taps in numpy; padding as TensorFlow has it, more of it on the far side."""
    sizes = [-(-size // stride) for size in x.shape[1:3]]
    pads = [
        max((n - 1) * stride + 3 - size, 0) for n, size in zip(sizes, x.shape[1:3], strict=True)
    ]
    x = np.pad(x, [(0, 0), *[(pad // 2, pad - pad // 2) for pad in pads], (0, 0)])
    outputs = np.zeros((len(x), *sizes, kernel.shape[-1]))
    for i, j in np.ndindex(*sizes):
        patch = x[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
        outputs[:, i, j] = np.einsum("nhwc,hwco->no", patch, kernel)
    return outputs


def predicted_by_hand(model, x, norm):
    model = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model)
    x = np.asarray(x, np.float64)
    if isinstance(model, models.MLP):
        for weight, bias in zip(model.weights[:-1], model.biases[:-1], strict=True):
            x = np.maximum(normalized_by_hand(x @ weight, norm) + bias, 0.0)
        return x @ model.weights[-1] + model.biases[-1]
    pool = model.downsample == "pool"
    for kernel, shift in zip(model.kernels, model.shifts, strict=True):
        x = convolved_by_hand(x, kernel, 1 if pool else 2)
        x = np.maximum(normalized_by_hand(x, norm) + shift, 0.0)
        if pool:
            height, width = (size // 2 * 2 for size in x.shape[1:3])
            x = np.max([x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)], axis=0)
    x = x.reshape(len(x), -1) if pool else x.mean((1, 2))
    return x @ model.head_weight + model.head_bias


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for name in ("mlp", "conv") for norm in NORMS]
    + [("conv_pool", "batch"), ("conv_pool", "group")],
)
def test_predictions_by_hand(name, norm):
    inputs = examples(name)
    expected = predicted_by_hand(MODELS[name][0](norm), inputs, norm)
    found = predictor(name, norm)(inputs, inputs if norm == "support" else None)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@either_model
@every_norm
def test_who_is_transductive(name, norm):
    """Does the prediction of one query example move when the other ones change?"""
    predict, query, support = predictor(name, norm), examples(name, 1), examples(name, 2)
    changed = query.at[1:].set(examples(name, 3)[1:])
    influence = largest_difference(predict(query, support)[0], predict(changed, support)[0])
    assert models.is_transductive(norm) == (norm == "batch")
    assert influence > 1e-2 if norm == "batch" else influence < 1e-4


@either_model
def test_support_norm_uses_the_moments_of_the_support(name):
    """A support example has one prediction, in its set or as a query to it."""
    predict, support, query = predictor(name, "support"), examples(name, 1), examples(name, 2)
    own = predict(support, support)
    np.testing.assert_allclose(own, predictor(name, "batch")(support), rtol=1e-3, atol=1e-3)
    # a query example among the support examples, all normalized by the support alone
    mixed = jnp.concatenate([query[:1], support[1:]])
    np.testing.assert_allclose(predict(mixed, support)[1:], own[1:], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        predict(mixed, support)[0], predict(query, support)[0], rtol=1e-3, atol=1e-3
    )
    assert largest_difference(predict(query, support), predict(query, query)) > 1e-2
    other = 1.0 + 0.2 * support
    assert largest_difference(predict(query, support), predict(query, other)) > 1e-2


@either_model
def test_a_reference_of_no_examples_is_the_support_itself(name):
    predict, support = predictor(name, "support"), examples(name, 1)
    own = predict(support, support)
    np.testing.assert_allclose(predict(support, support[:0]), own, rtol=1e-3, atol=1e-3)


@either_model
def test_the_support_itself_costs_no_second_pass(name):
    """As no examples: the program of `norm="batch"`."""
    x = examples(name)
    plain = str(jax.make_jaxpr(MODELS[name][0]("batch"))(x))
    model = MODELS[name][0]("support")
    assert str(jax.make_jaxpr(lambda x: model(x, np.zeros((0, *x.shape[1:]))))(x)) == plain
    assert str(jax.make_jaxpr(lambda x: model(x, x + 1))(x)) != plain


@either_model
def test_support_norm_without_a_reference_is_refused(name):
    """It would normalize the query by itself, which is transductive."""
    with pytest.raises(ValueError) as caught:
        MODELS[name][0]("support")(examples(name))
    for part in ('norm="support"', "no reference", "batch.reference", "reference=True"):
        assert part in str(caught.value)


@either_model
@pytest.mark.parametrize("norm", ["batch", "group", "layer", "none"])
def test_other_norms_ignore_the_reference(name, norm):
    predict, inputs = predictor(name, norm), examples(name)
    np.testing.assert_allclose(predict(inputs), predict(inputs, examples(name, 5)), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "head"),
    [("mlp", [".weights[2]", ".biases[2]"]), ("conv", [".head_weight", ".head_bias"])],
)
def test_another_head_is_the_last_layer_and_nothing_else(name, head):
    model = MODELS[name][0]("group")
    weight, bias = (leaf + 1.0 for leaf in model.head)
    changed = model.with_head(weight, bias)
    assert changed.head[0] is weight and changed.head[1] is bias
    assert jax.tree.structure(changed) == jax.tree.structure(model)
    for (path, leaf), before in zip(
        jax.tree.leaves_with_path(changed), jax.tree.leaves(model), strict=True
    ):
        assert (leaf is before) != (jax.tree_util.keystr(path) in head)


@pytest.mark.parametrize("name", MODELS)
@every_norm
def test_outputs_are_the_head_of_the_features(name, norm):
    """Also in sets of another size than the reference's, and with a head of other ways."""
    model, query, reference = MODELS[name][0](norm), examples(name, 1)[:3], examples(name, 2)
    rng = np.random.default_rng(3)

    @jax.jit
    def both(model, weight, bias):
        changed = model.with_head(weight, bias)
        features = model.features(query, reference)
        return features, changed.features(query, reference), changed(query, reference)

    num_features = model.head[0].shape[0]
    weight, bias = rng.normal(size=(num_features, 7)), rng.normal(size=7)
    features, same, outputs = both(model, jnp.float32(weight), jnp.float32(bias))
    assert features.shape == (3, num_features) and outputs.shape == (3, 7)
    np.testing.assert_array_equal(features, same)
    expected = np.asarray(features) @ weight + bias
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["conv", "conv_pool"])
@every_norm
def test_mirrored_features_are_the_mean_of_an_image_and_its_mirror_image(name, norm):
    make, shape = MODELS[name]
    model, query, reference = make(norm), examples(name, 1)[:3], examples(name, 2)
    mirrored = dataclasses.replace(model, mirrored_features=True)
    assert query.shape[2] == shape[1], "columns are the third axis"

    @jax.jit
    def each(model, mirrored):
        flipped = model.features(query[:, :, ::-1], reference[:, :, ::-1])
        of_flipped = mirrored.features(query[:, :, ::-1], reference[:, :, ::-1])
        found = mirrored.features(query, reference)
        return model.features(query, reference), flipped, found, of_flipped

    one, other, found, of_flipped = each(model, mirrored)
    np.testing.assert_allclose(found, (one + other) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, of_flipped, rtol=1e-5, atol=1e-6)
    assert largest_difference(found, one) > 1e-2


@pytest.mark.parametrize("name", ["conv", "conv_pool"])
@pytest.mark.parametrize("norm", ["batch", "support"])
def test_centered_features_by_hand(name, norm):
    query, reference = examples(name, 1)[:3], examples(name, 2)
    plain = MODELS[name][0](norm)
    centered = dataclasses.replace(plain, centered_features=True)
    features = jax.jit(lambda model, x, r: model.features(x, r))
    of_query = np.asarray(features(plain, query, reference), np.float64)
    of_reference = np.asarray(features(plain, reference, reference[:0]), np.float64)
    expected = of_query - (of_reference if norm == "support" else of_query).mean(0)
    expected *= np.sqrt(5) / np.linalg.norm(expected, axis=1, keepdims=True)
    found = features(centered, query, reference)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # one query alone: nothing is left of it where it is its own mean, and it is not NaN
    alone = features(centered, query[:1], reference)
    if norm == "support":
        np.testing.assert_allclose(alone, expected[:1], rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(alone, np.zeros_like(alone))


def test_the_derivative_of_a_centered_feature_that_is_zero_is_finite():
    model = dataclasses.replace(make_conv("batch"), centered_features=True)
    gradient = jax.grad(lambda x: jnp.sum(model.features(x)))(examples("conv")[:1])
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "count"), [("mlp", 2), ("conv", 1), ("conv_pool", 2)])
def test_shifts_are_what_is_added_after_each_normalization(name, count):
    """In the last layer of all, a large negative one leaves nothing behind the ReLU."""
    model = MODELS[name][0]("layer")
    assert len(model.shifts) == count
    assert all(shift.shape == (CHANNELS,) for shift in model.shifts)
    lowered = eqx.tree_at(lambda m: m.shifts[-1], model, jnp.full(CHANNELS, -1e3))
    assert not np.asarray(lowered.features(examples(name))).any()
    assert np.asarray(model.features(examples(name))).any()


def test_the_context_of_an_mlp_is_beside_every_input():
    """A network of as many more inputs, given the numbers of the context."""
    model = models.mlp(jax.random.key(0), 6, 2, hidden_sizes=(4,), context_size=3)
    assert model.weights[0].shape == (9, 4) and not np.asarray(model.context).any()
    context, x = jnp.array([0.5, -2.0, 1.0]), examples("mlp")
    given = eqx.tree_at(lambda m: m.context, model, context)
    plain = eqx.tree_at(lambda m: m.context, model, None)
    expected = plain(jnp.concatenate([x, jnp.tile(context, (4, 1))], axis=1))
    np.testing.assert_allclose(given(x), expected, rtol=1e-5)
    assert largest_difference(given(x), model(x)) > 1e-2
    with pytest.raises(ValueError, match=r"built for 6 inputs per example, got inputs \[4, 9\]"):
        given(jnp.ones((4, 9)))


@pytest.fixture(scope="module")
def with_context():
    make = functools.partial(models.conv4, channels=4, norm="layer", head_scale=1.0)
    key, shape = jax.random.key(0), (6, 6, 1)
    return make(key, shape, 3, context_size=5), make(key, shape, 3)


def test_a_context_of_zeros_changes_nothing_in_conv4(with_context):
    model, without = with_context
    assert model.context.shape == (5,) and not np.asarray(model.context).any()
    assert model.modulation.shape == (5, 2 * 4) and np.asarray(model.modulation).any()
    assert without.context is None and without.modulation is None
    x = jax.random.normal(jax.random.key(1), (3, 6, 6, 1))
    one, other = jax.jit(lambda x: (model(x), without(x)))(x)
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_context_scales_and_shifts_the_third_block(with_context):
    """As the third kernel and shift do, where nothing normalizes."""
    model, without = (dataclasses.replace(m, norm="none") for m in with_context)
    context = jnp.array([0.3, -0.2, 0.5, 0.1, -0.4])
    gain, offset = np.split(np.asarray(context @ model.modulation), 2)
    by_hand = eqx.tree_at(
        lambda m: (m.kernels[2], m.shifts[2]),
        without,
        (
            jnp.asarray(np.asarray(without.kernels[2]) * (1 + gain)),
            without.shifts[2] * (1 + gain) + offset,
        ),
    )
    x = jax.random.normal(jax.random.key(1), (3, 6, 6, 1))

    @jax.jit
    def outputs(context):
        return eqx.tree_at(lambda m: m.context, model, context)(x)

    np.testing.assert_allclose(outputs(context), by_hand(x), rtol=1e-4, atol=1e-5)
    assert largest_difference(outputs(context), without(x)) > 1e-3
    # from zero it has somewhere to go
    gradient = jax.grad(lambda context: jnp.sum(outputs(context) ** 2))(jnp.zeros(5))
    assert np.abs(np.asarray(gradient)).min() > 1e-4


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: models.mlp(jax.random.key(0), 1, 1, **o),
        lambda **o: models.conv4(jax.random.key(0), (6, 6, 1), 2, **o),
    ],
    ids=["mlp", "conv4"],
)
def test_a_context_of_negative_size_is_refused(make):
    with pytest.raises(ValueError, match="context_size must be 0 or more, got -1"):
        make(context_size=-1)


def assert_moments(values, deviation, bound):
    """Mean zero and this deviation, within five standard errors; nothing beyond the bound."""
    values = np.asarray(values, np.float64).ravel()
    assert abs(values.mean()) < 5 * deviation / np.sqrt(values.size)
    kurtosis = (values**4).mean() / deviation**4
    error = deviation * np.sqrt((kurtosis - 1) / (4 * values.size))
    assert abs(values.std() - deviation) < 5 * error
    assert 0.97 * bound < np.abs(values).max() <= bound


def test_where_the_mlp_starts():
    # a normal truncated at two deviations has 0.8796 of its deviation
    make = functools.partial(models.mlp, hidden_sizes=(50,), weight_scale=0.02)
    model, same, other = (make(jax.random.key(key), 50, 50) for key in (1, 1, 2))
    for weight in model.weights:
        assert_moments(weight, 0.8796 * 0.02, 0.04)
    # the default is √(2/inputs) after truncation
    for weight in models.mlp(jax.random.key(1), 50, 50, hidden_sizes=(50,)).weights:
        assert_moments(weight, np.sqrt(2 / 50), 2 * np.sqrt(2 / 50) / 0.8796)
    assert not any(bias.any() for bias in model.biases)
    first, second = model.weights
    assert len({float(w[0, 0]) for w in (first, second, other.weights[0])}) == 3
    np.testing.assert_array_equal(same.weights[0], first)


def test_where_conv4_starts():
    make = functools.partial(models.conv4, channels=32)
    model, same, other = (make(jax.random.key(key), (28, 28, 32), 5) for key in (1, 1, 2))
    bound = np.sqrt(6 / (9 * 32 + 9 * 32))
    for kernel in model.kernels:
        assert_moments(kernel, bound / np.sqrt(3), bound)
    assert not any(x.any() for x in (*model.shifts, model.head_weight, model.head_bias))
    assert len({float(k[0, 0, 0, 0]) for k in (*model.kernels, other.kernels[0])}) == 5
    np.testing.assert_array_equal(same.kernels[0], model.kernels[0])

    head = make(jax.random.key(1), (28, 28, 32), 60, head_scale=0.5).head_weight
    assert abs(float(head.std()) - 0.5) < 5 * 0.5 / np.sqrt(2 * head.size)


def test_where_conv4_starts_with_another_number_of_channels_in_than_out():
    model = models.conv4(jax.random.key(0), (28, 28, 3), 5, channels=32)
    bound = np.sqrt(6 / (9 * 3 + 9 * 32))
    assert_moments(model.kernels[0], bound / np.sqrt(3), bound)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"norm": "instance"}, ["norm must be one of batch, support, group", "'instance'"]),
        ({"downsample": "dilate"}, ['downsample must be "stride" or "pool"', "'dilate'"]),
        ({"downsample": "pool"}, ["15×20", "too small", "16×16"]),
        ({"centered_features": True, "norm": "layer"}, ["minus their mean", "'layer'"]),
    ],
    ids=["norm", "downsample", "small", "centered"],
)
def test_conv4_errors(options, parts):
    with pytest.raises(ValueError) as caught:
        unchecked(models.conv4)(jax.random.key(0), (15, 20, 1), 5, **options)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "instance"}, r"norm must be one of batch, .*got 'instance'"),
        ({"hidden_sizes": (4, 0)}, r"must be positive, got 1, 1 and \(4, 0\)"),
        ({"weight_scale": -1.0}, r"weight_scale must be 0 or more, got -1\.0"),
    ],
    ids=["norm", "sizes", "scale"],
)
def test_mlp_errors(options, words):
    with pytest.raises(ValueError, match=words):
        unchecked(models.mlp)(jax.random.key(0), 1, 1, **options)


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((10, 28, 28), ["images [28, 28, 1]", "inputs [10, 28, 28]", "inputs[..., None]"]),
        ((28, 28, 1), ["images [28, 28, 1]", "inputs [28, 28, 1]", "inputs[None]"]),
        ((10, 32, 28, 1), ["images [28, 28, 1]", "inputs [10, 32, 28, 1]", "resize"]),
        ((10, 28, 28, 3), ["images [28, 28, 1]", "inputs [10, 28, 28, 3]"]),
        ((28, 28), ["images [28, 28, 1]", "inputs [28, 28]"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("downsample", ["stride", "pool"])
def test_conv4_of_other_images(shape, parts, downsample):
    make = functools.partial(models.conv4, channels=2, downsample=downsample)
    call = lambda key, x: make(key, (28, 28, 1), 5)(x)  # noqa: E731
    with pytest.raises(ValueError) as caught:
        jax.eval_shape(call, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((10, 4), ["6 inputs per example", "inputs [10, 4]", "num_inputs=4"]),
        ((10, 3, 3), ["6 inputs per example", "inputs [10, 3, 3]", "num_inputs=9"]),
        ((6,), ["6 inputs per example", "inputs [6]", "inputs[None]"]),
        ((), ["6 inputs per example", "inputs []"]),
    ],
    ids=str,
)
def test_mlp_of_other_inputs(shape, parts):
    with pytest.raises(ValueError) as caught:
        make_mlp("none")(jnp.ones(shape))
    assert all(part in str(caught.value) for part in parts)


def test_the_reference_is_checked_too():
    with pytest.raises(ValueError, match=r"got reference \[4, 5\]"):
        make_mlp("support")(jnp.ones((4, 6)), jnp.ones((4, 5)))
    model = models.conv4(jax.random.key(0), (5, 5, 1), 2, channels=2, norm="support")
    model = model.with_head(*model.head)
    with pytest.raises(ValueError, match=r"got reference \[4, 5, 5\]; .*reference\[..., None\]"):
        model(jnp.ones((4, 5, 5, 1)), jnp.ones((4, 5, 5)))


@pytest.mark.parametrize(
    ("width", "num_groups"),
    [(1, 1), (7, 1), (8, 1), (16, 2), (17, 1), (25, 1), (28, 2), (40, 5), (60, 6), (64, 8)],
)
def test_groups_divide_any_width(width, num_groups):
    """As many as can be of 8 channels or more, and the model has as many."""
    make = functools.partial(models.mlp, hidden_sizes=(width,), norm="group")
    jax.eval_shape(lambda key, x: make(key, 1, 1)(x), jax.random.key(0), jnp.ones((4, 1)))
    x = np.random.default_rng(0).normal(size=(3, width))
    x = jnp.asarray(x, jnp.float32)
    groups = np.asarray(normalization(x, "group")(x))
    groups = groups.reshape(3, num_groups, -1)
    np.testing.assert_allclose(groups.mean(-1), 0, atol=1e-6)
    assert num_groups == _num_groups(width)


def unchecked(fn):
    """`fn` without the run-time type checks of the tests, which would speak first."""
    while hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    return fn


def convolved(images, kernel, stride):
    """By XLA's convolution, which is differentiated by JAX alone."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), "SAME", dimension_numbers=layout
    )


MANY = [  # images whose patches do not fit a processor's caches
    ((40, 29, 31, 1), (3, 3, 1, 4), 1),
    ((9, 64, 63, 4), (3, 3, 4, 3), 2),
    ((2, 15, 12, 96), (3, 3, 96, 2), 1),
    ((40, 70, 68, 3), (3, 2, 3, 2), 3),
]


@pytest.mark.parametrize(
    ("image_shape", "kernel_shape", "stride"),
    [MANY[2], *(pytest.param(*MANY[i], marks=pytest.mark.slow) for i in (0, 1, 3))],
    ids=str,
)
@jax.enable_x64(True)
def test_convolution_of_many_images_and_its_derivatives(image_shape, kernel_shape, stride):
    """Values, gradients, and Hessian products forward over reverse, by both arguments."""
    rng = np.random.default_rng(0)
    arrays, directions = (
        tuple(jnp.asarray(rng.normal(size=shape)) for shape in (image_shape, kernel_shape))
        for _ in range(2)
    )

    def derivatives(convolve):
        def loss(images, kernel):
            return jnp.sum(jnp.sin(convolve(images, kernel)))

        gradient = jax.grad(loss, argnums=(0, 1))
        return convolve(*arrays), jax.jvp(gradient, arrays, directions)

    def through_ours(images, kernel):
        return models.convolve(images, kernel, stride=stride)

    names = str(jax.make_jaxpr(through_ours)(*arrays))
    assert "convolve" in names and "concatenate" not in names  # not by patches
    found = jax.jit(lambda: derivatives(through_ours))()
    expected = jax.jit(lambda: derivatives(lambda *a: convolved(*a, stride)))()
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * scale)


@jax.enable_x64(True)
@pytest.mark.slow
def test_third_derivative_of_convolution_by_finite_differences():
    rng = np.random.default_rng(0)
    arrays, directions = (
        tuple(jnp.asarray(rng.normal(size=shape)) for shape in MANY[1][0:2]) for _ in range(2)
    )
    directions = tuple(0.1 * x / np.sqrt(x.size) for x in directions)

    def along(t):
        images, kernel = (x + t * d for x, d in zip(arrays, directions, strict=True))
        return jnp.sum(jnp.cos(models.convolve(images, kernel, stride=2)))

    reverse = jax.jit(jax.grad(jax.grad(jax.grad(along))))
    second, step = jax.jit(jax.grad(jax.grad(along))), 1e-2
    expected = (second(step) - second(-step)) / (2 * step)
    np.testing.assert_allclose(reverse(0.0), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "mapped",
    ["kernel", *(pytest.param(one, marks=pytest.mark.slow) for one in ("images", "twice"))],
)
@jax.enable_x64(True)
def test_convolution_of_many_images_under_vmap(mapped):
    """Tasks with images of their own, or kernels of their own; and tasks of tasks, with both."""
    rng = np.random.default_rng(0)
    leading = {"images": ((2,), ()), "kernel": ((), (2,))}
    of_images, of_kernel = leading.get(mapped, ((2, 2), (2, 2)))
    images = jnp.asarray(rng.normal(size=(*of_images, 9, 64, 63, 4)))
    kernel = jnp.asarray(rng.normal(size=(*of_kernel, 3, 3, 4, 3)))
    axes = (0 if of_images else None, 0 if of_kernel else None)

    def results_of(convolve):
        def of_task(images, kernel):
            def loss(images, kernel):
                return jnp.sum(convolve(images, kernel) ** 3)

            return convolve(images, kernel), jax.grad(loss, (0, 1))(images, kernel)

        mapped_fn = jax.vmap(of_task, axes)
        if mapped == "twice":
            mapped_fn = jax.vmap(mapped_fn, axes)
        return jax.jit(mapped_fn)(images, kernel)

    found = results_of(lambda *a: models.convolve(*a, stride=2))
    expected = results_of(lambda *a: convolved(*a, 2))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * np.abs(theirs).max())


def test_convolution_refuses_what_does_not_fit():
    images, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    with pytest.raises(ValueError, match="stride must be 1 or more, got 0"):
        unchecked(models.convolve)(images, kernel, stride=0)
    with pytest.raises(ValueError, match=r"as many channels, got \(2, 8, 8, 2\) and"):
        unchecked(models.convolve)(images[..., :2], kernel)
    with pytest.raises(ValueError, match=r"images \[examples, height, width, channels\]"):
        unchecked(models.convolve)(images[0], kernel)


def test_convolution_of_many_images_within_shard_map():
    """As JAX checks it by default, where kernels are the same on all devices and images are not."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("devices",))
    spread, same = jax.sharding.PartitionSpec("devices"), jax.sharding.PartitionSpec()
    rng = np.random.default_rng(0)
    images, kernel = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (MANY[0][0], MANY[0][1])
    )

    def gradient(kernel, images):
        return jax.grad(lambda kernel: jnp.sum(models.convolve(images, kernel) ** 2))(kernel)

    mapped = jax.shard_map(gradient, mesh=mesh, in_specs=(same, spread), out_specs=same)
    np.testing.assert_allclose(
        jax.jit(mapped)(kernel, images), jax.jit(gradient)(kernel, images), rtol=1e-4
    )


def test_derivatives_of_convolution_are_compiled_once(caplog):
    images, kernel = jnp.ones(MANY[1][0]), jnp.ones(MANY[1][1])
    gradient = jax.grad(lambda kernel: models.convolve(images, kernel, stride=2).sum())
    gradient(kernel)
    with jax.log_compiles():
        gradient(kernel)
    assert "Compiling" not in caplog.text
