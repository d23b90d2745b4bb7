"""The HTTP interface: what a client sends, and what it gets."""

import copy
import io
import re
import time
import zlib
from dataclasses import replace
from importlib.resources import files

import jax
import jsonschema
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mamlax
from mamlax.config._serving import Serving
from mamlax.estimators._learner import ArrayLearner
from mamlax.serve._app import app_of

from .conftest import running

SUPPORT = [
    {"speed": 9.0, "kind": "dry"},
    {"speed": 12.5, "kind": "wet"},
    {"speed": None, "kind": "dry"},
]
QUERY = [{"speed": 8.0, "kind": "wet"}, {"speed": 11.0, "kind": None}]
WEAR = [3.0, 6.0, 4.0]


def post(client, path, **body):
    return client.post(f"/models/{path}", json=body)


def adapted(client, name, rows=SUPPORT, targets=WEAR):
    answer = post(client, f"{name}/adapt", rows=rows, targets=targets)
    assert answer.status_code == 200, answer.json()
    return answer.json()["id"]


def frame(rows):
    return pd.DataFrame(rows).astype({"speed": float, "kind": object})


def test_what_a_model_warns_of_is_told(client):
    key = adapted(client, "wear")
    row = {"speed": 1e9, "kind": "x" * 5_000}
    said = post(client, "wear/predict", id=key, rows=[row, row]).json()["said"]
    assert any("'kind' has categories" in line for line in said)
    assert any("in another unit" in line for line in said)
    assert max(map(len, said)) < 600


def test_a_model_that_diverges_says_so(client, monkeypatch):
    outputs = np.full((2, 1, 1), np.inf)
    monkeypatch.setattr("mamlax.serve._tables.outputs_by_step", lambda *_: outputs)
    answer = post(client, "wave/steps", rows=[[1.0]], targets=[1.0], queries=[[1.0]])
    assert answer.status_code == 400 and "diverged" in answer.json()["error"]


@pytest.mark.parametrize("name", ["support", "query"])
def test_a_csv_of_too_many_rows_or_columns_is_refused(client, name):
    small = b"speed,kind,wear\n1,dry,2\n"
    for large, words in (
        (small + 60 * b"1,dry,2\n", "61 rows; at most 50"),
        (b"x," * 3_000 + b"\n", "3,001 columns; at most 2,000"),
    ):
        sent = {one: (one, large if one == name else small) for one in ("support", "query")}
        answer = client.post("/models/wear/table", files=sent)
        assert answer.status_code == 413 and f"{name} has {words}" in answer.json()["error"]


def test_what_is_wrong_with_a_csv_names_no_file_of_the_service(client):
    sent = {one: (one, b"speed\n1\n") for one in ("support", "query")}
    error = client.post("/models/wear/table", files=sent).json()["error"]
    assert error.startswith("support.csv has no column 'wear'")


def test_every_model_is_described(client):
    found = {one["name"]: one for one in client.get("/models").json()["models"]}
    assert {name: one["kind"] for name, one in found.items()} == {
        "wear": "table",
        "state": "table",
        "wave": "curve",
        "characters": "images",
    }
    assert found["wear"]["columns"] == [
        {"name": "speed", "mean": 10.0, "scale": 2.0},
        {"name": "kind", "categories": ["dry", "wet"]},
    ]
    assert (found["wear"]["means"], found["wear"]["scales"]) == ([5.0], [2.0])
    assert found["wear"]["targets"] == ["wear"] and found["wear"]["has_intervals"]
    assert found["state"]["classes"] == ["good", "worn"] and not found["wave"]["has_intervals"]
    assert found["characters"]["ways"] == 3 and found["characters"]["image_shape"] == [6, 6, 1]
    assert client.get("/models/wear").json()["card"] == "A card."


def test_adapting_and_predicting_are_the_models_own(client, regressor):
    key = adapted(client, "wear")
    found = post(client, "wear/predict", id=key, rows=QUERY, coverage=0.8).json()
    model = regressor.adapt(frame(SUPPORT), WEAR)
    np.testing.assert_allclose(found["predictions"], model.predict(frame(QUERY)))
    lower, upper = model.predict_interval(frame(QUERY), 0.8)
    np.testing.assert_allclose(found["lower"], lower)
    np.testing.assert_allclose(found["upper"], upper)
    before = post(client, "wear/predict", rows=QUERY).json()
    np.testing.assert_allclose(before["predictions"], regressor.predict(frame(QUERY)))
    assert before.keys() == {"predictions", "said"}


