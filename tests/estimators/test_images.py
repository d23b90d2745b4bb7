"""A few labelled images adapt an image classifier, others are classified one by one."""

import functools
import gc
import re

import jax
import numpy as np
import pytest

import mamlax
from mamlax import MamlaxError
from mamlax.estimators import _learner

from .materials import contents_of, drawings, image_classifier, write_classes, write_picture


@pytest.fixture(scope="module")
def classifier():
    return image_classifier()


@pytest.fixture(scope="module")
def pictures():
    """3 classes of 4 images of 6×6: two to adapt to, two to classify."""
    return drawings(3, 4, seed=2)


def support_of(pictures, shots=2):
    """Images `[images, 6, 6, 1]` and labels, as `adapt` takes them."""
    images = pictures[:, :shots].reshape(-1, 6, 6, 1)
    return images, np.repeat(["a", "b", "c"][: len(pictures)], shots)


def test_folders_of_labelled_images_are_read_adapted_to_and_others_classified(
    classifier, pictures, tmp_path
):
    support = classifier.read(write_classes(tmp_path / "support", pictures[:, :2]))
    assert support.labels == ["a", "a", "b", "b", "c", "c"]
    assert support.names[0] == "support/a/0.png" and support.images.shape == (6, 6, 6, 1)
    # of drawings on paper, the ink is what counts
    np.testing.assert_array_equal(support.images[2, ..., 0], 255 - pictures[1, 0])
    adapted = classifier.adapt(support.images, support.labels)
    for number, pixels in enumerate(pictures[:, 2:].reshape(-1, 6, 6)):
        write_picture(tmp_path / "query" / f"{number}.png", pixels)
    query = classifier.read(tmp_path / "query")
    assert query.labels == [""] * 6
    assert adapted.predict(query.images).tolist() == ["a", "a", "b", "b", "c", "c"]
    chances = adapted.predict_proba(query.images)
    assert chances.shape == (6, 3) and adapted.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)


def test_adapting_leaves_the_classifier_as_it_is(classifier, pictures):
    images, labels = support_of(pictures)
    first = classifier.adapt(images, labels)
    before = first.predict_proba(images)
    second = classifier.adapt(images, np.roll(labels, 2))
    assert classifier.classes_ is None
    assert (first.predict(images) != second.predict(images)).all()
    np.testing.assert_array_equal(first.predict_proba(images), before)
    # adapting again starts from the initialization
    np.testing.assert_array_equal(second.adapt(images, labels).predict_proba(images), before)


@pytest.mark.parametrize("algorithm", ["maml", "proto-maml"])
def test_an_image_is_classified_the_same_alone_and_among_others(algorithm, pictures):
    adapted = image_classifier(algorithm=algorithm).adapt(*support_of(pictures))
    queries = pictures[:, 2:].reshape(-1, 6, 6, 1)
    together = adapted.predict_proba(queries)
    alone = np.concatenate([adapted.predict_proba(one[None]) for one in queries])
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    others = np.concatenate([queries[:1], 255 - queries[1:]])
    np.testing.assert_allclose(adapted.predict_proba(others)[0], together[0], rtol=1e-4)
    assert np.ptp(together, axis=0).max() > 0.1, "these images are not told apart"


def test_bytes_and_floats_are_the_same_images(classifier, pictures):
    images, labels = support_of(pictures)
    of_bytes = classifier.adapt(images, labels).predict_proba(images)
    floats = images / 255
    np.testing.assert_allclose(
        classifier.adapt(floats, labels).predict_proba(floats), of_bytes, rtol=1e-3
    )


@pytest.mark.parametrize("labels", [[7, 3, 5], [True, False, True], ["é", "z", "a b"]])
def test_labels_may_be_of_any_kind(labels, classifier, pictures):
    adapted = classifier.adapt(pictures[:, 0, ..., None], labels)
    assert adapted.classes_.tolist() == sorted(set(labels))
    assert set(adapted.predict(pictures[:, 1, ..., None]).tolist()) <= set(labels)


def test_fewer_classes_than_the_head_has_are_all_that_is_predicted(classifier, pictures):
    images, labels = support_of(pictures[:2])
    adapted = classifier.adapt(images, labels)
    assert adapted.predict_proba(images).shape == (4, 2)
    assert set(adapted.predict(pictures[2, :, ..., None])) <= {"a", "b"}


