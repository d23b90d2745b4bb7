"""The paper's networks, in Equinox, with normalization made explicit.

Models take a whole batch, because normalization may look across it:

- `"batch"`: moments of the batch itself, in training and in evaluation. Query examples are then
  normalized by one another: this is **transductive**, and it is what the paper does.
- `"support"`: moments of the support set, for the query too. Not transductive. Such a model is
  called with the support inputs as `reference`: `params(batch.inputs, batch.reference)`, with tasks
  from `FewShot(..., reference=True)`. Without one it raises: the query alone would be transductive.
  A `reference` of no examples means that the inputs are the support set itself, which saves a
  second pass.
- `"group"`: moments within each example and group of channels. Not transductive. As many groups as
  divide the width evenly, at most one for every 8 channels (64 channels: 8 groups of 8; 28: 2 of
  14; 17: 1).
- `"layer"`: moments within each example. Not transductive.
- `"none"`.

After normalization a learned shift is added, but no learned scale, as in the paper's code: the
linear layer after the ReLU could absorb a positive scale (although inner steps would then have
other lengths). The shift adapts in the inner loop like every parameter; in the paper's code it is
only meta-learned.
"""

import dataclasses
import math
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Norm = Literal["batch", "support", "group", "layer", "none"]
Downsample = Literal["stride", "pool"]
Activation = Literal["relu", "tanh"]


def is_transductive(norm: Norm) -> bool:
    """Whether predictions for a query example depend on the other query examples."""
    return norm == "batch"


