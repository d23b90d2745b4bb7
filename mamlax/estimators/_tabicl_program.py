"""Let TabICL predict: a program that needs neither JAX nor mamlax, from one file to another.

python _tabicl_program.py GIVEN.npz TAKEN.npz
"""

import sys

import numpy as np

_NUM_ESTIMATORS = 4
"""Its default is eight, which take twice as long."""


def main() -> None:
    """Read rows and what is asked; write values, or the probabilities of all classes."""
    given, taken = sys.argv[1:]
    with np.load(given) as file:
        rows = dict(file)
    of = _probabilities if rows["classes"] else _values
    np.savez(taken, outputs=of(rows, int(rows["seed"])))


def _values(rows: dict[str, np.ndarray], seed: int) -> np.ndarray:
    from tabicl import TabICLRegressor  # pyright: ignore[reportMissingImports]

    model = TabICLRegressor(n_estimators=_NUM_ESTIMATORS, random_state=seed)
    found = [model.fit(rows["inputs"], y).predict(rows["asked"]) for y in rows["targets"].T]
    return np.stack(found, axis=1)


def _probabilities(rows: dict[str, np.ndarray], seed: int) -> np.ndarray:
    from tabicl import TabICLClassifier  # pyright: ignore[reportMissingImports]

    model = TabICLClassifier(n_estimators=_NUM_ESTIMATORS, random_state=seed)
    model.fit(rows["inputs"], rows["targets"])
    found = np.zeros((len(rows["asked"]), int(rows["classes"])))
    found[:, model.classes_] = model.predict_proba(rows["asked"])
    return found


if __name__ == "__main__":
    main()
