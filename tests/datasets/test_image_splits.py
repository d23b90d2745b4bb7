"""One's own images: by folders named after splits, or split by a seed; from files or arrays."""

import zipfile

import numpy as np
import pytest

import mamlax

from .pictures import KINDS, numbered, numbers_of, packed, write_folder

LAID_OUT = {
    f"{split}/{name}/{i}.png": numbered(100 * number + i)
    for number, (split, name) in enumerate(
        [("train", "ant"), ("train", "bee"), ("train", "cow"), ("val", "dog"), ("test", "elk")]
    )
    for i in range(number + 2)
}
CLASSES = {f"class{c}/{i}.jpg": numbered(10 * c + i) for c in range(10) for i in range(2)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def flat(splits):
    return [numbers_of(split) for split in splits]


def refused(path, **settings):
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.image_splits(path, **settings)
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", ["", "data/set/"])
@pytest.mark.parametrize("validation", ["val", "validation"])
def test_folders_named_after_splits_say_the_split(tmp_path, kind, above, validation):
    entries = {
        above + name.replace("val/", f"{validation}/"): content
        for name, content in LAID_OUT.items()
    }
    splits = mamlax.image_splits(packed(tmp_path, kind, "mine", entries))
    assert flat(splits) == [
        {"ant": [0, 1], "bee": [100, 101, 102], "cow": [200, 201, 202, 203]},
        {"dog": [300, 301, 302, 303, 304]},
        {"elk": [400, 401, 402, 403, 404, 405]},
    ]


def test_splits_are_views_of_one_memory_map(tmp_path):
    for name, entries in (("laid out", LAID_OUT), ("classes", CLASSES)):
        splits = mamlax.image_splits(write_folder(tmp_path / name, entries))
        for split in splits:
            assert isinstance(split.examples, np.memmap)
            assert split.examples.base is not None, "a copy"
        total = sum(len(split.examples) for split in splits)
        assert total == len(entries)
        whole = splits.train.examples.base
        assert all(np.shares_memory(whole, split.examples) for split in splits)


@pytest.mark.parametrize("kind", KINDS)
def test_folders_of_classes_are_split_by_a_seed(tmp_path, kind):
    root = packed(tmp_path, kind, "mine", CLASSES)
    fractions = (0.5, 0.2, 0.3)
    splits = mamlax.image_splits(root, fractions=fractions)
    assert [len(split.names) for split in splits] == [5, 2, 3]
    every = {name: numbers for part in flat(splits) for name, numbers in part.items()}
    assert every == {f"class{c}": [10 * c, 10 * c + 1] for c in range(10)}
    # pinned: a later version that draws another split would not repeat earlier results
    assert [sorted(int(name[-1]) for name in split.names) for split in splits] == PINNED
    again = mamlax.image_splits(root, fractions=fractions, split_seed=1)
    assert flat(again) == flat(splits)
    others = [mamlax.image_splits(root, fractions=fractions, split_seed=seed) for seed in (2, 3)]
    assert any(flat(other) != flat(splits) for other in others)


PINNED = [[1, 2, 3, 5, 6], [0, 7], [4, 8, 9]]


def test_default_fractions_are_those_of_mini_imagenet(tmp_path):
    entries = {f"c{c:02}/0.png": numbered(c) for c in range(25)}
    splits = mamlax.image_splits(write_folder(tmp_path / "mine", entries))
    assert [len(split.names) for split in splits] == [16, 4, 5]


def test_a_class_may_be_called_test(tmp_path):
    names = ("test", "b", "c")
    entries = {f"{name}/0.png": numbered(i) for i, name in enumerate(names)}
    splits = mamlax.image_splits(write_folder(tmp_path / "mine", entries))
    assert {name for split in splits for name in split.names} == set(names)


def test_nested_classes_have_the_names_of_their_folders(tmp_path):
    entries = {f"{a}/{b}/0.png": numbered(0) for a, b in ("xp", "xq", "yr", "ys")}
    splits = mamlax.image_splits(write_folder(tmp_path / "mine", entries))
    assert sorted(n for split in splits for n in split.names) == ["x/p", "x/q", "y/r", "y/s"]


SPELLINGS = [
    ("Train", "Val", "Test"),
    ("training", "validation", "testing"),
    ("TRAIN", "VALID", "TEST"),
    ("seg_train", "seg_val", "seg_test"),
    ("train2017", "val2017", "test2017"),
    ("1_train", "2_dev", "3_test"),
    ("TrainImages", "ValidationImages", "TestImages"),
    ("Training Set", "Validation Set", "Test Set"),
    ("trainset", "valset", "testset"),
    ("meta-train", "meta-val", "meta-test"),
    ("base", "val", "novel"),
    ("ｔｒａｉｎ", "ｖａｌ", "ｔｅｓｔ"),
]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=" ".join)
def test_splits_are_known_in_their_usual_spellings(tmp_path, spelling):
    names = dict(zip(("train", "val", "test"), spelling, strict=True))
    entries = {
        f"{names[split]}/{rest}": content
        for name, content in LAID_OUT.items()
        for split, _, rest in [name.partition("/")]
    }
    splits = mamlax.image_splits(write_folder(tmp_path / "mine", entries))
    assert [split.names for split in splits] == [("ant", "bee", "cow"), ("dog",), ("elk",)]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=" ".join)
