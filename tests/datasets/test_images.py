"""Folders and zips of images become the same arrays, once; and what is damaged is said to be."""

import errno
import io
import os
import struct
import time
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mamlax
from mamlax.datasets import _batches, _cache, _decoding

from .pictures import encoded, png, random_pixels, write_folder, write_zip

SIDE = 6
COUNTS = {"set/greek/alpha": 3, "set/greek/beta": 1, "set/latin": 2}


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
        "set/.checkpoints/alpha/0.png": b"none",
        "set/readme.txt": b"words",
    }
    return {**images, **others}


@pytest.fixture
def folder(tmp_path, entries):
    write_folder(tmp_path, entries)
    return tmp_path / "set"


@pytest.fixture
def archive(tmp_path, entries):
    return write_zip(tmp_path / "archive.zip", dict(reversed(entries.items())))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache for each test."""
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """A cache that cannot be written."""
    (tmp_path / "file").write_text("where the cache should be")
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "file"))


@pytest.fixture
def decoded(monkeypatch):
    """The names of images decoded so far."""
    names, decode = [], _batches.decode

    def counting(file, *rest):
        names.append(file.name)
        return decode(file, *rest)

    monkeypatch.setattr(_batches, "decode", counting)
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


def test_an_archive_with_one_name_twice_is_refused(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as file,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        for seed in range(2):
            file.writestr("a/b/0.png", png(random_pixels(seed)))
    with pytest.raises(mamlax.MamlaxError, match=r"two images.*a/b/0\.png.*a\.zip"):
        mamlax.image_classes(tmp_path / "a.zip", size=4)


def test_the_folder_one_stands_in_has_its_name(folder, monkeypatch):
    expected = mamlax.image_classes(folder, size=4)
    monkeypatch.chdir(folder / "latin")
    assert_same(mamlax.image_classes("..", size=4), expected)
    assert mamlax.image_classes(".", size=4).names == ("latin",)


def test_links_to_folders_are_followed_but_not_in_circles(folder, tmp_path, entries):
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "one").symlink_to(folder / "greek" / "alpha")
    (chosen / "two").symlink_to(folder / "greek")
    (folder / "greek" / "back").symlink_to(chosen)
    data = mamlax.image_classes(chosen, size=4)
    assert {"chosen/one": 3, "chosen/two/alpha": 3, "chosen/two/beta": 1}.items() <= dict(
        zip(data.names, data.sizes.tolist(), strict=True)
    ).items()
    assert len(data.names) < 10


def test_a_folder_may_be_called_like_an_image(tmp_path):
    write_folder(tmp_path, {"a/b.png/0.png": png(random_pixels(0))})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a/b.png/", b"")
        file.writestr("a/b.png/0.png", png(random_pixels(0)))
    for root in (tmp_path / "a", tmp_path / "a.zip"):
        assert mamlax.image_classes(root, size=4).names == ("a/b.png",)


def test_names_need_not_be_unicode(tmp_path, decoded):
    try:
        write_folder(tmp_path, {os.fsdecode(b"a/b\xff/0.png"): png(random_pixels(0))})
    except OSError:
        pytest.skip("not on this file system")
    first = mamlax.image_classes(tmp_path / "a", size=4)
    assert os.fsencode(first.names[0]) == b"a/b\xff"
    assert_same(mamlax.image_classes(tmp_path / "a", size=4), first)
    assert len(decoded) == 1


def test_what_cannot_be_looked_into_is_not_passed_over(folder, monkeypatch):
    listing = Path.iterdir

    def locked(path):
        if path.name == "greek":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(mamlax.MamlaxError, match=r"greek cannot be listed.*denied"):
        mamlax.image_classes(folder, size=4)


def test_a_link_to_nothing_is_named(folder, tmp_path):
    (folder / "latin" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(mamlax.MamlaxError, match=r"latin/gone\.png cannot be read"):
        mamlax.image_classes(folder, size=4)


def test_archives_made_on_windows_are_read(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"set\\latin\\0.png": png(random_pixels(0))})
    archive.write_bytes(archive.read_bytes().replace(b"set/latin/", b"set\\latin\\"))
    assert mamlax.image_classes(archive, size=4).names == ("set/latin",)


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


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    """Pillow's conversion would make white of all above 255."""
    gray = np.array([[0, 255, 256, 0x80FF, 0xFFFF]] * 5, np.uint16)
    write_zip(tmp_path / "a.zip", {"a/b/0.png": png(gray)})
    data = mamlax.image_classes(tmp_path / "a.zip", size=5, color=False)
    np.testing.assert_array_equal(data.examples[0, 0, :, 0], [0, 0, 1, 128, 255])


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette"])
@pytest.mark.parametrize("color", [True, False])
def test_transparent_is_white(tmp_path, kind, color):
    """A black stroke on nothing: without its transparency, all is black."""
    stroke = np.zeros((4, 4), bool)
    stroke[1] = True
    if kind == "palette":
        image = png(stroke, transparency=0)
    else:
        colors = np.zeros((4, 4, len(kind) - 1), np.uint8)
        image = png(np.concatenate([colors, np.uint8(255) * stroke[:, :, None]], axis=2))
    write_zip(tmp_path / "a.zip", {"a/b/0.png": image})
    data = mamlax.image_classes(tmp_path / "a.zip", size=4, color=color)
    expected = np.full((4, 4), 255) if kind == "palette" else np.where(stroke, 0, 255)
    np.testing.assert_array_equal(data.examples[0, :, :, 0], expected)


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


