"""What a file holds of an estimator, and an estimator again."""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..config._algorithms import ALGORITHMS, Algorithm
from ..records._settings import algorithm_from_json, settings_as_json
from ._calibration import Calibration
from ._columns import Columns
from ._container import Container, filled, named_arrays
from ._conventions import Conventions
from ._learner import ArrayLearner
from ._posterior import Supports
from ._pretrained import from_state as pretrained_from_state
from ._pretrained import state_of as state_of_pretrained
from ._report import report_from_json
from ._targets import targets_from_json

E = TypeVar("E")

_ATTRIBUTES = (
    *("validation_curve_", "outer_step_", "num_groups_"),
    *("num_support_", "n_features_in_", "weight_scale_"),
)
_SAVED_PARAMETERS = str | int | float | tuple | list | np.generic | Algorithm | None


def state_of(estimator: Any) -> Container:
    """What a file must hold of a fitted estimator, for `restored`."""
    learner, report = estimator.learner_.state(), estimator.report_
    calibration = estimator.calibration_
    calibrated = Container({}, {}) if calibration is None else calibration.state()
    pretrained = state_of_pretrained(estimator.pretrained_)
    names = getattr(estimator, "feature_names_in_", None)
    header = {
        "kind": type(estimator).__name__,
        "parameters": {
            name: settings_as_json(value) if isinstance(value, Algorithm) else value
            for name, value in estimator.get_params().items()
            if isinstance(value, _SAVED_PARAMETERS)
        },
        "attributes": {name: getattr(estimator, name) for name in _ATTRIBUTES},
        "target_names": estimator.target_names_,
        "task_names": estimator.task_names_,
        "split_names": estimator.split_names_,
        "conventions": estimator.reading_.as_json(),
        "feature_names": None if names is None else list(names),
        "columns": estimator.columns_.as_json(),
        "targets": estimator.targets_.as_json(),
        "report": None if report is None else report.as_json(),
        **learner.header,
        **calibrated.header,
        **pretrained.header,
    }
    adapted = {}
    if estimator.num_support_:
        own, supports = estimator._adapted.own, estimator._adapted.supports
        adapted = {**named_arrays("adapted", own), **arrays_of_supports(supports)}
    arrays = {**learner.arrays, **calibrated.arrays, **pretrained.arrays}
    return Container(header, {**arrays, **adapted})


def restored(estimator: E, content: Container) -> E:
    """A new estimator, with what `state_of` gave.

    Raises:
        MamlaxError: if an array is missing or of another shape than the header says.
        ValueError: if columns or targets do not fit the network.
    """
    header = content.header
    one: Any = estimator
    one.set_params(**{name: _parameter(value) for name, value in header["parameters"].items()})
    one.columns_ = Columns.from_json(header["columns"])
    one.targets_ = targets_from_json(header["targets"])
    one.learner_ = ArrayLearner.from_state(content)
    one.pretrained_ = pretrained_from_state(content)
    report = header["report"]
    one.report_ = None if report is None else report_from_json(report)
    for name in _ATTRIBUTES:
        setattr(one, name, header["attributes"][name])
    if header["feature_names"] is not None:
        one.feature_names_in_ = np.array(header["feature_names"], dtype=object)
    for name in ("target_names", "task_names", "split_names"):
        if header.get(name) is not None:
            setattr(one, f"{name}_", [str(word) for word in header[name]])
    one.reading_ = Conventions.from_json(header.get("conventions"))
    network, num_inputs = one.learner_.settings.network, one.learner_.num_inputs
    if (width := one.columns_.width) != num_inputs:
        raise ValueError(f"columns make {width} inputs of a network of {num_inputs}")
    if (outputs := one.targets_.num_outputs) != network["num_outputs"]:
        raise ValueError(f"{outputs} targets of a network of {network['num_outputs']} outputs")
    one.calibration_ = Calibration.from_state(content, outputs)
    adapted = one._unadapted()
    if one.num_support_:
        own = filled(adapted.own, "adapted", content.arrays)
        adapted = adapted._replace(own=own, supports=supports_of(content, network))
    one._adapted = adapted
    return estimator


_INPUTS, _WEIGHTS = "support.inputs", "support.weights"


def arrays_of_supports(supports: Supports | None) -> dict[str, np.ndarray]:
    """What a file holds of what was adapted to, from which intervals are made."""
    if supports is None:
        return {}
    return {_INPUTS: supports.inputs, _WEIGHTS: supports.weights}


def supports_of(
    content: Container, network: Any, sizes: np.ndarray | None = None
) -> Supports | None:
    """What was adapted to; None of a file that does not hold it.

    Args:
        content: of the file.
        network: its architecture.
        sizes: `[tasks]`, how many rows each task has; None: all are of one.

    Raises:
        ValueError: if it is of another shape.
    """
    if _INPUTS not in content.arrays:
        return None
    inputs, weights = content.arrays[_INPUTS], content.arrays[_WEIGHTS]
    if inputs.shape != (len(weights), network["num_inputs"]) or weights.ndim != 1:
        raise ValueError(f"a support of shape {inputs.shape} with weights {weights.shape}")
    sizes = np.array([len(inputs)]) if sizes is None else sizes
    if sizes.min(initial=0) < 0 or sizes.sum() != len(inputs):
        raise ValueError(f"supports of {sizes.sum()} rows, where there are {len(inputs)}")
    return Supports(inputs, weights, sizes)


def _parameter(value: Any) -> Any:
    """A parameter of the constructor, from JSON."""
    if isinstance(value, dict):
        return algorithm_from_json(value, ALGORITHMS, Path("the header"), "Save it again.")
    return tuple(value) if isinstance(value, list) else value
