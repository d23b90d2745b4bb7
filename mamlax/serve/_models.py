"""Models from files, for a page."""

from collections.abc import Sequence
from pathlib import Path

from .._errors import MamlaxError
from ..estimators._adapted_many import AdaptedMany
from ..estimators._load import Model, load
from ..estimators._policy import FewShotPolicy


def models_in(paths: Sequence[Path]) -> dict[str, Model]:
    """The models by the names of the files, without the suffix.

    Raises:
        MamlaxError: if one cannot be read, is a policy or adapted to many tasks, or two have one
            name.
    """
    found: dict[str, Model] = {}
    for path in paths:
        if path.stem in found:
            raise MamlaxError(f"two models are called {path.stem!r}. Rename one of the files.")
        model = load(path)
        if isinstance(model, FewShotPolicy):
            raise MamlaxError(
                f"{path} is a policy, which acts in an environment; it is used from Python: "
                "mamlax.load(path).act. Models of tables and images are served."
            )
        if isinstance(model, AdaptedMany):
            raise MamlaxError(
                f"{path} is adapted to {len(model.groups)} tasks: mamlax predict predicts by it. "
                "Give the model that it was made of; its clients adapt it."
            )
        found[path.stem] = model
    return found
