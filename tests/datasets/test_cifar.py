"""CIFAR-100's archive, on an imitation of one class per superclass; and its two splits."""

import hashlib
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

import mamlax
from mamlax.datasets import _cifar, _cifar_archive

from .pictures import write_folder

# in the order of the real archive's coarse_label_names
SUPERCLASSES = (
    *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables"),
    *("household_electrical_devices", "household_furniture", "insects", "large_carnivores"),
    *("large_man-made_outdoor_things", "large_natural_outdoor_scenes"),
    *("large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people"),
    *("reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"),
)
NUM_IMAGES = 3
# a class's superclass is not its own number, and its name begins with the superclass's number
SUPERCLASS_OF = [(7 * fine + 3) % 20 for fine in range(20)]
NAMES = [f"{SUPERCLASS_OF[fine]:02}-class" for fine in range(20)]
FC100 = [{1, 2, 3, 4, 5, 6, 9, 10, 15, 17, 18, 19}, {8, 11, 13, 16}, {0, 7, 12, 14}]


def image(fine, index):
    """`[3072]` as stored: channels, then rows. Red has the row, green the column, blue the rest."""
    rows, columns = np.mgrid[:32, :32]
    return np.stack([rows, columns, np.full((32, 32), 10 * fine + index)]).astype(np.uint8).ravel()


def contents(text=str.encode):
    """What the archive's three pickles hold, byte strings as Python 2 has them."""
    rows = [(fine, index) for index in range(NUM_IMAGES) for fine in range(20)]
    parts = {"train": rows[:50], "test": rows[50:]}
    return {
        **{
            name: {
                text("filenames"): [text("x.png")] * len(part),
                text("batch_label"): text("training batch 1 of 1"),
                text("fine_labels"): [fine for fine, _ in part],
                text("coarse_labels"): [SUPERCLASS_OF[fine] for fine, _ in part],
                text("data"): np.stack([image(*one) for one in part]),
            }
            for name, part in parts.items()
        },
        "meta": {
            text("fine_label_names"): [text(name) for name in NAMES],
            text("coarse_label_names"): [text(name) for name in SUPERCLASSES],
        },
    }


def pickled(values, protocol=2):
    return {name: pickle.dumps(value, protocol) for name, value in values.items()}


def write_archive(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as file:
        for name, content in {"file.txt~": b"", **files}.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def write_lists(folder, lists=None):
    lists = lists or {"train": NAMES[:13], "val": NAMES[13:16], "test": NAMES[16:]}
    write_folder(
        folder, {f"{name}.txt": "\n".join(part).encode() + b"\n" for name, part in lists.items()}
    )


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Small numbers, a cache of one's own, and nothing from the publisher."""
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_cifar_archive, "_NUM_CLASSES", 20)
    monkeypatch.setattr(_cifar_archive, "_NUM_IMAGES", NUM_IMAGES)
    monkeypatch.setattr(_cifar, "_CLASSES_EACH", 1)
    monkeypatch.setattr(_cifar, "_NUM_LISTED", (13, 3, 4))
    serve(monkeypatch, tmp_path / "no-server.tar.gz", "0" * 32)


def serve(monkeypatch, path, md5):
    download = _cifar_archive._DOWNLOAD._replace(url=path.as_uri(), md5=md5)
    monkeypatch.setattr(_cifar_archive, "_DOWNLOAD", download)


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    write_archive(folder / "cifar-100/cifar-100-python.tar.gz", pickled(contents()))
    write_lists(folder / "cifar-100/splits/bertinetto")
    return folder


def refused(load, data_dir):
    with pytest.raises(mamlax.MamlaxError) as error:
        load(data_dir)
    return str(error.value)


def assert_whole(splits):
    """Every image of every class, channels last, none in two splits."""
    assert sorted(name for split in splits for name in split.names) == sorted(NAMES)
    for split in splits:
        assert split.examples.shape[1:] == (32, 32, 3) and split.examples.dtype == np.uint8
        assert split.sizes.tolist() == [NUM_IMAGES] * len(split.names)
        for name, start in zip(split.names, split.starts, strict=True):
            for index in range(NUM_IMAGES):
                expected = image(NAMES.index(name), index).reshape(3, 32, 32).transpose(1, 2, 0)
                np.testing.assert_array_equal(split.examples[start + index], expected)


def test_fc100_splits_by_superclass_as_published(data_dir):
    splits = mamlax.fc100(data_dir)
    assert [{int(name[:2]) for name in split.names} for split in splits] == FC100
    assert_whole(splits)
    assert [len(part) for part in _cifar._SUPERCLASSES] == [12, 4, 4]


def test_cifar_fs_splits_by_the_published_lists(data_dir):
    splits = mamlax.cifar_fs(data_dir)
    assert [list(split.names) for split in splits] == [NAMES[:13], NAMES[13:16], NAMES[16:]]
    assert_whole(splits)


