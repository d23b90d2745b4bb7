"""A model as an ONNX file computes what it computes in JAX, for any number of rows."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import lax

import mamlax
from mamlax import MamlaxError
from mamlax.estimators._export import _program, write_onnx
from mamlax.onnx import write_program

from .materials import TINY, image_classifier, labelled, machines

ROWS = jax.export.symbolic_shape("q")[0]


def run(path, arguments):
    """What ONNX's runtime computes, arguments by name."""
    session = onnxruntime.InferenceSession(path)
    (result,) = session.run(None, arguments)
    return result


def check(path, function, arguments, rtol=1e-5, atol=1e-6):
    """Compare with JAX: of each argument its shape, and arrays to call with."""
    shapes = {
        name: jax.ShapeDtypeStruct(shape, values[0].dtype)
        for name, (shape, *values) in arguments.items()
    }
    write_program(path, function, shapes)
    for values in zip(*(values for _, *values in arguments.values()), strict=True):
        expected = jax.jit(function)(*values)
        found = run(path, dict(zip(arguments, values, strict=True)))
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def whole(high, *shape):
    return np.random.default_rng(1).integers(0, high, shape).astype(np.int32)


def one_loop(x):
    """Rows that take different numbers of turns."""

    def turns(row):
        start = (row, jnp.where(row[0] > 0, 0, 2))
        after = lax.while_loop(lambda s: s[1] < 3, lambda s: (s[0] * 2 + 1, s[1] + 1), start)
        return after[0]

    return jax.vmap(turns)(x)


def several_sizes(x):
    """Sizes that are sums and multiples of one that is not known yet."""
    twice = jnp.concatenate([x, 2 * x])
    flat = twice.reshape(-1)
    return flat * jnp.arange(flat.shape[0]) / twice.shape[0]


OPERATIONS = {
    "numbers": lambda x: jnp.exp(-jnp.square(x)) + jnp.log1p(x**2) - jnp.sqrt(jnp.abs(x)) + x**3,
    "more_numbers": lambda x: jnp.tanh(x) + jax.nn.sigmoid(x) + jnp.expm1(x) + lax.rsqrt(x**2 + 1),
    "powers_and_signs": lambda x: jnp.power(jnp.abs(x), 1.5) * jnp.sign(x) + lax.erf(x),
    "waves": lambda x: jnp.sin(x) * jnp.cos(x) + jnp.floor(3 * x),
    "truths": lambda x: jnp.where((x > 0) & ~(x >= 1) | (x != x), x, -x).astype(jnp.int32),
    "truth_chosen": lambda x: jnp.where(x > 1, x < 2, x < 0).astype(jnp.float32),
    "bounds": lambda x: jnp.clip(x, -0.5, 0.5) + jnp.minimum(x, 0) + jnp.isfinite(x),
    "all_and_any": lambda x: (x > -1).all(1).astype(jnp.int32) + (x > 1).any(1),
    "sums": lambda x: (
        x - x.mean(0, keepdims=True) + x.max(1, keepdims=True) - x.min() + jnp.cumsum(x, 0)
    ),
    "places": lambda x: jnp.argmax(x, -1) - jnp.argmin(x, -1),
    "moved": lambda x: jnp.moveaxis(x.reshape(-1, 2, 3), 1, 2)[:, ::-1],
    "parts": lambda x: jnp.concatenate([x[:, 1:4], x[:, ::2], jnp.stack([x[:, 0], x[:, 1]], 1)], 1),
    "split": lambda x: jnp.split(x, 2, axis=1)[1] * jnp.tile(jnp.arange(3.0), (1, 1)),
    "edges": lambda x: jnp.pad(x, ((0, 0), (1, 2)), constant_values=5),
    "set_apart": lambda x: lax.pad(x, 0.0, [(0, 0, 0), (1, -1, 2)]),
    "counted": lambda x: x + jnp.arange(x.shape[0])[:, None] + jnp.arange(6)[None],
    "products": lambda x: x @ x.T @ x + jnp.einsum("ni,nj->ij", x, x)[:1],
    "products_in_batches": lambda x: jnp.einsum("nij,nkj->nik", *[x.reshape(-1, 2, 3)] * 2),
    "loop": lambda x: lax.scan(lambda s, r: (s + r, s * r), jnp.zeros_like(x[:, 0]), x.T)[1],
    "loop_backwards": lambda x: lax.scan(
        lambda s, r: (0.5 * s + r, s), jnp.zeros_like(x[:, 0]), x.T, reverse=True
    )[1],
    "loop_of_rows": one_loop,
    "sizes": several_sizes,
    "part_from_a_place": lambda x: lax.dynamic_slice(x.T @ x, (0, jnp.argmax(x.sum(0))), (2, 3)),
    "equations": lambda x: jax.scipy.linalg.solve(x.T @ x + jnp.eye(6), x.T, assume_a="pos").T,
    "gradient": jax.grad(lambda x: jnp.sum(jax.nn.relu(x @ x.T) ** 2) / x.shape[0]),
}


