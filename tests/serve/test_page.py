"""The page in a real browser: draw, drag, upload, and look at what it shows."""

import base64
import copy
import io
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

import mamlax
from mamlax import MamlaxError
from mamlax.config._serving import Serving
from mamlax.estimators._columns import Column, Columns
from mamlax.estimators._pretrained import pretrained_by_step
from mamlax.estimators._targets import Values
from mamlax.serve._app import app_of

from .conftest import answered, classifier_of_images, learner_of, running, untrained

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]


ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / ".npm/node_modules/onnxruntime-web/dist"


@pytest.fixture(scope="module")
def drawn():
    # enough steps that a random network tells strokes apart that it has seen
    return classifier_of_images(28, channels=16, num_inner_steps=10)


@pytest.fixture(scope="module")
def service(models, drawn, scaled, by_means):
    more = {"characters": drawn, "of speed": scaled, "means": by_means}
    with running(app_of({**models, **more}, Serving())) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def scaled():
    """A curve whose numbers are far from those of its network, and may be missing."""
    columns = Columns((Column("speed", mean=3.0, scale=2.0, has_missing=True, limit=4.0),), True)
    targets = Values((-5.0,), (4.0,), True)
    model = untrained(mamlax.FewShotRegressor(), columns, targets, "squared-error")
    model.target_names_ = ["wear"]
    # beside it another network, in the place of one that was pretrained
    model.pretrained_ = learner_of(
        "squared-error",
        num_inner_steps=2,
        inner_learning_rate=0.02,
        algorithm=mamlax.config.Maml,
        **model.learner_.settings.network | {"hidden_sizes": (6,)},
    )
    return model


@pytest.fixture(scope="module")
def by_means():
    """Whose head is made for the classes of the task; beside it another network, of three."""
    model = classifier_of_images(
        28, channels=4, num_inner_steps=2, algorithm=mamlax.config.ProtoMaml
    )
    model.pretrained_ = classifier_of_images(28, channels=4, num_inner_steps=2).learner_
    return model


def files_of(folder):
    """A client of any server of files, which has none of the service's headers."""
    files = StaticFiles(directory=folder, html=True)
    app = Starlette(routes=[Mount("/", files)])
    return answered(uvicorn.Config(app, port=0, log_config=None))


@pytest.fixture(scope="module")
def static(curve, drawn, scaled, by_means, tmp_path_factory):
    """The page without a service, behind a server of files."""
    if not RUNTIME.is_dir():
        pytest.skip("there is no onnxruntime-web: npm install --prefix .npm onnxruntime-web")
    from mamlax.serve._static import write_page

    folder = tmp_path_factory.mktemp("static")
    models = {"wave": curve, "characters": drawn, "of speed": scaled, "means": by_means}
    for name, model in models.items():
        model.save(folder / f"{name}.safetensors")
    write_page(folder / "page", [folder / f"{name}.safetensors" for name in models], RUNTIME)
    assert not list((folder / "page").glob("tmp*"))
    with files_of(folder / "page") as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, service):
    with opened(browser, service) as page:
        yield page


@pytest.fixture
def static_page(browser, static):
    with opened(browser, static) as page:
        yield page


@pytest.fixture(params=["service", "static"])
def either(browser, request):
    """The page of the service, and the one without a service."""
    with opened(browser, request.getfixturevalue(request.param)) as page:
        yield page


