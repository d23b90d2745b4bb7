"""Omniglot: how it is split, fetched and checked, on an imitation of one drawing per character."""

import hashlib
import http.client
import io
import urllib.request
import zipfile

import numpy as np
import pytest
from PIL import Image

import mamlax
from mamlax.datasets import _omniglot

REAL_COUNTS = {"images_background": 964, "images_evaluation": 659}
SMALL_COUNTS = {"images_background": 7, "images_evaluation": 5}


def drawing(number):
    """A 4×4 drawing in which black pixels spell a number."""
    bits = np.array([number >> bit & 1 for bit in range(16)], bool).reshape(4, 4)
    file = io.BytesIO()
    Image.fromarray(~bits).save(file, "png")
    return file.getvalue()


def entries(part, num_characters, num_drawings=1):
    """Path → content, for characters in alphabets of 20."""
    return {
        f"{part}/Alphabet{c // 20:02}/character{c % 20 + 1:02}/{c:04}_{d:02}.png": drawing(c + 1)
        for c in range(num_characters)
        for d in range(num_drawings)
    }


def write_zip(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)


def unpack(folder, entries):
    for name, content in entries.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pretend(monkeypatch, counts, num_drawings=1):
    monkeypatch.setattr(_omniglot, "_NUM_CHARACTERS", counts)
    monkeypatch.setattr(_omniglot, "_NUM_DRAWINGS", num_drawings)
    select = mamlax.ClassArrays.select
    # an imitation of a few characters has none left for validation and test
    monkeypatch.setattr(
        mamlax.ClassArrays, "select", lambda self, chosen: select(self, chosen or [0])
    )


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Nothing here may reach the publisher; each test has its own cache."""
    monkeypatch.setattr(_omniglot, "_URL", (tmp_path / "no-server").as_uri() + "/")
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An imitation of full length, zipped in reverse order."""
    folder = tmp_path_factory.mktemp("whole")
    for part, count in REAL_COUNTS.items():
        write_zip(folder / "omniglot" / f"{part}.zip", dict(reversed(entries(part, count).items())))
    return folder


@pytest.fixture(scope="module")
def draw(whole, tmp_path_factory):
    """Splits of the imitation, decoded once."""
    cache = tmp_path_factory.mktemp("cache")

    def draw(**settings):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("MAMLAX_CACHE", str(cache))
            pretend(monkeypatch, REAL_COUNTS)
            return mamlax.omniglot(whole, size=4, **settings)

    return draw


@pytest.fixture(scope="module")
def splits(draw):
    return draw()


def test_splits_share_no_character_and_leave_none_out(splits):
    train, validation, test = (set(split.names) for split in splits)
    assert (len(train), len(validation), len(test)) == (1100, 100, 423)
    everything = {
        name.rsplit("/", 1)[0] for part, n in REAL_COUNTS.items() for name in entries(part, n)
    }
    assert train | validation | test == everything and len(everything) == 1623


def test_each_character_keeps_its_own_drawing_strokes_bright(splits):
    for split in splits:
        for index in (0, len(split.names) - 1):
            part, alphabet, character = split.names[index].split("/")
            number = 20 * int(alphabet[-2:]) + int(character[-2:])
            bits = (split.examples[index, :, :, 0] == 255).ravel()
            assert set(np.unique(split.examples[index])) <= {0, 255}
            assert sum(1 << bit for bit in np.flatnonzero(bits)) == number, part


def test_the_split_is_the_same_everywhere_always(splits):
    """Pinned: a later version that draws another split would not repeat earlier results."""
    digest = hashlib.sha256("\n".join("\n".join(split.names) for split in splits).encode())
    assert digest.hexdigest() == (
        "0ec9abe575cf7823586a4ee8d8942f526392ec7709063fcfed0e37501518518b"
    )


def test_both_alphabets_parts_are_in_every_split(splits):
    """Pooled and drawn at random: the share of background characters is 964/1623 in each."""
    for split in splits:
        background = sum(name.startswith("images_background") for name in split.names)
        expected, n = 964 / 1623, len(split.names)
        assert abs(background / n - expected) < 4 * (expected * (1 - expected) / n) ** 0.5


def test_another_split_seed_is_another_split(splits, draw):
    other = draw(split_seed=2)
    common = set(other.test.names) & set(splits.test.names)
    assert len(other.test.names) == 423 and 60 < len(common) < 170  # 110 expected of 423


