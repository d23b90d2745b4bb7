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


def odd():
    """What is no number, too large, next to nothing."""
    return np.array([[np.nan, 1, -3e9], [np.inf, 3e9, -7], [2, -np.inf, 1e-8]], np.float32)


ODD = {
    "largest": lambda x: x.max(0, keepdims=True) + x.min(1, keepdims=True),
    "places": lambda x: jnp.argmax(x, 1) + 10 * jnp.argmin(x, 1),
    "whole": lambda x: x.astype(jnp.int32),
    "bounds": lambda x: jnp.clip(x, -1, 1) + jnp.sign(x),
    "log_near_one": lambda x: jnp.log1p(jnp.abs(x)),
    "exp_near_zero": lambda x: jnp.expm1(-x),
    "softplus": lambda x: jax.nn.softplus(x - 17) + jax.nn.elu(x * 1e-3),
}


@pytest.mark.parametrize("function", ODD.values(), ids=ODD)
def test_odd_numbers_are_as_in_jax(function, tmp_path):
    small = np.array([[1e-8, -1e-7, 1e-4], [-1e-3, 0, 3e-5], [0.4, -0.4, 20]], np.float32)
    check(tmp_path / "a.onnx", function, {"x": ((ROWS, 3), odd(), small)}, rtol=1e-5, atol=0)


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
    "split": lambda x: jnp.tile(jnp.split(x, 2, axis=1)[1], (1, 2)) - x,
    "none": lambda x: jnp.zeros((0, 3)).reshape(3, 0).sum(1)[None] + x[:, :3],
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
    "loop_with_constants": lambda x: lax.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, x.sum() + 0 * s[1], s[3], s[3]), (0, 1.0, 2.0, 3.0)
    )[1],
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
    "outside": lambda x, i: x.at[i[:, 0] - 3].get(mode="fill") + x.at[i[:, 1] * 3].get(mode="fill"),
    "part_outside": lambda x, i: (
        x.at[i[0, 0] * 100].get(mode="fill") + x.at[i[0, 1]].get(mode="fill")
    ),
    "outside_clipped": lambda x, i: x[i[:, 0] * 4 - 20],
    "added_outside": lambda x, i: x.at[i[:, 0] * 4 - 20].add(1.0),
    "gradient_outside": lambda x, i: jax.grad(
        lambda x: jnp.sum(jnp.take_along_axis(x, i + 3, axis=1, mode="clip") ** 2)
    )(x),
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


def test_any_name_of_an_argument_is_its_own(tmp_path):
    arguments = {"c0": ((ROWS,), normal(2)), "n0": ((ROWS,), normal(2))}
    check(tmp_path / "a.onnx", lambda x, y: x * 2.5 + y * 1.5, arguments)
    for name in ("outputs", "_c0"):
        with pytest.raises(MamlaxError, match=f"cannot be called '{name}'"):
            check(tmp_path / "a.onnx", lambda x: x, {name: ((ROWS,), normal(2))})


REFUSED = {
    "bits": (lambda x: x.astype(jnp.int32) & 3, "and of int32"),
    "bfloat16": (lambda x: x.astype(jnp.bfloat16) * 2, "bfloat16"),
    "largest_truth": (lambda x: jnp.maximum(x > 0, x > 1), "max of bool"),
    "three_cases": (lambda x: lax.select_n((x > 0).astype(jnp.int32), x, x, x), "3 cases"),
    "two_results": (lambda x: (x, x), "2 results"),
    "unknown_size": (lambda x: jnp.linalg.cholesky(x[:, None] * x[None]), "not known yet"),
    "long_loop": (lambda x: lax.scan(lambda s, _: (s * 2, None), x, None, 2_000)[0], "2,000 turns"),
}


@pytest.mark.parametrize(("function", "words"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_equivalent_is_refused_in_words(function, words, tmp_path):
    with pytest.raises(MamlaxError, match=f"cannot be written as ONNX: .*{words}"):
        check(tmp_path / "a.onnx", function, {"x": ((ROWS,), normal(4))})


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


def agrees(model, path, sizes=((1, 1), (10, 7), (33, 40)), tolerance=1e-4):
    write_onnx(path, model)
    function = jax.jit(_program(model)[0])
    for arguments in calls(model, sizes):
        expected = function(*arguments.values())
        np.testing.assert_allclose(run(path, arguments), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "pooled", ["linear", *(pytest.param(x, marks=pytest.mark.slow) for x in ("none", "trees"))]
)
def test_a_regressor_adapts_and_predicts_the_same(pooled, tmp_path):
    model = mamlax.FewShotRegressor(**TINY, pooled=pooled, compare=False)
    model.fit(X, TABLE["wear"], groups=GROUPS)
    agrees(model, tmp_path / "model.onnx")
    adapted = model.adapt(X[:5], TABLE["wear"][:5])
    agrees(adapted, tmp_path / "adapted.onnx")


CLASSIFIERS = [
    "logistic-maml",
    "maml",
    "cavia",
    "proto-maml",
    "meta-sgd",
    "maml-plus-plus",
    "unicorn-maml",
]


@pytest.mark.parametrize(
    "algorithm",
    ["maml", *(pytest.param(x, marks=pytest.mark.slow) for x in CLASSIFIERS if x != "maml")],
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "features, tolerance",
    [({}, 1e-4), ({"mirrored_features": True, "centered_features": True}, 2e-3)],
)
def test_an_image_classifier_adapts_and_predicts_the_same(features, tolerance, tmp_path):
    """Centered features of few images are small differences, scaled up: JAX without `jit` is .0007
    from its own float64 then.
    """
    agrees(
        image_classifier(algorithm="proto-maml", **features),
        tmp_path / "model.onnx",
        sizes=((2, 3), (6, 2)),
        tolerance=tolerance,
    )


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
