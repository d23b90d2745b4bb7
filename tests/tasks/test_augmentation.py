"""Images mirrored and shifted at random: what comes out, how often, and nothing unasked."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import mamlax
from mamlax.tasks._augmentation import augment

SMALLEST_P = 1e-3
SIDE, PADDING = 5, 2


def pictures(num_classes=3, size=4):
    """Images `[5, 5, 1]` with no zero and no symmetry, each another: their values say which."""
    images = 1 + np.arange(num_classes * size * SIDE * SIDE).reshape(-1, SIDE, SIDE, 1)
    images = np.random.default_rng(0).permutation(images.ravel()).reshape(images.shape)
    images = images.astype(np.float32).reshape(num_classes, size, SIDE, SIDE, 1)
    return mamlax.ClassArrays.of({f"{c}": images[c] for c in range(num_classes)})


def variants(image, flips, padding):
    """(mirrored, down, right) → the image so changed."""
    result = {}
    for mirrored in (False, True) if flips else (False,):
        padded = np.pad(image[:, ::-1] if mirrored else image, ((padding,) * 2,) * 2 + ((0, 0),))
        for down, right in itertools.product(range(2 * padding + 1), repeat=2):
            result[mirrored, down, right] = padded[down : down + SIDE, right : right + SIDE]
    return result


def changes(originals, images, flips, padding):
    """What was done to each image, by comparing with all that might have been."""
    done = []
    for original, image in zip(originals, images, strict=True):
        fitting = [
            change
            for change, variant in variants(original, flips, padding).items()
            if np.array_equal(variant, image)
        ]
        assert len(fitting) == 1, "not what mirroring and shifting makes of it"
        done.append(fitting[0])
    return np.array(done).astype(int)


@pytest.mark.parametrize(("flips", "padding"), [(True, 0), (False, PADDING), (True, PADDING)])
def test_every_change_is_equally_likely_and_each_image_has_its_own(flips, padding, key):
    originals = np.tile(pictures().examples, (100, 1, 1, 1))  # 1,200
    images = augment(key, jnp.asarray(originals).reshape(100, 12, SIDE, SIDE, 1), flips, padding)
    assert images.shape == (100, 12, SIDE, SIDE, 1)
    done = changes(originals, np.asarray(images).reshape(originals.shape), flips, padding)
    side = 2 * padding + 1
    index = (done[:, 0] * side + done[:, 1]) * side + done[:, 2]
    counts = np.bincount(index, minlength=(1 + flips) * side**2)
    assert len(counts) == (1 + flips) * side**2 and stats.chisquare(counts).pvalue > SMALLEST_P
    neighbors = np.bincount(index[:-1] % 2 * 2 + index[1:] % 2, minlength=4)
    expected = np.outer(*[np.bincount(index % 2) / len(index)] * 2).ravel() * (len(index) - 1)
    assert stats.chisquare(neighbors, expected).pvalue > SMALLEST_P


def test_bytes_and_colors_are_moved_as_they_are(key):
    image = np.random.default_rng(0).integers(1, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)
    moved = np.asarray(augment(key, jnp.asarray(image), True, 1))
    assert moved.dtype == np.uint8
    assert any(np.array_equal(moved[0], v) for v in variants(image[0], True, 1).values())


def draw(settings, key=0, kind=mamlax.FewShot, data=None, **more):
    if kind is mamlax.FewShot:
        settings = {"ways": 3, "shots": 2, "num_query": 2, **settings}
    else:
        settings = {"num_examples": 12, **settings}
    sampler = kind(data or pictures(), **settings, **more)
    return jax.tree.map(np.asarray, eqx.filter_jit(sampler.sample)(jax.random.key(key)))


@pytest.mark.parametrize("kind", [mamlax.FewShot, mamlax.AllWays])
@pytest.mark.slow
def test_tasks_are_those_without_augmentation_with_their_images_changed(kind):
    plain, augmented = (
        draw(settings, kind=kind) for settings in ({}, dict(flips=True, crop_padding=PADDING))
    )
    for before, after in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(before.targets, after.targets)
        done = changes(before.inputs, after.inputs, True, PADDING)
        assert len({tuple(change) for change in done.tolist()}) > 1, "all images alike"
    off = draw(dict(flips=False, crop_padding=0), kind=kind)
    jax.tree.map(np.testing.assert_array_equal, plain, off)


def test_changes_are_drawn_from_the_key():
    settings = dict(flips=True, crop_padding=PADDING)

    def drawn(key):
        plain, augmented = draw({}, key), draw(settings, key)
        return changes(plain.query.inputs, augmented.query.inputs, True, PADDING)

    first, again, other = map(drawn, (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
def test_images_are_mirrored_upright_and_turned_after():
    """A class turned is another class: its images are mirrored as it stands."""
    plain, turned, both = (
        draw(settings)
        for settings in (dict(flips=True), dict(rotations=True), dict(flips=True, rotations=True))
    )
    original = draw({})
    for one, other, expected, upright in zip(plain, turned, both, original, strict=True):
        for index in range(len(upright.inputs)):
            (turns,) = (
                turns
                for turns in range(4)
                if np.array_equal(np.rot90(upright.inputs[index], turns), other.inputs[index])
            )
            result = np.rot90(one.inputs[index], turns)
            np.testing.assert_array_equal(result, expected.inputs[index])


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((4,), dict(flips=True), ["flips need images", "[4]"]),
        ((4, 4), dict(crop_padding=1), ["crop_padding need images", "[4, 4]"]),
        ((4, 6, 1), dict(crop_padding=4), ["less than the side", "[4, 6, 1]", "got 4"]),
        ((4, 4, 1), dict(crop_padding=-1), ["0 or more", "got -1"]),
        ((4,), dict(crop_padding=-1), ["got -1"]),
    ],
)
@pytest.mark.parametrize("kind", [mamlax.FewShot, mamlax.AllWays])
def test_what_cannot_be_changed_is_refused(shape, settings, words, kind):
    data = mamlax.ClassArrays.of({c: np.zeros((4, *shape)) for c in "abc"})
    with pytest.raises(mamlax.MamlaxError) as error:
        draw(settings, kind=kind, data=data)
    for word in words:
        assert word in str(error.value)


@pytest.mark.slow
def test_images_need_not_be_square_to_be_mirrored_and_shifted():
    data = mamlax.ClassArrays.of({c: np.ones((4, 3, 5, 2), np.float32) for c in "abc"})
    assert draw(dict(flips=True, crop_padding=2), data=data).support.inputs.shape == (6, 3, 5, 2)
