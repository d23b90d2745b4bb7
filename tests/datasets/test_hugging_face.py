"""Data sets of Hugging Face as classes, made here: nothing is downloaded."""

import numpy as np
import pytest

import mamlax

datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
Image = pytest.importorskip("PIL.Image")

# the library's own, of how it names what it caches
pytestmark = pytest.mark.filterwarnings("ignore:Cannot locate reference", "ignore:Cannot pickle")

NAMES = ["cat", "never", "dog"]
LABELS = [2, 0, 2, 0, 0]


def table(**columns):
    return datasets.Dataset.from_dict(columns)


def labelled(feature, values):
    columns = {"image": values, "label": LABELS}
    features = datasets.Features({"image": feature, "label": datasets.ClassLabel(names=NAMES)})
    return datasets.Dataset.from_dict(columns, features=features)


def gray(row, side=6):
    return Image.fromarray(np.full((side, 4, 3), 10 * row, np.uint8))


def test_images_are_sorted_by_the_names_of_their_labels():
    data = mamlax.hugging_face_classes(labelled(datasets.Image(), [gray(i) for i in range(5)]))
    assert data.names == ("cat", "dog") and data.sizes.tolist() == [3, 2]
    assert data.examples.shape == (5, 6, 4, 3) and data.examples.dtype == np.uint8
    assert data.examples[:, 0, 0, 0].tolist() == [10, 30, 40, 0, 20]


def test_images_are_resized_and_made_gray():
    images = [gray(i, side=4 + i) for i in range(5)]
    data = labelled(datasets.Image(), images)
    small = mamlax.hugging_face_classes(data, size=3, color=False)
    assert small.examples.shape == (5, 3, 3, 1)
    with pytest.raises(mamlax.MamlaxError, match=r"one shape.*Give size="):
        mamlax.hugging_face_classes(data)


def test_columns_of_numbers_become_features_and_text_names_the_classes():
    data = table(a=[1, 2, 3], b=[[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]], kind=["y", "x", "y"])
    classes = mamlax.hugging_face_classes(data, inputs=["a", "b"], label="kind")
    assert classes.names == ("x", "y") and classes.examples.dtype == np.float32
    assert classes.examples.tolist() == [[2, 6, 7], [1, 4, 5], [3, 8, 9]]
    one = mamlax.hugging_face_classes(data, inputs="b", label="kind")
    assert one.examples.shape == (3, 2)


def test_arrays_of_numbers_keep_their_shape_and_size():
    pixels = np.arange(20, dtype=np.uint8).reshape(5, 2, 2)
    data = labelled(datasets.Array2D((2, 2), "uint8"), pixels.tolist())
    classes = mamlax.hugging_face_classes(data)
    assert classes.examples.dtype == np.float32
    assert np.array_equal(classes.examples, pixels[[1, 3, 4, 0, 2]])


def test_groups_are_columns_of_a_frame():
    """As docs/data.md says of tables with groups."""
    frame = table(machine=["b", "a", "b"], x=[1.0, 2.0, 3.0], y=[0.0, 1.0, 0.0]).to_pandas()
    rows = mamlax.GroupedRows.of(
        frame[["x"]].to_numpy(), frame[["y"]].to_numpy(), frame["machine"], max_support=1,
        num_query=1,
    )  # fmt: skip
    assert rows.sizes.tolist() == [1, 2]


@pytest.mark.parametrize(
    "columns, options, words",
    [
        (dict(a=[1]), {}, "has no column 'image'; it has a"),
        (dict(image=[1]), {}, "has no column 'label'"),
        (dict(a=["x"], label=[1]), {"inputs": "a"}, "'a' holds neither images nor numbers"),
        (dict(a=[[1], [1, 2]], label=[1, 2]), {"inputs": "a"}, "neither images nor numbers"),
        (dict(a=[1, 2], label=[1, None]), {"inputs": "a"}, "row 1 has no label"),
    ],
)
def test_what_does_not_fit_is_said(columns, options, words):
    with pytest.raises(mamlax.MamlaxError, match=words):
        mamlax.hugging_face_classes(table(**columns), **options)


def test_a_dictionary_of_splits_is_refused():
    splits = datasets.DatasetDict({"train": table(a=[1])})
    with pytest.raises(mamlax.MamlaxError, match=r"got DatasetDict.*choose a split"):
        mamlax.hugging_face_classes(splits)


def test_images_without_a_label_or_missing_are_refused():
    data = labelled(datasets.Image(), [gray(0), None, gray(1), gray(2), gray(3)])
    with pytest.raises(mamlax.MamlaxError, match="row 1 has no image"):
        mamlax.hugging_face_classes(data)
