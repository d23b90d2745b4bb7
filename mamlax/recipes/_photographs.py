"""Problems of photographs: mini-ImageNet, CIFAR-FS, FC100, and a user's own folder."""

from __future__ import annotations

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
        return image_splits(
            path,
            size=size,
            color=self.color,
            split_seed=self.split_seed,
            skip_broken=self.skip_broken,
        )
