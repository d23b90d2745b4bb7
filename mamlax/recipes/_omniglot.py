"""The Omniglot problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._classification import ClassificationProblem


@dataclass(frozen=True, kw_only=True)
class OmniglotProblem(ClassificationProblem):
    """N-way K-shot classification of handwritten characters."""

    rotations: bool = True
    """Turn classes at random by quarter turns, in training and evaluation, as the paper does."""
    image_size: int = 28
    """Height and width that drawings are resized to."""
    split_seed: int = 1
    """Which random split of the characters."""

    def drawable(self, images: Any) -> Any:
        """Black on white again: ink is 1 in the data."""
        return 1 - super().drawable(images)

    def splits(self, data_dir: str | None) -> Any:
        """Find or download Omniglot."""
        from ..tasks._omniglot import omniglot

        return omniglot(data_dir, size=self.image_size, split_seed=self.split_seed)
