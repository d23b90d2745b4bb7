"""Folders and zips of images become the same arrays, once; and what is damaged is said to be."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

import mamlax
from mamlax.tasks import _images

SIDE = 6
COUNTS = {"set/greek/alpha": 3, "set/greek/beta": 1, "set/latin": 2}


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def random_pixels(seed, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def entries():
    """Path → content of six images in three classes, and of files that are none."""
    images, seed = {}, 0
    for name, count in COUNTS.items():
        for index in range(count):
            images[f"{name}/{index}.png"] = png(random_pixels(seed))
            seed += 1
    others = {
        "set/greek/alpha/.hidden.png": b"none",
        "set/greek/._beta": b"none",
        "set/readme.txt": b"words",
    }
    return {**images, **others}


@pytest.fixture
def folder(tmp_path, entries):
    for name, content in entries.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "set"


@pytest.fixture
def archive(tmp_path, entries):
    return write_zip(tmp_path / "archive.zip", dict(reversed(entries.items())))


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache for each test."""
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """The names of images decoded so far."""
    names, decode = [], _images._decode

    def counting(name, *rest):
        names.append(name)
        return decode(name, *rest)

    monkeypatch.setattr(_images, "_decode", counting)
    return names


def assert_same(a, b):
    assert a.names == b.names
    np.testing.assert_array_equal(a.examples, b.examples)
    np.testing.assert_array_equal(a.starts, b.starts)
    np.testing.assert_array_equal(a.sizes, b.sizes)


def test_each_folder_is_a_class_and_each_file_its_pixels(folder, entries):
    data = mamlax.image_classes(folder, size=SIDE)
    assert dict(zip(data.names, data.sizes.tolist(), strict=True)) == COUNTS
    assert data.examples.dtype == np.uint8
    np.testing.assert_array_equal(data.examples, [random_pixels(seed) for seed in range(6)])


def test_zip_and_folder_give_the_same_arrays_and_names(folder, archive):
    assert_same(mamlax.image_classes(folder, size=5), mamlax.image_classes(archive, size=5))


def test_several_roots_are_put_together(folder, tmp_path):
    other = write_zip(tmp_path / "other.zip", {"other/x/0.png": png(random_pixels(9))})
    data = mamlax.image_classes(other, folder, size=SIDE)
    assert data.names == ("other/x", *COUNTS)
    np.testing.assert_array_equal(data.examples[0], random_pixels(9))


def test_roots_of_one_name_do_not_hide_one_another(tmp_path):
    for side in "ab":
        (tmp_path / side / "data" / side).mkdir(parents=True)
        (tmp_path / side / "data" / side / "0.png").write_bytes(png(random_pixels(0)))
        (tmp_path / side / "data" / "same").mkdir()
        (tmp_path / side / "data" / "same" / "0.png").write_bytes(png(random_pixels(ord(side))))
    try:
        data = mamlax.image_classes(tmp_path / "a/data", tmp_path / "b/data", size=SIDE)
    except mamlax.MamlaxError as error:
        assert "data/same/0.png" in str(error)
    else:
        assert data.sizes.sum() == 4, "two images of one name: one of them is lost silently"


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("invert", [True, False])
def test_color_and_inversion(tmp_path, color, invert):
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    write_zip(tmp_path / "a.zip", {"a/b/0.png": png(red)})
    data = mamlax.image_classes(tmp_path / "a.zip", size=3, color=color, invert=invert)
    pixel = np.array([255, 0, 0] if color else [76])  # 0.299 · 255, ITU-R 601
    expected = np.broadcast_to(255 - pixel if invert else pixel, (1, 3, 3, len(pixel)))
    np.testing.assert_array_equal(data.examples, expected)


def test_black_and_white_drawings_of_one_bit_are_read(tmp_path):
    drawing = np.zeros((4, 4), bool)
    drawing[1] = True
    write_zip(tmp_path / "a.zip", {"a/b/0.png": png(drawing)})
    data = mamlax.image_classes(tmp_path / "a.zip", size=4, color=False)
    np.testing.assert_array_equal(data.examples[0, :, :, 0], drawing * 255)


