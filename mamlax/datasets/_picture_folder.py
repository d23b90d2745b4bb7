"""Read the images of one task: a folder to adapt to, or a folder to classify. Nothing is cached."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from ._batches import decoded
from ._cache import Contents
from ._decoding import Decoded, ImageSettings
from ._decoding import opened as opened_image
from ._listing import File, files_of, sorted_out
from ._summary import Notes, in_groups, say_what_was_read


class Pictures(NamedTuple):
    """Images sorted by name.

    Attributes:
        images: `[images, height, width, channels]` bytes.
        names: paths, beginning with the root's name.
        labels: the folder of each image, relative to the root; "" for the root itself.
    """

    images: np.ndarray
    names: list[str]
    labels: list[str]


def read_pictures(
    root: str | Path,
    shape: tuple[int, int, int],
    *,
    resize: bool,
    invert: bool,
    gray_bits: int | None = None,
) -> Pictures:
    """Read all images in a folder or an archive. A line on stderr says what was read.

    Args:
        root: the folder or archive.
        shape: the `(height, width, channels)` of the result.
        resize: resize images to this height and width (which are equal). Otherwise images must
            already have this size.
        invert: invert images: 255 − value.
        gray_bits: number of bits of gray values; see `image_classes`.

    Raises:
        MamlaxError: if there are no images, or an image cannot be read or has another shape.
    """
    root = Path(root)
    settings = ImageSettings(
        shape[0] if resize else None, shape[2] == 3, invert, gray_bits=gray_bits
    )
    notes = Notes()
    with ExitStack() as opened:
        found = sorted_out(files_of(root, opened))
        files = found.images
        if not files:
            others = f", but {in_groups(found.left_out)}" if found.left_out else ""
            raise MamlaxError(f"{root} has no images in it{others}.")
        pixels = _pixels(files, shape, settings, notes)
    say_what_was_read([root], found, Contents((), (), (), notes.in_words(gray_bits)))
    paths = [PurePosixPath(file.name) for file in files]
    below = [path.parts[1:-1] if root.is_dir() else path.parts[:-1] for path in paths]
    return Pictures(pixels, [file.name for file in files], ["/".join(parts) for parts in below])


def decoded_pictures(
    contents: Sequence[bytes],
    shape: tuple[int, int, int],
    *,
    resize: bool,
    invert: bool,
    gray_bits: int | None = None,
    most_pixels: int | None = None,
) -> np.ndarray:
    """Like `read_pictures`, for files in memory: `[images, height, width, channels]` bytes.

    Raises:
        MamlaxError: as for `read_pictures`; or if all images together have more than `most_pixels`
            pixels. (A small file may claim any number of pixels.)
    """
    settings = ImageSettings(
        shape[0] if resize else None, shape[2] == 3, invert, gray_bits=gray_bits
    )
    root = Path("what was sent")
    files = [
        File(f"image {i}", "", len(one), root, lambda most, content=one: content[:most])
        for i, one in enumerate(contents, 1)
    ]
    total = 0
    for file in files:
        with opened_image(file) as image:
            total += image.width * image.height
            if most_pixels is not None and total > most_pixels:
                raise MamlaxError(
                    f"{file.name} has {image.width:,} × {image.height:,} pixels; at most "
                    f"{most_pixels:,} are read of all images together. Make them smaller."
                )
    return _pixels(files, shape, settings, Notes())


def _pixels(
    files: Sequence[File], shape: tuple[int, int, int], settings: ImageSettings, notes: Notes
) -> np.ndarray:
    """Bytes `[images, height, width, channels]`. Remarks are added to `notes`."""
    pixels = np.empty((len(files), *shape), np.uint8)
    order = sorted(range(len(files)), key=lambda row: files[row].offset)
    for row, image in decoded(files, order, settings):
        assert image is not None  # none is skipped
        _check_shape(files[row].name, image, shape)
        pixels[row] = image.pixels
        notes.add(row, files[row].name, image)
    for levels, again in notes.to_scale_again():
        for row, image in decoded(files, again, settings, levels):
            assert image is not None
            pixels[row] = image.pixels
    return pixels


def _check_shape(name: str, image: Decoded, shape: tuple[int, int, int]) -> None:
    if image.pixels.shape != shape:
        raise MamlaxError(
            f"{name} has shape {list(image.pixels.shape)}, but the model was trained on "
            f"{list(shape)}. Resize it."
        )
