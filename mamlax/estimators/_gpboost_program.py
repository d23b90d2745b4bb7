"""Fit GPBoost and predict: a program that needs neither JAX nor mamlax, from one file to another.

python _gpboost_program.py GIVEN.npz TAKEN.npz
"""

import sys
from typing import Any

import numpy as np


def main() -> None:
    """Read rows and what is asked; write what trees say of it, and how sure intercepts are."""
    given, taken = sys.argv[1:]
    with np.load(given) as file:
        rows = dict(file)
    found = [_of_output(rows, y) for y in rows["targets"].astype(np.float64).T]
    trees, prior = (np.stack(one, axis=-1) for one in zip(*found, strict=True))
    np.savez(taken, trees=trees, prior=prior)


def _of_output(rows: dict[str, np.ndarray], y: np.ndarray) -> tuple[np.ndarray, Any]:
    import gpboost  # pyright: ignore[reportMissingImports]

    weights = rows["weights"]
    options = {} if np.ptp(weights) == 0 else {"weights": weights}
    intercepts = gpboost.GPModel(group_data=rows["groups"], likelihood="gaussian", **options)
    model = gpboost.train(
        {"learning_rate": 0.1, "num_leaves": 8, "min_data_in_leaf": 20, "verbose": 0},
        gpboost.Dataset(rows["inputs"], y),
        gp_model=intercepts,
        num_boost_round=100,
    )
    within, between = np.ravel(intercepts.get_cov_pars(std_err=False, format_pandas=False))[:2]
    trees = model.predict(rows["asked"], ignore_gp_model=True)
    return np.asarray(trees), np.maximum(within, 1e-9) / np.maximum(between, 1e-9)


if __name__ == "__main__":
    main()