def test_progress_counts_to_the_end(folder):
    calls = []
    mamlax.image_classes(folder, size=4, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (6, 6)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_the_second_time_nothing_is_decoded(kind, request, decoded):
    root = request.getfixturevalue(kind)
    first = mamlax.image_classes(root, size=4)
    assert len(decoded) == 6
    assert_same(mamlax.image_classes(root, size=4), first)
    assert len(decoded) == 6


@pytest.mark.parametrize("change", [dict(size=5), dict(color=False), dict(invert=True)])
def test_other_settings_are_decoded_anew(folder, decoded, change):
    first = mamlax.image_classes(folder, size=4)
    other = mamlax.image_classes(folder, **{"size": 4, **change})
    assert len(decoded) == 12 and not np.array_equal(first.examples, other.examples)
    assert_same(mamlax.image_classes(folder, size=4), first)
    assert len(decoded) == 12


@pytest.mark.parametrize("damage", ["truncate", "garble", "empty", "fill"])
def test_a_damaged_cache_is_made_again(folder, cache, decoded, damage):
    first = mamlax.image_classes(folder, size=4)
    (file,) = [path for path in cache.rglob("*") if path.is_file()]
    content = bytearray(file.read_bytes())
    if damage == "garble":
        middle = content.index(b"examples.npy") + 200
        content[middle : middle + 50] = bytes(255 - byte for byte in content[middle : middle + 50])
    damaged = {
        "truncate": content[: len(content) // 2],
        "garble": content,
        "empty": b"",
        "fill": b"x" * len(content),
    }[damage]
    file.write_bytes(damaged)
    assert_same(mamlax.image_classes(folder, size=4), first)
    assert len(decoded) == 12
    assert_same(mamlax.image_classes(folder, size=4), first)
    assert len(decoded) == 12, "the cache was not mended"
    assert [path for path in cache.rglob("*") if path.is_file()] == [file]


def test_a_changed_added_or_removed_image_is_noticed(folder):
    mamlax.image_classes(folder, size=SIDE)
    changed = folder / "latin" / "0.png"
    before = changed.stat()
    changed.write_bytes(png(random_pixels(50)))
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    data = mamlax.image_classes(folder, size=SIDE)
    np.testing.assert_array_equal(data.examples[4], random_pixels(50))
    (folder / "latin" / "9.png").write_bytes(png(random_pixels(51)))
    assert mamlax.image_classes(folder, size=SIDE).sizes.tolist() == [3, 1, 3]
    changed.unlink()
    data = mamlax.image_classes(folder, size=SIDE)
    assert data.sizes.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(data.examples[5], random_pixels(51))


def test_a_changed_archive_is_noticed(archive, entries):
    mamlax.image_classes(archive, size=SIDE)
    write_zip(archive, {**entries, "set/latin/1.png": png(random_pixels(52))})
    data = mamlax.image_classes(archive, size=SIDE)
    np.testing.assert_array_equal(data.examples[5], random_pixels(52))


def test_no_cache_is_no_loss(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("where the cache should be")
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "file"))
    assert len(mamlax.image_classes(folder, size=4).examples) == 6


def test_missing_and_empty_roots_are_named(tmp_path):
    with pytest.raises(mamlax.MamlaxError, match="nowhere does not exist"):
        mamlax.image_classes(tmp_path / "nowhere", size=4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(mamlax.MamlaxError, match=r"no images.*empty"):
        mamlax.image_classes(tmp_path / "empty", size=4)


@pytest.mark.parametrize("damage", ["truncate", "garble", "empty", "words"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_damaged_image_is_named(tmp_path, kind, damage):
    good = png(random_pixels(0, side=40))
    middle = len(good) // 2
    bad = {
        "truncate": good[:middle],
        "garble": good[:middle] + b"\0" * 40 + good[middle + 40 :],
        "empty": b"",
        "words": b"no image",
    }[damage]
    if kind == "zip":
        root = write_zip(tmp_path / "a.zip", {"a/b/0.png": good, "a/b/broken.png": bad})
    else:
        root = tmp_path / "a"
        (root / "b").mkdir(parents=True)
        (root / "b" / "0.png").write_bytes(good)
        (root / "b" / "broken.png").write_bytes(bad)
    with pytest.raises(mamlax.MamlaxError, match=r"a/b/broken\.png cannot be read"):
        mamlax.image_classes(root, size=4)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
def test_a_truncated_zip_is_named_with_what_to_do(archive, kept):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(mamlax.MamlaxError, match=r"archive\.zip is not a whole zip.*fetch it"):
        mamlax.image_classes(archive, size=4)


def test_whatever_byte_of_a_zip_is_garbled_the_error_is_ours(tmp_path):
    """Every byte: header, deflated data and directory; every bit where deflating begins."""
    bitmap = io.BytesIO()
    Image.fromarray(random_pixels(0, side=12) // 64).save(bitmap, "bmp")
    archive = write_zip(tmp_path / "a.zip", {"a/b/0.bmp": bitmap.getvalue()})
    content, strangers = archive.read_bytes(), set()
    flips = [(place, 0x55) for place in range(len(content))]
    flips += [(place, 1 << bit) for place in range(40, 100) for bit in range(8)]
    for place, bits in flips:
        garbled = bytearray(content)
        garbled[place] ^= bits
        archive.write_bytes(garbled)
        try:
            mamlax.image_classes(archive, size=4)
        except mamlax.MamlaxError as error:
            assert "a.zip" in str(error) or "a/b" in str(error)
        except Exception as error:
            strangers.add(f"{type(error).__name__}: {error}")
    assert not strangers


@pytest.mark.parametrize(
    "name", ["../evil/0.png", "a/../../evil.png", "/etc/evil.png", "a\\..\\evil.png", "../x.txt"]
)
def test_an_entry_that_would_leave_its_folder_is_refused(tmp_path, name):
    archive = write_zip(tmp_path / "bad.zip", {"a/b/0.png": png(random_pixels(0)), name: b"evil"})
    with pytest.raises(mamlax.MamlaxError, match=r"bad\.zip has an entry that would leave"):
        mamlax.image_classes(archive, size=4)
    assert not list(tmp_path.rglob("evil*")) and not (tmp_path.parent / "evil").exists()
