"""The paper's convolutional network."""

import dataclasses
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._convolution import convolve
from ._inputs import flattened, with_reference, zero_context
from ._normalization import Norm, centered, check_norm, normalization

Downsample = Literal["stride", "pool"]


class Conv4(eqx.Module):
    """Four blocks of 3×3 convolution, normalization and ReLU, then a linear head; see `conv4`."""

    kernels: list[Float[Array, "3 3 _inputs _outputs"]]
    shifts: list[Float[Array, " _outputs"]]
    head_weight: Float[Array, "features outputs"]
    head_bias: Float[Array, " outputs"]
    downsample: Downsample = eqx.field(static=True)
    norm: Norm = eqx.field(static=True)
    image_shape: tuple[int, int, int] | None = eqx.field(static=True, default=None)
    context: Float[Array, " context"] | None = None
    modulation: Float[Array, "context channels_twice"] | None = None
    mirrored_features: bool = eqx.field(static=True, default=False)
    centered_features: bool = eqx.field(static=True, default=False)

    def __call__(self, inputs, reference=None):
        """Outputs `[examples, outputs]` for images `[examples, height, width, channels]`."""
        return self.features(inputs, reference) @ self.head_weight + self.head_bias[None]

    def features(self, inputs, reference=None):
        """The inputs of the head, `[examples, features]`."""
        x, num_reference = with_reference(inputs, reference, self.norm, self._check)
        features = self._features(x, num_reference)
        if self.mirrored_features:
            features = (features + self._features(x[:, :, ::-1], num_reference)) / 2
        if self.centered_features:
            features = centered(features, num_reference)
        return features[num_reference:]

    def _features(self, x, num_reference):
        stride = 2 if self.downsample == "stride" else 1
        for index, (kernel, shift) in enumerate(zip(self.kernels, self.shifts, strict=True)):
            x = convolve(x, kernel, stride=stride)
            normalize = normalization(x, self.norm, num_reference)
            gain_and_offset = self._gain_and_offset() if index == 2 else None
            pools = self.downsample == "pool"
            if pools and gain_and_offset is None:
                # What follows increases in each channel, so the largest number stays the largest.
                # Pooled first, it is computed for a quarter of the numbers. A gain may be negative.
                x, pools = _max_pool(x), False
            x = normalize(x) + shift[None, None, None]
            if gain_and_offset is not None:
                gain, offset = gain_and_offset
                x = x * (1 + gain) + offset
            x = jax.nn.relu(x)
            x = _max_pool(x) if pools else x
        return x.mean((1, 2)) if self.downsample == "stride" else flattened(x)

    @property
    def head(self):
        """Weight and bias of the linear head."""
        return self.head_weight, self.head_bias

    def with_head(self, weight, bias) -> "Conv4":
        """This model with another head."""
        return dataclasses.replace(self, head_weight=weight, head_bias=bias)

    def with_features(self, **changes: bool) -> "Conv4":
        """This model with other `mirrored_features` or `centered_features`."""
        # without the constructor, which takes arrays: leaves may be optimizers, one for each array
        found = object.__new__(Conv4)
        for field in dataclasses.fields(self):
            value = changes.get(field.name, getattr(self, field.name))
            object.__setattr__(found, field.name, value)
        return found

    def _gain_and_offset(self):
        """Gain and offset of the third block's channels, from the context; None without one."""
        if self.context is None or self.modulation is None:
            return None
        return jnp.split((self.context @ self.modulation)[None, None, None], 2, -1)

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
    mirrored_features: bool = False,
    centered_features: bool = False,
) -> Conv4:
    """The paper's convolutional network, in both of its forms.

    It uses `convolve` for its convolutions, which is fast even if each task has its own weights.

    Args:
        key: a PRNG key.
        image_shape: `(height, width, channels)`.
        num_outputs: number of classes.
        channels: filters per block (paper: 64 strided, 32 pooled).
        downsample: `"stride"`: convolutions with stride 2, then the spatial mean (the paper's
            Omniglot network). `"pool"`: stride 1 and 2×2 max-pooling, then flattened (the paper's
            mini-ImageNet network).
        norm: normalization before each ReLU; see `mamlax.models`.
        head_scale: standard deviation of the initial weights of the head. At zero, all classes
            start with equal logits, and the first inner step sets the head to differences between
            class means.
        context_size: size of the context, a vector that starts at zero. A linear map of the context
            scales and shifts the channels of the third block before its ReLU. `cavia` adapts the
            context. (In its authors' code, this map has a bias and is applied after the pooling.)
        mirrored_features: the features are the mean of those of each image and of its mirror image.
        centered_features: subtract from the features their mean over the batch (with
            `norm="support"`, over the support), and scale those of each example to the length √5.
            What all images have in common then does not hide their differences from a head of class
            means (`proto_maml`). Only with these two kinds of `norm`. Like CL2N of Wang et al.
            (2019), who subtract the mean over the training classes.

    Differs from the paper: the paper's code starts the head of the strided network with standard
    deviation 1, which outer training must shrink first.

    Raises:
        ValueError: if `norm` or `downsample` is unknown, the image is too small to pool, or
            `centered_features` are asked for with another normalization than by the batch. The
            network raises it if it is called with images of another shape, or without the reference
            that `norm="support"` needs.

    Example:
        >>> import jax, jax.numpy as jnp, mamlax
        >>> model = mamlax.models.conv4(jax.random.key(0), (28, 28, 1), 5)
        >>> model(jnp.ones((10, 28, 28, 1))).shape
        (10, 5)

    References:
        Finn, Abbeel & Levine, ICML 2017. Wang, Chao, Weinberger & van der Maaten, SimpleShot:
        Revisiting Nearest-Neighbor Classification for Few-Shot Learning, arXiv:1911.04623
        (centered features).
    """
    check_norm(norm)
    if downsample not in get_args(Downsample):
        raise ValueError(f'downsample must be "stride" or "pool", got {downsample!r}.')
    if centered_features and norm not in ("batch", "support"):
        raise ValueError(
            'centered_features are features minus their mean over a batch, so norm must be "batch" '
            f'or "support", got {norm!r}.'
        )
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
    context, modulation = zero_context(context_size), None
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
        mirrored_features,
        centered_features,
    )


def _max_pool(x):
    """2×2 max-pooling by reshaping; an odd last row or column is dropped."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return _max_of_windows(x.reshape(batch, height // 2, 2, width // 2, 2, channels))


@jax.custom_jvp
def _max_of_windows(x):
    """The largest numbers over axes 2 and 4, with a derivative that takes fewer passes over `x`.

    Numbers that are equally large share the derivative, as in JAX's own; where one is NaN, all do.
    """
    return x.max((2, 4))


@_max_of_windows.defjvp
def _max_of_windows_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    top = _max_of_windows(x)
    corners = [x[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]
    num_tops = sum((~(corner < top)).astype(x.dtype) for corner in corners)
    is_top = ~(x < top[:, :, None, :, None])
    return top, jnp.where(is_top, dx, 0).sum((2, 4)) / num_tops
