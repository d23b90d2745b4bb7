"""A run, or a model, in a form that others can use: it says what the run itself says."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax import Batch, MamlaxError
from mamlax.estimators._export import learner_of_run, write_stablehlo
from mamlax.records._description import RunDescription, open_run

from .materials import (
    drawings,
    image_classifier,
    omniglot_recipe,
    sinusoid_recipe,
    train,
    write_evaluation_of,
)

WAVE_X = np.linspace(-4, 4, 5)[:, None]
WAVE_Y = 2 * np.sin(WAVE_X + 1)


def wave_by_hand(directory, x, num_inner_steps):
    """What the run itself predicts after adapting to the wave."""
    run = mamlax.load_run(directory)
    support = Batch(jnp.asarray(WAVE_X, jnp.float32), jnp.asarray(WAVE_Y, jnp.float32))
    adapted = run.learner.adapt(run.params, support, num_inner_steps=num_inner_steps)
    return np.asarray(adapted.params(jnp.asarray(x, jnp.float32)))[:, 0]


@pytest.fixture(scope="module")
def sinusoid_run(tmp_path_factory):
    recipe = sinusoid_recipe(num_inner_steps=1, num_validation_inner_steps=3)
    return train(recipe, tmp_path_factory.mktemp("sinusoid") / "run")


@pytest.mark.slow
def test_a_sinusoid_run_becomes_a_regressor_that_predicts_the_same(sinusoid_run, tmp_path):
    model = learner_of_run(sinusoid_run)
    assert isinstance(model, mamlax.FewShotRegressor)
    assert model.num_inner_steps_ == 3 and model.outer_step_ == 4
    path = tmp_path / "model.safetensors"
    model.save(path)
    x = np.linspace(-5, 5, 11)[:, None]
    expected = wave_by_hand(sinusoid_run, x, 3)
    for one in (model, mamlax.load(path)):
        adapted = one.adapt(WAVE_X, WAVE_Y[:, 0])
        np.testing.assert_allclose(adapted.predict(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.predict(x), wave_by_hand(sinusoid_run, x, 0), rtol=1e-4, atol=1e-5
    )
    assert abs(expected - wave_by_hand(sinusoid_run, x, 1)).max() > 1e-3


def test_a_regressor_of_a_run_takes_inputs_as_they_are(sinusoid_run):
    """Also those far from the ones trained on, as the network does."""
    x = np.array([[-30.0], [12.0], [100.0]])
    adapted = learner_of_run(sinusoid_run).adapt(WAVE_X, WAVE_Y[:, 0])
    np.testing.assert_allclose(adapted.predict(x), wave_by_hand(sinusoid_run, x, 3), rtol=1e-4)


def test_steps_that_diverged_are_not_those_of_the_file(sinusoid_run, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(sinusoid_run, directory)
    write_evaluation_of(directory, [1.0, 1.0, None, None])
    with pytest.warns(UserWarning, match="3 inner steps, .* diverged .* the file adapts by 1"):
        model = learner_of_run(directory)
    assert model.num_inner_steps_ == 1


def test_adapting_that_diverges_is_an_error(sinusoid_run):
    model, x = learner_of_run(sinusoid_run), [[0.0], [1.0], [2.0], [3.0]]
    settings = model.learner_.settings
    algorithm = replace(settings.algorithm, inner_learning_rate=1e20, inner_gradient_clip=None)
    model.learner_ = replace(model.learner_, settings=replace(settings, algorithm=algorithm))
    with pytest.raises(mamlax.MamlaxError, match="4 rows diverged within 3 inner steps"):
        model.adapt(x, [1.0, -1.0, 1.0, -1.0])
    words = r"adapting to 2 of 2 groups diverged within 3 inner steps: 'a', 'b'\. .*numpy\.isin"
    with pytest.raises(mamlax.MamlaxError, match=words):
        model.adapt_many(x, [1.0, -1.0, 1.0, -1.0], ["a", "a", "b", "b"])


@pytest.mark.slow
def test_without_a_number_of_steps_of_its_own_it_is_that_of_training(tmp_path):
    directory = train(sinusoid_recipe(num_inner_steps=2), tmp_path / "run")
    assert learner_of_run(directory).num_inner_steps_ == 2


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(MamlaxError, match="is not a run directory"):
        learner_of_run(tmp_path)


def test_a_run_that_has_not_begun_is_refused(tmp_path):
    open_run(tmp_path / "run", RunDescription(sinusoid_recipe(), 0, 1))
    with pytest.raises(MamlaxError, match="is unfinished: maml has taken 0 of 4 outer steps"):
        learner_of_run(tmp_path / "run")


JAX_ALONE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mamlax", "equinox", "optax", "sklearn", "pandas", "safetensors"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Absent())
"""

