"""A model's shape in words, so that a file can hold it; and a model of that shape again."""

import inspect
from typing import Any, TypeAlias

from jaxtyping import PRNGKeyArray, PyTree

from .. import models
from .._errors import MamlaxError
from ._table_network import table_network

Architecture: TypeAlias = tuple[tuple[str, Any], ...]
"""The name of a network's factory and its arguments, hashable."""


def architecture_of(model: PyTree) -> Architecture:
    """The factory of `mamlax.models` that makes such a model, and its arguments.

    Args:
        model: a `mamlax.models.mlp` or `conv4`; its arrays may be abstract.

    Raises:
        MamlaxError: if it is another model.
    """
    context_size = 0 if getattr(model, "context", None) is None else len(model.context)
    if isinstance(model, models.MLP) and model.activation == "relu":
        num_inputs, *hidden_sizes = [weight.shape[0] for weight in model.weights]
        return architecture(
            name="mlp",
            num_inputs=num_inputs - context_size,
            num_outputs=model.weights[-1].shape[1],
            hidden_sizes=hidden_sizes,
            norm=model.norm,
            context_size=context_size,
        )
    if isinstance(model, models.Conv4) and model.image_shape is not None:
        return architecture(
            name="conv4",
            image_shape=model.image_shape,
            num_outputs=model.head_weight.shape[1],
            channels=model.kernels[0].shape[-1],
            downsample=model.downsample,
            norm=model.norm,
            context_size=context_size,
            mirrored_features=model.mirrored_features,
            centered_features=model.centered_features,
        )
    raise MamlaxError(
        f"a file can hold the networks of mamlax.models.mlp and conv4, got {type(model).__name__}. "
        "Keep your own model's arrays with safetensors or equinox, and its code beside them."
    )


def architecture(**arguments: Any) -> Architecture:
    """From the factory's name and its arguments; lists, as JSON has them, become tuples."""
    return tuple(
        (name, tuple(value) if isinstance(value, list) else value)
        for name, value in arguments.items()
    )


def model_of(architecture: Architecture, key: PRNGKeyArray) -> Any:
    """A model of that shape, newly initialized.

    Args:
        architecture: what `architecture_of` gave.
        key: a PRNG key.

    Raises:
        MamlaxError: if there is no such model, or not with such arguments.
    """
    arguments = dict(architecture)
    makers: dict[Any, Any] = {
        "mlp": models.mlp,
        "conv4": models.conv4,
        "table_network": table_network,
    }
    name = arguments.pop("name", None)
    if name not in makers:
        raise MamlaxError(f"there is no network called {name!r}.")
    try:
        inspect.signature(makers[name]).bind(None, **arguments)
        return makers[name](key, **arguments)
    except (TypeError, ValueError) as error:
        raise MamlaxError(f"{name} cannot be made of {arguments}: {error}") from error
