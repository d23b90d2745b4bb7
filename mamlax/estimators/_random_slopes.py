"""The linear mixed model: a line of each group's own, of which all groups tell what to expect.

With `z = (1, x)` and one output at a time,

    y = z · b + e,    b ~ N(β, Σ) of each group,    e ~ N(0, σ² / w) of each row.

β, Σ and σ² are those of the largest marginal likelihood, by expectation-maximization; β is solved
for by generalized least squares in every round, as in Liu & Rubin, The ECME algorithm, 1994. Of a
new group, b is the mean of its posterior: empirical-Bayes ridge regression. See Laird & Ware,
Random-effects models for longitudinal data, 1982.
"""

from typing import NamedTuple

import numpy as np

from ._entry import LeftOut
from ._rows import Rows

_MOST_NUMBERS = 64
"""Of a row. With more, nothing is fitted."""
_MOST_WORK, _OF_A_GROUP = 1e7, 5e3
"""The cube of the numbers of a row, and a constant, times as many groups as are learned from: a
second or two."""
_NUM_ROUNDS, _TOLERANCE = 100, 1e-4
_LEAST_VARIANCE = 1e-9
_SMALL = 0.005
"""Variance of what is expected to be small, of targets that are standardized."""
_WEAK = 1e-2
"""Precision of a prior on β about zero, of targets and columns that are standardized: it tells
columns apart that are sums of others."""


class RandomSlopes(NamedTuple):
    """What was fitted, to each output.

    Attributes:
        beta: `[outputs, 1 + features]`, of all groups.
        covariance: `[outputs, 1 + features, 1 + features]`, of what groups differ by.
        noise: `[outputs]`, variance of rows.
    """

    beta: np.ndarray
    covariance: np.ndarray
    noise: np.ndarray

    @staticmethod
    def of(
        rows: Rows, seed: int = 0, *, most_work: float = _MOST_WORK, are_independent: bool = False
    ) -> "RandomSlopes":
        """Fit it to rows of targets `[rows, outputs]`.

        The covariance is full where it has no more numbers than there are groups; else, or on
        demand, intercept and slopes differ independently of one another.

        Args:
            rows: of the groups to learn from.
            seed: of the groups that are drawn, where they are too many.
            most_work: how many they may be: their number, times that of a row cubed.
            are_independent: whether intercept and slopes are. What rows tell nothing of, as of
                columns that are the same, is then expected to be small.

        Raises:
            LeftOut: if rows have too many numbers for it.
        """
        size = 1 + rows.inputs.shape[1]
        if size > 1 + _MOST_NUMBERS:
            raise LeftOut(f"columns become {size - 1} numbers, and it takes {_MOST_NUMBERS}")
        rows = rows.of_some(int(most_work / (size**3 + _OF_A_GROUP)), seed)
        fitted = (_fitted(one, are_independent) for one in _sums(rows))
        return RandomSlopes(*map(np.stack, zip(*fitted, strict=True)))

    def __call__(self, support: Rows, inputs: np.ndarray) -> np.ndarray:
        """Outputs `[rows, outputs]` for a group of which there is a support."""
        z, of_group = _with_one(inputs), self.beta
        if len(support.inputs):
            at = _with_one(support.inputs)
            weighted = support.weights[:, None] * at
            squares = weighted.T @ at / self.noise[:, None, None]
            missed = support.targets - at @ self.beta.T
            pull = (weighted.T @ missed).T / self.noise[:, None]
            system = np.eye(len(squares[0])) + squares @ self.covariance
            solved = np.linalg.solve(system, pull[..., None])
            of_group = of_group + (self.covariance @ solved)[..., 0]
        return z @ of_group.T


class _Sums(NamedTuple):
    """Of the rows of each group, all that the likelihood of one output depends on.

    Attributes:
        squares: `[groups, q, q]`, `Zᵀ W Z`.
        products: `[groups, q]`, `Zᵀ W y`.
        total: `yᵀ W y` of all groups.
        num_rows: of all groups.
    """

    squares: np.ndarray
    products: np.ndarray
    total: float
    num_rows: int


def _sums(rows: Rows) -> list[_Sums]:
    """Those of each output."""
    rows = rows.of(np.argsort(rows.groups, kind="stable"))
    _, starts = np.unique(rows.groups, return_index=True)
    inputs, weights = _with_one(rows.inputs), rows.weights.astype(np.float64)
    weighted = weights[:, None] * inputs
    halves = (np.split(one, starts[1:]) for one in (weighted, inputs))
    squares = np.stack([one.T @ other for one, other in zip(*halves, strict=True)])
    num_rows = int(np.count_nonzero(weights))
    return [
        _Sums(
            squares, np.add.reduceat(weighted * y[:, None], starts), float(weights @ y**2), num_rows
        )
        for y in rows.targets.astype(np.float64).T
    ]


def _fitted(
    sums: _Sums, are_independent: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """β, Σ and σ² of one output."""
    squares, products, total, num_rows = sums
    num_groups, size = products.shape
    is_full = size * (size + 1) / 2 <= num_groups and not are_independent
    flat = squares.reshape(-1, size)  # for products of all groups at once
    both = np.concatenate([squares, products[..., None]], axis=2)
    beta, noise = np.zeros(size), 0.5
    covariance = (_SMALL if are_independent else 0.5) * np.eye(size)
    for _ in range(_NUM_ROUNDS):
        # Zᵀ V⁻¹ Z and Zᵀ V⁻¹ y with V = Z Σ Zᵀ + σ² W⁻¹
        system = noise * np.eye(size) + (flat @ covariance).reshape(squares.shape)
        solved = np.linalg.solve(system, both)
        precision, pull = solved[..., :size], solved[..., size]
        beta = np.linalg.solve(precision.sum(0) + _WEAK * np.eye(size), pull.sum(0))
        # posteriors of what each group has of its own
        own = (pull - precision @ beta) @ covariance
        unknown = covariance - covariance @ precision @ covariance
        of_groups = beta + own
        spread = (unknown.mean(0) + own.T @ own / num_groups).T
        after = (spread + spread.T) / 2 if is_full else np.diag(np.diag(spread))
        residual = (
            total
            - 2 * np.sum(of_groups * products)
            + np.einsum("gi,gij,gj->", of_groups, squares, of_groups)
            + np.sum(squares * unknown)
        )
        noise_after = max(residual / max(num_rows, 1), _LEAST_VARIANCE)
        moved = np.abs(after - covariance).max() / max(np.abs(covariance).max(), _LEAST_VARIANCE)
        moved = max(moved, abs(noise_after / noise - 1))
        covariance, noise = after, noise_after
        if moved < _TOLERANCE:
            break
    return beta, covariance, np.array(noise)


def _with_one(inputs: np.ndarray) -> np.ndarray:
    """`[rows, 1 + features]`."""
    return np.concatenate([np.ones((len(inputs), 1)), inputs], axis=1)
