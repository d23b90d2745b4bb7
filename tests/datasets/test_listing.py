"""Tar archives are read where they lie, as folders are; and what is damaged is said to be."""

import gzip
import io
import os
import tarfile
from contextlib import ExitStack

import numpy as np
import pytest

import mamlax
from mamlax.datasets import _batches, _listing, _tar
from mamlax.datasets._decoding import content_of

from .pictures import KINDS, numbered, numbers_of, packed, write_tar

ENTRIES = {f"set/{c}/{i}.png": numbered(10 * n + i) for n, c in enumerate("ab") for i in range(3)}
NUMBERS = {"set/a": [0, 1, 2], "set/b": [10, 11, 12]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [1, -1])
def test_every_packing_gives_the_same_classes(tmp_path, kind, order):
    entries = dict([*ENTRIES.items()][::order])
    root = packed(tmp_path, kind, "x", entries)
    root = root / "set" if kind == "folder" else root
    assert numbers_of(mamlax.image_classes(root, size=None)) == NUMBERS


@pytest.mark.parametrize("suffix", ["tar.gz", "tgz", "tar"])
def test_a_tar_is_listed_once_and_a_changed_one_again(tmp_path, suffix, monkeypatch):
    path = write_tar(tmp_path / f"x.{suffix}", ENTRIES)
    opened, list_tar = [], _tar._list_tar
    monkeypatch.setattr(_tar, "_list_tar", lambda root: opened.append(root) or list_tar(root))
    for size in (4, 5):
        mamlax.image_classes(path, size=size)
    assert len(opened) == 1
    write_tar(path, {**ENTRIES, "set/a/3.png": numbered(3)})
    assert numbers_of(mamlax.image_classes(path, size=None))["set/a"] == [0, 1, 2, 3]
    assert len(opened) == 2


def test_a_compressed_tar_is_read_from_start_to_end(tmp_path, monkeypatch):
    """Backwards, it would have to be unpacked anew for every image."""
    path = write_tar(tmp_path / "x.tar.gz", dict([*ENTRIES.items()][::-1]))
    offsets, read = [], _listing.read_span

    def reading(content, offset, *rest):
        offsets.append(offset)
        return read(content, offset, *rest)

    monkeypatch.setattr(_listing, "read_span", reading)
    assert numbers_of(mamlax.image_classes(path, size=None)) == NUMBERS
    assert len(offsets) == 6 and offsets == sorted(offsets)


def test_broken_images_of_a_compressed_tar_are_skipped(tmp_path):
    entries = {**dict([*ENTRIES.items()][::-1]), "set/a/1.png": b"no image"}
    path = write_tar(tmp_path / "x.tar.gz", entries)
    with pytest.raises(mamlax.MamlaxError, match=r"set/a/1\.png cannot be read"):
        mamlax.image_classes(path, size=4)
    data = mamlax.image_classes(path, size=None, skip_broken=True)
    assert numbers_of(data) == {"set/a": [0, 2], "set/b": [10, 11, 12]}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png"])
def test_an_entry_that_would_leave_its_folder_is_refused(tmp_path, kind, name):
    path = packed(tmp_path, kind, "bad", {**ENTRIES, name: numbered(1)})
    with pytest.raises(mamlax.MamlaxError, match=rf"bad\.{kind} has an entry that would leave"):
        mamlax.image_classes(path, size=4)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_not_followed(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        member = tarfile.TarInfo("a/b/0.png")
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    with pytest.raises(mamlax.MamlaxError, match=r"x\.tar has a link.*/etc/passwd.*dereference"):
        mamlax.image_classes(tmp_path / "x.tar", size=4)


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.7])
def test_a_truncated_tar_is_named_with_what_to_do(tmp_path, kind, kept):
    path = packed(tmp_path, kind, "x", {f"a/b/{i}.png": numbered(i) for i in range(30)})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(mamlax.MamlaxError, match=r"x\.tar.* is not a whole tar archive.*Fetch it"):
        mamlax.image_classes(path, size=4)


def test_a_tar_that_ends_between_two_files_is_not_taken_for_whole(tmp_path):
    path = packed(tmp_path, "tar", "x", ENTRIES)
    path.write_bytes(path.read_bytes()[: 3 * 1024])  # three files, of header and block each
    with pytest.raises(mamlax.MamlaxError, match=r"not a whole tar archive.*end mark"):
        mamlax.image_classes(path, size=4)


def test_a_compressed_tar_whose_checksum_is_wrong_is_not_taken_for_whole(tmp_path):
    path = packed(tmp_path, "tar.gz", "x", ENTRIES)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(mamlax.MamlaxError, match=r"not a whole tar archive.*CRC"):
        mamlax.image_classes(path, size=4)