@pytest.mark.parametrize("function", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_computes_what_it_does_in_jax(function, tmp_path):
    arguments = {"x": ((ROWS, 6), normal(4, 6), normal(9, 6))}
    check(tmp_path / "a.onnx", function, arguments, rtol=1e-4, atol=1e-5)


TAKEN = {
    "rows": lambda x, i: x[i[:, 0]],
    "columns": lambda x, i: x[:, i[0]],
    "both": lambda x, i: x[i[:, 0], i[:, 1] + 2],
    "along": lambda x, i: jnp.take_along_axis(x, i, axis=1),
    "along_within_bounds": lambda x, i: jnp.take_along_axis(x, i + 3, axis=1, mode="clip"),
    "of_each_row": lambda x, i: jax.vmap(lambda row, places: row[places])(x, i),
    "one_for_many": lambda x, i: jax.vmap(lambda places: x[0][places[None]])(i),
    "gradient_of_rows": lambda x, i: jax.grad(lambda x: jnp.sum(x[i[:, 0]] ** 2))(x),
    "gradient_of_columns": lambda x, i: jax.grad(lambda x: jnp.sum(x[:, i[0]] ** 2))(x),
    "gradient_along": lambda x, i: jax.grad(
        lambda x: jnp.sum(jnp.take_along_axis(x, i, axis=1) ** 3)
    )(x),
}


@pytest.mark.parametrize("function", TAKEN.values(), ids=TAKEN)
def test_numbers_are_taken_from_where_indices_say(function, tmp_path):
    arguments = {
        "x": ((ROWS, 6), normal(5, 6), normal(8, 6)),
        "i": ((ROWS, 3), whole(4, 5, 3), whole(4, 8, 3)),
    }
    check(tmp_path / "a.onnx", function, arguments)


def test_an_operation_that_onnx_has_not_is_named(tmp_path):
    with pytest.raises(MamlaxError, match=r"sort has no equivalent.*--format stablehlo"):
        check(tmp_path / "a.onnx", lambda x: jnp.sort(x), {"x": ((ROWS,), normal(3))})
    assert not (tmp_path / "a.onnx").exists()


TABLE = machines()
X, GROUPS = TABLE[["speed", "kind"]], TABLE["machine"]


def calls(model, sizes=((1, 1), (10, 7), (33, 40))):
    """Arguments of a program that adapts and predicts."""
    _, arguments = _program(model)
    rng = np.random.default_rng(0)
    of = {"s": 0, "q": 1}
    for size in sizes:
        found = {}
        for name, like in arguments.items():
            shape = [n if isinstance(n, int) else size[of[str(n)]] for n in like.shape]
            if like.dtype == jnp.int32:
                found[name] = rng.permuted(np.arange(shape[0], dtype=np.int32) % 2)
            else:
                found[name] = rng.uniform(0, 1, shape).astype(np.float32)
        yield found


def agrees(model, path, sizes=((1, 1), (10, 7), (33, 40))):
    write_onnx(path, model)
    function = jax.jit(_program(model)[0])
    for arguments in calls(model, sizes):
        expected = function(*arguments.values())
        np.testing.assert_allclose(run(path, arguments), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooled", ["none", "linear", "trees"])
def test_a_regressor_adapts_and_predicts_the_same(pooled, tmp_path):
    model = mamlax.FewShotRegressor(**TINY, pooled=pooled, compare=False)
    model.fit(X, TABLE["wear"], groups=GROUPS)
    agrees(model, tmp_path / "model.onnx")
    adapted = model.adapt(X[:5], TABLE["wear"][:5])
    agrees(adapted, tmp_path / "adapted.onnx")


CLASSIFIERS = ["maml", "cavia", "proto-maml", "meta-sgd", "maml-plus-plus", "unicorn-maml"]


@pytest.mark.parametrize(
    "algorithm",
    [CLASSIFIERS[0], *(pytest.param(x, marks=pytest.mark.slow) for x in CLASSIFIERS[1:])],
)
def test_a_classifier_adapts_and_predicts_the_same(algorithm, tmp_path):
    model = mamlax.FewShotClassifier(**TINY, algorithm=algorithm, compare=False)
    model.fit(X, labelled(TABLE)["wear"], groups=GROUPS)
    agrees(model, tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", ["anil", "boil", "imaml", "reptile", "meta-sgd", "meta-curvature", "fomaml"]
)
def test_a_regressor_of_each_algorithm_does(algorithm, tmp_path):
    model = mamlax.FewShotRegressor(**TINY, algorithm=algorithm, compare=False)
    model.fit(X, TABLE["wear"], groups=GROUPS)
    agrees(model, tmp_path / "model.onnx")


def test_an_image_classifier_adapts_and_predicts_the_same(tmp_path):
    agrees(image_classifier(), tmp_path / "model.onnx", sizes=((2, 3), (6, 2)))


def test_what_stands_beside_says_how_it_is_called(tmp_path):
    model = mamlax.FewShotRegressor(**TINY, compare=False)
    model.fit(X, TABLE["wear"], groups=GROUPS)
    paths = write_onnx(tmp_path / "model.onnx", model)
    assert [path.name for path in paths] == ["model.onnx", "model.onnx.json"]
    said = json.loads(paths[1].read_text())["program"]
    session = onnxruntime.InferenceSession(paths[0])
    assert list(said["arguments"]) == [one.name for one in session.get_inputs()]
    assert [said["output"]] == [one.name for one in session.get_outputs()]
    assert said["format"] == "onnx" and said["opset"] == 18 and said["is_adapted"] is False
