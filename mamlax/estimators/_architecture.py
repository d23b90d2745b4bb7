"""A model's shape in words, so that a file can hold it; and a model of that shape again."""

import inspect
from typing import Any

import jax

from .. import models
from .._errors import MamlaxError


def architecture_of(model: Any) -> dict[str, Any]:
    """The factory of `mamlax.models` that makes such a model, and its arguments.

    Args:
        model: a `mamlax.models.mlp` or `conv4`; its arrays may be abstract.

    Raises:
        MamlaxError: if it is another model.
    """
    context_size = 0 if getattr(model, "context", None) is None else len(model.context)
    if isinstance(model, models.MLP) and model.activation == "relu":
        num_inputs, *hidden_sizes = [weight.shape[0] for weight in model.weights]
        return {
            "name": "mlp",
            "num_inputs": num_inputs - context_size,
            "num_outputs": model.weights[-1].shape[1],
            "hidden_sizes": hidden_sizes,
            "norm": model.norm,
            "context_size": context_size,
        }
    if isinstance(model, models.Conv4) and model.image_shape is not None:
        return {
            "name": "conv4",
            "image_shape": list(model.image_shape),
            "num_outputs": model.head_weight.shape[1],
            "channels": model.kernels[0].shape[-1],
            "downsample": model.downsample,
            "norm": model.norm,
            "context_size": context_size,
        }
    raise MamlaxError(
        f"a file can hold the networks of mamlax.models.mlp and conv4, got {type(model).__name__}. "
        "Keep your own model's arrays with safetensors or equinox, and its code beside them."
    )


def model_of(architecture: dict[str, Any], key: Any = None) -> Any:
    """A model of that shape, newly initialized.

    Args:
        architecture: what `architecture_of` gave.
        key: a PRNG key; None: any will do.

    Raises:
        MamlaxError: if there is no such model, or not with such arguments.
    """
    arguments = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in architecture.items()
    }
    makers: dict[Any, Any] = {"mlp": models.mlp, "conv4": models.conv4}
    make = makers.get(arguments.pop("name", None))
    if make is None:
        raise MamlaxError(f"there is no network called {architecture.get('name')!r}.")
    try:
        inspect.signature(make).bind(None, **arguments)
        return make(jax.random.key(0) if key is None else key, **arguments)
    except (TypeError, ValueError) as error:
        raise MamlaxError(
            f"{architecture['name']} cannot be made of {arguments}: {error}"
        ) from error
