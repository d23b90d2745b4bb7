"""Data augmentation on the device: rotate, mirror and shift images."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from .._errors import MamlaxError


def rotate(images: Shaped[Array, "examples size size channels"], quarter_turns):
    """Rotate square images counterclockwise by a traced number of quarter turns."""
    half = jnp.where(quarter_turns >= 2, images[:, ::-1, ::-1], images)
    return jnp.where(quarter_turns % 2 == 1, jnp.rot90(half, axes=(1, 2)), half)


def augment(key, images: Shaped[Array, "..."], flips: bool, crop_padding: int):
    """Mirror images `[…, height, width, channels]` at random; shift them by up to `crop_padding`.

    Each image is changed independently. Pixels left empty by a shift are black, as when the padded
    image is cropped.
    """
    if not flips and not crop_padding:
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    flip_key, crop_key = jax.random.split(key)
    if flips:
        mirrored = jax.random.bernoulli(flip_key, shape=(len(flat), 1, 1, 1))
        flat = jnp.where(mirrored, flat[:, :, ::-1], flat)
    if crop_padding:
        around = (crop_padding, crop_padding)
        padded = jnp.pad(flat, ((0, 0), around, around, (0, 0)))
        corners = jax.random.randint(crop_key, (len(flat), 2), 0, 2 * crop_padding + 1)

        def crop(image, corner):
            return jax.lax.dynamic_slice(image, (*corner, 0), flat.shape[1:])

        flat = jax.vmap(crop)(padded, corners)
    return flat.reshape(images.shape)


def check_augmentation(shape: tuple[int, ...], *, rotations: bool, flips: bool, crop_padding: int):
    """Raise if examples are not images that can be changed so, or a shift is too large."""
    if rotations and (len(shape) != 3 or shape[0] != shape[1]):
        raise MamlaxError(
            f"rotations need square images [height, width, channels], got examples of shape "
            f"{list(shape)}."
        )
    for name, wanted in (("flips", flips), ("crop_padding", crop_padding)):
        if wanted and len(shape) != 3 and crop_padding >= 0:
            raise MamlaxError(
                f"{name} need images [height, width, channels], got examples of shape "
                f"{list(shape)}."
            )
    if crop_padding < 0 or (crop_padding and crop_padding >= min(shape[:2])):
        raise MamlaxError(
            f"crop_padding must be 0 or more and less than the side of an image, got "
            f"{crop_padding} for examples of shape {list(shape)}: nothing would be left of it."
        )
