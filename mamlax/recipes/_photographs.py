"""Problems of photographs: mini-ImageNet, CIFAR-FS, FC100, and a user's own folder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .._errors import MamlaxError
from ._classification import ClassificationProblem


@dataclass(frozen=True, kw_only=True)
class MiniImageNetProblem(ClassificationProblem):
    """N-way K-shot classification on the Ravi & Larochelle split, where you have the images."""

    downsample: Literal["stride", "pool"] = "pool"
    """conv4: pooling (the paper's for these images), or stride 2 and a spatial mean."""
    channels: int = 32
    """Filters per convolution (paper: 32)."""
    num_query: int | None = 15
    """Query examples per class."""
    image_size: int = 84
    """Height and width that images are resized to."""
    skip_broken: bool = False
    """Leave out images that cannot be read, instead of stopping."""

    def splits(self, data_dir: str | None) -> Any:
        """Find the images; they are never downloaded."""
        from ..tasks._mini_imagenet import mini_imagenet

        return mini_imagenet(data_dir, size=self.image_size, skip_broken=self.skip_broken)


@dataclass(frozen=True, kw_only=True)
class CifarProblem(ClassificationProblem):
    """N-way K-shot classification of the classes of CIFAR-100, in one of two splits."""

    split: Literal["cifar-fs", "fc100"] = "cifar-fs"
    """cifar-fs: classes drawn at random; fc100: by superclass, harder."""
    downsample: Literal["stride", "pool"] = "pool"
    """conv4: pooling, or stride 2 and a spatial mean."""
    channels: int = 32
    """Filters per convolution (32 in the networks of the published numbers)."""
    num_query: int | None = 15
    """Query examples per class."""

    def splits(self, data_dir: str | None) -> Any:
        """Find or download CIFAR-100."""
        from ..tasks._cifar import cifar_fs, fc100

        return cifar_fs(data_dir) if self.split == "cifar-fs" else fc100(data_dir)


@dataclass(frozen=True, kw_only=True)
class FolderProblem(ClassificationProblem):
    """N-way K-shot classification of your own images."""

    images: str | None = None
    """A folder or archive with a folder per class (or train/, validation/ and test/ with these), or
    an .npz of arrays by class; see the page on data."""
    downsample: Literal["stride", "pool"] = "pool"
    """conv4: pooling, or stride 2 and a spatial mean."""
    num_query: int | None = 5
    """Query examples per class."""
    image_size: int | None = 84
    """Height and width that images are resized to; None where all have one size."""
    color: bool = True
    """Read three channels, or one."""
    split_seed: int = 1
    """Which random split of the classes, where the folder has none."""
    skip_broken: bool = False
    """Leave out images that cannot be read, instead of stopping."""

    def splits(self, data_dir: str | None) -> Any:
        """Read the images; a relative path is looked for under the data folder too."""
        from ..tasks._image_splits import image_splits

        if self.images is None:
            raise MamlaxError(
                "this recipe needs your images: give --images FOLDER, with a folder for each class "
                "in it."
            )
        path = Path(self.images).expanduser()
        if not path.exists() and data_dir is not None:
            path = Path(data_dir) / self.images
        size = None if path.suffix == ".npz" else self.image_size
        splits = image_splits(
            path,
            size=size,
            color=self.color,
            split_seed=self.split_seed,
            skip_broken=self.skip_broken,
        )
        self._check(path, splits)
        return splits

    def _check(self, path: Path, splits: Any) -> None:
        """Refuse too few classes, or images of a class, in words of the command line."""
        import numpy as np

        test_ways = self.test_ways or self.ways
        ways = {"train": self.ways, "validation": test_ways, "test": test_ways}
        num_query = self.shots if self.num_query is None else self.num_query
        counts = {name: len(split.names) for name, split in splits._asdict().items()}
        if any(counts[name] < number for name, number in ways.items()):
            most = min(counts.values())
            fewer = f"--ways {most}, " if most > 1 else ""
            enough = next(n for n in itertools.count(3) if round(0.16 * n) >= max(ways.values()))
            taken = f"{self.ways} classes (--ways)"
            if test_ways != self.ways:
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
        needed = {"train": (self.train_shots or self.shots) + num_query}
        for name, split in splits._asdict().items():
            wanted = needed.get(name, self.shots + num_query)
            smallest = int(np.argmin(split.sizes))
            if (size := int(split.sizes[smallest])) < wanted:
                fewer = f"--num-query {size - self.shots}, " if size > self.shots else ""
                short = int(np.sum(split.sizes < wanted))
                others = f" ({short} classes have too few)" if short > 1 else ""
                raise MamlaxError(
                    f"the class {split.names[smallest]!r} of {path} has {size} images{others}, but "
                    f"a task takes {wanted} of each class: {wanted - num_query} to adapt to "
                    f"(--shots) and {num_query} to be judged on (--num-query). Give {fewer}fewer "
                    "--shots, or more images, or move such folders away."
                )
