"""How far predictions are from the truth on groups held out: what intervals are made from.

A residual is divided by √(1 + v), v being what the support leaves unknown of the prediction (see
`posterior_variance`): what is left, a score, is of one size for all rows. Groups are exchangeable,
rows within them are not. So a new group is covered as often as is asked for, in the mean over
groups, if scores are weighted such that each of K groups counts 1 / (K + 1), and what remains
stands for a score that may be of any size:

    |y − ŷ| ≤ s √(1 + v),     s the quantile of Σₖ Σᵢ δ(sₖᵢ) / ((K + 1) nₖ) + δ(∞) / (K + 1)

Lee, Barber & Willett, Distribution-free inference with hierarchical data, 2023 (arXiv 2306.06342).
There the model is fitted to other groups than those that it is calibrated on; here every group is
held out once, from a model of its own round, so that the promise holds about, not exactly. Where
rows have weights, they count so; what is held out together counts as one group; of several outputs
each is covered by itself. After inner steps, v is that of the features before them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError, warn
from .._files import Json
from ._container import Container

_NUM_LEVELS = 1_000
_SMALLEST = 1e-12
_LEAST_SHARE = 0.5
"""Of the groups held out that must have so many rows of support."""


INTERVALS_OF_NUMBERS = (
    "intervals are of numbers, and this model predicts classes: their probabilities say how sure "
    "it is."
)


class Scores(NamedTuple):
    """Of rows of groups held out, which were adapted to so many rows.

    Attributes:
        values: `[rows, outputs]`, signed.
        weights: `[rows]`, those of a group adding up to one.
        units: `[rows]`, what each was held out with.
    """

    values: np.ndarray
    weights: np.ndarray
    units: np.ndarray


class Calibration(NamedTuple):
    """Quantiles of scores.

    Attributes:
        sizes: numbers of support rows, rising.
        counts: of groups held out (those that are held out together count as one), of each size.
        quantiles: `[sizes, outputs, levels]`, of the magnitude of scores, for levels from 0 to 1.
        deviations: `[sizes, outputs]`, roots of their mean squares.
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    quantiles: np.ndarray
    deviations: np.ndarray

    @staticmethod
    def of(scores: Sequence[tuple[int, Scores]]) -> "Calibration | None":
        """From scores, and the number of support rows that they are of; None of none."""
        sizes = sorted({size for size, _ in scores})
        joined = [
            Scores(*map(np.concatenate, zip(*(one for n, one in scores if n == size), strict=True)))
            for size in sizes
        ]
        counts = [len(np.unique(one.units)) for one in joined]
        kept = [i for i, count in enumerate(counts) if count >= _LEAST_SHARE * max(counts)]
        if not kept:
            return None
        found = [_quantiles(joined[i]) for i in kept]
        return Calibration(
            tuple(sizes[i] for i in kept),
            tuple(counts[i] for i in kept),
            np.stack([quantiles for quantiles, _ in found]).astype(np.float32),
            np.stack([deviations for _, deviations in found]).astype(np.float32),
        )

    def standard_deviations(self, num_support: np.ndarray, variances: np.ndarray) -> np.ndarray:
        """Of rows about their predictions, `[rows, outputs]`.

        Args:
            num_support: `[rows]`, support rows that a prediction comes from.
            variances: `[rows]`, what they leave unknown; see the module.
        """
        found = self._between(num_support, self.deviations)
        return found * np.sqrt(1 + np.asarray(variances, np.float64))[:, None]

    def half_widths(
        self, num_support: np.ndarray, variances: np.ndarray, coverage: float
    ) -> np.ndarray:
        """Of intervals that rows lie in as often as is asked for, `[rows, outputs]`.

        Args:
            num_support: `[rows]`, support rows that a prediction comes from.
            variances: `[rows]`, what they leave unknown.
            coverage: share of the rows of a new group, in the mean over groups.

        Raises:
            MamlaxError: if `coverage` is no share.
        """
        if not 0 < coverage < 1:
            raise MamlaxError(
                f"coverage is the share of rows in their interval, between 0 and 1; got {coverage}."
            )
        counts = np.array(self.counts)
        levels = coverage * (counts + 1) / counts
        is_used = self._weights(num_support).any(axis=0)
        if (levels[is_used] > 1).any():
            fewest = int(counts[is_used].min())
            most = math.floor(1000 * fewest / (fewest + 1)) / 1000
            warn(
                f"{fewest} groups were held out to calibrate intervals by, which can promise a "
                f"coverage of {most:g} at most, not {coverage}: the intervals are of the largest "
                "errors that were seen. More groups would help.",
                stacklevel=3,
            )
        places = np.ceil(np.minimum(levels, 1) * _NUM_LEVELS - 1e-6).astype(int)
        at_level = np.stack(
            [one[:, place] for one, place in zip(self.quantiles, places, strict=True)]
        )
        found = self._between(num_support, at_level)
        return found * np.sqrt(1 + np.asarray(variances, np.float64))[:, None]

    def _between(self, num_support: np.ndarray, values: np.ndarray) -> np.ndarray:
        """`[rows, outputs]`, of positive values `[sizes, outputs]`: powers of 1 + rows between."""
        logs = np.log(np.maximum(values.astype(np.float64), _SMALLEST))
        return np.exp(self._weights(num_support) @ logs)

    def _weights(self, num_support: np.ndarray) -> np.ndarray:
        """`[rows, sizes]`, how much each size counts: those around a number, linear in its log."""
        at, known = np.log1p(num_support), np.log1p(self.sizes)
        return np.stack([np.interp(at, known, one) for one in np.eye(len(known))], axis=1)

    def state(self) -> Container:
        """For `from_state`."""
        header: Json = {"sizes": list(self.sizes), "counts": list(self.counts)}
        arrays = {_QUANTILES: self.quantiles, _DEVIATIONS: self.deviations}
        return Container({"calibration": header}, arrays)

    @staticmethod
    def from_state(content: Container, num_outputs: int) -> "Calibration | None":
        """What `state` gave; None of a file that holds none.

        Raises:
            ValueError: if arrays are of other shapes than the header says.
        """
        header = content.header.get("calibration")
        if header is None:
            return None
        sizes, counts = tuple(header["sizes"]), tuple(header["counts"])
        quantiles, deviations = (content.arrays[name] for name in (_QUANTILES, _DEVIATIONS))
        shape = (len(sizes), num_outputs)
        if quantiles.shape != (*shape, _NUM_LEVELS + 1) or deviations.shape != shape:
            raise ValueError(f"calibration of shape {quantiles.shape} and {deviations.shape}")
        numbers = np.concatenate([quantiles.ravel(), deviations.ravel()])
        if not np.isfinite(numbers).all() or (numbers < 0).any() or (np.diff(quantiles) < 0).any():
            raise ValueError("calibration that is no rising row of finite numbers")
        if len(counts) != len(sizes) or min(counts) < 1 or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"calibration on {counts} groups with {sizes} rows of support")
        return Calibration(sizes, counts, quantiles, deviations)


_QUANTILES, _DEVIATIONS = "calibration.quantiles", "calibration.deviations"


def _quantiles(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """`[outputs, levels]` and root mean squares `[outputs]`: units count alike."""
    _, unit = np.unique(scores.units, return_inverse=True)
    totals = np.bincount(unit, scores.weights)
    weights = scores.weights / totals[unit] / len(totals)
    levels = np.linspace(0, 1, _NUM_LEVELS + 1)
    found = []
    for values in np.abs(scores.values.astype(np.float64)).T:
        order = np.argsort(values)
        reached = np.cumsum(weights[order])
        places = np.searchsorted(reached, levels - 1e-9)
        found.append(values[order[np.minimum(places, len(order) - 1)]])
    return np.stack(found), np.sqrt(weights @ scores.values.astype(np.float64) ** 2)
