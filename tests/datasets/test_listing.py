"""Tar archives are read where they lie, as folders are; and what is damaged is said to be."""

import gzip
import io
import tarfile

import numpy as np
import pytest

import mamlax
from mamlax.datasets import _listing, _tar

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
