"""TabICL, a network pretrained on simulated tables, where it is installed.

It learns from rows in one forward pass: Qu et al. 2025, https://arxiv.org/abs/2502.05564.
"""

import numpy as np

from ._rows import Rows
from ._separate_process import run_separately

_MOST_ROWS = 1_000
"""Of its context, which it reads again for every batch of queries."""


def tabicl_outputs(train: Rows, inputs: np.ndarray, classes: int | None, seed: int) -> np.ndarray:
    """What it says of inputs.

    Args:
        train: rows to learn from. It takes no weights, but is not given rows without one.
        inputs: `[rows, features]`.
        classes: how many; None: a regression.
        seed: of its ensemble, and of the rows drawn, where they are too many.

    Returns:
        `[rows, outputs]`, or probabilities `[rows, classes]`: beside it the frequencies, as if of
        one row more, because it gives no chance to classes that are not among its rows.

    Raises:
        LeftOut: if it fails, or takes longer than a minute.
    """
    frequencies = 0
    if classes:
        frequencies = np.bincount(train.targets, train.weights, classes) / train.weights.sum()
    train = train.of(np.flatnonzero(train.weights > 0)).thinned(_MOST_ROWS, seed)
    given = {
        "inputs": train.inputs,
        "targets": train.targets,
        "asked": inputs,
        "classes": np.int64(classes or 0),
        "seed": np.int64(seed % 2**31),
    }
    outputs = run_separately("_tabicl_program.py", given)["outputs"]
    if classes is None:
        return outputs
    number = len(train.targets)
    return (number * outputs + frequencies) / (number + 1)
