"""Split a folder, archive or `.npz` of classes into meta-training, validation and meta-test."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from .._errors import MamlaxError
from ..records._arrays import unpacked
from ..tasks._class_arrays import ClassArrays, Splits, in_splits
from ._cache import parent_of
from ._decoding import ImageSettings
from ._images import check_bits, check_size, no_images, offering_to_skip, read_classes
from ._listing import File, check_regular, files_of, reason, sorted_out
from ._progress import Progress
from ._split_layout import SplitClasses, check_fractions, classes_by_path, drawn_splits
from ._summary import say_what_was_read


def image_splits(
    path: str | Path,
    *,
    size: int | None = None,
    color: bool = True,
    fractions: Sequence[float] = (0.64, 0.16, 0.2),
    split_seed: int = 1,
    skip_broken: bool = False,
    gray_bits: int | None = None,
    repeated_names: bool = False,
) -> Splits:
    """Read your own images, split by class.

    The images are in a folder, or a zip or tar archive of a folder, with the layout

    - `{train,validation,test}/CLASS/*.png` (also `Training`, `val`, `seg_test` and similar names,
      and `.jpg` and other formats): the folders define the splits. A class may not be in two
      splits.
    - `CLASS/*.png`: classes are split at random, by sorting them by a hash of seed and name. The
      split is the same on every machine.

    Or in an `.npz` with one array per class, `[examples, ...]`, named `CLASS`, or `train/CLASS`,
    `validation/CLASS` and `test/CLASS`. The examples may be anything; bytes are treated as pixels.

    Names are compared without case, Unicode forms, and `_` or `-` for a space. If two folders may
    be the same class, they are refused, because its images could be in training and test at once.

    Images are read as by `image_classes`, and stored as memory maps as there. A line on stderr says
    what was read and what was not.

    Args:
        path: the folder, archive or `.npz`.
        size: height and width to resize to, in pixels, whatever the aspect ratio. None: images are
            not resized; all must have one size.
        color: read three color channels; False: one channel of brightness.
        fractions: shares of the classes for meta-training, validation and meta-test, if folders do
            not define the splits.
        split_seed: seed of the random split, if folders do not define the splits.
        skip_broken: leave out images that cannot be read.
        gray_bits: number of bits of gray values, for files of 16 bits or more that do not say it;
            see `image_classes`.
        repeated_names: treat folders with the same name in different folders as different classes,
            e.g. `Greek/alpha` and `Coptic/alpha`. Otherwise they are refused.

    Returns:
        `Splits(train, validation, test)`.

    Raises:
        MamlaxError: if data are missing, damaged or have another layout, a class is in two splits
            or may be in two folders, an image cannot be read, images differ in size and `size` is
            None, or `fractions` are not valid.

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
    check_bits(gray_bits)
    check_fractions(fractions)
    path = Path(path).expanduser()
    if path.suffix.lower() == ".npz":
        if skip_broken or size is not None or gray_bits is not None:
            raise MamlaxError(
                f"size, gray_bits and skip_broken are for image files, and {path} holds arrays, "
                "which are taken as they are. Leave these out."
            )
        classes = _arrays_of(path, repeated_names)
        splits = _split(str(path), classes, fractions, split_seed)
        data = ClassArrays.of({name: array for name, (array, *_) in splits.joined().items()})
        return in_splits(data, splits.counts())
    with ExitStack() as opened, offering_to_skip():
        found = sorted_out(files_of(path, opened))
        if not found.images:
            raise no_images(path, left_out=found.left_out)
        items = [_folders_and_file(path, file) for file in found.images]
        classes = classes_by_path(str(path), items, repeated_names=repeated_names)
        splits = _split(str(path), classes, fractions, split_seed)
        settings = ImageSettings(size, color, skip_broken=skip_broken, gray_bits=gray_bits)
        with Progress(f"reading {path.name}") as progress:
            data, contents = read_classes(splits.joined(), settings, parent_of(path), progress)
    say_what_was_read([path], found, contents)
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


def _arrays_of(path: Path, repeated_names: bool) -> SplitClasses | dict:
    if path.exists():
        check_regular(path)
    try:
        with path.open("rb") as file:
            arrays = unpacked(file, path.stat().st_size)
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
    return classes_by_path(str(path), items, repeated_names=repeated_names)
