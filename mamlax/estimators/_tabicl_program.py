"""Let TabICL predict: a program that needs neither JAX nor mamlax, from one file to another.

python _tabicl_program.py GIVEN.npz TAKEN.npz
"""

import sys
from typing import Any

import numpy as np

_SETTINGS: dict[str, Any] = {
    "n_estimators": 4,  # its default is eight, which may not fit a minute
    "device": "cpu",  # the accelerator is that of JAX
    "allow_auto_download": False,  # which would count as time
}


def main() -> None:
    """Read rows and what is asked; write values, or the probabilities of all classes."""
    given, taken = sys.argv[1:]
    with np.load(given) as file:
        rows = dict(file)
    of = _probabilities if rows["classes"] else _values
    np.savez(taken, outputs=of(rows, int(rows["seed"])))


def _values(rows: dict[str, np.ndarray], seed: int) -> np.ndarray:
    from tabicl import TabICLRegressor  # pyright: ignore[reportMissingImports]

    model = TabICLRegressor(random_state=seed, **_SETTINGS)
    found = [_fitted(model, rows["inputs"], y).predict(rows["asked"]) for y in rows["targets"].T]
    return np.stack(found, axis=1)


def _probabilities(rows: dict[str, np.ndarray], seed: int) -> np.ndarray:
    from tabicl import TabICLClassifier  # pyright: ignore[reportMissingImports]

    model = TabICLClassifier(random_state=seed, **_SETTINGS)
    _fitted(model, rows["inputs"], rows["targets"])
    found = np.zeros((len(rows["asked"]), int(rows["classes"])))
    found[:, model.classes_] = model.predict_proba(rows["asked"])
    return found


def _fitted(model: Any, inputs: np.ndarray, targets: np.ndarray) -> Any:
    try:
        return model.fit(inputs, targets)
    except ValueError as error:
        if "not cached" not in str(error):
            raise
        name = type(model).__name__
        raise SystemExit(
            "its weights are not here; download them once: "
            f'python -c "import tabicl; tabicl.{name}().fit([[0], [1]], [0, 1])"'
        ) from error


if __name__ == "__main__":
    main()
