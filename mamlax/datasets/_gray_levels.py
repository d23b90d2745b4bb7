"""Convert gray values of more than eight bits, or floating-point values, to bytes.

A 12-bit camera writes 16-bit files, in which everything is dark; a file of floats may use 0 to 1.
If the file does not say its range, it is taken from the content: the fewest bits that hold its
values.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


class Levels(NamedTuple):
    """The range of gray values from black to white.

    Attributes:
        bits: bits per value. 0: values are floats up to 1.
        is_signed: whether zero is in the middle.
    """

    bits: int
    is_signed: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """The value of black, and the value just above white."""
        if not self.bits:
            return (-1.0 if self.is_signed else 0.0), 1.0
        low = -(2.0 ** (self.bits - 1)) if self.is_signed else 0.0
        return low, low + 2.0**self.bits

    def in_bytes(self, values: np.ndarray, *, are_light: bool = False) -> np.ndarray:
        """Values between these bounds as bytes. `are_light`: values are amounts of light."""
        (low, high), values = self.bounds, values.astype(np.float64)
        if are_light:
            white = high - 1 if self.bits else high
            return on_screens((values - low) / (white - low))
        shares = (values - low) / (high - low)
        levels = np.floor(shares * 256) if self.bits else np.round(shares * 255)
        return levels.astype(np.uint8)


def on_screens(light: np.ndarray) -> np.ndarray:
    """Bytes (sRGB) with which a screen shows amounts of light from 0 to 1."""
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * shown).astype(np.uint8)


def is_wide(image: "Image") -> bool:
    """Whether the image is gray with more than eight bits."""
    return image.mode.startswith(("I", "F"))


def stated_levels(image: "Image") -> Levels | None:
    """The levels of gray values that the file states; None if it only says how it stores them."""
    if image.mode.startswith("I") and image.format in ("PPM", "JPEG2000"):
        return Levels(16)  # Pillow has scaled them to these
    (bits, *_) = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (0,))
    return Levels(bits) if 8 < bits < 16 else None


def is_negative(image: "Image") -> bool:
    """Whether zero means white in a TIFF of wide values. (Pillow does not convert these.)"""
    return getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def levels_of(values: np.ndarray) -> Levels:
    """The smallest levels, among those that cameras have, that hold all values.

    Raises:
        ValueError: if a value is not finite, or too large.
    """
    least, most = float(values.min()), float(values.max())
    if not np.isfinite([least, most]).all():
        raise ValueError("it has values that are not finite")
    is_signed = least < 0
    if values.dtype.kind == "f" and max(-least, most) <= 1:
        return Levels(0, is_signed)
    for bits in _DEPTHS:
        low, high = Levels(bits, is_signed).bounds
        if low <= least and most < high:
            return Levels(bits, is_signed)
    raise ValueError(f"it has values from {least:.3g} to {most:.3g}")


def joined(found: Iterable[Levels]) -> Levels:
    """The smallest levels that hold all values of the given levels."""
    found = {*found}
    is_signed = any(levels.is_signed for levels in found)
    # one bit more, for the sign
    bits = max(n + (is_signed and not signed and n > 0) for n, signed in found)
    return Levels(bits, is_signed)
