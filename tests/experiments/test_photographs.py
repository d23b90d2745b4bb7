"""Errors for a folder with too few images: they say what was found, and which flags help."""

import re

import numpy as np
import pytest
from PIL import Image

from mamlax import MamlaxError
from mamlax.config import RECIPES
from mamlax.experiments.problems._images import splits_of


def write(folder, num_classes, each, split=""):
    for c in range(num_classes):
        directory = folder / split / f"{split}{c:02}"
        directory.mkdir(parents=True)
        for i in range(each):
            Image.fromarray(np.full((16, 16, 3), c, np.uint8)).save(directory / f"{i}.png")
    return str(folder)


def splits(images, **settings):
    settings = {"image_size": 16, "num_query": 2, **settings}
    return splits_of(RECIPES["images"].changed(images=images, **settings).problem, None)


def refusal(images, **settings):
    with pytest.raises(MamlaxError) as error:
        splits(images, **settings)
    text = str(error.value)
    assert images in text and "select" not in text and "ways=" not in text
    return text


def test_too_few_classes_are_refused_with_their_split(tmp_path):
    text = refusal(write(tmp_path, 8, 3))
    assert "8 classes: 5 to train on, 1 to choose by and 2 to be judged on" in text
    assert "a task takes 5 classes (--ways), all from one of these" in text
    assert "--ways 1" not in text and "5 ways take 29 classes" in text


def test_other_ways_in_tests_are_called_by_their_flag(tmp_path):
    text = refusal(write(tmp_path, 12, 3), ways=2, test_ways=3)
    assert "takes 2 classes (--ways) in training and 3 after it (--test-ways)" in text
    assert "Give --ways and --test-ways 2, more classes" in text and "3 ways take" in text


@pytest.mark.parametrize("ways", [2, 3, 5])
def test_the_number_of_classes_in_the_message_is_enough(ways, tmp_path):
    text = refusal(write(tmp_path / "few", 4, 3), ways=ways)
    (enough,) = map(int, re.findall(r"ways take (\d+) classes", text))
    found = splits(write(tmp_path / "many", enough, 3), ways=ways)
    assert min(len(split.names) for split in found) >= ways
    refusal(write(tmp_path / "fewer", enough - 1, 3), ways=ways)


def test_fewer_ways_are_suggested_if_they_are_possible(tmp_path):
    images = write(tmp_path, 14, 3)
    assert "Give --ways 2, more classes" in refusal(images, ways=4)
    assert splits(images, ways=2)


def test_too_few_images_of_a_class_are_refused_with_flags_that_help(tmp_path):
    images = write(tmp_path, 16, 3)
    text = refusal(images, ways=3, num_query=5)
    assert "has 3 images (10 classes have too few), but a task takes 6 of each class: 1 to" in text
    assert "Give --num-query 2, fewer --shots, or more images" in text
    assert splits(images, ways=3, num_query=2)
    assert "--num-query" in refusal(images, ways=3, shots=3)


def test_classes_in_folders_of_splits_are_counted_there(tmp_path):
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        write(tmp_path, count, 3, split)
    text = refusal(str(tmp_path), ways=3)
    assert "5 to train on, 2 to choose by and 3 to be judged on" in text
    assert splits(str(tmp_path), ways=2)
