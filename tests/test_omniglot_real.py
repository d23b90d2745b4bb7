"""The publisher's Omniglot, where it is at hand: `MAMLAX_TEST_DATA`, or `../shared/data`."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

import mamlax
from mamlax.config import RECIPES
from mamlax.experiments._train import train

REPOSITORY = Path(__file__).parents[1]
DATA = Path(os.environ.get("MAMLAX_TEST_DATA") or REPOSITORY.parent / "shared" / "data")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "omniglot").is_dir(), reason=f"{DATA} has no omniglot/"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The images are decoded once for all tests here."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("cache")
        monkeypatch.setenv("MAMLAX_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def splits(cache):
    return mamlax.omniglot(DATA)


def test_there_are_1623_characters_of_20_drawings(splits):
    sizes = np.concatenate([split.sizes for split in splits])
    assert len(sizes) == 1623 and (sizes == 20).all()
    assert [len(split.names) for split in splits] == [1100, 100, 423]
    assert [split.examples.shape for split in splits] == [
        (20 * n, 28, 28, 1) for n in (1100, 100, 423)
    ]


def test_splits_share_nothing_and_span_both_parts(splits):
    names = [set(split.names) for split in splits]
    assert len(set.union(*names)) == 1623
    alphabets = {name.rsplit("/", 1)[0] for name in set.union(*names)}
    assert len(alphabets) == 50
    background = sum(name.startswith("images_background") for name in set.union(*names))
    assert background == 964


def test_the_split_is_pinned(splits):
    text = "\n".join("\n".join(split.names) for split in splits)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "5187329908a1623b9e5941df5c48e1c6a4655e03139723d73a5596e195d5e963"
    )


def test_drawings_are_thin_bright_strokes_on_black(splits):
    pixels = splits.test.examples
    assert pixels.dtype == np.uint8 and pixels.min() == 0 and pixels.max() == 255
    assert 0.03 < (pixels > 127).mean() < 0.2
    assert np.median(pixels) == 0
    per_drawing = (pixels > 100).sum((1, 2, 3))
    assert per_drawing.min() > 3, "a drawing is empty"


def test_a_short_training_of_the_recipe_is_well_above_chance(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("MAMLAX_CACHE", str(cache))
    recipe = RECIPES["omniglot-5-way-1-shot"].changed(
        num_outer_steps=150,
        num_baseline_steps=0,
        validation_interval=None,
        checkpoint_interval=150,
        num_test_tasks=200,
        num_test_inner_steps=3,
    )
    evaluation = train(recipe, directory=tmp_path / "run", data_dir=str(DATA))
    maml, random = evaluation.curve, evaluation.baselines["random"]
    assert evaluation.transductive is True and evaluation.outer_step == 150
    assert abs(maml[0].mean - 0.2) < 0.1, "chance is a fifth"
    assert maml[1].mean > 0.65
    assert maml[1].mean - maml[1].ci95 > random[-1].mean + random[-1].ci95