@pytest.mark.parametrize("place", ["", "splits/bertinetto", "cifar-100-python"])
def test_lists_are_found_beside_the_data_and_changed_ones_are_read_anew(data_dir, place):
    folder = data_dir / "cifar-100"
    for path in folder.rglob("*.txt"):
        path.unlink()
    write_lists(folder / place)
    if place == "cifar-100-python":
        write_folder(folder / place, pickled(contents()))
    mamlax.cifar_fs(data_dir)
    write_lists(folder / place, {"train": NAMES[7:], "val": NAMES[:3], "test": NAMES[3:7]})
    splits = mamlax.cifar_fs(data_dir)
    assert [list(split.names) for split in splits] == [NAMES[7:], NAMES[:3], NAMES[3:7]]


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("text", [str, str.encode], ids=["str", "bytes"])
def test_an_unpacked_folder_in_any_protocol_is_read(tmp_path, protocol, text):
    folder = tmp_path / "data/cifar-100/cifar-100-python"
    write_folder(folder, pickled(contents(text), protocol))
    if protocol == 5:  # there, arrays name a function that is none of the real archive's
        message = refused(mamlax.fc100, tmp_path / "data")
        assert "_frombuffer" in message and "Nothing was run" in message
    else:
        assert_whole(mamlax.fc100(tmp_path / "data"))