def test_more_classes_than_the_head_has_are_refused(pictures):
    with pytest.raises(MamlaxError) as error:
        image_classifier(ways=2).adapt(*support_of(pictures))
    assert "3 classes, but the head was trained for 2" in str(error.value)
    assert "--ways 3" in str(error.value) and "proto-maml" in str(error.value)


@pytest.mark.parametrize(
    "algorithm", ["proto-maml", pytest.param("unicorn-maml", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_head_made_for_the_task_takes_any_number_of_classes(algorithm, pictures):
    classifier = image_classifier(ways=2, algorithm=algorithm)
    assert classifier.ways is None
    adapted = classifier.adapt(*support_of(pictures))
    assert adapted.predict_proba(pictures[:, 2, ..., None]).shape == (3, 3)
    assert classifier.adapt(*support_of(pictures[:2])).classes_.tolist() == ["a", "b"]


def test_a_classifier_in_a_file_adapts_as_before(classifier, pictures, tmp_path):
    path = tmp_path / "model.safetensors"
    classifier.save(path)
    assert contents_of(path)[1] == path.stat().st_size
    loaded = mamlax.load(path)
    assert type(loaded) is mamlax.FewShotImageClassifier and loaded.classes_ is None
    assert loaded.image_shape == (6, 6, 1) and loaded.ways == 3
    assert loaded.reading_ == classifier.reading_ and loaded.summary_ == classifier.summary_
    queries = pictures[:, 2:].reshape(-1, 6, 6, 1)
    np.testing.assert_array_equal(
        loaded.adapt(*support_of(pictures)).predict_proba(queries),
        classifier.adapt(*support_of(pictures)).predict_proba(queries),
    )


@pytest.mark.parametrize("algorithm", ["maml", "proto-maml"])
@pytest.mark.parametrize("labels", [["a", "b", "c"], [7, 3, 5]], ids=["text", "numbers"])
def test_an_adapted_classifier_stays_adapted_in_its_file(algorithm, labels, pictures, tmp_path):
    images, _ = support_of(pictures)
    adapted = image_classifier(algorithm=algorithm).adapt(images, np.repeat(labels, 2))
    adapted.save(tmp_path / "model.safetensors")
    loaded = mamlax.load(tmp_path / "model.safetensors")
    assert loaded.classes_.tolist() == sorted(labels)
    queries = pictures[:, 2:].reshape(-1, 6, 6, 1)
    np.testing.assert_array_equal(loaded.predict_proba(queries), adapted.predict_proba(queries))
    assert loaded.predict(queries).tolist() == adapted.predict(queries).tolist()
    loaded.save(tmp_path / "again.safetensors")
    first, again = ((tmp_path / f"{n}.safetensors").read_bytes() for n in ("model", "again"))
    assert first == again


def test_nothing_is_predicted_before_adapting(classifier, pictures):
    with pytest.raises(MamlaxError, match="knows no classes yet"):
        classifier.predict(pictures[0, ..., None])


@pytest.mark.parametrize(
    "images, labels, words",
    [
        (np.zeros((2, 6, 6)), ["a", "b"], ["[images, 6, 6, 1]", "[2, 6, 6]"]),
        (np.zeros((2, 7, 6, 1)), ["a", "b"], ["[images, 6, 6, 1]", "[2, 7, 6, 1]"]),
        (np.zeros((2, 6, 6, 3)), ["a", "b"], ["[images, 6, 6, 1]", "[2, 6, 6, 3]"]),
        (np.zeros((2, 6, 6, 1)), ["a"], ["one label for each image", "2 images", "[1]"]),
        (np.zeros((2, 6, 6, 1)), [["a"], ["b"]], ["one label for each image", "[2, 1]"]),
        (np.zeros((0, 6, 6, 1)), [], ["an image or more", "0 images"]),
        (np.full((2, 6, 6, 1), 200), ["a", "b"], ["bytes", "floats"]),
        (np.full((2, 6, 6, 1), np.nan), ["a", "b"], ["finite"]),
    ],
)
def test_what_is_no_support_is_refused(images, labels, words, classifier):
    with pytest.raises(MamlaxError) as error:
        classifier.adapt(images, labels)
    for word in words:
        assert word in str(error.value)


def test_pictures_of_other_sizes_are_resized_where_the_images_were(tmp_path):
    write_picture(tmp_path / "large.png", np.full((30, 20), 55, np.uint8))
    write_picture(tmp_path / "small.jpg", np.full((3, 3, 3), 55, np.uint8))
    images = image_classifier().read(tmp_path).images
    assert images.shape == (2, 6, 6, 1) and images.dtype == np.uint8
    np.testing.assert_allclose(images, 200, atol=2)


def test_pictures_of_other_sizes_are_refused_where_they_would_lose_their_shape(tmp_path):
    classifier = image_classifier()
    classifier.reading_ = classifier.reading_._replace(resize=False)
    write_picture(tmp_path / "fits.png", np.zeros((6, 6), np.uint8))
    assert len(classifier.read(tmp_path).images) == 1
    write_picture(tmp_path / "wide.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(MamlaxError) as error:
        classifier.read(tmp_path)
    text = str(error.value)
    assert "wide.png has shape [6, 8, 1]" in text and "trained on [6, 6, 1]" in text


def test_colors_are_those_that_were_trained_on(tmp_path):
    write_picture(tmp_path / "red.png", np.full((6, 6, 3), (255, 0, 0), np.uint8))
    write_picture(tmp_path / "grey.png", np.full((6, 6), 9, np.uint8))
    images = image_classifier(channels=3, invert=False).read(tmp_path).images
    assert images[:, 0, 0].tolist() == [[9, 9, 9], [255, 0, 0]]


def test_labels_are_the_folders_below_the_root(classifier, tmp_path):
    for name in ("x.png", "a/x.png", "b/c/x.png"):
        write_picture(tmp_path / "root" / name, np.zeros((6, 6), np.uint8))
    found = classifier.read(tmp_path / "root")
    assert dict(zip(found.names, found.labels, strict=True)) == {
        "root/x.png": "",
        "root/a/x.png": "a",
        "root/b/c/x.png": "b/c",
    }


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_read_like_the_folder(kind, classifier, pictures, tmp_path):
    import shutil

    folder = write_classes(tmp_path / "support", pictures[:, :2])
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, folder)
    expected, found = classifier.read(folder), classifier.read(packed)
    assert found.labels == expected.labels
    np.testing.assert_array_equal(found.images, expected.images)


def test_a_folder_without_images_is_refused(classifier, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(MamlaxError, match=re.escape(f"{tmp_path} has no images")):
        classifier.read(tmp_path)
    with pytest.raises(MamlaxError, match="does not exist"):
        classifier.read(tmp_path / "elsewhere")


def test_a_damaged_image_is_named(classifier, pictures, tmp_path):
    write_classes(tmp_path / "support", pictures)
    damaged = tmp_path / "support" / "b" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    with pytest.raises(MamlaxError, match=re.escape("support/b/1.png cannot be read")):
        classifier.read(tmp_path / "support")


@pytest.mark.parametrize("algorithm", ["maml", "proto-maml"])
@pytest.mark.slow
def test_without_moments_of_the_support_one_program_is_of_many_sizes(algorithm, pictures):
    """And says what one of exactly that size says."""
    classifier = image_classifier(algorithm=algorithm, norm="group")
    images = pictures.swapaxes(0, 1).reshape(-1, 6, 6, 1) / np.float32(255)
    labels = np.tile([0, 1, 2], 4)
    for size in (5, 6, 7):
        adapted = classifier.adapt(images[:size], labels[:size])
        found = adapted.predict_proba(images)
    programs = adapted.learner_._programs(None)
    assert programs.adapt._cache_size() == programs.predict._cache_size() == 1
    params = jax.tree.map(jax.numpy.asarray, classifier.learner_.meta_params)
    exact = jax.jit(adapted.learner_.settings.adapt_fn())
    outputs = exact(params, mamlax.Batch(images[:size], labels[:size]))(images)
    np.testing.assert_allclose(found, jax.nn.softmax(outputs), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_programs_of_many_sizes_of_support_are_not_all_kept(pictures, monkeypatch):
    few = functools.lru_cache(maxsize=2)(_learner._programs.__wrapped__)
    monkeypatch.setattr(_learner, "_programs", few)
    classifier, client = image_classifier(), jax.devices()[0].client
    images = pictures.reshape(-1, 6, 6, 1)
    labels = np.repeat(["a", "b", "c"], 4)
    kept = []
    for size in range(4, 10):
        classifier.adapt(images[-size:], labels[-size:]).predict(images)
        gc.collect()
        kept.append(len(client.live_executables()))
    assert kept[-1] <= kept[1] + 1, "programs pile up"
