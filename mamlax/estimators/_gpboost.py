"""Trees and an intercept of each group, fitted together by GPBoost where that is installed."""

import numpy as np

from ._rows import Rows
from ._separate_process import run_separately

_MOST_ROWS = 50_000
_FEW_ROWS = 20_000


def gpboost_predictions(
    train: Rows, supports: list[Rows], queries: list[Rows], seed: int
) -> list[np.ndarray]:
    """What it says of queries: its trees, and the group's intercept given the support.

    Args:
        train: rows of the groups to learn from.
        supports: one of each query.
        queries: what to predict.
        seed: of the groups drawn, where they are too many.

    Returns:
        Outputs `[rows, outputs]` of each query.

    Raises:
        LeftOut: if it fails, or takes longer than a minute.
    """
    train = train.of_some(_MOST_ROWS, seed, by_rows=True)
    asked = [one.inputs for pair in zip(supports, queries, strict=True) for one in pair]
    found = run_separately(
        "_gpboost_program.py",
        train._asdict() | {"asked": np.concatenate(asked)},
        most_threads=1 if len(train.inputs) < _FEW_ROWS else None,
    )
    trees = np.split(found["trees"], np.cumsum([len(one) for one in asked])[:-1])
    outputs = []
    for support, of_support, of_query in zip(supports, trees[::2], trees[1::2], strict=True):
        weights = support.weights[:, None]
        missed = np.sum(weights * (support.targets - of_support), axis=0)
        outputs.append(of_query + missed / (weights.sum() + found["prior"]))
    return outputs