def test_alphabets_of_evaluation_are_never_seen(draw):
    splits = draw(split="alphabets")
    alphabets = [{name.rpartition("/")[0] for name in split.names} for split in splits]
    assert not alphabets[0] & alphabets[1]
    assert all(name.startswith("images_background/") for name in alphabets[0] | alphabets[1])
    evaluation = {name.rsplit("/", 1)[0] for name in entries("images_evaluation", 659)}
    assert set(splits.test.names) == evaluation
    train, validation, _ = (len(split.names) for split in splits)
    assert train + validation == 964 and 100 <= validation < 120
    again = draw(split="alphabets", split_seed=2)
    assert {name.rpartition("/")[0] for name in again.validation.names} != alphabets[1]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Twelve characters of two drawings, zipped; returns the data directory."""
    pretend(monkeypatch, SMALL_COUNTS, num_drawings=2)
    for part, count in SMALL_COUNTS.items():
        write_zip(tmp_path / "data/omniglot" / f"{part}.zip", entries(part, count, 2))
    return tmp_path / "data"


def test_zip_folder_and_listing_order_make_no_difference(small, tmp_path, monkeypatch):
    zipped = mamlax.omniglot(small, size=4)
    for part, count in SMALL_COUNTS.items():
        unpack(tmp_path / "folders/omniglot", entries(part, count, 2))
    unpacked = mamlax.omniglot(tmp_path / "folders", size=4)
    reverse = tmp_path / "reverse"
    for part, count in SMALL_COUNTS.items():
        content = dict(reversed(entries(part, count, 2).items()))
        write_zip(reverse / "omniglot" / f"{part}.zip", content)
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "another"))
    for other in (unpacked, mamlax.omniglot(reverse, size=4)):
        assert other.train.names == zipped.train.names
        np.testing.assert_array_equal(other.train.examples, zipped.train.examples)


def test_the_data_directory_may_come_from_the_environment(small, monkeypatch):
    monkeypatch.setenv("MAMLAX_DATA", str(small))
    assert len(mamlax.omniglot(size=4).train.names) == 12


@pytest.mark.parametrize("missing", ["character", "drawing"])
def test_incomplete_data_say_what_was_found_and_expected(small, missing):
    some = entries("images_evaluation", 5, 2)
    gone = 2 if missing == "character" else 1
    write_zip(small / "omniglot/images_evaluation.zip", dict(list(some.items())[gone:]))
    found = "4 characters with 8 drawings" if gone == 2 else "5 characters with 9 drawings"
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.omniglot(small, size=4)
    for words in ("images_evaluation", found, "5 with 2 each", _omniglot._URL, "Delete"):
        assert words in str(error.value)


def offline_help(message, file, path):
    """Which file, from where, and what to do on a machine without network."""
    for words in (
        _omniglot._URL + file,
        str(path),
        "data_dir",
        "MAMLAX_DATA",
        "omniglot/" + file,
    ):
        assert words in message, words


def test_missing_data_say_which_file_from_where_and_what_to_do_offline(tmp_path):
    with pytest.raises(mamlax.MamlaxError, match="could not be downloaded") as error:
        mamlax.omniglot(tmp_path / "data")
    path = tmp_path / "data/omniglot/images_background.zip"
    offline_help(str(error.value), "images_background.zip", path)
    assert f"{tmp_path / 'data'} does not exist" in str(error.value), "it may be mistyped"
    assert not (tmp_path / "data").exists(), "something was left behind"


def test_a_folder_without_the_data_is_named_where_nothing_can_be_downloaded(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(mamlax.MamlaxError, match="data/omniglot does not exist"):
        mamlax.omniglot(tmp_path / "data")
    (tmp_path / "data/omniglot").mkdir()
    with pytest.raises(mamlax.MamlaxError, match=r"data/omniglot has no images_background\.zip"):
        mamlax.omniglot(tmp_path / "data")


def test_a_file_is_no_data_directory(small):
    path = small / "omniglot/images_background.zip"
    with pytest.raises(mamlax.MamlaxError, match=r"is a file.*folder that has omniglot/.*data_dir"):
        mamlax.omniglot(path)


def test_the_data_directory_may_be_omniglots_own(small):
    """A frequent mistake, with only one meaning."""
    expected = mamlax.omniglot(small, size=4)
    assert mamlax.omniglot(small / "omniglot", size=4).train.names == expected.train.names
    assert {path.name for path in small.rglob("*")} == {
        "omniglot",
        "images_background.zip",
        "images_evaluation.zip",
    }


def test_sizes_that_no_image_has_are_refused_before_anything_is_downloaded(tmp_path):
    with pytest.raises(mamlax.MamlaxError, match=r"size.*positive, got 0") as error:
        mamlax.omniglot(tmp_path / "data", size=0)
    assert "download" not in str(error.value)


@pytest.mark.parametrize("stray", ["images_evaluation/extra", "other/a/b"])
def test_folders_that_are_none_of_omniglots_are_named(small, stray):
    """They would change the split."""
    some = {**entries("images_evaluation", 5, 2), f"{stray}/0.png": drawing(1)}
    write_zip(small / "omniglot/images_evaluation.zip", some)
    with pytest.raises(mamlax.MamlaxError, match=f"or more: found 5.* images in {stray}"):
        mamlax.omniglot(small, size=4)


def test_an_archive_unpacked_into_a_folder_of_its_own_name_is_named(small):
    (small / "omniglot/images_evaluation.zip").unlink()
    unpack(small / "omniglot/images_evaluation", entries("images_evaluation", 5, 2))
    with pytest.raises(mamlax.MamlaxError, match="images in images_evaluation/images_evaluation/"):
        mamlax.omniglot(small, size=4)


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_truncated_file_says_which_from_where_and_what_to_do_offline(small, kept):
    path = small / "omniglot/images_evaluation.zip"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.omniglot(small, size=4)
    offline_help(str(error.value), "images_evaluation.zip", path)
    assert f"Delete {path}" in str(error.value)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that stands for the publisher's, with right checksums."""
    folder = tmp_path / "server"
    pretend(monkeypatch, SMALL_COUNTS)
    checksums = {}
    for part, count in SMALL_COUNTS.items():
        write_zip(folder / f"{part}.zip", entries(part, count))
        checksums[part] = hashlib.md5((folder / f"{part}.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(_omniglot, "_URL", folder.as_uri() + "/")
    monkeypatch.setattr(_omniglot, "_MD5", checksums)
    return folder


def test_what_is_missing_is_downloaded_once(server, tmp_path, capfd):
    splits = mamlax.omniglot(tmp_path / "data", size=4)
    assert len(splits.train.names) == 12
    said = capfd.readouterr().err
    for part in SMALL_COUNTS:
        fetched = tmp_path / "data/omniglot" / f"{part}.zip"
        assert fetched.read_bytes() == (server / f"{part}.zip").read_bytes()
        line = f"downloading {_omniglot._URL}{part}.zip to {fetched}\n"
        assert line in said
        said = said.replace(line, "")
        (server / f"{part}.zip").unlink()
    assert said == "", "a bar belongs on a terminal only"
    assert len(list((tmp_path / "data/omniglot").iterdir())) == 2, "temporary files were left"
    assert len(mamlax.omniglot(tmp_path / "data", size=4).train.names) == 12


def test_only_the_missing_part_is_downloaded(server, tmp_path):
    good = tmp_path / "data/omniglot/images_background.zip"
    good.parent.mkdir(parents=True)
    good.write_bytes((server / "images_background.zip").read_bytes())
    (server / "images_background.zip").write_bytes(b"another file")
    assert len(mamlax.omniglot(tmp_path / "data", size=4).train.names) == 12


def test_a_wrong_checksum_keeps_nothing_and_says_so(server, tmp_path):
    write_zip(server / "images_background.zip", entries("images_background", 6))
    content = (server / "images_background.zip").read_bytes()
    with pytest.raises(mamlax.MamlaxError, match="Nothing was kept") as error:
        mamlax.omniglot(tmp_path / "data", size=4)
    message, folder = str(error.value), tmp_path / "data/omniglot"
    offline_help(message, "images_background.zip", folder / "images_background.zip")
    assert hashlib.md5(content).hexdigest() in message
    assert _omniglot._MD5["images_background"] in message and str(len(content)) in message
    assert not list(folder.iterdir())


class Torn(io.BytesIO):
    """A response that breaks off after its first bytes."""

    def __init__(self, content, error):
        super().__init__(content)
        self.error, self.headers = error, {"Content-Length": "unknown"}

    def read(self, size=-1):
        if self.tell() >= 100:
            raise self.error
        return super().read(100)


REASONS = {
    "torn": ConnectionResetError("connection reset by peer"),
    "no HTTP": http.client.BadStatusLine("hello"),
    "interrupted": KeyboardInterrupt(),
}


@pytest.mark.parametrize("how", ["wrong", "absent", *REASONS])
def test_a_broken_download_never_replaces_a_good_file(server, tmp_path, monkeypatch, how):
    path, good = tmp_path / "data/omniglot/images_background.zip", b"a good file"
    path.parent.mkdir(parents=True)
    path.write_bytes(good)
    if how == "wrong":
        (server / path.name).write_bytes(b"something else")
    elif how == "absent":
        (server / path.name).unlink()
    else:
        torn = Torn((server / path.name).read_bytes(), REASONS[how])
        monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: torn)
    expected = KeyboardInterrupt if how == "interrupted" else mamlax.MamlaxError
    with pytest.raises(expected) as error:
        _omniglot._download_of("images_background").fetch(path)
    if how != "interrupted":
        offline_help(str(error.value), path.name, path)
    assert path.read_bytes() == good and list(path.parent.iterdir()) == [path]


def test_a_good_download_replaces_a_bad_file(server, tmp_path):
    path = tmp_path / "images_background.zip"
    path.write_bytes(b"bad")
    _omniglot._download_of("images_background").fetch(path)
    assert path.read_bytes() == (server / path.name).read_bytes()


def test_the_publisher_is_named_over_an_encrypted_connection_in_the_source():
    source = _omniglot.__file__
    with open(source) as file:
        assert '_URL = "https://github.com/brendenlake/omniglot/' in file.read()