class MLP(eqx.Module):
    """Fully connected layers with an activation between them; see `mlp`."""

    weights: list[Float[Array, "_inputs _outputs"]]
    biases: list[Float[Array, " _outputs"]]
    norm: Norm = eqx.field(static=True)
    activation: Activation = eqx.field(static=True, default="relu")
    context: Float[Array, " context"] | None = None

    def __call__(self, inputs, reference=None):
        """Outputs `[examples, outputs]` for inputs `[examples, ...]`, which are flattened."""
        return self.features(inputs, reference) @ self.weights[-1] + self.biases[-1][None]

    def features(self, inputs, reference=None):
        """The inputs of the last layer, `[examples, features]`."""
        x, num_reference = _with_reference(inputs, reference, self.norm, self._check)
        x = _flattened(x)
        if self.context is not None:
            x = jnp.concatenate([x, jnp.tile(self.context, (x.shape[0], 1))], axis=1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = _normalize(x @ weight, self.norm, num_reference) + bias[None]
            x = jax.nn.relu(x) if self.activation == "relu" else jnp.tanh(x)
        return x[num_reference:]

    @property
    def head(self):
        """Weight and bias of the last layer."""
        return self.weights[-1], self.biases[-1]

    @property
    def shifts(self):
        """The shifts added after each normalization."""
        return self.biases[:-1]

    def with_head(self, weight, bias) -> "MLP":
        """This model with another last layer."""
        weights, biases = [*self.weights[:-1], weight], [*self.biases[:-1], bias]
        return dataclasses.replace(self, weights=weights, biases=biases)

    def _check(self, name: str, shape: tuple[Any, ...]):
        num_inputs = self.weights[0].shape[0]
        num_inputs -= 0 if self.context is None else len(self.context)
        if not shape or math.prod(shape[1:]) != num_inputs:
            advice = f"build it with num_inputs={math.prod(shape[1:])}, or reshape them"
            if shape == (num_inputs,):
                advice = f"add an axis of examples with {name}[None]"
            raise ValueError(
                f"this mlp was built for {num_inputs} inputs per example, got {name} "
                f"{list(shape)}; {advice}."
            )


def mlp(
    key,
    num_inputs: int,
    num_outputs: int,
    *,
    hidden_sizes: tuple[int, ...] = (40, 40),
    norm: Norm = "none",
    weight_scale: float | None = None,
    context_size: int = 0,
) -> MLP:
    """A fully connected network with ReLU, as in the paper's regression (1-40-40-1).

    Args:
        key: a PRNG key.
        num_inputs: numbers per example, after flattening.
        num_outputs: outputs per example.
        hidden_sizes: width of each hidden layer. The paper's Omniglot network without convolution
            is `(256, 128, 64, 64)` with `norm="batch"`.
        norm: normalization before each ReLU; see the module.
        weight_scale: standard deviation of the truncated normal that weights start from. None:
            √(2/inputs) for each layer (He et al. 2015). Biases start at zero.
        context_size: size of the context, a vector that starts at zero and is appended to the
            inputs of every example; `cavia` adapts it.

    Differs from the paper: its code starts all weights with standard deviation 0.01. On sinusoids
    the error after ten steps is then larger and varies more between seeds.

    Raises:
        ValueError: if `norm` is unknown or a size is not positive; by the network, if it is called
            with another number of inputs per example, or without the reference that
            `norm="support"` needs.

    Example:
        >>> import jax, jax.numpy as jnp, mamlax
        >>> model = mamlax.models.mlp(jax.random.key(0), 1, 1)
        >>> model(jnp.ones((10, 1))).shape
        (10, 1)
    """
    _check_norm(norm)
    if min(num_inputs, num_outputs, *hidden_sizes) < 1:
        raise ValueError(
            "num_inputs, num_outputs and hidden_sizes must be positive, got "
            f"{num_inputs}, {num_outputs} and {hidden_sizes}."
        )
    if weight_scale is not None and weight_scale < 0:
        raise ValueError(f"weight_scale must be 0 or more, got {weight_scale}.")
    context = _zero_context(context_size)
    sizes = (num_inputs + context_size, *hidden_sizes, num_outputs)
    keys = jax.random.split(key, len(sizes) - 1)
    weights = [
        jax.nn.initializers.he_normal()(k, (m, n))
        if weight_scale is None
        else weight_scale * jax.random.truncated_normal(k, -2.0, 2.0, (m, n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]
    return MLP(weights, [jnp.zeros(n) for n in sizes[1:]], norm, context=context)


class Conv4(eqx.Module):
    """Four blocks of 3×3 convolution, normalization and ReLU, and a linear head; see `conv4`."""

    kernels: list[Float[Array, "3 3 _inputs _outputs"]]
    shifts: list[Float[Array, " _outputs"]]
    head_weight: Float[Array, "features outputs"]
    head_bias: Float[Array, " outputs"]
    downsample: Downsample = eqx.field(static=True)
    norm: Norm = eqx.field(static=True)
    image_shape: tuple[int, int, int] | None = eqx.field(static=True, default=None)
    context: Float[Array, " context"] | None = None
    modulation: Float[Array, "context channels_twice"] | None = None

    def __call__(self, inputs, reference=None):
        """Outputs `[examples, outputs]` for images `[examples, height, width, channels]`."""
        return self.features(inputs, reference) @ self.head_weight + self.head_bias[None]

    def features(self, inputs, reference=None):
        """The inputs of the head, `[examples, features]`."""
        x, num_reference = _with_reference(inputs, reference, self.norm, self._check)
        stride = 2 if self.downsample == "stride" else 1
        for index, (kernel, shift) in enumerate(zip(self.kernels, self.shifts, strict=True)):
            x = _convolve(x, kernel, stride)
            x = _normalize(x, self.norm, num_reference) + shift[None, None, None]
            if index == 2 and self.context is not None and self.modulation is not None:
                gain, offset = jnp.split((self.context @ self.modulation)[None, None, None], 2, -1)
                x = x * (1 + gain) + offset
            x = jax.nn.relu(x)
            if self.downsample == "pool":
                x = _max_pool(x)
        x = x.mean((1, 2)) if self.downsample == "stride" else _flattened(x)
        return x[num_reference:]

    @property
    def head(self):
        """Weight and bias of the linear head."""
        return self.head_weight, self.head_bias

    def with_head(self, weight, bias) -> "Conv4":
        """This model with another head."""
        return dataclasses.replace(self, head_weight=weight, head_bias=bias)

    def _check(self, name: str, shape: tuple[Any, ...]):
        built_for = self.image_shape
        if built_for is None or shape[1:] == built_for:
            return
        advice = "resize the images, or build the network for them"
        if (*shape[1:], 1) == built_for:
            advice = f"add a channel axis with {name}[..., None]"
        elif shape == built_for:
            advice = f"add an axis of examples with {name}[None]"
        raise ValueError(
            f"this conv4 was built for images {list(built_for)}, got {name} {list(shape)}; "
            f"{advice}."
        )


def conv4(
    key,
    image_shape: tuple[int, int, int],
    num_outputs: int,
    *,
    channels: int = 64,
    downsample: Downsample = "stride",
    norm: Norm = "batch",
    head_scale: float = 0.0,
    context_size: int = 0,
) -> Conv4:
    """The paper's convolutional network, in both its forms.

    Convolutions are computed as products of patches and a matrix. Under a `vmap` over tasks, each
    with its own weights, they stay matrix products; `lax.conv` would become a grouped convolution,
    which XLA runs very slowly on a CPU.

    Args:
        key: a PRNG key.
        image_shape: `(height, width, channels)`.
        num_outputs: number of classes.
        channels: filters per block (paper: 64 strided, 32 pooled).
        downsample: `"stride"`: convolutions with stride 2, then the spatial mean (the paper's
            Omniglot network); `"pool"`: stride 1 and 2×2 max-pooling, then flattened (its
            mini-ImageNet network).
        norm: normalization before each ReLU; see the module.
        head_scale: standard deviation of the head's initial weights. At zero all classes start
            with equal logits, and the first inner step sets the head to differences between class
            means.
        context_size: size of the context, a vector that starts at zero. A linear map of it scales
            and shifts the channels of the third block before its ReLU; `cavia` adapts the context.
            (Its authors' code gives this map a bias, and modulates after the pooling.)

    Differs from the paper: its code starts the strided network's head with standard deviation 1,
    which outer training must shrink first.

    Raises:
        ValueError: if `norm` or `downsample` is unknown, or the image is too small to pool; by
            the network, if it is called with images of another shape, or without the reference
            that `norm="support"` needs.

    Example:
        >>> import jax, jax.numpy as jnp, mamlax
        >>> model = mamlax.models.conv4(jax.random.key(0), (28, 28, 1), 5)
        >>> model(jnp.ones((10, 28, 28, 1))).shape
        (10, 5)
    """
    _check_norm(norm)
    if downsample not in get_args(Downsample):
        raise ValueError(f'downsample must be "stride" or "pool", got {downsample!r}.')
    height, width, in_channels = image_shape
    if downsample == "pool" and min(height, width) < 16:
        raise ValueError(
            f"images of {height}×{width} are too small for four 2×2 poolings (at least 16×16)."
        )
    *kernel_keys, head_key = jax.random.split(key, 5)
    widths = (in_channels, channels, channels, channels, channels)
    xavier = jax.nn.initializers.glorot_uniform()
    kernels = [
        xavier(k, (3, 3, m, n))
        for k, m, n in zip(kernel_keys, widths[:-1], widths[1:], strict=True)
    ]
    num_features = channels
    if downsample == "pool":
        num_features *= (height // 16) * (width // 16)
    head_weight = head_scale * jax.random.normal(head_key, (num_features, num_outputs))
    shifts = [jnp.zeros(channels) for _ in kernels]
    context, modulation = _zero_context(context_size), None
    if context is not None:
        modulation = xavier(jax.random.fold_in(head_key, 1), (context_size, 2 * channels))
    return Conv4(
        kernels,
        shifts,
        head_weight,
        jnp.zeros(num_outputs),
        downsample,
        norm,
        (height, width, in_channels),
        context,
        modulation,
    )


def _zero_context(size: int):
    if size < 0:
        raise ValueError(f"context_size must be 0 or more, got {size}.")
    return jnp.zeros(size) if size else None


def _flattened(x):
    """`[examples, features]`; len and -1 would fail for the symbolic shapes of `jax.export`."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _with_reference(inputs, reference, norm: Norm, check) -> tuple[Any, Any]:
    """The reference inputs followed by `inputs`, and the number of reference inputs."""
    check("inputs", jnp.shape(inputs))
    if norm != "support":
        return inputs, 0
    if reference is None:
        raise ValueError(
            'norm="support" normalizes by the moments of the support set, got no reference. Pass '
            "batch.reference as the second argument, and sample tasks with "
            "FewShot(..., reference=True)."
        )
    check("reference", jnp.shape(reference))
    if reference.shape[0] == 0:  # the inputs are the support set itself
        return inputs, 0
    return jnp.concatenate([reference, inputs]), reference.shape[0]


def _normalize(x, norm: Norm, num_reference: Any, epsilon: float = 1e-3):
    if norm == "none":
        return x
    if norm in ("batch", "support"):
        moments_of = x[:num_reference] if num_reference else x
        axes = tuple(range(x.ndim - 1))
        mean = moments_of.mean(axes, keepdims=True)
        variance = jnp.square(moments_of - mean).mean(axes, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + epsilon)
    num_groups = 1 if norm == "layer" else _num_groups(x.shape[-1])
    grouped = x.reshape(*x.shape[:-1], num_groups, -1)
    axes = (*range(1, x.ndim - 1), x.ndim)
    mean = grouped.mean(axes, keepdims=True)
    variance = jnp.square(grouped - mean).mean(axes, keepdims=True)
    return ((grouped - mean) * jax.lax.rsqrt(variance + epsilon)).reshape(x.shape)


def _num_groups(width: int) -> int:
    """The largest divisor of `width` that gives groups of at least 8 channels; 1 if none does."""
    return max(n for n in range(1, max(1, width // 8) + 1) if width % n == 0)


def _convolve(x, kernel, stride: int):
    """3×3 convolution with TensorFlow's "same" padding: an odd row is added at the end."""
    height, width = (-(-size // stride) for size in x.shape[1:3])
    padding = [(0, 0), *(_same_padding(size, stride) for size in x.shape[1:3]), (0, 0)]
    x = jnp.pad(x, padding)
    shifted = [
        x[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(3)
        for j in range(3)
    ]
    patches = jnp.concatenate(shifted, axis=-1)
    outputs = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return outputs.reshape(x.shape[0], height, width, kernel.shape[-1])


def _same_padding(size: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2


def _max_pool(x):
    """2×2 max-pooling by reshaping; an odd last row or column is dropped."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def _check_norm(norm: str):
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}.")