def test_pickles_of_python_2_and_the_old_numpy_are_read():
    """As the real archive was written: byte strings as such, and `numpy.core`."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
    dtype = b"cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    state = b"(K\1K\1K\2\x86" + dtype + b"\x89U\2\5\x87tb"
    read = _cifar_archive.load_plain(b"\x80\2}U\4data" + array + state + b"s.", "train")
    assert read["data"].tolist() == [[5, 0x87]] and read["data"].dtype == np.uint8


def test_it_is_mapped_and_not_unpickled_twice(data_dir, monkeypatch):
    for load in (mamlax.cifar_fs, mamlax.fc100):
        load(data_dir)
    monkeypatch.setattr(_cifar_archive, "load_plain", None)
    for load in (mamlax.cifar_fs, mamlax.fc100):
        splits = load(data_dir)
        assert_whole(splits)
        assert all(isinstance(split.examples, np.memmap) for split in splits)


def test_the_data_directory_may_be_its_own_or_from_the_environment(data_dir, monkeypatch):
    assert_whole(mamlax.fc100(data_dir / "cifar-100"))
    monkeypatch.setenv("MAMLAX_DATA", str(data_dir))
    assert_whole(mamlax.fc100())
    unpacked = write_folder(data_dir / "other/cifar-100-python", pickled(contents()))
    assert_whole(mamlax.fc100(unpacked))


def test_a_missing_archive_is_downloaded_once_with_its_md5(tmp_path, monkeypatch, capfd):
    server = write_archive(tmp_path / "server/cifar.tar.gz", pickled(contents()))
    serve(monkeypatch, server, hashlib.md5(server.read_bytes()).hexdigest())
    place = tmp_path / "data/cifar-100/cifar-100-python.tar.gz"
    assert_whole(mamlax.fc100(tmp_path / "data"))
    assert f"downloading {server.as_uri()} to {place}" in capfd.readouterr().err
    assert place.read_bytes() == server.read_bytes()
    server.unlink()
    assert_whole(mamlax.fc100(tmp_path / "data"))


def test_a_wrong_md5_keeps_nothing(tmp_path, monkeypatch):
    server = write_archive(tmp_path / "server/cifar.tar.gz", pickled(contents()))
    serve(monkeypatch, server, "0" * 32)
    message = refused(mamlax.fc100, tmp_path / "data")
    assert "expected 00000000" in message and "Nothing was kept" in message
    assert not list((tmp_path / "data/cifar-100").iterdir())


def test_the_publisher_is_named_with_the_archives_md5(monkeypatch):
    monkeypatch.undo()
    assert _cifar_archive._DOWNLOAD.url.startswith("https://www.cs.toronto.edu/~kriz/cifar-100-py")
    assert _cifar_archive._DOWNLOAD.md5 == "eb9058c3a382ffc7106e4002c42a8d85"
    assert (_cifar_archive._NUM_CLASSES, _cifar_archive._NUM_IMAGES) == (100, 600)
    assert _cifar._NUM_LISTED == (64, 16, 20) and _cifar._CLASSES_EACH == 5


def test_without_network_it_says_what_to_do(tmp_path):
    message = refused(mamlax.fc100, tmp_path / "data")
    for words in (
        f"{tmp_path / 'data'} does not exist",
        "could not be downloaded",
        "cifar-100/cifar-100-python.tar.gz by data_dir or MAMLAX_DATA",
    ):
        assert words in message
    assert not (tmp_path / "data").exists()


def test_missing_lists_say_which_where_to_and_where_from_before_a_download(tmp_path, monkeypatch):
    monkeypatch.setattr(_cifar_archive.Download, "fetch", None)
    message = refused(mamlax.cifar_fs, tmp_path / "data")
    for words in (
        "train.txt",
        str(tmp_path / "data/cifar-100/splits/bertinetto/train.txt"),
        "https://github.com/bertinetto/r2d2",
        "not ours to ship",
    ):
        assert words in message


LISTS = {"train": NAMES[:13], "val": NAMES[13:16], "test": NAMES[16:]}


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({**LISTS, "val": ["unicorn", *NAMES[14:16]]}, ["val.txt", "'unicorn'", "no class of"]),
        ({**LISTS, "val": NAMES[12:15]}, ["val.txt", f"'{NAMES[12]}', which train.txt has"]),
        ({**LISTS, "val": NAMES[13:15]}, ["val.txt", "names 2 classes, expected 3"]),
        ({**LISTS, "val": []}, ["val.txt", "names 0 classes, expected 3"]),
    ],
    ids=["unknown", "twice", "few", "none"],
)
def test_lists_that_are_not_those_of_cifar_fs(data_dir, lists, words):
    write_lists(data_dir / "cifar-100/splits/bertinetto", lists)
    message = refused(mamlax.cifar_fs, data_dir)
    for word in (*words, "https://github.com/bertinetto/r2d2"):
        assert word in message


def test_a_list_that_is_no_text(data_dir):
    (data_dir / "cifar-100/splits/bertinetto/val.txt").write_bytes(b"\xff\xfe\x00")
    assert "val.txt is no list of classes" in refused(mamlax.cifar_fs, data_dir)


def changed(part, **fields):
    values = contents()
    for name, value in fields.items():
        if value is None:
            del values[part][name.encode()]
        else:
            values[part][name.encode()] = value(values[part][name.encode()])
    return pickled(values)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({n: c for n, c in pickled(contents()).items() if n != "meta"}, "no file 'meta'"),
        (changed("train", data=lambda data: data[1:]), r"images of shape [59, 3072], 60 labels"),
        (changed("train", data=lambda data: data[:, 1:]), "found ValueError"),
        (changed("train", data=None), "found KeyError: 'data'"),
        (changed("train", fine_labels=lambda labels: [1, *labels[1:]]), "images of class"),
        (changed("train", fine_labels=lambda labels: [99, *labels[1:]]), "found 21 classes"),
        (changed("train", coarse_labels=lambda labels: [0, *labels[1:]]), "20 superclasses of"),
        (changed("meta", fine_label_names=lambda names: names[1:]), "20 classes, 19 names"),
        (changed("meta", coarse_label_names=lambda names: names[1:]), "19 superclasses of"),
        (changed("train", data=lambda data: data.astype(np.float32)), "no whole pickle of plain"),
        (changed("train", data=lambda data: [[1]]), "not the whole of CIFAR-100"),
        ({**pickled(contents()), "train": pickle.dumps([1], 2)}, "a list, expected a dictionary"),
        ({**pickled(contents()), "train": b""}, "no whole pickle"),
    ],
    ids=range(13),
)
def test_an_incomplete_archive_says_what_was_found_and_what_to_do(tmp_path, files, words):
    path = write_archive(tmp_path / "data/cifar-100/cifar-100-python.tar.gz", files)
    message = refused(mamlax.fc100, tmp_path / "data")
    for word in (words, f"Delete {path}", "data_dir"):
        assert word in message
    assert not list((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_a_truncated_archive_or_file_says_so(tmp_path, kind, kept):
    files = pickled(contents())
    if kind == "archive":
        path = write_archive(tmp_path / "data/cifar-100/cifar-100-python.tar.gz", files)
    else:
        write_folder(tmp_path / "data/cifar-100/cifar-100-python", files)
        path = tmp_path / "data/cifar-100/cifar-100-python/train"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refused(mamlax.fc100, tmp_path / "data")
    assert "whole tar archive" in message or "no whole pickle" in message
    assert "Delete" in message and "data_dir" in message


class Command:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("part", ["train", "test", "meta"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_tampered_archive_runs_no_code(tmp_path, part, protocol):
    proof = tmp_path / "was run"
    commands = [
        Command(os.mkdir, str(proof)),
        Command(eval, f"__import__('os').mkdir({str(proof)!r})"),
        Command(np.load, str(proof)),
    ]
    for number, command in enumerate(commands):
        values = contents()
        values[part][b"extra"] = command
        data_dir = tmp_path / f"{number}"
        folder = write_folder(data_dir / "cifar-100/cifar-100-python", pickled(values, protocol))
        message = refused(mamlax.fc100, data_dir)
        for words in ("may run any code", "Nothing was run", part, f"Delete {folder}"):
            assert words in message
    assert not proof.exists()
    pickle.loads(pickle.dumps(commands[0]))
    assert proof.exists(), "or else this tests nothing"