def test_classes_of_train_and_test_are_one_in_every_spelling(tmp_path, spelling):
    """Taken for classes, `Train/cat` and `Test/cat` would be trained on and judged by at once."""
    train, _, test = spelling
    animals = ("cat", "dog", "cow", "hen")
    entries = {f"{split}/{name}/0.png": numbered(0) for split in spelling for name in animals}
    root = write_folder(tmp_path / "three", entries)
    assert "'cat' in train and in validation" in refused(root)
    entries = {f"{split}/{name}/0.png": numbered(0) for split in (train, test) for name in animals}
    message = refused(write_folder(tmp_path / "two", entries))
    assert "no validation/" in message and f"{train}/" in message


def test_splits_may_hold_a_folder_of_their_own_name(tmp_path):
    entries = {
        f"seg_{split}/seg_{split}/{rest}": content
        for name, content in LAID_OUT.items()
        for split, _, rest in [name.partition("/")]
    }
    splits = mamlax.image_splits(write_folder(tmp_path / "mine", entries))
    assert [split.names for split in splits] == [("ant", "bee", "cow"), ("dog",), ("elk",)]
    write_folder(tmp_path / "mine", {"seg_test/seg_test/ant/0.png": numbered(0)})
    assert "'ant' in train and in test" in refused(tmp_path / "mine")


def test_classes_may_be_called_like_splits_in_part(tmp_path):
    names = ("bullet train", "test tube", "valley", "constraint", "train", "cow")
    entries = {f"{name}/0.png": numbered(i) for i, name in enumerate(names)}
    splits = mamlax.image_splits(write_folder(tmp_path / "mine", entries))
    assert {name for split in splits for name in split.names} == set(names)


ONE_CLASS = [
    ("Cat", "cat"),
    ("caf\u00e9", "cafe\u0301"),
    ("sea_lion", "sea lion"),
    ("stra\u00dfe", "STRASSE"),
    ("x ", "x"),
]


@pytest.mark.parametrize(("one", "other"), ONE_CLASS, ids=ascii)
@pytest.mark.parametrize("kind", ["npz", "zip", "tar"])
def test_names_that_differ_in_spelling_alone_are_one_class(tmp_path, one, other, kind):
    """In archives: not every file system can hold both."""

    def of(names):
        if kind == "npz":
            return saved(tmp_path, {name: np.zeros((2, 3)) for name in names})
        return packed(tmp_path, kind, "mine", {f"{name}/0.png": numbered(0) for name in names})

    message = refused(of([one, other, "b", "c", "d"]))
    assert f"{one!a} and {other!a}" in message or f"{other!a} and {one!a}" in message
    assert "differ in spelling alone" in message
    message = refused(of([f"train/{one}", "train/b", "val/c", f"Test/{other}"]))
    assert "in train and in test (spelled" in message