def test_whatever_byte_of_a_tar_is_garbled_the_error_is_ours(tmp_path):
    """Or there is none: names and pixels have no checksum of their own in a plain archive."""
    content, strangers = io.BytesIO(), set()
    with tarfile.open(fileobj=content, mode="w") as file:
        member = tarfile.TarInfo("a/b/0.png")
        member.size = len(numbered(0))
        file.addfile(member, io.BytesIO(numbered(0)))
    for suffix, whole in (
        ("tar", content.getvalue()[:2048]),
        ("tar.gz", gzip.compress(content.getvalue(), 1)),
    ):
        path = tmp_path / f"x.{suffix}"
        for place in range(0, len(whole), 13 if suffix == "tar" else 2):
            garbled = bytearray(whole)
            garbled[place] ^= 0x55
            path.write_bytes(garbled)
            try:
                mamlax.image_classes(path, size=None)
            except mamlax.MamlaxError as error:
                assert path.name in str(error) or "a/b" in str(error)
            except Exception as error:
                strangers.add(f"{type(error).__name__}: {error}")
    assert not strangers


def test_what_is_no_tar_is_said_to_be_none(tmp_path):
    (tmp_path / "x.tar").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(mamlax.MamlaxError, match=r"x\.tar is not a whole tar"):
        mamlax.image_classes(tmp_path / "x.tar", size=4)


def bomb(header, size, content=b""):
    """A tar of a header that claims so many bytes, of which a few are there."""
    member = tarfile.TarInfo("long")
    member.type, member.size = header, size
    return member.tobuf(tarfile.GNU_FORMAT) + content


@pytest.mark.parametrize("header", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_header_of_gigabytes_is_not_read(tmp_path, header, suffix):
    content = bomb(header, 3 << 30, bytes(4096))
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content if suffix == "tar" else gzip.compress(content))
    with pytest.raises(mamlax.MamlaxError, match=r"x\.tar.*a header of 3,221,225,472 bytes"):
        mamlax.image_classes(path, size=4)


def test_more_entries_than_any_data_set_has_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(_tar, "_MOST_LISTED_BYTES", 100)
    path = write_tar(tmp_path / "x.tar.gz", ENTRIES)
    with pytest.raises(mamlax.MamlaxError, match=r"x\.tar\.gz has more than \d entries\. Un"):
        mamlax.image_classes(path, size=4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_what_is_no_regular_file_is_not_read(tmp_path, kind, capfd):
    """A pipe would be waited for and a device read without end."""
    root = packed(tmp_path, "folder", "mine", {f"{c}/0.png": numbered(0) for c in "abc"})

    def put(path):
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")

    put(root / "a" / "notes")
    assert mamlax.image_classes(root, size=4).sizes.tolist() == [1, 1, 1]
    assert "1 no image (mine/a/notes)" in capfd.readouterr().err
    put(root / "a" / "1.png")
    with pytest.raises(mamlax.MamlaxError, match=r"a/1\.png cannot be read \(it is no regular"):
        mamlax.image_classes(root, size=4)
    for name in ("x.zip", "x.tar", "x.npz"):
        put(tmp_path / name)
        with pytest.raises(mamlax.MamlaxError, match=rf"{name} is no regular file"):
            mamlax.image_splits(tmp_path / name)


def test_a_file_is_read_up_to_the_size_it_was_listed_with(tmp_path):
    root = packed(tmp_path, "folder", "mine", {"a/0.png": numbered(0)})
    with ExitStack() as opened:
        (file,) = _listing.files_of(root, opened)
        with (root / "a/0.png").open("ab") as growing:
            growing.write(b"more")
        with pytest.raises(mamlax.MamlaxError, match=r"a/0\.png cannot be read.*more than its"):
            content_of(file)


@pytest.mark.parametrize("budget", [1, 4 * 4 * 8 * 2 + 300, 1 << 30])
def test_what_is_decoded_at_once_fits_a_budget(tmp_path, monkeypatch, budget):
    monkeypatch.setattr(_batches, "_BYTES_AT_ONCE", budget)
    sizes, batches_of = [], _batches._batches

    def batches(*arguments):
        for batch in batches_of(*arguments):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(_batches, "_batches", batches)
    data = mamlax.image_classes(packed(tmp_path, "folder", "set", ENTRIES), size=None)
    assert len(data.examples) == sum(sizes) == 6
    assert max(sizes) == {1: 1, 1 << 30: 6}.get(budget, 2)
