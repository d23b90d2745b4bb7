"""One image file to one array of bytes."""

import io
from typing import TYPE_CHECKING

import numpy as np

from .._extras import optional
from ._listing import BrokenFileError, File, reason

if TYPE_CHECKING:
    from PIL.Image import Image

# named, because some that Pillow knows are programs to run (EPS, by Ghostscript)
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
# more than the largest picture that Pillow decodes; a few bytes of a zip may claim any size
_MOST_BYTES = 1 << 30


def content_of(file: File) -> bytes:
    """What the file holds; a `BrokenFileError` names it where that cannot be read."""
    if file.num_bytes > _MOST_BYTES:
        raise unreadable(file, f"it has {file.num_bytes:,} bytes, at most {_MOST_BYTES:,} are read")
    try:
        return file.read()
    except OSError as error:
        raise unreadable(file, reason(error)) from error


def decode(file: File, content: bytes, size: int | None, color: bool, invert: bool) -> np.ndarray:
    """Pixels `[height, width, channels]`, resized to a square of `size` unless that is None."""
    pillow = optional("PIL.Image", "cli")
    try:
        with pillow.open(io.BytesIO(content), formats=_FORMATS) as image:
            image = _in_bytes(image, color)
            if size is not None:
                image = image.resize((size, size), pillow.Resampling.LANCZOS)
            pixels = np.asarray(image)
    except optional("PIL", "cli").UnidentifiedImageError as error:
        raise unreadable(file, f"it is none of {', '.join(_FORMATS)}") from error
    except Exception as error:  # decoders raise whatever damage makes of their input
        raise unreadable(file, reason(error)) from error
    pixels = pixels if color else pixels[:, :, None]
    return 255 - pixels if invert else pixels


def unreadable(file: File, why: str) -> BrokenFileError:
    """The error that names an image."""
    return BrokenFileError(
        f"the image {file.name} cannot be read ({why}). Mend or remove it; it is of {file.root}."
    )


def _in_bytes(image: "Image", color: bool) -> "Image":
    """`convert` to three channels or one, where it would lose the picture."""
    pillow = optional("PIL.Image", "cli")
    if image.mode.startswith("I"):  # 16 bits: all above 255 would become white
        image = pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        # black strokes on nothing would become black on black
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    return image.convert("RGB" if color else "L")
