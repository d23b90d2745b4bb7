"""The site of the documentation: nothing is missing, broken or from elsewhere; search works.

`zensical build --strict` itself refuses Markdown links to missing pages and anchors, and names that
are not in the API.
"""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HERE = "http://site/"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """As `make docs` builds it, elsewhere."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    for part in ("docs", "examples", "mamlax"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return folder / "site"


class Parts(HTMLParser):
    """The anchors of a page, its links, what it loads, and its images without a text."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loaded, self.without_alt = set(), set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs.get("id"), attrs.get("name")}
        if tag == "a" and "href" in attrs:
            self.links.add(attrs["href"])
        if tag == "link" and attrs.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.add(attrs["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in attrs:
            self.loaded.add(attrs["src"])
        if tag == "img" and not attrs.get("alt"):
            self.without_alt.append(attrs["src"])


@pytest.fixture(scope="module")
def pages(site):
    """By address, but for the page of an address that is not there: its own is not known."""
    return {
        urljoin(HERE, path.relative_to(site).as_posix().removesuffix("index.html")): Parts(
            path.read_text()
        )
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def test_every_page_is_in_the_navigation_and_built(pages):
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    named = re.findall(r"[\w/-]+(?=\.md')", str(nav))
    files = (ROOT / "docs").rglob("*.md")
    assert sorted(named) == sorted(
        path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in files
    )
    assert set(pages) == {HERE + re.sub(r"(^|/)index/$", r"\1", f"{name}/") for name in named}


def test_links_lead_somewhere(site, pages):
    checked, broken = 0, []
    for address, page in pages.items():
        for link in page.links | page.loaded:
            target = urljoin(address, link)
            if not target.startswith(HERE) or target == f"{HERE}demo/":  # `make docs` adds it
                continue
            checked += 1
            path, _, anchor = target.replace("/index.html", "/").partition("#")
            if path in pages:
                found = not anchor or unquote(anchor) in pages[path].anchors
            else:
                found = (site / unquote(urlsplit(path).path).lstrip("/")).is_file()
            if not found:
                broken.append(f"{address} -> {link}")
    assert checked > 2000 and broken == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loaded = {urljoin(address, one) for address, page in pages.items() for one in page.loaded}
    assert {one for one in loaded if not one.startswith(HERE)} == set()
    for style in site.rglob("*.css"):
        assert not re.search(r"""(url\(["']?|@import )(https?:)?//""", style.read_text()), style


def test_images_have_a_text(pages):
    assert [
        (address, page.without_alt) for address, page in pages.items() if page.without_alt
    ] == []
    assert "![](" not in (ROOT / "README.md").read_text()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
def test_a_visitor_searches_and_turns_the_light_off(site):
    from playwright.sync_api import sync_playwright

    handler = functools.partial(Quiet, directory=site)
    with (
        http.server.ThreadingHTTPServer(("localhost", 0), handler) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://localhost:{server.server_port}/"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="light")
        asked, faults = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(here)
        scheme = "document.body.getAttribute('data-md-color-scheme')"
        assert page.evaluate(scheme) == "default"
        page.get_by_title("Dark").click()
        page.wait_for_function(f"{scheme} === 'slate'")
        page.get_by_role("button", name="Search").first.click()
        page.keyboard.type("memory")
        page.locator("a", has_text="Second-order MAML keeps").first.click()
        page.wait_for_url(f"{here}memory/**")
        assert page.evaluate(scheme) == "slate"  # it is remembered
        browser.close()
        server.shutdown()
    assert faults == [] and [url for url in asked if not url.startswith((here, "blob:"))] == []
