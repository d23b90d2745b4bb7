"""The images of each classification problem."""

import itertools
from pathlib import Path

import numpy as np

from ..._errors import MamlaxError
from ...config._problems import (
    CifarProblem,
    ClassificationProblem,
    FolderProblem,
    MiniImageNetProblem,
    OmniglotProblem,
)
from ...datasets import _cifar, _image_splits, _mini_imagenet, _omniglot
from ...tasks._class_arrays import Splits


def splits_of(problem: ClassificationProblem, data_dir: str | None) -> Splits:
    """Read the images of a problem, split into classes for training, validation and test.

    Args:
        problem: which images, and how to read them.
        data_dir: a folder with one folder per data set; see `omniglot`.

    Raises:
        MamlaxError: if there are none, or too few for the tasks.
    """
    match problem:
        case OmniglotProblem(image_size=size, split=split, split_seed=split_seed):
            return _omniglot.omniglot(data_dir, size=size, split=split, split_seed=split_seed)
        case MiniImageNetProblem(image_size=size, skip_broken=skip_broken):
            return _mini_imagenet.mini_imagenet(data_dir, size=size, skip_broken=skip_broken)
        case CifarProblem(split="cifar-fs"):
            return _cifar.cifar_fs(data_dir)
        case CifarProblem():
            return _cifar.fc100(data_dir)
        case FolderProblem():
            return _splits_of_folder(problem, data_dir)
    raise TypeError(f"no images are known for {type(problem).__name__}.")


def _splits_of_folder(problem: FolderProblem, data_dir: str | None) -> Splits:
    """The user's images; a relative path may also be relative to the data folder."""
    if problem.images is None:
        raise MamlaxError(
            "this recipe needs your images: give --images FOLDER, with a folder for each class in "
            "it."
        )
    path = Path(problem.images).expanduser()
    if not path.exists() and data_dir is not None:
        path = Path(data_dir) / problem.images
    splits = _image_splits.image_splits(
        path,
        size=None if path.suffix == ".npz" else problem.image_size,
        color=problem.color,
        split_seed=problem.split_seed,
        skip_broken=problem.skip_broken,
        gray_bits=problem.gray_bits,
        repeated_names=problem.repeated_names,
    )
    _check(problem, path, splits)
    return splits


def _check(problem: FolderProblem, path: Path, splits: Splits) -> None:
    """Check that there are enough classes and images; messages name flags of the command line."""
    test_ways = problem.test_ways or problem.ways
    ways = {"train": problem.ways, "validation": test_ways, "test": test_ways}
    num_query = problem.shots if problem.num_query is None else problem.num_query
    counts = {name: len(split.names) for name, split in splits._asdict().items()}
    if any(counts[name] < number for name, number in ways.items()):
        most = min(counts.values())
        fewer = f"--ways {most}, " if most > 1 else ""
        enough = next(n for n in itertools.count(3) if round(0.16 * n) >= max(ways.values()))
        taken = f"{problem.ways} classes (--ways)"
        if test_ways != problem.ways:
            fewer = fewer.replace("--ways", "--ways and --test-ways")
            taken += f" in training and {test_ways} after it (--test-ways)"
        raise MamlaxError(
            f"{path} has {sum(counts.values())} classes: {counts['train']} to train on, "
            f"{counts['validation']} to choose by and {counts['test']} to be judged on, and a "
            f"task takes {taken}, all from one of these. Give {fewer}more classes, or deal "
            "them out yourself into folders train/, validation/ and test/. "
            "(Without such folders they are dealt out at random, 64:16:20, so that "
            f"{max(ways.values())} ways take {enough} classes.)"
        )
    needed = {"train": (problem.train_shots or problem.shots) + num_query}
    for name, split in splits._asdict().items():
        wanted = needed.get(name, problem.shots + num_query)
        smallest = int(np.argmin(split.sizes))
        if (size := int(split.sizes[smallest])) < wanted:
            fewer = f"--num-query {size - problem.shots}, " if size > problem.shots else ""
            short = int(np.sum(split.sizes < wanted))
            others = f" ({short} classes have too few)" if short > 1 else ""
            raise MamlaxError(
                f"the class {split.names[smallest]!r} of {path} has {size} images{others}, but "
                f"a task takes {wanted} of each class: {wanted - num_query} to adapt to "
                f"(--shots) and {num_query} to be judged on (--num-query). Give {fewer}fewer "
                "--shots, or more images, or move such folders away."
            )
