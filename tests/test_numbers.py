"""Results in tables of the documentation are in files that say how to repeat them, or published."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mamlax.config import RECIPES

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
INTERVAL = re.compile(r"([-−]?\d+(?:\.\d+)?) ± (\d+(?:\.\d+)?)")
PUBLISHED = {  # of papers, beside what recipes say of themselves
    "Finn et al. 2017, and the files of its figures": (
        "293 ± 17, -51 ± 6, 314 ± 16, 316 ± 14, -79 ± 10, -130 ± 17, -67 ± 9, -61 ± 9, "
        "-40.4 ± 4.0, -3.3 ± 0.6, -40.8 ± 4.0, -19.7 ± 3.0"
    ),
    "Raghu et al. 2020": "96.2 ± 0.5, 93.7 ± 0.7, 46.9 ± 0.2, 63.1 ± 0.4",
    "Oh et al. 2021": "49.61 ± 0.16, 66.45 ± 0.37",
    "Li et al. 2017": "0.53 ± 0.09, 99.53 ± 0.26, 99.93 ± 0.09, 50.47 ± 1.87, 64.03 ± 0.94",
    "Zintgraf et al. 2019": (
        "44.70 ± 1.69, 61.87 ± 0.93, 47.24 ± 0.65, 59.05 ± 0.54, 49.84 ± 0.68, 64.63 ± 0.54, "
        "51.82 ± 0.65, 65.85 ± 0.55"
    ),
    "Nichol et al. 2018": (
        "97.68 ± 0.04, 99.48 ± 0.06, 89.43 ± 0.14, 97.12 ± 0.32, 49.97 ± 0.32, 65.99 ± 0.58, "
        "95.39 ± 0.09, 98.90 ± 0.10, 88.14 ± 0.15, 96.65 ± 0.33, 47.07 ± 0.26, 62.74 ± 0.37"
    ),
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def measured() -> set[tuple[float, float]]:
    """Means with their intervals, in every file."""
    return {pair for path in FILES for pair in _pairs(json.loads(path.read_text()))}


def _pairs(value) -> Iterator[tuple[float, float]]:
    if isinstance(value, dict):
        for name, other in value.items():
            interval = value.get("ci95" if name == "mean" else f"{name}_ci95")
            if isinstance(other, int | float) and isinstance(interval, int | float):
                yield other, interval
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _pairs(one)


def printed(page: Path) -> list[tuple[str, str]]:
    return [
        (number.replace("−", "-"), width)
        for line in page.read_text().splitlines()
        if line.startswith("|")
        for number, width in INTERVAL.findall(line)
    ]


def is_rounded(number: str, width: str, mean: float, interval: float) -> bool:
    """Whether it is what was measured, as it is or in percent; a half is rounded either way."""
    return any(
        all(
            abs(float(text) - factor * value) <= 0.51 * 10.0 ** -len(text.partition(".")[2])
            for text, value in ((number, mean), (width, interval))
        )
        for factor in (1, 100)
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if printed(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_interval_that_is_printed_is_in_a_file_or_published(page):
    said = [recipe.evidence.expected for recipe in RECIPES.values()]
    published = " ".join((*said, *PUBLISHED.values())).replace("−", "-")
    known = measured()
    missing = [
        f"{number} ± {width}"
        for number, width in printed(page)
        if f"{number} ± {width}" not in published
        and not any(is_rounded(number, width, *pair) for pair in known)
    ]
    assert not missing