RUN_ELSEWHERE = (
    JAX_ALONE
    + """
import numpy as np, jax
calls = np.load(sys.argv[1])
outputs = {}
for path in sys.argv[3:]:
    with open(path, "rb") as file:
        program = jax.export.deserialize(bytearray(file.read()))
    for i in range(2):
        arguments = [calls[f"{path}/{i}/{j}"] for j in range(4)]
        outputs[f"{path}/{i}"] = np.asarray(program.call(*arguments))
assert "cuda" in program.platforms and "tpu" in program.platforms
np.savez(sys.argv[2], **outputs)
"""
)


def numbers_of(beside, table):
    """Rows as numbers, by nothing but what was written beside the program."""
    parts = []
    for column in beside["columns"]["columns"]:
        values = table[column["name"]]
        if column["categories"]:
            parts += [(values == category).to_numpy(float) for category in column["categories"]]
            continue
        missing = values.isna().to_numpy()
        scaled = np.clip((values.to_numpy() - column["mean"]) / column["scale"], -10, 10)
        parts.append(np.where(missing, 0, scaled))
        if column["has_missing"]:
            parts.append(missing.astype(float))
    return np.stack(parts, axis=1).astype(np.float32)


@pytest.mark.slow
def test_a_program_adapts_and_predicts_without_this_package(regressor, classifier, table, tmp_path):
    """For two sizes of support and query; the last support row of the second is padding."""
    labels = np.where(table["wear"] > table["wear"].median(), "worn", "good")
    models = {"regressor": (regressor, table["wear"]), "classifier": (classifier, labels)}
    calls, expected, decoded = {}, {}, {}
    for name, (model, y) in models.items():
        path = tmp_path / name
        write_stablehlo(path, model)
        beside = json.loads((tmp_path / f"{name}.json").read_text())
        for i, (s, q) in enumerate(((5, 7), (9, 30))):
            support, query = table[:s], table[s : s + q]
            weights = np.ones(s, np.float32)
            if i:
                weights[-1], support, y_of = 0, table[: s - 1], y[: s - 1]
            else:
                y_of = y[:s]
            adapted = model.adapt(support[["speed", "kind"]], y_of)
            inputs = numbers_of(beside, table[:s])
            if name == "regressor":
                (mean,), (scale,) = beside["targets"]["mean"], beside["targets"]["scale"]
                targets = ((table["wear"][:s] - mean) / scale).to_numpy(np.float32)[:, None]
            else:
                targets = np.array([beside["targets"]["classes"].index(one) for one in labels[:s]])
                targets = targets.astype(np.int32)
            arguments = (inputs, targets, weights, numbers_of(beside, query))
            calls |= {f"{path}/{i}/{j}": argument for j, argument in enumerate(arguments)}
            direct = model.learner_.adapt(*arguments[:2], weights)
            expected[f"{path}/{i}"] = model.learner_.predict(direct, arguments[3])
            decoded[f"{path}/{i}"] = adapted.predict(query[["speed", "kind"]])
    np.savez(tmp_path / "calls.npz", **calls)
    paths = [
        tmp_path / "calls.npz",
        tmp_path / "outputs.npz",
        *(tmp_path / name for name in models),
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN_ELSEWHERE, *paths],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "outputs.npz") as arrays:
        outputs = dict(arrays)
    assert set(outputs) == set(expected)
    for name, found in outputs.items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)
        beside = json.loads((tmp_path / f"{name.split('/')[-2]}.json").read_text())
        if beside["targets"]["kind"] == "values":
            values = found[:, 0] * beside["targets"]["scale"][0] + beside["targets"]["mean"][0]
            np.testing.assert_allclose(values, decoded[name], rtol=1e-4)
        else:
            classes = np.array(beside["targets"]["classes"])
            assert classes[found.argmax(1)].tolist() == decoded[name].tolist()


