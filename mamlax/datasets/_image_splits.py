"""Any folder, archive or `.npz` of classes, split into meta-training, validation and meta-test."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np

from .._errors import MamlaxError
from ..tasks._class_arrays import ClassArrays, Splits, in_splits
from ._cache import parent_of
from ._images import ImageSettings, check_size, no_images, offering_to_skip, read_classes
from ._listing import File, by_name, files_of, reason
from ._progress import Progress
from ._split_layout import SplitClasses, check_fractions, classes_by_path, drawn_splits


def image_splits(
    path: str | Path,
    *,
    size: int | None = None,
    color: bool = True,
    fractions: Sequence[float] = (0.64, 0.16, 0.2),
    split_seed: int = 1,
    skip_broken: bool = False,
) -> Splits:
    """Your own images, split by class.

    A folder, or a zip or tar archive of one, laid out as

    - `{train,validation,test}/CLASS/*.png` (or `val`; `.jpg` and other formats as well): the splits
      are as the folders say, and no class may be in two of them;
    - `CLASS/*.png`: classes are split at random, by sorting them by a hash of seed and name, the
      same everywhere, always.

    Or an `.npz` of arrays, one per class, `[examples, ...]`, named `CLASS` or `train/CLASS`,
    `validation/CLASS`, `test/CLASS`, of any examples: bytes are taken for pixels.

    Images are read as by `image_classes`, and kept like there as memory maps.

    Args:
        path: the folder, archive or `.npz`.
        size: height and width to resize to, whatever the aspect ratio, in pixels. None: as they
            are, all of one size.
        color: three channels, or one of brightness.
        fractions: shares of classes for meta-training, validation and meta-test, where folders do
            not say.
        split_seed: which random split, where folders do not say.
        skip_broken: leave out images that cannot be read; a line on stderr names them.

    Returns:
        `Splits(train, validation, test)`.

    Raises:
        MamlaxError: if data are missing, damaged or laid out otherwise, a class is in two splits,
            an image cannot be read, images differ in size where `size` is None, or `fractions` are
            none.

    Example:
        >>> import pathlib, tempfile, numpy as np, mamlax
        >>> classes = {f"class {c}": np.zeros((20, 8, 8, 3), np.uint8) for c in range(10)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "classes.npz")
        ...     np.savez(path, **classes)
        ...     splits = mamlax.image_splits(path, fractions=(0.6, 0.2, 0.2))
        >>> [len(split.names) for split in splits]
        [6, 2, 2]
    """
    check_size(size)
    check_fractions(fractions)
    path = Path(path).expanduser()
    if path.suffix.lower() == ".npz":
        if skip_broken or size is not None:
            raise MamlaxError(
                f"size and skip_broken are for image files, and {path} holds arrays, which are "
                "taken as they are. Leave these out."
            )
        return _arrays_of(path, fractions, split_seed)
    with ExitStack() as opened, offering_to_skip():
        files = by_name(files_of(path, opened))
        if not files:
            raise no_images(path)
        found = classes_by_path(str(path), (_folders_and_file(path, file) for file in files))
        splits = _split(str(path), found, fractions, split_seed)
        settings = ImageSettings(size, color, skip_broken=skip_broken)
        with Progress(f"reading {path.name}") as progress:
            data = read_classes(splits.joined(), settings, parent_of(path), progress)
    return in_splits(data, splits.counts())


def _folders_and_file(root: Path, file: File) -> tuple[tuple[str, ...], File]:
    folders = PurePosixPath(file.name).parent.parts
    return (folders[1:] if root.is_dir() else folders), file  # a folder's name is in front


def _split(
    source: str, found: SplitClasses | dict, fractions: Sequence[float], split_seed: int
) -> SplitClasses:
    if isinstance(found, SplitClasses):
        return found
    return drawn_splits(source, found, fractions, split_seed)


def _arrays_of(path: Path, fractions: Sequence[float], split_seed: int) -> Splits:
    arrays = {}
    try:
        # opened here: np.load leaves a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            for name in stored.files:
                arrays[name] = stored[name]
    except FileNotFoundError as error:
        raise MamlaxError(f"{path} does not exist: expected an .npz of classes.") from error
    except Exception as error:  # damage raises whatever comes of it
        raise MamlaxError(
            f"{path} cannot be read ({reason(error)}). Expected an .npz of plain arrays, one "
            "[examples, ...] per class: np.savez(path, **{name: examples, ...})."
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise MamlaxError(
                f"{path} has {name!r} of dtype {array.dtype}, expected numbers [examples, ...]."
            )
    if not arrays:
        raise MamlaxError(f"{path} has no arrays, expected one [examples, ...] per class.")
    items = ((tuple(name.strip("/").split("/")), array) for name, array in arrays.items())
    splits = _split(str(path), classes_by_path(str(path), items), fractions, split_seed)
    data = ClassArrays.of({name: array for name, (array, *_) in splits.joined().items()})
    return in_splits(data, splits.counts())