@pytest.mark.parametrize("names", [("-1", "1", "0"), ("a-1", "a1", "b"), ("m2", "m3", "M4")])
def test_names_that_differ_otherwise_are_several(tmp_path, names):
    splits = mamlax.image_splits(saved(tmp_path, {name: np.zeros((2, 3)) for name in names}))
    assert sorted(name for split in splits for name in split.names) == sorted(names)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("fold1/cat", "fold1/dog", "fold2/cat", "fold2/hen"), ["'fold1/cat' and 'fold2/cat'"]),
        (("a/Cat", "a/dog", "b/cat", "b/hen"), ["'a/Cat' and 'b/cat'"]),
        (("cat/images", "cat/masks", "dog/images", "dog/masks"), ["cat/images", "dog/images"]),
        (("cat", "cat/more", "dog", "hen"), ["images in cat/ and in cat/more/"]),
        (("cat", "Cat/more", "dog", "hen"), ["images in cat/ and in Cat/more/"]),
        (("cat/train", "cat/test", "dog/train", "dog/test"), ["test/ and train/ in cat/"]),
        (("train/cat", "val/a/cow", "val/b/cow", "test/hen"), ["'a/cow' and 'b/cow'"]),
        (("train/cat", "val/cow", "test/cat/more"), ["images in cat/ and in cat/more/"]),
    ],
    ids=lambda value: value[0].replace("/", " ") if isinstance(value, tuple) else "",
)
def test_a_class_in_two_folders_is_refused(tmp_path, names, words):
    root = write_folder(tmp_path / "mine", {f"{name}/0.png": numbered(0) for name in names})
    message = refused(root)
    for word in words:
        assert word in message


def test_folders_of_one_name_may_be_said_to_be_different_classes(tmp_path):
    """As the characters of alphabets are."""
    entries = {f"{a}/{b}/0.png": numbered(0) for a in "xy" for b in "pq"}
    root = write_folder(tmp_path / "mine", entries)
    assert "repeated_names=True" in refused(root)
    splits = mamlax.image_splits(root, repeated_names=True)
    assert sorted(n for split in splits for n in split.names) == ["x/p", "x/q", "y/p", "y/q"]


def test_a_folder_within_each_class_is_no_repeated_name(tmp_path):
    entries = {f"{name}/images/0.png": numbered(0) for name in "abc"}
    splits = mamlax.image_splits(write_folder(tmp_path / "mine", entries))
    assert sorted(n for s in splits for n in s.names) == ["a/images", "b/images", "c/images"]


def test_sizes_and_color(tmp_path):
    root = write_folder(tmp_path / "mine", LAID_OUT)
    assert mamlax.image_splits(root, size=7, color=False).test.examples.shape == (6, 7, 7, 1)


def without(part):
    return {name: content for name, content in LAID_OUT.items() if not name.startswith(part)}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (without("val"), ["only test/ and train/", "no validation/"]),
        (without(("val", "test")), ["only train/", "no validation/"]),
        ({**LAID_OUT, "extra/x/0.png": numbered(0)}, ["extra/ beside", "train/"]),
        ({**LAID_OUT, "validation/x/0.png": numbered(0)}, ["both val/ and validation/"]),
        ({**LAID_OUT, "test/ant/0.png": numbered(0)}, ["'ant' in train and in test", "classes"]),
        ({**LAID_OUT, "train/0.png": numbered(0)}, ["images in train/ itself", "folder per class"]),
        ({**CLASSES, "0.png": numbered(0)}, ["in no folder", "one folder per class"]),
        ({"a/0.png": numbered(0), "b/0.png": numbered(0)}, ["2 class(es)", "three or more"]),
        ({"a/0.txt": b"words"}, ["no images found"]),
    ],
    ids=["no val", "train only", "extra", "both", "shared", "loose", "root", "two", "none"],
)
def test_other_layouts_are_refused_with_what_is_expected(tmp_path, entries, words):
    message = refused(write_folder(tmp_path / "mine", entries))
    for word in (*words, "mine"):
        assert word in message


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.5, 0.5, 0.5), (0.5, 0.5, 0.0), (1.2, -0.1, -0.1), (np.nan,) * 3]
)
def test_fractions_that_are_none(tmp_path, fractions):
    message = refused(tmp_path, fractions=fractions)
    assert "three positive numbers that sum to 1" in message and str(fractions) in message


def test_fractions_that_leave_no_class_for_training(tmp_path):
    entries = {f"{c}/0.png": numbered(0) for c in "abc"}
    message = refused(write_folder(tmp_path / "mine", entries), fractions=(0.01, 0.5, 0.49))
    assert "3 classes leave none for meta-training" in message


