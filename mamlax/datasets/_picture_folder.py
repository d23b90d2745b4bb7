"""Images of one task: a folder to adapt to, by class, or one to classify. Nothing is cached."""

from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from ._decoding import content_of, decode
from ._listing import by_name, files_of


class Pictures(NamedTuple):
    """Images in the order of their names.

    Attributes:
        images: `[images, height, width, channels]` bytes.
        names: paths, the root's own name in front.
        labels: the folder that each lies in, below the root; "" for the root itself.
    """

    images: np.ndarray
    names: list[str]
    labels: list[str]


def read_pictures(
    root: str | Path, shape: tuple[int, int, int], *, resize: bool, invert: bool
) -> Pictures:
    """Read every image under a folder or in an archive.

    Args:
        root: the folder or archive.
        shape: `(height, width, channels)` that is wanted.
        resize: to that height and width (which are the same); else images must have them.
        invert: 255 − value.

    Raises:
        MamlaxError: if there are no images, one cannot be read, or has another shape.
    """
    root = Path(root)
    with ExitStack() as opened:
        files = by_name(files_of(root, opened))
        if not files:
            raise MamlaxError(f"{root} has no images in it.")
        size = shape[0] if resize else None
        pixels = [decode(file, content_of(file), size, shape[2] == 3, invert) for file in files]
    for file, image in zip(files, pixels, strict=True):
        if image.shape != shape:
            raise MamlaxError(
                f"{file.name} has shape {list(image.shape)}, but the model was trained on "
                f"{list(shape)}. Resize it."
            )
    paths = [PurePosixPath(file.name) for file in files]
    below = [path.parts[1:-1] if root.is_dir() else path.parts[:-1] for path in paths]
    labels = ["/".join(parts) for parts in below]
    return Pictures(np.stack(pixels), [file.name for file in files], labels)
