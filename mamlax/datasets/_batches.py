"""Decode many image files at once, within a limit of memory."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .._cores import num_cores
from ._decoding import Decoded, ImageSettings, decode, opened
from ._gray_levels import Levels
from ._listing import BrokenFileError, File

if TYPE_CHECKING:
    from PIL.Image import Image

_FILES_AT_ONCE = 64
# of files and of their pixels; what is larger is decoded alone
_BYTES_AT_ONCE = 1 << 30
_BYTES_PER_PIXEL = 8  # four channels, before and after what is done to them


def decoded(
    files: Sequence[File],
    order: Sequence[int],
    settings: ImageSettings,
    levels: Levels | None = None,
) -> Iterator[tuple[int, Decoded | None]]:
    """`(row, image)` for the files of these rows, in this order; None for broken files to skip.

    Args:
        files: `[rows]`.
        order: rows to decode.
        settings: how images become arrays.
        levels: levels of gray values, if files do not say them. None: from each image's content.

    Raises:
        BrokenFileError: if an image cannot be read, and broken images are not skipped.
    """

    def decoded_one(row: int, image: "Image | None") -> Decoded | None:
        try:
            return image and decode(files[row], image, settings, levels)
        except BrokenFileError:
            if not settings.skip_broken:
                raise
            return None

    with ThreadPoolExecutor(min(num_cores(), 16)) as pool:
        for batch in _batches(files, order, settings):
            images = pool.map(decoded_one, batch.keys(), batch.values())
            yield from zip(batch, images, strict=True)


def _batches(
    files: Sequence[File], order: Sequence[int], settings: ImageSettings
) -> Iterator[dict[int, "Image | None"]]:
    """Row → image (only the header is decoded), for as many images as may be decoded at once."""
    batch, num_bytes = {}, 0
    for row in order:
        image, needed = None, 0
        try:
            image = opened(files[row])
            needed = files[row].num_bytes + image.width * image.height * _BYTES_PER_PIXEL
        except BrokenFileError:
            if not settings.skip_broken:
                raise
        if batch and (len(batch) == _FILES_AT_ONCE or num_bytes + needed > _BYTES_AT_ONCE):
            yield batch
            batch, num_bytes = {}, 0
        batch[row], num_bytes = image, num_bytes + needed
    if batch:
        yield batch