def called(path, *arguments):
    return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(*arguments))


def test_an_adapted_model_becomes_a_program_that_predicts(regressor, table, tmp_path):
    rows = table[["speed", "kind"]]
    adapted = regressor.adapt(rows[:5], table["wear"][:5])
    write_stablehlo(tmp_path / "program", adapted)
    beside = json.loads((tmp_path / "program.json").read_text())
    assert beside["program"]["is_adapted"]
    assert list(beside["program"]["arguments"]) == ["query_inputs"]
    found = called(tmp_path / "program", numbers_of(beside, rows[5:30]))[:, 0]
    values = found * beside["targets"]["scale"][0] + beside["targets"]["mean"][0]
    np.testing.assert_allclose(values, adapted.predict(rows[5:30]), rtol=1e-4)


def test_what_stands_beside_says_where_each_column_goes(regressor, classifier, tmp_path):
    write_stablehlo(tmp_path / "program", regressor)
    beside = json.loads((tmp_path / "program.json").read_text())
    assert list(beside["program"]["arguments"]) == [
        *("support_inputs", "support_targets", "support_weights", "query_inputs")
    ]
    assert beside["program"]["platforms"] == ["cpu", "cuda", "tpu"]
    assert beside["inputs"]["shape"] == ["rows", regressor.columns_.width]
    columns = {one["name"]: one for one in beside["columns"]["columns"]}
    assert columns["speed"]["places"] == [0, 2] and columns["kind"]["places"] == [2, 4]
    assert columns["speed"]["kind"] == "numbers" and columns["kind"]["kind"] == "categories"
    assert "no support" in beside["program"]["arguments"]["support_weights"]


@pytest.mark.parametrize("algorithm", ["maml", "proto-maml"])
@pytest.mark.slow
def test_an_adapted_model_of_images_becomes_a_program_that_predicts(algorithm, tmp_path):
    images = drawings(3, 4, seed=2)[..., None]
    model = image_classifier(algorithm=algorithm)
    adapted = model.adapt(images[:, :2].reshape(-1, 6, 6, 1), np.repeat(list("abc"), 2))
    query = images[:, 2:].reshape(-1, 6, 6, 1)
    write_stablehlo(tmp_path / "program", adapted)
    beside = json.loads((tmp_path / "program.json").read_text())
    assert beside["targets"]["classes"] == ["a", "b", "c"]
    assert beside["inputs"]["shape"] == ["images", 6, 6, 1]
    assert beside["inputs"]["pixels"].startswith("float32, 1 - byte / 255")  # ink on paper
    outputs = called(tmp_path / "program", query / np.float32(255))[:, :3]
    chances = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    np.testing.assert_allclose(chances, adapted.predict_proba(query), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_example_calls_its_program_with_jax_alone(tmp_path):
    example = Path(__file__).parents[2] / "examples" / "exported_program.py"
    subprocess.run([sys.executable, example, "--smoke"], cwd=tmp_path, check=True)
    call = re.search(r"# --8<-- \[start:call\]\n(.*?)# --8<-- \[end", example.read_text(), re.S)
    imports = "import json, jax\nimport numpy as np\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", JAX_ALONE + imports + call.group(1)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 2


# images


STEPS = 2


@pytest.fixture(scope="module")
def image_runs(fake_omniglot, tmp_path_factory):
    """Run directories of image recipes by algorithm, trained when asked for."""
    found = {}

    def run_of(algorithm="maml", num_seeds=1, **settings):
        key = algorithm, str(settings), num_seeds
        if key not in found:
            recipe = omniglot_recipe(
                algorithm=algorithm,
                num_validation_inner_steps=STEPS,
                inner_learning_rate=0.4,
                **settings,
            )
            directory = tmp_path_factory.mktemp("omniglot") / "run"
            found[key] = train(recipe, directory, num_seeds)
        return found[key]

    return run_of


def support_and_query(num_classes=3):
    """Ink of new classes, floats: two images to adapt to and three to classify of each."""
    images = drawings(num_classes, 5, seed=9)[..., None] / np.float32(255)
    support, query = images[:, :2].reshape(-1, 6, 6, 1), images[:, 2:].reshape(-1, 6, 6, 1)
    return support, np.repeat(np.arange(num_classes), 2), query


def chances_by_hand(directory, support, labels, query):
    run = mamlax.load_run(directory)
    batch = Batch(jnp.asarray(support), jnp.asarray(labels), jnp.asarray(support[:0]))
    model = run.learner.adapt(run.params, batch, num_inner_steps=STEPS).params
    if model.norm in ("batch", "support"):
        model = replace(model, norm="support")
    return np.asarray(jax.nn.softmax(model(jnp.asarray(query), jnp.asarray(support))))


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm, settings",
    [
        ("maml", {}),
        ("maml", {"num_seeds": 2}),
        ("maml", {"norm": "support"}),
        ("maml", {"norm": "layer"}),
        ("maml", {"image_size": 16, "downsample": "pool"}),
        *((name, {}) for name in ("maml-plus-plus", "meta-sgd", "anil", "boil", "cavia")),
        *((name, {}) for name in ("proto-maml", "unicorn-maml")),
        ("proto-maml", {"mirrored_features": True, "centered_features": True}),
    ],
    ids=str,
)
def test_an_image_run_becomes_a_classifier_that_says_the_same(
    algorithm, settings, image_runs, tmp_path
):
    directory = image_runs(algorithm, **settings)
    support, labels, query = support_and_query()
    if "image_size" in settings:
        support, query = (np.kron(x, np.ones((1, 3, 3, 1), np.float32)) for x in (support, query))
        support, query = support[:, :16, :16], query[:, :16, :16]
    expected = chances_by_hand(directory, support, labels, query)
    model = learner_of_run(directory)
    model.save(tmp_path / "model.safetensors")
    loaded = mamlax.load(tmp_path / "model.safetensors")
    assert loaded.reading_.invert and loaded.summary_["recipe"] == "omniglot-5-way-1-shot"
    for one in (model, loaded):
        assert isinstance(one, mamlax.FewShotImageClassifier)
        found = one.adapt(support, labels).predict_proba(query)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 1e-2, "these images are not told apart"


