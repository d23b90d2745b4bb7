"""What the values of a column are called, where they are names rather than numbers."""

from typing import Any

import numpy as np
import pandas as pd


def factorized(values: Any) -> tuple[np.ndarray, list[str]]:
    """The number of each value's category, −1 where it is missing, and what they are called."""
    codes, found = pd.factorize(values, use_na_sentinel=True)
    names = [category_of(value) for value in found]
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    renamed = np.array([*(index[name] for name in names), -1])
    return renamed[codes], list(index)


def category_of(value: Any) -> str:
    """What a category is called; whole numbers alike, whether they were read as floats or not."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