def cached_files(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", ["truncate", "garble", "empty", "fill", "remove"])
@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_a_damaged_cache_is_made_again(folder, cache, decoded, damage, suffix):
    first = mamlax.image_classes(folder, size=4)
    kept = first.examples.copy()
    files = cached_files(cache)
    assert [path.suffix for path in files] == [".npy", ".txt"]
    file = next(path for path in files if path.suffix == suffix)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    damaged = {
        "truncate": content[:middle],
        "garble": content[:middle] + bytes(255 - byte for byte in content[middle:]),
        "empty": b"",
        "fill": b"x" * len(content),
        "remove": None,
    }[damage]
    file.unlink()  # or else the map of the first reading is damaged, too
    if damaged is not None:
        file.write_bytes(damaged)
    again = mamlax.image_classes(folder, size=4)
    assert_same(again, first)
    np.testing.assert_array_equal(again.examples, kept)
    assert len(decoded) == 12
    assert_same(mamlax.image_classes(folder, size=4), first)
    assert len(decoded) == 12, "the cache was not mended"
    assert cached_files(cache) == files


def test_whatever_byte_of_the_cache_is_garbled_the_images_are_right(folder, cache):
    root = folder / "greek" / "beta"
    first = mamlax.image_classes(root, size=1)
    for file in cached_files(cache):
        content = file.read_bytes()
        for place in range(0, len(content), 3):
            garbled = bytearray(content)
            garbled[place] ^= 0x55
            file.unlink()
            file.write_bytes(garbled)
            assert_same(mamlax.image_classes(root, size=1), first)


def test_beyond_what_is_checked_a_wrong_length_is_noticed(folder, cache, decoded, monkeypatch):
    monkeypatch.setattr(_cache, "_MOST_CHECKED_BYTES", 0)
    first = mamlax.image_classes(folder, size=4)
    with monkeypatch.context() as unreadable:  # reading all of it is what must not be
        unreadable.setattr(_cache, "_checksum", None)
        assert_same(mamlax.image_classes(folder, size=4), first)
    file = cached_files(cache)[0]
    content = file.read_bytes()
    for wrong in (content[:-1], content + b"x"):
        decoded.clear()
        file.unlink()
        file.write_bytes(wrong)
        assert_same(mamlax.image_classes(folder, size=4), first)
        assert len(decoded) == 6


def test_what_is_cached_is_mapped_and_not_read(folder):
    for _ in range(2):  # when made, and when found
        data = mamlax.image_classes(folder, size=4)
        assert isinstance(data.examples, np.memmap) and not data.examples.flags.writeable
        part = data.select([1, 2])
        assert part.names == ("set/greek/beta", "set/latin")
        assert np.shares_memory(part.examples, data.examples), "classes side by side were copied"
        np.testing.assert_array_equal(part.examples, data.examples[3:])
        assert part.starts.tolist() == [0, 1] and part.sizes.tolist() == [1, 2]
        assert not np.shares_memory(data.select([2, 1]).examples, data.examples)


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_without_a_chosen_cache_it_lies_beside_the_data(kind, request, monkeypatch, tmp_path):
    root = request.getfixturevalue(kind)
    monkeypatch.delenv("MAMLAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    first = mamlax.image_classes(root, size=4)
    assert len(cached_files(tmp_path / ".mamlax")) == 2 and not (tmp_path / "user").exists()
    assert_same(mamlax.image_classes(root, size=4), first)
    assert len(cached_files(tmp_path / ".mamlax")) == 2


def test_where_nothing_can_be_written_beside_the_data_it_lies_in_the_users_cache(
    folder, monkeypatch, tmp_path, decoded
):
    monkeypatch.delenv("MAMLAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    (tmp_path / ".mamlax").write_text("a file where the folder should be")
    for _ in range(2):
        data = mamlax.image_classes(folder, size=4)
        assert isinstance(data.examples, np.memmap) and len(decoded) == 6
    assert len(cached_files(tmp_path / "user" / "mamlax")) == 2


def test_an_interrupted_first_reading_leaves_nothing_and_the_next_is_whole(
    folder, cache, monkeypatch
):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mamlax.image_classes(folder, size=SIDE, progress=interrupt)
    assert not cached_files(cache)
    monkeypatch.setattr(_cache, "_write_text", lambda *_: interrupt(0, 0))
    with pytest.raises(KeyboardInterrupt):  # between its two files
        mamlax.image_classes(folder, size=SIDE)
    monkeypatch.undo()
    monkeypatch.setenv("MAMLAX_CACHE", str(cache))
    data = mamlax.image_classes(folder, size=SIDE)
    np.testing.assert_array_equal(data.examples, [random_pixels(seed) for seed in range(6)])
    assert len(cached_files(cache)) == 2


def test_a_disk_without_room_is_known_before_decoding(folder, cache, monkeypatch, decoded):
    usage = SimpleNamespace(free=6 * 4 * 4 * 3 - 1)
    monkeypatch.setattr(_cache.shutil, "disk_usage", lambda place: usage)
    data = mamlax.image_classes(folder, size=4)
    assert len(data.examples) == 6 and not cached_files(cache)
    usage.free += 1
    assert isinstance(mamlax.image_classes(folder, size=4).examples, np.memmap)


def test_a_disk_that_fills_up_is_no_loss(folder, cache, monkeypatch):
    written = []

    class Full(_cache.Rows):
        def __setitem__(self, row, pixels):
            written.append(row)
            if self.place is not None and len(written) > 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().__setitem__(row, pixels)

    monkeypatch.setattr(_cache, "Rows", Full)
    data = mamlax.image_classes(folder, size=SIDE)
    np.testing.assert_array_equal(data.examples, [random_pixels(seed) for seed in range(6)])
    assert not cached_files(cache) and not isinstance(data.examples, np.memmap)


def test_folders_of_one_name_with_files_of_one_size_and_date_are_told_apart(tmp_path, monkeypatch):
    """All dates alike, as on file systems that hold none."""
    stat = Path.stat

    def dateless(path, **settings):
        status = stat(path, **settings)
        return SimpleNamespace(
            st_mode=status.st_mode, st_size=status.st_size, st_mtime_ns=0, st_ctime_ns=0
        )

    monkeypatch.setattr(Path, "stat", dateless)
    for seed, side in enumerate("ab"):
        bitmap = encoded(random_pixels(seed), "bmp")
        write_folder(tmp_path / side, {"data/x/0.bmp": bitmap})
    for seed, side in enumerate("ab"):
        data = mamlax.image_classes(tmp_path / side / "data", size=SIDE)
        np.testing.assert_array_equal(data.examples[0], random_pixels(seed))


def test_an_image_replaced_under_its_old_date_is_noticed(tmp_path):
    """As `cp -p` and `rsync -t` do."""
    for seed in range(2):
        write_folder(tmp_path, {"a/b/0.bmp": encoded(random_pixels(seed), "bmp")})
        os.utime(tmp_path / "a/b/0.bmp", ns=(1, 1))
        data = mamlax.image_classes(tmp_path / "a", size=SIDE)
        np.testing.assert_array_equal(data.examples[0], random_pixels(seed))
        time.sleep(0.05)  # more than a tick of the file system's clock


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


def test_no_cache_is_no_loss(folder, no_cache):
    assert len(mamlax.image_classes(folder, size=4).examples) == 6


def test_missing_and_empty_roots_are_named(tmp_path):
    with pytest.raises(mamlax.MamlaxError, match="nowhere does not exist"):
        mamlax.image_classes(tmp_path / "nowhere", size=4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(mamlax.MamlaxError, match=r"no images.*empty"):
        mamlax.image_classes(tmp_path / "empty", size=4)


def test_what_is_no_archive_is_not_to_be_deleted(tmp_path):
    (tmp_path / "0.png").write_bytes(png(random_pixels(0)))
    with pytest.raises(mamlax.MamlaxError, match=r"0\.png is not a whole zip.*name a fol") as error:
        mamlax.image_classes(tmp_path / "0.png", size=4)
    assert "elete" not in str(error.value)


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_that_no_image_has_are_refused(folder, size):
    with pytest.raises(mamlax.MamlaxError, match=f"size.*positive, got {size}"):
        mamlax.image_classes(folder, size=size)


def huge_png(side):
    """A few bytes that claim `side`² pixels."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(tmp_path):
    write_folder(tmp_path, {"a/b/bomb.png": huge_png(100_000)})
    with pytest.raises(mamlax.MamlaxError, match=r"a/b/bomb\.png cannot be read.*10000000000 pix"):
        mamlax.image_classes(tmp_path / "a", size=4)


def test_an_entry_that_unpacks_to_more_than_any_image_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_decoding, "_MOST_BYTES", 10_000)
    archive = write_zip(tmp_path / "a.zip", {"a/b/bomb.png": bytes(10_001)})
    assert archive.stat().st_size < 500
    with pytest.raises(mamlax.MamlaxError, match=r"a/b/bomb\.png cannot be read.*10,001 bytes"):
        mamlax.image_classes(archive, size=4)


def test_what_is_called_an_image_and_is_a_program_is_not_run(tmp_path):
    """Pillow would hand PostScript to Ghostscript, whatever the file is called."""
    words = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
    Image.open(io.BytesIO(words)).close()  # or else this tests nothing
    write_folder(tmp_path, {"a/b/0.png": words})
    with pytest.raises(mamlax.MamlaxError, match=r"a/b/0\.png cannot be read.*none of PNG"):
        mamlax.image_classes(tmp_path / "a", size=4)


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


@pytest.mark.slow
def test_whatever_byte_of_a_zip_is_garbled_the_error_is_ours(tmp_path, no_cache):
    """Every byte: header, deflated data and directory; every bit where deflating begins.

    Without a cache: one flip that does no harm would have all later ones answered from it.
    """
    bitmap = encoded(random_pixels(0, side=12) // 64, "bmp")
    archive = write_zip(tmp_path / "a.zip", {"a/b/0.bmp": bitmap})
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


def test_images_as_they_are_keep_their_own_size_which_need_not_be_square(tmp_path):
    pixels = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    write_folder(tmp_path, {"a/b/0.png": png(pixels), "a/b/1.png": png(pixels[::-1])})
    data = mamlax.image_classes(tmp_path / "a", size=None)
    np.testing.assert_array_equal(data.examples, [pixels, pixels[::-1]])


def test_images_of_mixed_size_are_named_and_a_size_resizes_them_whatever_their_aspect(tmp_path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 4:] = 255
    write_folder(tmp_path, {"a/b/0.png": png(random_pixels(0)), "a/c/wide.png": png(wide)})
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.image_classes(tmp_path / "a", size=None)
    for words in ("a/b/0.png has 6×6", "a/c/wide.png has 8×4", "size="):
        assert words in str(error.value)
    resized = mamlax.image_classes(tmp_path / "a", size=6).examples[1, :, :, 0]
    np.testing.assert_array_equal(resized[:, [0, 5]], [[0, 255]] * 6)  # all of it, and not cropped


BROKEN = {"words": b"no image", "empty": b"", "torn": png(random_pixels(0, 40))[:400]}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_image_is_skipped_where_that_is_asked_for(folder, broken, capfd, decoded):
    write_folder(folder, {"greek/alpha/1.png": BROKEN[broken]})
    with pytest.raises(mamlax.MamlaxError, match=r"alpha/1\.png cannot.*skip_broken=True"):
        mamlax.image_classes(folder, size=SIDE)
    decoded.clear()
    for _ in range(2):  # from the cache, too
        data = mamlax.image_classes(folder, size=SIDE, skip_broken=True)
        assert data.sizes.tolist() == [2, 1, 2] and data.starts.tolist() == [0, 2, 3]
        expected = [random_pixels(seed) for seed in (0, 2, 3, 4, 5)]
        np.testing.assert_array_equal(data.examples, expected)
        assert isinstance(data.examples, np.memmap)
        said = capfd.readouterr().err
        assert "set: 7 files, 5 read of 3 classes, 2 left out" in said
        assert "1 broken (set/greek/alpha/1.png)" in said
    assert len({*decoded}) == len(decoded) >= 5


def test_links_to_nothing_and_damaged_entries_are_skipped(folder, tmp_path, capfd):
    (folder / "latin" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    bitmaps = {f"a/b/{i}.bmp": encoded(random_pixels(i, 12), "bmp") for i in range(3)}
    archive = write_zip(tmp_path / "a.zip", bitmaps)
    content = bytearray(archive.read_bytes())
    content[100] ^= 0xFF  # in the data of the first
    archive.write_bytes(content)
    data = mamlax.image_classes(folder, archive, size=4, skip_broken=True)
    assert dict(zip(data.names, data.sizes.tolist(), strict=True)) == {**COUNTS, "a/b": 2}
    said = capfd.readouterr().err
    assert "a/b/0.bmp" in said and "set/latin/gone.png" in said


def test_in_memory_too_broken_images_are_skipped(folder, no_cache):
    write_folder(folder, {"greek/alpha/0.png": b"no image"})
    data = mamlax.image_classes(folder, size=SIDE, skip_broken=True)
    np.testing.assert_array_equal(data.examples, [random_pixels(seed) for seed in (1, 2, 3, 4, 5)])


def test_a_class_of_broken_images_alone_is_named(folder):
    write_folder(folder, {"greek/beta/0.png": b"no image"})
    with pytest.raises(mamlax.MamlaxError, match=r"'set/greek/beta' has 1 image.*none can be read"):
        mamlax.image_classes(folder, size=4, skip_broken=True)
