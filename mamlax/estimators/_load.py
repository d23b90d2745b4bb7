"""Read a saved model."""

from pathlib import Path
from typing import Any

from .._errors import MamlaxError
from ._adapted_many import AdaptedMany
from ._container import Container, header_errors, read_container
from ._few_shot import FewShotClassifier, FewShotRegressor
from ._hub import SCHEME, pulled
from ._images import FewShotImageClassifier
from ._policy import FewShotPolicy

Model = FewShotRegressor | FewShotClassifier | FewShotImageClassifier
"""The models that adapt to a support set."""
_MODELS: dict[str, type[Model | FewShotPolicy]] = {
    one.__name__: one
    for one in (FewShotRegressor, FewShotClassifier, FewShotImageClassifier, FewShotPolicy)
}


def load(path: str | Path) -> Any:
    """Read a model file that `save`, `mamlax fit` or `mamlax export` wrote. Loading runs no code.

    Args:
        path: the file; or `"hf://OWNER/NAME"`, a model on the Hugging Face Hub.

    Returns:
        A `FewShotRegressor`, `FewShotClassifier`, `FewShotImageClassifier` or `FewShotPolicy`,
        ready to adapt; or an `AdaptedMany`.

    Raises:
        MamlaxError: if it is not a model file, is damaged, was changed, or was written by a newer
            version.
    """
    if str(path).startswith(SCHEME):
        path = pulled(str(path))
    content = read_container(Path(path))
    with header_errors(path):
        if content.header["kind"] != AdaptedMany.__name__:
            return _model_of(content)
        base = _model_of(Container(content.header["estimator"], content.arrays))
        return AdaptedMany.from_state(base, content)


def _model_of(content: Container) -> Any:
    if (kind := content.header["kind"]) not in _MODELS:
        raise MamlaxError(f"it holds a {kind!r}; there are {', '.join(_MODELS)}.")
    return _MODELS[kind].from_state(content)
