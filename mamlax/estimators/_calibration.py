"""How far predictions are from the truth on groups held out: what intervals are made from.

A residual is divided by √(1 + v), v being what the support leaves unknown of the prediction (see
`posterior_variance`): what is left, a score, is of one size for all rows, and an interval is

    |y − ŷ| ≤ s √(1 + v)

Which s covers so many rows of a new group, in the mean over groups? Every group is taken for the
new one in turn. With qₖ(a), the quantile at the level a of the scores of all groups but k (each
counts alike, however many rows it has), and Fₖ, the distribution of the scores of k:

    s = medianₖ qₖ(a),     a the lowest level at which meanₖ Fₖ(qₖ(a)) is the coverage

If groups differ as wholes, a is larger than the coverage, by up to 1 / K of it; if only rows do, it
is not. Lee, Barber & Willett (arXiv 2306.06342) prove a lower bound by taking the larger level
always: for nine groups and 90 %, the largest score of all. Here the coverage is met on average
instead. Every group is held out once, from a model of its own round, so the final model, which has
learned from all of them, does a little better. Where rows have weights, they count so; what is held
out together counts as one group; of several outputs each is covered by itself. After inner steps, v
is that of the features before them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._errors import MamlaxError, warn
from .._files import Json
from ._container import Container

_NUM_LEVELS = 1_000
_SMALLEST = 1e-12
_ROUNDING = 1e-6
_LEAST_SHARE = 0.5
"""Of the groups held out that must have so many rows of support."""
_MANY_GROUPS = 1_000
"""Of so many, leaving one out changes levels by less than a thousandth."""


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
        reached: `[sizes, outputs]`, the share of a group's scores that are at most the largest of
            the others', in the mean over groups; 1 of very many groups.
        quantiles: `[sizes, outputs, levels]`, the magnitude of scores that covers these shares of a
            new group, for shares from 0 to 1.
        deviations: `[sizes, outputs]`, roots of their mean squares.
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    reached: np.ndarray
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
        kept = [
            i
            for i, count in enumerate(counts)
            if count >= _LEAST_SHARE * max(counts) and np.isfinite(joined[i].values).all()
        ]
        if not kept:
            return None
        found = [_of_size(joined[i]) for i in kept]
        return Calibration(
            tuple(sizes[i] for i in kept),
            tuple(counts[i] for i in kept),
            *(np.stack(each).astype(np.float32) for each in zip(*found, strict=True)),
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
        is_used = self._weights(num_support).any(axis=0)
        reached = float(self.reached[is_used].min(initial=1.0))
        if coverage > reached + _ROUNDING:
            fewest = int(np.array(self.counts)[is_used].min())
            warn(
                f"coverage={coverage}: {fewest} groups were held out to calibrate intervals by; "
                f"the largest error of all others covers {reached:.3g} of the rows of one. The "
                "intervals are of the largest errors that were seen, which may be too narrow. More "
                "groups would help.",
                stacklevel=4,
            )
        at_level = self.quantiles[..., int(np.ceil(coverage * _NUM_LEVELS - _ROUNDING))]
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
        arrays = (self.reached, self.quantiles, self.deviations)
        return Container({"calibration": header}, dict(zip(_ARRAYS, arrays, strict=True)))

    @staticmethod
    def from_state(content: Container, num_outputs: int) -> "Calibration | None":
        """What `state` gave; None of a file that holds none.

        Raises:
            ValueError: if arrays are of other shapes than the header says.
        """
        header = content.header.get("calibration")
        if header is None or not all(name in content.arrays for name in _ARRAYS):
            return None
        sizes, counts = tuple(header["sizes"]), tuple(header["counts"])
        reached, quantiles, deviations = (content.arrays[name] for name in _ARRAYS)
        shape = (len(sizes), num_outputs)
        shapes = (reached.shape, quantiles.shape, deviations.shape)
        if shapes != (shape, (*shape, _NUM_LEVELS + 1), shape):
            raise ValueError(f"calibration of shapes {shapes}")
        numbers = np.concatenate([reached.ravel(), quantiles.ravel(), deviations.ravel()])
        if not np.isfinite(numbers).all() or (numbers < 0).any() or (np.diff(quantiles) < 0).any():
            raise ValueError("calibration that is no rising row of finite numbers")
        if len(counts) != len(sizes) or min(counts) < 1 or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"calibration on {counts} groups with {sizes} rows of support")
        return Calibration(sizes, counts, reached, quantiles, deviations)


_ARRAYS = ("calibration.reached", "calibration.quantiles", "calibration.deviations")


def _of_size(scores: Scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`reached`, `quantiles` and `deviations` of one number of support rows: units count alike."""
    _, unit = np.unique(scores.units, return_inverse=True)
    totals = np.bincount(unit, scores.weights)
    weights = scores.weights / totals[unit]
    values = np.abs(scores.values.astype(np.float64))
    found = [_quantiles(of_one, unit, weights) for of_one in values.T]
    reached, quantiles = map(np.stack, zip(*found, strict=True))
    return reached, quantiles, np.sqrt(weights @ values**2 / len(totals))


def _quantiles(values: np.ndarray, unit: np.ndarray, weights: np.ndarray) -> tuple[Any, np.ndarray]:
    """`reached` and `quantiles` `[levels]` of one output; see the module."""
    count, levels = unit.max() + 1, np.linspace(0, 1, _NUM_LEVELS + 1)
    order = np.argsort(values)
    scores = values[order][_first(np.cumsum(weights[order]) / count, levels)]
    scores[-1] = values[order[-1]]  # also if its weight is next to nothing
    if count > _MANY_GROUPS:
        return 1.0, scores
    within = np.zeros((count, len(scores)))
    np.add.at(within, (unit, np.searchsorted(scores, values)), weights)
    within = np.cumsum(within, axis=1)
    others = (within.sum(axis=0) - within) / max(count - 1, 1)
    chosen = np.stack([_first(one, levels) for one in others])
    covered = np.take_along_axis(within, chosen, axis=1).mean(axis=0)
    covered = covered if count > 1 else 0 * covered  # nothing is known of another group
    at = np.searchsorted(covered, levels - _ROUNDING)
    medians = np.median(scores[chosen], axis=0)
    return covered[-1], np.append(medians, scores[-1])[at]


def _first(rising: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Where numbers first reach each level; where they do not, the last place."""
    return np.minimum(np.searchsorted(rising, levels - 1e-9), len(rising) - 1)
