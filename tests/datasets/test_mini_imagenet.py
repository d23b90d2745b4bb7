"""mini-ImageNet as people have it, on an imitation of a few photographs: layouts, lists, counts."""

import numpy as np
import pytest

import mamlax
from mamlax.datasets import _mini_imagenet

from .pictures import KINDS, numbered, numbers_of, packed, write_folder, write_tar, write_zip

NUM_CLASSES, NUM_IMAGES = (3, 1, 2), 2
SPLITS = dict(zip(("train", "val", "test"), NUM_CLASSES, strict=True))


def photographs():
    """(split, class, file name, number) of each."""
    number = 0
    for split, count in SPLITS.items():
        for c in range(count):
            for i in range(NUM_IMAGES):
                yield split, f"n{split}{c}", f"n{split}{c}000{i}.jpg", number
                number += 1


def in_folders(validation="val"):
    return {
        f"{split if split != 'val' else validation}/{name}/{file}": numbered(number)
        for split, name, file, number in photographs()
    }


def lists(header="filename,label", end="\n"):
    lines = {f"{split}.csv": [header] for split in SPLITS}
    for split, name, file, _ in photographs():
        lines[f"{split}.csv"].append(f"{file},{name}")
    return {name: (end.join(text) + end).encode() for name, text in lines.items()}


def with_lists(**settings):
    images = {f"images/{file}": numbered(number) for _, _, file, number in photographs()}
    return {**images, **lists(**settings)}


EXPECTED = [
    {"ntrain0": [0, 1], "ntrain1": [2, 3], "ntrain2": [4, 5]},
    {"nval0": [6, 7]},
    {"ntest0": [8, 9], "ntest1": [10, 11]},
]


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_mini_imagenet, "_NUM_CLASSES", NUM_CLASSES)
    monkeypatch.setattr(_mini_imagenet, "_NUM_IMAGES", NUM_IMAGES)


def found(data_dir, **settings):
    return [numbers_of(split) for split in mamlax.mini_imagenet(data_dir, size=4, **settings)]


def refused(data_dir, **settings):
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.mini_imagenet(data_dir, **settings)
    return str(error.value)