@contextmanager
def opened(browser, address):
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    faults = []
    # that a request was refused stands in the console, and is meant to
    page.on("console", lambda one: "status of 4" in one.text or faults.append(one.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.set_default_timeout(120_000)  # each size of support is compiled when it first comes
    page.goto(address)
    yield page
    assert not faults
    page.close()


def open_model(page, name):
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_function("name => document.title.startsWith(name)", arg=name)


def draw(page, canvas, *points):
    """A stroke; points are shares of the canvas."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


STROKES = [[(0.2, 0.5), (0.8, 0.5)], [(0.5, 0.2), (0.5, 0.8)], [(0.2, 0.8), (0.5, 0.2), (0.8, 0.8)]]


def shares(page):
    return [
        float(text.removesuffix(" %")) for text in page.locator(".bars output").all_inner_texts()
    ]


def test_what_was_drawn_once_is_known_again(either):
    page = either
    open_model(page, "characters")
    pads, asked = page.locator(".class canvas"), page.locator(".ask canvas")
    assert pads.count() == 3
    for number, stroke in enumerate(STROKES):
        draw(page, pads.nth(number), *stroke)
    for number, stroke in enumerate(STROKES):
        page.get_by_role("button", name="clear").last.click()
        draw(page, asked, *stroke)
        page.wait_for_function(
            "n => [...document.querySelectorAll('.bars .bar')].findIndex("
            "one => one.classList.contains('best')) === n",
            arg=number,
        )
        assert np.argmax(shares(page)) == number
    before = page.locator("#step")
    before.fill("0")
    assert page.locator("output[for=step]").inner_text() == "0 of 10"
    assert max(shares(page)) < 60, "nothing is known before the first step"


def test_a_class_is_renamed_and_cleared(either):
    page = either
    open_model(page, "characters")
    pads = page.locator(".class canvas")
    draw(page, pads.nth(0), *STROKES[0])
    draw(page, pads.nth(1), *STROKES[1])
    page.get_by_label("Name of class 1").fill("rope")
    page.get_by_label("Name of class 1").press("Tab")
    draw(page, page.locator(".ask canvas"), *STROKES[0])
    page.wait_for_selector(".bars .best")
    names = page.locator(".bars > span").all_inner_texts()
    assert names == ["class 2", "rope"]
    page.locator(".class").nth(1).get_by_role("button", name="clear").click()
    page.wait_for_function("() => document.querySelector('.ask .quiet').textContent")
    assert "two classes" in page.locator(".ask .quiet").inner_text()


def test_a_point_is_set_dragged_and_taken_away(either):
    page = either
    open_model(page, "wave")
    page.wait_for_selector("path.before")
    box = page.locator("svg.plot").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(x, y)
    page.wait_for_selector("path.after")
    first = page.locator("path.after").get_attribute("d")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 150, steps=3)
    page.mouse.up()
    page.wait_for_function(
        "d => document.querySelector('path.after').getAttribute('d') !== d", arg=first
    )
    assert page.locator("circle").count() == 1
    assert "the 1 point is" in page.locator("p.quiet").inner_text()
    page.locator("circle").click()
    page.wait_for_selector("circle", state="detached")
    page.mouse.click(x, y)
    page.wait_for_selector("path.after")
    page.locator("circle").press("Delete")
    page.wait_for_selector("circle", state="detached")
    assert "No points yet" in page.locator("p.quiet").inner_text()


def test_axes_and_numbers_of_a_point_have_names(either):
    page = either
    for model, names in (("wave", ["x", "y"]), ("of speed", ["speed", "wear"])):
        open_model(page, model)
        page.wait_for_selector("path.before")
        assert page.locator("svg .name").all_text_contents() == names
        for name, value in zip(names, ("2.5", "-3"), strict=True):
            page.get_by_label(name, exact=True).fill(value)
        page.get_by_role("button", name="add").click()
        page.wait_for_selector("path.after")
        label = "2.50, -3.00"
        assert page.locator("circle").get_attribute("aria-valuetext") == label


def test_a_curve_of_other_points_goes_under_an_error(page):
    open_model(page, "wave")
    page.wait_for_selector("path.before")
    page.route("**/steps", lambda route: route.fulfill(status=400, body="{}"))
    page.locator("svg.plot").click()
    page.wait_for_selector("[role=alert]:not([hidden])")
    assert page.locator("svg.plot path").count() == 0
    assert page.locator("circle").count() == 1
    page.unroute("**/steps")
    page.locator("circle").press("ArrowUp")
    page.wait_for_selector("path.after")
    assert page.get_by_role("alert").is_hidden()


def test_bars_of_another_drawing_go_under_an_error(page):
    open_model(page, "characters")
    for number in (0, 1):
        draw(page, page.locator(".class canvas").nth(number), *STROKES[number])
    draw(page, page.locator(".ask canvas"), *STROKES[0])
    page.wait_for_selector(".bars .best")
    page.route("**/predict", lambda route: route.fulfill(status=400, body="{}"))
    draw(page, page.locator(".ask canvas"), *STROKES[1])
    page.wait_for_selector("[role=alert]:not([hidden])")
    page.wait_for_selector(".bars .best", state="detached")
    assert page.locator(".bars output").all_inner_texts() == ["", ""]


SLOW_FETCH = """() => {
    const own = window.fetch;
    window.fetch = async (...all) => {
        await new Promise((done) => setTimeout(done, 1500));
        return own(...all);
    };
}"""


def test_who_waits_is_told_so(page, tmp_path):
    page.evaluate(SLOW_FETCH)
    open_model(page, "wave")
    page.wait_for_selector("text=The model computes")
    page.wait_for_selector("text=No points yet")
    assert not page.get_by_text("The model computes").count()


def test_buttons_do_not_touch_what_is_drawn_on(page):
    open_model(page, "characters")
    for width in (375, 1000):
        page.set_viewport_size({"width": width, "height": 800})
        for place in (".class >> nth=0", ".ask"):
            canvas = page.locator(f"{place} >> canvas").bounding_box()
            button = page.locator(f"{place} >> button >> nth=0").bounding_box()
            assert button["y"] >= canvas["y"] + canvas["height"] + 4
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide == width, "nothing sticks out to the right"


def test_a_table_comes_back_with_predictions(page, regressor, tmp_path):
    open_model(page, "wear")
    support = pd.DataFrame({"speed": [9.0, 12.5, 11.0], "kind": ["dry", "wet", "dry"]})
    query = pd.DataFrame({"speed": [8.0, 11.0], "kind": ["wet", "dry"]})
    wear = [3.0, 6.0, 4.0]
    support.assign(wear=wear).to_csv(tmp_path / "support.csv", index=False)
    query.to_csv(tmp_path / "query.csv", index=False)
    files = page.locator("input[type=file]")
    files.nth(0).set_input_files(tmp_path / "support.csv")
    files.nth(1).set_input_files(tmp_path / "query.csv")
    page.wait_for_selector("a[download]")
    table = page.locator("table").first
    names, *rows = (row.locator("th, td").all_inner_texts() for row in table.locator("tr").all())
    assert names == ["speed", "kind", "predicted wear", "lower wear", "upper wear"]
    expected = regressor.adapt(support, wear).predict(query)
    np.testing.assert_allclose([float(row[2]) for row in rows], expected, rtol=1e-4)
    with page.expect_download() as download:
        page.locator("a[download]").click()
    assert len(pd.read_csv(download.value.path())) == 2
    (tmp_path / "other.csv").write_text("velocity\n1\n")
    files.nth(1).set_input_files(tmp_path / "other.csv")
    page.wait_for_selector("[role=alert]:not([hidden])")
    assert not page.locator("a[download]").count(), "those are of the file before"


def test_what_is_wrong_with_a_table_is_said(page, tmp_path):
    open_model(page, "wear")
    for name in ("support", "query"):
        (tmp_path / f"{name}.csv").write_text("speed\n1\n")
    files = page.locator("input[type=file]")
    files.nth(0).set_input_files(tmp_path / "support.csv")
    files.nth(1).set_input_files(tmp_path / "query.csv")
    page.wait_for_selector("[role=alert]:not([hidden])")
    assert "wear" in page.get_by_role("alert").inner_text()


def test_a_phone_needs_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 360, "height": 700})
    for name in ("wear", "wave", "characters"):
        open_model(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


def test_the_pretrained_network_is_shown_beside(either, by_means):
    page = either
    open_model(page, "means")
    pads = page.locator(".class canvas")
    for number in (0, 1):
        draw(page, pads.nth(number), *STROKES[number])
    draw(page, page.locator(".ask canvas"), *STROKES[0])
    page.wait_for_selector(".bars .best")
    assert page.locator(".bars .bar.beside").count() == 2
    of_model, of_pretrained = shares(page)[::2], shares(page)[1::2]
    assert abs(sum(of_model) - 100) < 2 and abs(sum(of_pretrained) - 100) < 2
    assert of_model != of_pretrained
    open_model(page, "of speed")
    page.wait_for_selector("path.before")
    assert page.locator("path.pretrained").count() == 0
    box = page.locator("svg.plot").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.wait_for_selector("path.pretrained")
    after = page.locator("path.pretrained").get_attribute("d")
    page.locator("#step").fill("0")
    assert page.locator("path.pretrained").get_attribute("d") != after


def test_classes_of_one_name_are_refused(page):
    open_model(page, "characters")
    pads = page.locator(".class canvas")
    for number in (0, 1):
        draw(page, pads.nth(number), *STROKES[number])
        page.get_by_label(f"Name of class {number + 1}").fill("rope")
        page.get_by_label(f"Name of class {number + 1}").press("Tab")
    page.wait_for_selector("[role=alert]:not([hidden])")
    assert "the same name" in page.get_by_role("alert").inner_text()
    page.get_by_label("Name of class 2").fill("knot")
    page.get_by_label("Name of class 2").press("Tab")
    draw(page, page.locator(".ask canvas"), *STROKES[0])
    page.wait_for_selector(".bars .best")


def test_a_key_draws(page):
    open_model(page, "characters")
    for number, keys in enumerate((["ArrowRight"] * 4, ["ArrowDown"] * 4)):
        pad = page.locator(".class canvas").nth(number)
        pad.focus()
        for key in (" ", *keys, " "):
            pad.press(key)
        assert "drawn" in pad.get_attribute("aria-label")
        assert page.locator(".class .pen").nth(number).is_visible()
    asked = page.locator(".ask canvas")
    asked.focus()
    for key in (" ", *["ArrowDown"] * 4):
        asked.press(key)
    asked.blur()  # ends the stroke
    page.wait_for_function(
        "() => [...document.querySelectorAll('.bars .bar')][1].classList.contains('best')"
    )
    asked.press("Delete")
    assert "empty" in asked.get_attribute("aria-label")


PICTURES = """async ([name, pictures]) => {
    const { get, postForm, pathOf } = await import("./service.js");
    const model = await get(`/models/${name}`);
    const file = async (url) => new File([await (await fetch(url)).blob()], "image.png");
    const form = new FormData();
    for (const [number, url] of pictures.slice(0, -1).entries()) {
        form.append("image", await file(url));
        form.append("label", `class ${number}`);
    }
    const { id } = await postForm(pathOf(model, "adapt"), form);
    const asked = new FormData();
    asked.append("id", id);
    asked.append("image", await file(pictures.at(-1)));
    const found = await postForm(pathOf(model, "predict"), asked);
    return [found.by_step, found.pretrained_by_step ?? null];
}"""


def pictures(*sizes):
    """Files of noise."""
    rng = np.random.default_rng(0)
    for size in sizes:
        written = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(written, "PNG")
        yield written.getvalue()


def address_of(picture):
    return "data:image/png;base64," + base64.b64encode(picture).decode()


@pytest.mark.parametrize(
    ("name", "num_classes"), [("characters", 3), ("characters", 2), ("means", 3), ("means", 2)]
)
def test_in_the_browser_pictures_are_told_apart_as_in_python(
    static_page, drawn, by_means, name, num_classes
):
    model = {"characters": drawn, "means": by_means}[name]
    contents = list(pictures(*[(28, 28)] * (num_classes + 1)))
    addresses = [address_of(one) for one in contents]
    found, beside = static_page.evaluate(PICTURES, [name, addresses])
    images = model.decode(contents, most_pixels=1_000_000)
    adapted = model.adapt(images[:-1], [f"class {number}" for number in range(num_classes)])
    np.testing.assert_allclose(found, adapted.probabilities_by_step(images[-1:]), atol=1e-3)
    assert (beside is None) == (model.pretrained_ is None)
    if beside is not None:
        expected = adapted.probabilities_by_step(images[-1:], pretrained=True)
        np.testing.assert_allclose(beside, expected, atol=1e-3)


PIXELS = """async ([url, model]) => {
    const { pixelsOf } = await import("./pictures.js");
    return pixelsOf(new File([await (await fetch(url)).blob()], "image.png"), model);
}"""


@pytest.mark.parametrize("channels", [1, 3])
def test_in_the_browser_pictures_are_resized_as_in_python(static_page, channels):
    model = {"image_shape": [28, 28, channels], "program": {"inverts": channels == 1}}
    contents = list(pictures((140, 140), (28, 28), (20, 70)))  # the page draws squares
    found = [static_page.evaluate(PIXELS, [address_of(one), model]) for one in contents]
    mode = {1: "L", 3: "RGB"}[channels]
    for one, content in zip(found, contents, strict=True):
        picture = (
            Image.open(io.BytesIO(content)).convert(mode).resize((28, 28), Image.Resampling.LANCZOS)
        )
        expected = np.asarray(picture).ravel() / 255
        expected = 1 - expected if channels == 1 else expected
        assert np.abs(np.array(one) - expected).max() < 1.5 / 255  # a half is rounded either way


WAVE = """async ([name, xs, ys, asked]) => {
    const { get, postJson, pathOf } = await import("./service.js");
    const model = await get(`/models/${encodeURIComponent(name)}`);
    const body = { rows: xs, targets: ys, queries: asked };
    const before = await postJson(pathOf(model, "predict"), { rows: asked });
    const { predictions, pretrained } = await postJson(pathOf(model, "steps"), body);
    return [before.predictions, predictions, pretrained ?? null];
}"""


@pytest.mark.parametrize("name", ["wave", "of speed"])
def test_in_the_browser_a_curve_is_as_in_python(static_page, curve, scaled, name):
    model = {"wave": curve, "of speed": scaled}[name]
    xs, ys, asked = [[0.5], [-2.0]], [1.0, 3.0], [[1.0], [2.5], [-40.0]]
    before, by_step, beside = static_page.evaluate(WAVE, [name, xs, ys, asked])
    table = pd.DataFrame(xs, columns=["speed"]), pd.DataFrame(asked, columns=["speed"])
    support, query = table if name == "of speed" else (xs, asked)
    np.testing.assert_allclose(before, model.predict(query), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_step[0], model.predict(query), rtol=1e-5, atol=1e-5)
    adapted = model.adapt(support, ys).predict(query)
    np.testing.assert_allclose(by_step[-1], adapted, rtol=1e-5, atol=1e-5)
    assert np.abs(adapted - model.predict(query)).max() > 0.01
    assert (beside is None) == (model.pretrained_ is None)
    if beside is not None:
        inputs, queries = (model.columns_.encode(one) for one in (support, query))
        targets = model.targets_.encode(np.array(ys))
        outputs = pretrained_by_step(model.pretrained_, inputs, targets, queries, 2)
        expected = [model._decoded(one) for one in outputs]
        np.testing.assert_allclose(beside, expected, rtol=1e-5, atol=1e-5)


def test_the_page_of_the_documentation(browser, tmp_path):
    """Its models tell a second drawing of a character, and bend to points; all is small."""
    if not RUNTIME.is_dir():
        pytest.skip("there is no onnxruntime-web: npm install --prefix .npm onnxruntime-web")
    from mamlax.serve._static import RUNTIME as OF_RUNTIME
    from mamlax.serve._static import write_page

    write_page(tmp_path, sorted((ROOT / "docs" / "demo").glob("*.safetensors")), RUNTIME)
    own = [path for path in tmp_path.iterdir() if path.name not in OF_RUNTIME]
    assert sum(path.stat().st_size for path in own) < 1_000_000
    with (
        files_of(tmp_path) as client,
        opened(browser, str(client.base_url)) as page,
    ):
        open_model(page, "characters")
        for number, stroke in enumerate(STROKES):
            draw(page, page.locator(".class canvas").nth(number), *stroke)
        moved = [(x + 0.04, y - 0.05) for x, y in STROKES[2]]
        draw(page, page.locator(".ask canvas"), *moved)
        page.wait_for_selector(".bars .best")
        assert np.argmax(shares(page)) == 2
        open_model(page, "waves")
        page.wait_for_selector("path.before")
        box = page.locator("svg.plot").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
        page.wait_for_selector("path.after")
        assert page.locator("path.pretrained").count() == 1


def test_what_has_no_page_without_a_service_is_refused(regressor, curve, tmp_path):
    from mamlax.serve._static import RUNTIME as NEEDED
    from mamlax.serve._static import write_page

    with pytest.raises(
        MamlaxError, match=r"has no ort\.wasm\.min\.mjs.*npm install onnxruntime-web"
    ):
        write_page(tmp_path / "page", [], tmp_path)
    for name in NEEDED:
        (tmp_path / name).write_bytes(b"")
    regressor.save(tmp_path / "wear.safetensors")
    with pytest.raises(MamlaxError, match=r"wear takes 2 columns and gives wear.*mamlax serve"):
        write_page(tmp_path / "page", [tmp_path / "wear.safetensors"], tmp_path)
    beside = copy.copy(curve)
    beside.pretrained_ = curve.learner_
    paths = [tmp_path / "a.safetensors", tmp_path / "a.pretrained.safetensors"]
    beside.save(paths[0])
    curve.save(paths[1])
    with pytest.raises(MamlaxError, match=r"two models would write a\.pretrained\.onnx"):
        write_page(tmp_path / "page", paths, tmp_path)
    curve.adapt([[1.0]], [2.0]).save(tmp_path / "wave.safetensors")
    with pytest.raises(MamlaxError, match="wave is adapted already"):
        write_page(tmp_path / "page", [tmp_path / "wave.safetensors"], tmp_path)
    assert not (tmp_path / "page").exists()
