"""Convert an image file to an array of bytes."""

import functools
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._extras import optional
from ._gray_levels import Levels, is_negative, is_wide, levels_of, on_screens, stated_levels
from ._image_kinds import FORMATS
from ._listing import BrokenFileError, File, reason

if TYPE_CHECKING:
    from PIL.Image import Image

# more than the largest picture that Pillow decodes; a few bytes of a zip may claim any size
_MOST_BYTES = 1 << 30
_ORIENTATION = 0x0112


class ImageSettings(NamedTuple):
    """How images become arrays; see `image_classes`."""

    size: int | None
    color: bool = True
    invert: bool = False
    skip_broken: bool = False
    gray_bits: int | None = None


class Decoded(NamedTuple):
    """An image as bytes.

    Attributes:
        pixels: `[height, width, channels]`.
        levels: levels of gray values found in the content, if the file does not say them.
        notes: remarks on how it was read.
    """

    pixels: np.ndarray
    levels: Levels | None
    notes: tuple[str, ...]


def content_of(file: File) -> bytes:
    """The content of the file. A `BrokenFileError` names the file if it cannot be read."""
    if file.num_bytes > _MOST_BYTES:
        raise unreadable(file, f"it has {file.num_bytes:,} bytes, at most {_MOST_BYTES:,} are read")
    try:
        content = file.read(file.num_bytes + 1)
    except OSError as error:
        raise unreadable(file, reason(error)) from error
    if len(content) > file.num_bytes:
        raise unreadable(file, f"it has more than its {file.num_bytes:,} bytes; is it written now?")
    return content


def opened(file: File) -> "Image":
    """The image, of which only the header is decoded so far."""
    pillow = optional("PIL.Image", "cli")
    try:
        return pillow.open(io.BytesIO(content_of(file)), formats=_formats())
    except BrokenFileError:
        raise
    except optional("PIL", "cli").UnidentifiedImageError as error:
        raise unreadable(file, f"it is none of {', '.join(_formats())}") from error
    except Exception as error:  # decoders raise whatever damage makes of their input
        raise unreadable(file, reason(error)) from error


def decode(
    file: File, image: "Image", settings: ImageSettings, levels: Levels | None = None
) -> Decoded:
    """The pixels, upright, resized to a square of `size` unless that is None.

    Args:
        file: the file, named in errors.
        image: the result of `opened`.
        settings: how the image becomes an array.
        levels: levels of gray values, if the file does not say them. None: from its content.
    """
    pillow = optional("PIL.Image", "cli")
    size, color, invert, *_ = settings
    try:
        with image:
            notes = [_SEVERAL] if _has_several(image) else []
            found, is_deep = None, ";16" in str(getattr(image, "tile", ""))
            image.load()
            if is_wide(image):
                gray, found = _gray_of(image, settings.gray_bits, levels)
                image = _upright(pillow.fromarray(gray), image)
            else:
                image = _upright(image, image)
                if is_deep:
                    _in_upper_bits(image)
                    if np.max(image.convert("RGB").getextrema()) < _TWELVE_OF_SIXTEEN:
                        notes.append(_DARK)
            image = _in_channels(image, color)
            if size is not None:
                image = image.resize((size, size), pillow.Resampling.LANCZOS)
            pixels = np.asarray(image)
    except Exception as error:  # decoders raise whatever damage makes of their input
        raise unreadable(file, reason(error)) from error
    pixels = pixels if color else pixels[:, :, None]
    return Decoded(255 - pixels if invert else pixels, found, tuple(notes))


def unreadable(file: File, why: str) -> BrokenFileError:
    """The error that names an image."""
    return BrokenFileError(
        f"the image {file.name} cannot be read ({why}). Mend or remove it; it is of {file.root}."
    )


_SEVERAL = "hold several pictures, of which the first is taken"
_DARK = "have 16 bits a color and use less than 12 of them, which leaves them nearly black"
_TWELVE_OF_SIXTEEN = 16  # in the upper eight bits, which are what Pillow gives of colors
_LINEAR_GAMMA = 1.0


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats of `FORMATS` that this Pillow supports."""
    pillow = optional("PIL.Image", "cli")
    pillow.init()
    return tuple(name for name in FORMATS if name in pillow.OPEN)


def _has_several(image: "Image") -> bool:
    # in a phone's MPO the others are previews and depths of the first
    return image.format != "MPO" and getattr(image, "is_animated", False)


def _gray_of(
    image: "Image", bits: int | None, levels: Levels | None
) -> tuple[np.ndarray, Levels | None]:
    """Wide gray values as bytes, and their levels if the file does not say them."""
    values, found = np.asarray(image), None
    scale = stated_levels(image)
    if scale is None:
        found = levels_of(values)
        if bits is not None and found.bits:
            if found.bits > bits:
                raise ValueError(f"it has values of {found.bits} bits, more than gray_bits={bits}")
            found = found._replace(bits=bits)
        scale = levels or found
    gray = scale.in_bytes(values, are_light=_is_linear(image))
    gray = 255 - gray if is_negative(image) else gray
    return np.where(values == image.info.get("transparency"), np.uint8(255), gray), found


def _upright(image: "Image", original: "Image") -> "Image":
    """The image rotated upright, as the camera recorded (EXIF) in `original`."""
    try:
        orientation = original.getexif().get(_ORIENTATION)
    except Exception:  # what is damaged there is not the picture
        return image
    turn = optional("PIL.Image", "cli").Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _in_upper_bits(image: "Image") -> None:
    """Give the transparent color by its upper eight bits, as Pillow gives colors of 16 bits."""
    color = image.info.get("transparency")
    if isinstance(color, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in color)


def _in_channels(image: "Image", color: bool) -> "Image":
    """`convert` to three channels or one, in cases where Pillow's would lose the picture."""
    pillow = optional("PIL.Image", "cli")
    is_linear = _is_linear(image)
    if "A" in image.getbands() or "transparency" in image.info:
        # black strokes on nothing would become black on black
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if color else "L")
    return image.point(_AS_ON_SCREENS * len(image.getbands())) if is_linear else image


def _is_linear(image: "Image") -> bool:
    """Whether a PNG says that its values are amounts of light, and nothing else."""
    gamma, others = image.info.get("gamma"), {"srgb", "icc_profile"} & image.info.keys()
    return gamma is not None and not others and abs(gamma - _LINEAR_GAMMA) < 0.01


_AS_ON_SCREENS = on_screens(np.arange(256) / 255).tolist()