def test_broken_and_mixed_images_are_named_and_what_to_do(tmp_path):
    entries = {**LAID_OUT, "test/elk/1.png": b"no image"}
    root = write_folder(tmp_path / "mine", entries)
    message = refused(root)
    assert "test/elk/1.png cannot be read" in message and "skip_broken=True" in message
    assert mamlax.image_splits(root, skip_broken=True).test.sizes.tolist() == [5]
    write_folder(root, {"test/elk/1.png": numbered(401, side=5)})
    message = refused(root)
    assert "train/ant/0.png has 4×4" in message and "test/elk/1.png has 5×5" in message
    assert mamlax.image_splits(root, size=4).test.sizes.tolist() == [6]


def test_what_is_missing_or_no_size_is_said(tmp_path):
    assert "nowhere does not exist" in refused(tmp_path / "nowhere")
    assert "nowhere.npz does not exist" in refused(tmp_path / "nowhere.npz")
    assert "positive, got 0" in refused(tmp_path / "nowhere", size=0)


ARRAYS = {
    f"{split}/{name}": np.full((count, 2, 2, 3), count, np.uint8)
    for count, (split, name) in enumerate(
        [("train", "a"), ("train", "b"), ("validation", "c"), ("test", "d")], start=2
    )
}


def saved(tmp_path, arrays, save=np.savez):
    save(tmp_path / "mine.npz", **arrays)
    return tmp_path / "mine.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_named_after_splits(tmp_path, save):
    splits = mamlax.image_splits(saved(tmp_path, ARRAYS, save))
    assert [split.names for split in splits] == [("a", "b"), ("c",), ("d",)]
    np.testing.assert_array_equal(splits.test.examples, ARRAYS["test/d"])
    np.testing.assert_array_equal(splits.train.examples[2:], ARRAYS["train/b"])


def test_arrays_of_classes_are_split_as_folders_are(tmp_path):
    arrays = {f"class{c}": np.full((2, 5), c, np.float32) for c in range(10)}
    splits = mamlax.image_splits(saved(tmp_path, arrays), fractions=(0.5, 0.2, 0.3))
    assert [sorted(int(name[-1]) for name in split.names) for split in splits] == PINNED
    for split in splits:
        expected = [int(name[-1]) for name in split.names for _ in range(2)]
        np.testing.assert_array_equal(split.examples[:, 0], expected)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({**ARRAYS, "test/x": np.array([Evil()])}, ["cannot be read", "plain arrays"]),
        ({**ARRAYS, "test/x": np.array(["a"])}, ["'test/x'", "<U1", "numbers"]),
        ({**ARRAYS, "test/x": np.zeros((2, 3), np.uint8)}, ["one shape", "'x'"]),
        ({**ARRAYS, "test/x": np.zeros((2, 2, 2, 3))}, ["one dtype", "'x'"]),
        ({**ARRAYS, "test/x": np.zeros((0, 2, 2, 3), np.uint8)}, ["'x' has no examples"]),
        ({**ARRAYS, "test/a": ARRAYS["train/a"]}, ["'a' in train and in test"]),
        ({}, ["no arrays"]),
    ],
    ids=["pickle", "words", "shape", "dtype", "empty", "shared", "none"],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, words, capfd):
    message = refused(saved(tmp_path, arrays))
    for word in words:
        assert word in message
    assert "run" not in capfd.readouterr().out


def test_settings_of_images_are_not_for_arrays(tmp_path):
    path = saved(tmp_path, ARRAYS)
    for settings in (dict(size=4), dict(skip_broken=True), dict(gray_bits=12)):
        assert "are for image files" in refused(path, **settings)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_a_truncated_npz_is_named(tmp_path, kept):
    path = saved(tmp_path, ARRAYS)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    message = refused(path)
    assert "mine.npz cannot be read" in message and "np.savez" in message


def test_arrays_that_would_fill_the_memory_are_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("cat.npy", b"")
        archive.infolist()[0].file_size = 4 << 30  # says the directory of the zip
    message = refused(tmp_path / "mine.npz")
    assert "mine.npz cannot be read (it holds 4,096 MB, though it has 0 MB itself" in message
