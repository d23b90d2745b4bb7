"""Any folder, archive or `.npz` of classes, split into meta-training, validation and meta-test."""

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
    """Your own images, split by class.

    A folder, or a zip or tar archive of one, laid out as

    - `{train,validation,test}/CLASS/*.png` (`Training`, `val`, `seg_test` and the like will do, and
      `.jpg` and other formats): the splits are as the folders say, and no class may be in two of
      them;
    - `CLASS/*.png`: classes are split at random, by sorting them by a hash of seed and name, the
      same everywhere, always.

    Or an `.npz` of arrays, one per class, `[examples, ...]`, named `CLASS` or `train/CLASS`,
    `validation/CLASS`, `test/CLASS`, of any examples: bytes are taken for pixels.

    Names are compared without case, forms of Unicode, and `_` or `-` for a space: what may be one
    class in two folders is refused, because its images could be trained on and judged by at once.

    Images are read as by `image_classes`, and kept like there as memory maps; a line on stderr says
    what was read and what was not.

    Args:
        path: the folder, archive or `.npz`.
        size: height and width to resize to, whatever the aspect ratio, in pixels. None: as they
            are, all of one size.
        color: three channels, or one of brightness.
        fractions: shares of classes for meta-training, validation and meta-test, where folders do
            not say.
        split_seed: which random split, where folders do not say.
        skip_broken: leave out images that cannot be read.
        gray_bits: of gray values in files of 16 bits or more that do not say how many they use; see
            `image_classes`.
        repeated_names: folders of one name below different ones are different classes, as
            `Greek/alpha` and `Coptic/alpha` are. Else they are refused.

    Returns:
        `Splits(train, validation, test)`.

    Raises:
        MamlaxError: if data are missing, damaged or laid out otherwise, a class is in two splits or
            may be in two folders, an image cannot be read, images differ in size where `size` is
            None, or `fractions` are none.

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