def test_cells_in_the_order_of_the_columns_are_the_same_rows(client):
    rows = [[one["speed"], one["kind"]] for one in SUPPORT]
    found = [
        post(client, "wear/predict", id=adapted(client, "wear", given), rows=QUERY).json()
        for given in (SUPPORT, rows)
    ]
    assert found[0] == found[1]


def test_classes_come_with_their_probabilities(client, classifier):
    key = adapted(client, "state", targets=["good", "worn", "good"])
    found = post(client, "state/predict", id=key, rows=QUERY).json()
    model = classifier.adapt(frame(SUPPORT), np.array(["good", "worn", "good"]))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(frame(QUERY)))
    assert found["predictions"] == model.predict(frame(QUERY)).tolist()
    assert found["classes"] == ["good", "worn"]


def test_steps_are_those_of_adapting_by_so_many(client, curve):
    x, y, asked = [[-1.0], [0.5], [2.0]], [1.0, -2.0, 0.5], [[0.0], [1.0]]
    body = {"rows": x, "targets": y, "queries": asked, "num_inner_steps": 3}
    found = post(client, "wave/steps", **body).json()["predictions"]
    assert len(found) == 4
    for steps, values in enumerate(found):
        settings = replace(curve.learner_.settings, num_inner_steps=steps)
        learner = ArrayLearner(settings, curve.learner_.meta_params)
        outputs = learner.predict(learner.adapt(x, np.array(y)[:, None]), asked)
        np.testing.assert_allclose(values, outputs[:, 0], rtol=1e-5, atol=1e-6)


def pictures(number, seed=0):
    rng = np.random.default_rng(seed)
    contents = []
    for _ in range(number):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).save(file, "png")
        contents.append(file.getvalue())
    return contents


def form(images, **fields):
    return {"files": [("image", ("a.png", one, "image/png")) for one in images], "data": fields}


def test_images_are_adapted_to_and_told_apart(client, models):
    given, asked, labels = pictures(3), pictures(2, seed=1), ["a", "b", "c"]
    answer = client.post("/models/characters/adapt", **form(given, label=labels)).json()
    assert answer["classes"] == labels and answer["num_support"] == 3
    found = client.post("/models/characters/predict", **form(asked, id=answer["id"])).json()
    model = models["characters"]
    model = model.adapt(model.decode(given), labels)
    chances = model.predict_proba(model.decode(asked))
    np.testing.assert_allclose(found["probabilities"], chances)
    assert found["predictions"] == np.array(labels)[chances.argmax(1)].tolist()
    by_step = np.array(found["by_step"])
    assert by_step.shape == (model.learner_.settings.num_inner_steps + 1, 2, 3)
    np.testing.assert_allclose(by_step[-1], chances, rtol=1e-3, atol=1e-5)


def test_tables_come_back_with_predictions_beside_them(client, regressor):
    csv = {"support": frame(SUPPORT).assign(wear=WEAR), "query": frame(QUERY).assign(note="x")}
    sent = {name: (f"{name}.csv", one.to_csv(index=False)) for name, one in csv.items()}
    answer = client.post("/models/wear/table", files=sent, data={"coverage": "0.8"})
    assert answer.status_code == 200, answer.json()
    found = answer.json()
    assert found["num_support"] == 3
    table = pd.read_csv(io.StringIO(found["csv"]))
    assert table.columns.tolist() == found["columns"]
    model = regressor.adapt(frame(SUPPORT), WEAR)
    np.testing.assert_allclose(table["predicted wear"], model.predict(frame(QUERY)))
    lower, upper = model.predict_interval(frame(QUERY), 0.8)
    np.testing.assert_allclose(table["lower wear"], lower)
    np.testing.assert_allclose(table["upper wear"], upper)
    assert found["rows"][1][found["columns"].index("speed")] == "11.0"


REFUSED = {
    "no rows": ({"targets": WEAR}, "rows must be a list of rows, got nothing"),
    "rows that are none": ({"rows": 3, "targets": WEAR}, "got a int"),
    "ragged rows": ({"rows": [[1.0, "dry"], [1.0]], "targets": WEAR}, r"lists of 2 cells \(speed"),
    "a column that is lacking": ({"rows": [{"kind": "dry"}], "targets": [1]}, "lacks 'speed'"),
    "text for a number": ({"rows": [["fast", "dry"]], "targets": [1]}, "'speed' in rows must be"),
    "a number of Python": ({"rows": [["1_0", "dry"]], "targets": [1]}, "'speed' in rows must be"),
    "a list in a cell": ({"rows": [[[1], "dry"]], "targets": [1]}, "'speed' in rows must be"),
    "a number as only Python reads it": (
        {"rows": [[1.0, "dry"]], "targets": ["2024_01"]},
        "targets must be numbers",
    ),
    "text for a target": ({"rows": [[1.0, "dry"]], "targets": ["much"]}, "targets must be numbers"),
    "fewer targets": ({"rows": SUPPORT, "targets": [1.0]}, "got 3 rows and 1 targets"),
    "no targets": ({"rows": SUPPORT}, "targets must be a list, got nothing"),
    "too many rows": ({"rows": SUPPORT * 20, "targets": WEAR * 20}, "60 rows; at most 50"),
    "ten thousand columns": ({"rows": [[1.0] * 10_000], "targets": [1]}, "lists of 2 cells"),
}