@pytest.mark.slow
def test_an_exported_head_takes_no_more_classes_than_it_was_trained_for(image_runs):
    support, labels, query = support_and_query(4)
    with pytest.raises(MamlaxError, match="4 classes, but the head was trained for 3"):
        learner_of_run(image_runs()).adapt(support, labels)
    found = learner_of_run(image_runs("proto-maml")).adapt(support, labels).predict_proba(query)
    expected = by_prototypes(image_runs("proto-maml"), support, labels, query)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def by_prototypes(directory, support, labels, query):
    """Proto-MAML of other ways than trained, made anew around the run's parameters."""
    params = mamlax.load_run(directory).params

    def loss_fn(params, batch):
        logits = jax.nn.log_softmax(params(batch.inputs, batch.reference))
        return -jnp.mean(jnp.take_along_axis(logits, batch.targets[:, None], axis=1))

    learner = mamlax.proto_maml(
        loss_fn,
        features_fn=lambda params, batch: params.features(batch.inputs, batch.reference),
        set_head=lambda params, weight, bias: params.with_head(weight, bias),
        ways=4,
        inner_optimizer=optax.sgd(0.4),
        num_inner_steps=STEPS,
    )
    batch = Batch(jnp.asarray(support), jnp.asarray(labels), jnp.asarray(support[:0]))
    model = replace(learner.adapt(params, batch).params, norm="support")
    return np.asarray(jax.nn.softmax(model(jnp.asarray(query), jnp.asarray(support))))


@pytest.mark.slow
def test_a_run_without_convolutions_is_refused(image_runs):
    with pytest.raises(MamlaxError, match="without convolutions"):
        learner_of_run(image_runs(network="fully-connected"))


@pytest.mark.slow
def test_a_program_of_images_says_the_same(image_runs, tmp_path):
    model = learner_of_run(image_runs())
    write_stablehlo(tmp_path / "program", model)
    program = jax.export.deserialize(bytearray((tmp_path / "program").read_bytes()))
    for num_classes in (2, 3):
        support, labels, query = support_and_query(num_classes)
        weights = np.ones(len(support), np.float32)
        outputs = program.call(support, labels.astype(np.int32), weights, query)
        direct = model.learner_.adapt(support, labels)
        np.testing.assert_allclose(
            outputs, model.learner_.predict(direct, query), rtol=1e-3, atol=1e-4
        )
