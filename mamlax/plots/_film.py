"""A film of episodes side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import optional
from .._files import replacing

_BORDER, _HEADER = 2, 14


def write_film(
    path: Path,
    panels: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    *,
    milliseconds: int,
) -> Path:
    """Write a GIF that repeats, atomically.

    Args:
        path: the file.
        panels: rows of columns of episodes, each `[time, height, width, 3]` bytes, all with the
            same shape.
        titles: the title above each panel.
        milliseconds: how long each frame is shown.
    """
    count = len(panels[0][0])
    frames = [
        _frame([[one[time] for one in row] for row in panels], titles) for time in range(count)
    ]
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=milliseconds,
            loop=0,
        )
    return path


def _frame(pictures: list[list[np.ndarray]], titles: Sequence[Sequence[str]]) -> Any:
    """One image of all panels, with a title above each."""
    Image, ImageDraw = (optional(f"PIL.{name}", "cli") for name in ("Image", "ImageDraw"))
    height, width = pictures[0][0].shape[:2]
    step_x, step_y = width + _BORDER, height + _BORDER + _HEADER
    frame = Image.new("RGB", (step_x * len(pictures[0]), step_y * len(pictures)), "white")
    pen = ImageDraw.Draw(frame)
    for row, (panels, words) in enumerate(zip(pictures, titles, strict=True)):
        for column, (picture, title) in enumerate(zip(panels, words, strict=True)):
            x, y = column * step_x, row * step_y
            pen.text((x + 4, y + 1), title, fill="black")
            frame.paste(Image.fromarray(picture), (x, y + _HEADER))
    return frame.quantize(64)