@pytest.mark.parametrize("body, words", REFUSED.values(), ids=REFUSED.keys())
def test_a_support_that_makes_no_sense_is_refused_in_a_sentence(client, body, words):
    answer = post(client, "wear/adapt", **body)
    assert answer.status_code in (400, 413)
    assert re.search(words, answer.json()["error"])


@pytest.mark.parametrize(
    "path, given, known, near",
    [
        ("wear/adapt", {"rows": SUPPORT, "targets": WEAR, "id": "x"}, "rows, targets", None),
        ("wear/predict", {"rows": QUERY, "covrage": 0.9}, "rows, id, coverage", "coverage"),
        ("wear/predict", {"rows": QUERY, "x" * 90_000: 1}, "rows, id, coverage", None),
        (
            "wave/steps",
            {"rows": [], "targets": [], "queries": [[1.0]], "inner_steps": 3},
            "rows, targets, queries, num_inner_steps",
            "num_inner_steps",
        ),
    ],
)
def test_a_name_that_would_be_ignored_is_refused(client, path, given, known, near):
    answer = post(client, path, **given)
    error = answer.json()["error"]
    assert answer.status_code == 400 and len(error) < 200
    assert list(given)[-1][:60] in error and f"only {known}." in error
    assert error.endswith(f"Did you mean {near}?") == (near is not None)


def test_a_name_in_a_form_that_would_be_ignored_is_refused(client):
    answer = client.post("/models/characters/predict", **form(pictures(1), ids="x"))
    assert answer.status_code == 400 and "Did you mean id?" in answer.json()["error"]
    sent = {"suport": ("a.csv", b"speed,kind,wear\n9,dry,3\n")}
    answer = client.post("/models/wear/table", files=sent)
    assert answer.status_code == 400 and "Did you mean support?" in answer.json()["error"]


def test_classes_have_no_intervals(client):
    answer = post(client, "state/predict", rows=QUERY, coverage=0.9)
    assert answer.status_code == 400 and "gives probabilities" in answer.json()["error"]


JSON = {"content-type": "application/json"}
BROKEN = {
    "half": (b'{"rows": [', JSON, 400, "no JSON"),
    "a list": (b"[]", JSON, 400, "must be a JSON object, got a list"),
    "NaN": (b'{"rows": [[NaN, "dry"]]}', JSON, 400, "NaN is no number in JSON"),
    "not UTF-8": (b'{"rows": "\xff\xfe"}', JSON, 400, "no JSON"),
    "deep": (b"[" * 50_000, JSON, 400, "no JSON"),
    "no type": (b"{}", {}, 415, "must be application/json, got 'none'"),
    "text": (b"{}", {"content-type": "text/plain"}, 415, "got 'text/plain'"),
    "large": (b'"' + b"x" * 200_000 + b'"', JSON, 413, "larger than the 100,000 bytes"),
}