def test_the_real_one_has_64_16_and_20_classes_of_600_at_84_pixels(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    write_folder(tmp_path / "mini-imagenet", in_folders())
    message = refused(tmp_path)
    assert "found 3 train classes" in message and "expected 64 with 600 each" in message
    assert _mini_imagenet._NUM_CLASSES == (64, 16, 20)
    monkeypatch.setattr(_mini_imagenet, "_NUM_CLASSES", NUM_CLASSES)
    monkeypatch.setattr(_mini_imagenet, "_NUM_IMAGES", NUM_IMAGES)
    assert mamlax.mini_imagenet(tmp_path).train.examples.shape == (6, 84, 84, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["val", "validation", "lists", "lists below"])
def test_every_layout_in_every_packing_gives_the_same(tmp_path, kind, layout):
    if layout.startswith("lists"):
        above = "mini/" if layout == "lists below" else ""
        entries = {above + name: content for name, content in with_lists().items()}
    else:
        entries = in_folders(layout)
    packed(tmp_path, kind, "mini-imagenet", entries)
    assert found(tmp_path) == EXPECTED


@pytest.mark.parametrize("name", ["mini-imagenet", "miniImagenet", "mini_imagenet", "MiniImageNet"])
def test_it_is_found_under_its_usual_names_and_by_its_own_path(tmp_path, name, monkeypatch):
    root = write_folder(tmp_path / name, with_lists())
    write_folder(tmp_path / "other", {"x/0.png": numbered(0)})
    assert found(tmp_path) == found(root) == EXPECTED
    monkeypatch.setenv("MAMLAX_DATA", str(tmp_path))
    assert found(None) == EXPECTED
    archive = write_tar(tmp_path / "elsewhere" / "x.tar", in_folders())
    assert found(archive) == EXPECTED


def test_archives_in_its_folder_are_read_as_if_unpacked_there(tmp_path):
    root = tmp_path / "mini-imagenet"
    entries = in_folders()
    for split in SPLITS:
        part = {name: entries[name] for name in entries if name.startswith(f"{split}/")}
        write_tar(root / f"{split}.tar", part)
    assert found(tmp_path) == EXPECTED
    images = {name: content for name, content in with_lists().items() if "images" in name}
    other = write_folder(tmp_path / "b" / "mini-imagenet", lists())
    write_zip(other / "images.zip", images)
    assert found(tmp_path / "b") == EXPECTED


@pytest.mark.parametrize(
    "settings",
    [dict(header="filename, label"), dict(end="\r\n"), dict(header="\ufefffilename,label")],
    ids=["space", "windows", "mark"],
)
def test_lists_as_other_programs_write_them(tmp_path, settings):
    write_folder(tmp_path / "mini-imagenet", with_lists(**settings))
    assert found(tmp_path) == EXPECTED


def test_it_is_mapped_and_not_decoded_twice(tmp_path, monkeypatch):
    write_folder(tmp_path / "mini-imagenet", with_lists())
    assert found(tmp_path) == EXPECTED
    monkeypatch.setattr("mamlax.datasets._batches.decode", None)
    splits = mamlax.mini_imagenet(tmp_path, size=4)
    assert all(isinstance(split.examples, np.memmap) for split in splits)


def test_where_it_is_missing_it_says_where_to_put_it_and_why_it_is_not_fetched(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        message = refused(place)
        for words in (
            str(place / "mini-imagenet"),
            "never downloaded",
            "image-net.org",
            "data_dir",
            "MAMLAX_DATA",
            "train.csv",
        ):
            assert words in message


def changed(entries, name, *pairs):
    text = entries[name].decode()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return {**entries, name: text.encode()}


def less(entries, *names):
    return {name: content for name, content in entries.items() if name not in names}


LISTED = with_lists()
FOLDERS = in_folders()
BAD = {
    "absent": (
        less(LISTED, "images/nval00000.jpg", "images/nval00001.jpg"),
        ["val.csv names 2 file(s) that are not in", "nval00000.jpg, nval00001.jpg"],
    ),
    "no list": (less(LISTED, "val.csv"), ["test.csv and train.csv, but no val.csv", "github.com"]),
    "two lists": ({**LISTED, "validation.csv": LISTED["val.csv"]}, ["two lists", "val.csv"]),
    "header": (changed(LISTED, "val.csv", ("filename,", "file,")), ["val.csv", "'file,label'"]),
    "no label": (changed(LISTED, "val.csv", (",nval0", "")), ["val.csv has in line 2"]),
    "binary": ({**LISTED, "val.csv": b"\xff\xfe\x00"}, ["val.csv is no list"]),
    "empty": ({**LISTED, "val.csv": b""}, ["val.csv begins with ''"]),
    "twice": (
        changed(LISTED, "val.csv", ("nval00001.jpg", "ntrain00000.jpg")),
        ["val.csv names ntrain00000.jpg", "train.csv has named already"],
    ),
    "class in two": (
        changed(LISTED, "val.csv", (",nval0", ",ntrain0"), (",nval0", ",ntrain0")),
        ["'ntrain0' in train and in validation"],
    ),
    "name twice": (
        {**LISTED, "more/ntest00000.jpg": numbered(0)},
        ["two photographs are called ntest00000.jpg"],
    ),
    "few images": (
        less(FOLDERS, "test/ntest1/ntest10001.jpg"),
        ["found 2 test classes, 1 of them not with 2 photographs (ntest1: 1)", "expected 2 with 2"],
    ),
    "many images": (
        {**FOLDERS, "test/ntest1/more.jpg": numbered(0)},
        ["(ntest1: 3)", "image_splits"],
    ),
    "few classes": (
        less(FOLDERS, "test/ntest1/ntest10000.jpg", "test/ntest1/ntest10001.jpg"),
        ["found 1 test classes, expected 2"],
    ),
    "few lines": (
        changed(LISTED, "test.csv", ("ntest10001.jpg,ntest1\n", "")),
        ["1 of them not with 2 photographs (ntest1: 1)"],
    ),
    "no splits": (
        {"a/0.jpg": numbered(0), "b/0.jpg": numbered(0)},
        ["nothing says which split", "train.csv"],
    ),
    "no images": (lists(), ["no images found"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_before_anything_is_decoded(tmp_path, case, monkeypatch):
    monkeypatch.setattr("mamlax.datasets._batches.decode", None)
    entries, words = BAD[case]
    write_folder(tmp_path / "mini-imagenet", entries)
    message = refused(tmp_path)
    for word in words:
        assert word in message


def test_broken_photographs_are_named_or_skipped_beyond_the_count(tmp_path, capfd):
    entries = {**FOLDERS, "test/ntest1/ntest10001.jpg": b"no image"}
    write_folder(tmp_path / "mini-imagenet", entries)
    message = refused(tmp_path)
    assert "test/ntest1/ntest10001.jpg cannot be read" in message and "skip_broken=True" in message
    assert found(tmp_path, skip_broken=True)[2] == {"ntest0": [8, 9], "ntest1": [10]}
    assert "ntest10001.jpg" in capfd.readouterr().err


def test_sizes_that_no_image_has_are_refused_first(tmp_path):
    assert "positive, got 0" in refused(tmp_path, size=0)
