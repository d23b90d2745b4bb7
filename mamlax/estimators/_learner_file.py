"""A learner in one file: safetensors, and all else as JSON in its header. Loading runs no code."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import MamlaxError
from .._files import replacing
from ._architecture import architecture
from ._columns import Columns
from ._estimator import FewShotEstimator
from ._few_shot import FewShotClassifier, FewShotRegressor
from ._images import FewShotImageClassifier, Reading
from ._learner import ArrayLearner, LearnerRecipe, LearnerSettings, options_of
from ._report import report_from_json
from ._targets import Classes, targets_from_json

FORMAT = 2
_FORMATS = (1, FORMAT)
"""What is read; files of format 1 have no digest."""
_MOST_STEPS, _MOST_LAYERS = 10_000, 100
_KEY, _DIGEST = "mamlax", "sha256"
_ESTIMATORS = {one.__name__: one for one in (FewShotRegressor, FewShotClassifier)}
_ATTRIBUTES = (
    *("validation_curve_", "outer_step_", "num_groups_"),
    *("num_support_", "n_features_in_", "weight_scale_"),
)
Loaded = FewShotRegressor | FewShotClassifier | FewShotImageClassifier


def write_estimator(path: str | Path, estimator: FewShotEstimator) -> None:
    """Write a fitted estimator, adapted or not."""
    names = getattr(estimator, "feature_names_in_", None)
    report = estimator.report_
    header = {
        "kind": type(estimator).__name__,
        "parameters": {
            name: value
            for name, value in estimator.get_params().items()
            if isinstance(value, str | int | float | tuple | list | np.generic | None)
        },
        "attributes": {name: getattr(estimator, name) for name in _ATTRIBUTES},
        "target_names": getattr(estimator, "target_names_", None),
        "task_names": getattr(estimator, "task_names_", None),
        "feature_names": None if names is None else list(names),
        "columns": estimator.columns_.as_json(),
        "targets": estimator.targets_.as_json(),
        "report": None if report is None else report.as_json(),
    }
    arrays = _named("adapted", estimator._adapted.own) if estimator.num_support_ else {}
    _write(path, header, estimator.learner_, arrays)


def write_images(path: str | Path, classifier: FewShotImageClassifier) -> None:
    """Write an image classifier; if it is adapted, with the images that it is adapted to."""
    support, arrays = classifier.support_, {}
    header = {
        "kind": type(classifier).__name__,
        "reading": classifier.reading_._asdict(),
        "summary": classifier.summary_,
        "support": None,
    }
    if support is not None:
        labels, codes = np.unique(support.labels, return_inverse=True)
        header["support"] = {"num_images": len(codes), **Classes(labels).as_json()}
        arrays = {"support.images": support.images, "support.labels": codes.astype(np.int32)}
    _write(path, header, classifier.learner_, arrays)


def load(path: str | Path) -> Loaded:
    """Read what `save` or `mamlax export` wrote.

    Args:
        path: of the file.

    Returns:
        A `FewShotRegressor`, `FewShotClassifier` or `FewShotImageClassifier`, ready to adapt.

    Raises:
        MamlaxError: if it is no such file, is damaged or was changed, or was written by a newer
            version. No code in it is run.
    """
    header, arrays = read_header_and_arrays(Path(path))
    with making_sense_of(path):
        return _loaded(header, arrays)


@contextmanager
def making_sense_of(path: str | Path) -> Iterator[None]:
    """Whatever a header that was changed by hand leads to, it is this file that is wrong."""
    try:
        yield
    except MamlaxError as error:
        raise MamlaxError(f"{path} cannot be read: {error}") from error
    except Exception as error:
        raise MamlaxError(
            f"{path} was changed after it was written, or damaged: its header makes no sense "
            f"({type(error).__name__}: {error})."
        ) from error


def read_header_and_arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of a file and its arrays.

    Raises:
        MamlaxError: as `load`.
    """
    from safetensors import safe_open

    if path.is_dir():
        raise MamlaxError(
            f"{path} is a folder. A run is exported first: mamlax export {path} --out MODEL."
        )
    if not path.exists():
        raise MamlaxError(
            f"{path} does not exist. A model is a file that mamlax fit, mamlax export or save "
            "wrote."
        )
    if not path.stat().st_size:
        raise MamlaxError(f"{path} is empty (0 bytes): writing it was not finished. Save again.")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise MamlaxError(f"{path} cannot be read ({error}).") from error
    except Exception as error:  # of the format, or numbers that NumPy lacks
        raise MamlaxError(
            f"{path} is no model that mamlax wrote, or it is cut off ({error}). Copy it again."
        ) from error
    try:
        header = json.loads(metadata[_KEY])
        number, written_by = header["format"], header["mamlax"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise MamlaxError(
            f"{path} holds arrays, but was not written by mamlax (its header has no {_KEY})."
        ) from error
    if number not in _FORMATS:
        raise MamlaxError(
            f"{path} was written by mamlax {written_by} in format {number}; mamlax "
            f"{version('mamlax')} reads up to format {FORMAT}. Install that version, or save it "
            "again."
        )
    found = header.pop(_DIGEST, None)
    if found != (None if number == 1 else digest_of(header, arrays)):
        raise MamlaxError(
            f"{path} was changed after it was written, or damaged: what is in it has not the "
            f"{_DIGEST} that was written with it. Copy it again, or save it again."
        )
    return header, arrays


def digest_of(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """The SHA-256 of all that a file says, whatever the order that it is said in."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write(
    path: str | Path, header: dict[str, Any], learner: ArrayLearner, more: dict[str, np.ndarray]
) -> None:
    from safetensors.numpy import save

    settings = learner.settings
    header = {
        "format": FORMAT,
        "mamlax": version("mamlax"),
        "jax": version("jax"),
        **header,
        "learner": {
            "architecture": settings.network,
            "recipe": options_of(settings.recipe),
            "loss": settings.loss,
            "prior_weight": settings.prior_weight,
            "num_inner_steps": settings.num_inner_steps,
        },
    }
    arrays = _named("meta_params", learner.meta_params) | more
    header = json.loads(json.dumps(header, default=_plain))  # as it will be read
    words = json.dumps({**header, _DIGEST: digest_of(header, arrays)})
    content = save(arrays, metadata={_KEY: words})
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(content)


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be saved")


def _loaded(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Loaded:
    learner = _learner(header["learner"], arrays)
    if header["kind"] == FewShotImageClassifier.__name__:
        reading = Reading(**header["reading"])
        classifier = FewShotImageClassifier(learner, reading, header["summary"])
        if (support := header.get("support")) is None:
            return classifier
        labels = np.array(support["classes"], np.dtype(support["dtype"]))
        return classifier.adapt(arrays["support.images"], labels[arrays["support.labels"]])
    parameters = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in header["parameters"].items()
    }
    estimator = _ESTIMATORS[header["kind"]]().set_params(**parameters)
    estimator.columns_ = Columns.from_json(header["columns"])
    estimator.targets_ = targets_from_json(header["targets"])
    estimator.learner_ = learner
    estimator.report_ = None if header["report"] is None else report_from_json(header["report"])
    for name in _ATTRIBUTES:
        setattr(estimator, name, header["attributes"][name])
    if header["feature_names"] is not None:
        estimator.feature_names_in_ = np.array(header["feature_names"], dtype=object)
    if header["target_names"] is not None:
        estimator.target_names_ = [str(name) for name in header["target_names"]]
    if header.get("task_names") is not None:
        estimator.task_names_ = [str(name) for name in header["task_names"]]
    width, expected = estimator.columns_.width, learner.settings.network
    if width != expected["num_inputs"]:
        raise ValueError(f"columns make {width} inputs of a network of {expected['num_inputs']}")
    if (outputs := estimator.targets_.num_outputs) != expected["num_outputs"]:
        raise ValueError(f"{outputs} targets of a network of {expected['num_outputs']} outputs")
    adapted = estimator._unadapted()
    if estimator.num_support_:
        adapted = adapted._replace(own=_filled(adapted.own, "adapted", arrays))
    estimator._adapted = adapted
    return estimator


def _learner(value: dict[str, Any], arrays: dict[str, np.ndarray]) -> ArrayLearner:
    network = architecture(**value["architecture"])
    recipe = LearnerRecipe(**value["recipe"])
    steps, layers = int(value["num_inner_steps"]), dict(network).get("hidden_sizes", ())
    if not 0 <= steps <= _MOST_STEPS or len(layers) > _MOST_LAYERS:
        raise ValueError(f"{steps} inner steps through {len(layers)} layers")
    settings = LearnerSettings(network, recipe, value["loss"], float(value["prior_weight"]), steps)
    # shapes alone: a header that asks for a huge network makes none
    expected = jax.eval_shape(
        lambda key: settings.learner().init(settings.initial(key)), jax.random.key(0)
    )
    return ArrayLearner(settings, _filled(expected, "meta_params", arrays))


def _named(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    return {
        prefix + jax.tree_util.keystr(path): np.ascontiguousarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _filled(like: Any, prefix: str, arrays: dict[str, np.ndarray]) -> Any:
    """A pytree of the structure of `like`, its arrays taken by name."""

    def of(path, leaf):
        name = prefix + jax.tree_util.keystr(path)
        found = arrays.get(name)
        if found is None:
            raise MamlaxError(f"the array {name} is missing.")
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise MamlaxError(
                f"the array {name} has shape {list(found.shape)} of {found.dtype}, expected "
                f"{list(leaf.shape)} of {leaf.dtype}."
            )
        if not np.isfinite(found).all():
            raise MamlaxError(f"the array {name} has numbers that are not finite.")
        return jnp.asarray(found)

    return jax.tree_util.tree_map_with_path(of, like)