@pytest.mark.parametrize("content, headers, status, words", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_request_is_refused(client, content, headers, status, words):
    answer = client.post("/models/wear/predict", content=content, headers=headers)
    assert answer.status_code == status and words in answer.json()["error"]


def test_a_request_of_no_stated_length_is_bounded_too(client):
    def parts():
        for _ in range(300):
            yield b"x" * 1_000

    answer = client.post("/models/wear/predict", content=parts(), headers=JSON)
    assert answer.status_code == 413


def bomb(width, height):
    """A PNG of a hundred bytes that claims to be large."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + check

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    head = chunk(b"IHDR", size + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "contents, labels, status, words",
    [
        ([b"no picture"], ["a"], 400, "image 1 cannot be read"),
        ([bomb(2_000, 2_000)], ["a"], 400, "image 1 has 2,000 × 2,000 pixels; at most 1,000,000"),
        ([bomb(60_000, 60_000)], ["a"], 400, "image 1 cannot be read"),
        ([bomb(10, 10)], ["a"], 400, "image 1 cannot be read"),
        (pictures(2), ["a"], 400, "2 images and 1 labels"),
        ([], ["a"], 400, "one file called image"),
        (pictures(4), ["a", "b", "c", "d"], 400, "4 classes, but the head was trained for 3"),
    ],
    ids=["no picture", "large", "huge", "cut off", "labels", "nothing", "classes"],
)
def test_images_that_make_no_sense_are_refused(client, contents, labels, status, words):
    sent = {"files": [("image", ("a", one)) for one in contents] or [("label", ("a", b""))]}
    answer = client.post("/models/characters/adapt", data={"label": labels}, **sent)
    assert answer.status_code == status and words in answer.json()["error"]


def test_a_form_that_is_broken_is_refused(client):
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for content in (b"--x\r\nnothing", b"\0" * 100, b"--x\r\n\r\n\r\n--x--\r\n"):
        answer = client.post("/models/characters/adapt", content=content, headers=headers)
        assert answer.status_code == 400, content
    headers = {"content-type": "multipart/form-data"}
    answer = client.post("/models/characters/adapt", content=b"", headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "method, path, status, words",
    [
        ("GET", "/models/other", 404, "no model 'other'; there are wear, state, wave, characters"),
        ("GET", "/other", 404, "nothing at /other; /docs says"),
        ("GET", "/page/..%2f_app.py", 404, "nothing"),
        ("GET", "/page/_app.py", 404, "nothing at /page/_app.py"),
        ("GET", "/models/wear/adapt", 405, "does not take GET"),
    ],
)
def test_addresses_that_are_none(client, method, path, status, words):
    answer = client.request(method, path)
    assert answer.status_code == status and words in answer.json()["error"]


def test_an_adapted_model_that_is_none_is_said(client):
    answer = post(client, "wear/predict", id="gone", rows=QUERY)
    assert answer.status_code == 404 and "Adapt again" in answer.json()["error"]
    assert post(client, "wear/predict", id=3, rows=QUERY).status_code == 400
    key = adapted(client, "wear")
    assert post(client, "state/predict", id=key, rows=QUERY).status_code == 404
    answer = client.post("/models/characters/predict", **form(pictures(1)))
    assert answer.status_code == 400 and "id of an adapted model" in answer.json()["error"]


def test_a_model_that_fails_is_not_the_service(client, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("a secret of the machine")

    with monkeypatch.context() as changed:
        changed.setattr(mamlax.FewShotRegressor, "_adapted_to", fail)
        answer = post(client, "wear/adapt", rows=SUPPORT, targets=WEAR)
    assert answer.status_code == 500 and "secret" not in answer.text
    assert post(client, "wear/adapt", rows=SUPPORT, targets=WEAR).status_code == 200


def test_a_token_is_asked_for(models):
    with running(app_of(models, Serving(token="a s3cret of sixteen".replace(" ", "-")))) as client:
        assert client.get("/").status_code == 200, "the page holds nothing to hide"
        for headers in (
            {},
            {"Authorization": "Bearer other"},
            {"Authorization": "a-s3cret-of-sixteen"},
        ):
            answer = client.get("/models", headers=headers)
            assert answer.status_code == 401 and "token" in answer.json()["error"]
        headers, body = {"Authorization": "Bearer a-s3cret-of-sixteen"}, {"rows": QUERY}
        assert client.get("/models", headers=headers).status_code == 200
        assert client.post("/models/wear/predict", json=body).status_code == 401
        answer = client.post("/models/wear/predict", json=body, headers=headers)
        assert answer.status_code == 200


def test_requests_under_another_name_are_refused(models):
    """A page from elsewhere may give this machine's address a name of its own."""
    with running(app_of(models, Serving(), hosts=("localhost",))) as client:
        assert client.get("/models").status_code == 200
        answer = client.get("/models", headers={"host": "elsewhere.example"})
        assert answer.status_code == 400


def test_requests_from_pages_of_others_are_refused(client):
    for origin, status in ((str(client.base_url), 200), ("http://elsewhere.example", 403)):
        answer = client.get("/models", headers={"origin": origin})
        assert answer.status_code == status
    assert "pages of http://elsewhere.example" in answer.json()["error"]


def test_browsers_take_every_answer_for_what_it_is_said_to_be(client):
    for path in ("/", "/docs", "/page/main.js", "/openapi.json", "/models", "/other", "/page/x"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff", path


def test_the_page_loads_nothing_from_elsewhere(client):
    for path in ("/", "/docs"):
        answer = client.get(path)
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    for name in (one.name for one in files("mamlax.serve").joinpath("page").iterdir()):
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        found = set(re.findall(r"https?://[^\s\"'`)]+", answer.text))
        assert found <= {"http://www.w3.org/2000/svg"}, "the name of a format"
    assert client.get("/").text == client.get("/page/index.html").text


def test_the_interface_describes_what_there_is(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for path, operations in document["paths"].items():
        for method in operations.keys() - {"parameters"}:
            path = path.replace("{name}", "wear")
            assert client.request(method, path).status_code not in (404, 405), path
    assert client.get("/docs").status_code == 200


def check_answer(client, path, answer):
    """That an answer is as openapi.json says, and holds nothing else."""
    paths = client.get("/openapi.json").json()["paths"]
    [operation] = (value for key, value in paths[path].items() if key != "parameters")
    responses = operation["responses"]
    status = "200" if answer.status_code == 200 else "4XX"
    schema = responses[status]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), {**schema, "additionalProperties": False})


def test_answers_are_as_the_interface_says(client):
    one, of = "/models/{name}", client
    check_answer(of, "/models", of.get("/models"))
    rows = [{"speed": 9.0, "kind": "wet"}]
    for name, targets in (("wear", [3.0]), ("state", ["good"])):
        check_answer(of, one, of.get(f"/models/{name}"))
        body = {"rows": rows, "targets": targets}
        adapted = of.post(f"/models/{name}/adapt", json=body)
        check_answer(of, f"{one}/adapt", adapted)
        asked = {"id": adapted.json()["id"], "rows": rows}
        asked |= {"coverage": 0.9} if name == "wear" else {}
        check_answer(of, f"{one}/predict", of.post(f"/models/{name}/predict", json=asked))
        stepped = of.post(f"/models/{name}/steps", json={**body, "queries": rows})
        check_answer(of, f"{one}/steps", stepped)
    check_answer(of, f"{one}/adapt", of.post("/models/wear/adapt", json={}))
    files = {
        "support": ("a.csv", b"speed,kind,wear\n9,dry,3\n"),
        "query": ("b.csv", b"speed,kind\n9,wet\n"),
    }
    check_answer(of, f"{one}/table", of.post("/models/wear/table", files=files))


def test_answers_of_images_are_as_the_interface_says(client):
    one = "/models/{name}"
    check_answer(client, one, client.get("/models/characters"))
    written = io.BytesIO()
    Image.fromarray(np.eye(6, dtype=np.uint8) * 255).save(written, "PNG")
    images = [("image", ("a.png", written.getvalue()))] * 2
    adapted = client.post("/models/characters/adapt", files=images, data={"label": ["a", "b"]})
    check_answer(client, f"{one}/adapt", adapted)
    asked = {"id": adapted.json()["id"]}
    predicted = client.post("/models/characters/predict", files=images[:1], data=asked)
    check_answer(client, f"{one}/predict", predicted)


def test_a_pretrained_network_that_diverges_does_not_hide_the_model(curve, characters):
    """The answer is of the model, and says what happened to the other."""

    def diverging(model):
        model = copy.copy(model)
        nothing = jax.tree.map(lambda x: x * np.float32("nan"), model.learner_.meta_params)
        model.pretrained_ = replace(model.learner_, meta_params=nothing)
        return model

    app = app_of({"wave": diverging(curve), "characters": diverging(characters)}, Serving())
    with running(app) as client:
        body = {"rows": [[1.0], [2.0]], "targets": [1.0, 9.0], "queries": [[0.0]]}
        found = client.post("/models/wave/steps", json=body)
        assert found.status_code == 200 and "pretrained" not in found.json()
        assert "diverged" in found.json()["pretrained_said"]
        check_answer(client, "/models/{name}/steps", found)
        pictures = [("image", ("a.png", picture(i))) for i in range(2)]
        labels = {"label": ["a", "b"]}
        key = client.post("/models/characters/adapt", files=pictures, data=labels).json()["id"]
        found = client.post("/models/characters/predict", files=pictures[:1], data={"id": key})
        assert found.status_code == 200 and "pretrained_by_step" not in found.json()
        assert "diverged" in found.json()["pretrained_said"]
        check_answer(client, "/models/{name}/predict", found)


def picture(seed):
    """A file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 6), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def test_adapted_models_that_nobody_uses_go_without_another_request(regressor):
    app = app_of({"wear": regressor}, Serving(seconds_kept=0.05))
    with running(app) as client:
        body = {"rows": [{"speed": 9.0, "kind": "wet"}], "targets": [3.0]}
        assert client.post("/models/wear/adapt", json=body).status_code == 200
        until = time.monotonic() + 10
        while len(app.state.adapted) and time.monotonic() < until:
            time.sleep(0.01)
        assert not len(app.state.adapted)
