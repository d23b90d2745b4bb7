"""What was read of a folder or archive, and what was not, is said in one line."""

import numpy as np
import pytest
from PIL import Image

import mamlax
from mamlax.datasets._picture_folder import read_pictures

from .pictures import KINDS, encoded, packed, random_pixels

HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))


def picture(seed, kind):
    return encoded(random_pixels(seed), kind)


MIXED = {
    "ant/0.png": picture(0, "png"),
    "ant/1.tif": picture(1, "tiff"),
    "ant/2.TIFF": picture(2, "tiff"),
    "bee/0.jfif": picture(3, "jpeg"),
    "bee/1.JPG": picture(4, "jpeg"),
    "bee/2.jpe": picture(5, "jpeg"),
    "cow/0.ppm": picture(6, "ppm"),
    "cow/1": picture(7, "png"),
    "cow/IMG.0001": picture(8, "jpeg"),
    "dog/0.webp": picture(9, "webp"),
    "dog/1.bmp": picture(10, "bmp"),
    "dog/2.dat": picture(11, "tiff"),
    "elk/0.HEIC": HEIC,
    "elk/1": HEIC,
    "fox/raw.NEF": picture(12, "tiff"),
    "fox/0.png": picture(13, "png"),
    "fox/0.xml": b"<annotation/>",
    "notes.txt": b"P5 is no graymap here",
    "empty": b"",
    ".DS_Store": b"hidden",
    "ant/._0.png": b"hidden",
}
SAID = [
    "mine",
    ": 19 files, 13 read of 5 classes, 6 left out: ",
    "2 HEIC, which Pillow does not read: convert to JPEG (",
    "1 a camera's raw file: develop it, say to TIFF (",
    "3 no image (",
    "elk/0.HEIC",
    "notes.txt",
    "fox/0.xml",
    "; nothing was read of ",
    "elk/",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", ["classes", "splits", "pictures"])
def test_what_pillow_reads_is_read_and_the_rest_is_said(tmp_path, kind, read, capfd):
    root = packed(tmp_path, kind, "mine", MIXED)
    said = SAID
    for _ in range(2):  # the second time from the cache
        if read == "classes":
            data = mamlax.image_classes(root, size=6)
            sizes = dict(zip(data.names, data.sizes.tolist(), strict=True))
            above = "mine/" if kind == "folder" else ""
            assert sizes == {f"{above}{n}": c for n, c in COUNTS.items()}
        elif read == "splits":
            splits = mamlax.image_splits(root, size=6)
            found = {n: s for p in splits for n, s in zip(p.names, p.sizes.tolist(), strict=True)}
            assert found == COUNTS
        else:
            pictures = read_pictures(root, (6, 6, 3), resize=True, invert=False)
            assert {n: pictures.labels.count(n) for n in COUNTS} == COUNTS
            said = [word.replace(" of 5 classes", "") for word in SAID if "nothing" not in word]
        line = capfd.readouterr().err
        assert line.count("\n") == 1, "one line"
        for word in said:
            assert word in line


COUNTS = {"ant": 3, "bee": 3, "cow": 3, "dog": 3, "fox": 1}


def test_where_all_is_read_that_is_said_too(tmp_path, capfd):
    root = packed(tmp_path, "zip", "mine", {f"{c}/0.png": picture(0, "png") for c in "abc"})
    mamlax.image_splits(root)
    assert capfd.readouterr().err == f"{root}: 3 files, 3 read of 3 classes\n"


@pytest.mark.parametrize("suffix", [".dng", ".nef", ".cr2", ".arw"])
def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_photograph(tmp_path, suffix):
    root = packed(tmp_path, "folder", "mine", {f"a/0{suffix}": picture(0, "tiff")})
    with pytest.raises(mamlax.MamlaxError, match=r"no images found.*1 a camera's raw file.*a/0\."):
        mamlax.image_classes(root, size=4)


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_read_the_error_says_what_is_there(tmp_path, kind):
    root = packed(tmp_path, kind, "mine", {"a/0.heic": HEIC, "a/0.txt": b"words"})
    for read in (
        lambda: mamlax.image_classes(root, size=4),
        lambda: mamlax.image_splits(root),
        lambda: read_pictures(root, (6, 6, 3), resize=True, invert=False),
    ):
        with pytest.raises(mamlax.MamlaxError, match=r"1 HEIC.*a/0\.heic.*1 no image \(.*a/0\.txt"):
            read()


def test_data_sets_that_are_known_say_nothing(tmp_path, capfd):
    from mamlax.datasets._images import classes_of

    root = packed(tmp_path, "folder", "mine", MIXED)
    assert len(classes_of([root], size=4).names) == 5
    assert capfd.readouterr().err == ""


def test_names_do_not_write_to_the_terminal(tmp_path, capfd):
    """`ESC ] 0 ; … BEL` renames a window, `ESC [ 2 J` wipes it, a line break fakes a line."""
    evil = "a/\x1b[2J\x1b]0;mine\x07\u202egnp.txt"
    entries = {evil: b"words", "b/new\nerror: line.txt": b"words", "b/0.png": picture(0, "png")}
    root = packed(tmp_path, "tar", "mine", entries)
    mamlax.image_classes(root, size=4)
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and line[:-1].isprintable()
    assert r"a/\x1b[2J\x1b]0;mine\x07\u202egnp.txt" in line
    root = packed(tmp_path, "zip", "broken", {f"{evil}.png": b"no image"})
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.image_classes(root, size=4)
    assert str(error.value).isprintable() and r"a/\x1b[2J" in str(error.value)


def test_a_picture_of_one_color_in_each_format_is_what_it_was(tmp_path):
    """Each suffix that is read is of a format that Pillow has."""
    from mamlax.datasets._decoding import _formats
    from mamlax.datasets._image_kinds import SUFFIXES

    Image.init()
    known = {suffix for suffix, name in Image.EXTENSION.items() if name in _formats()}
    missing = {s for s in SUFFIXES if s not in known}
    assert missing <= {".avif", ".qoi"}, "a suffix of no format"
    assert np.all([name in Image.OPEN for name in _formats()])
