"""Convolution with a different kernel for each task, fast on a CPU for derivatives of any order.

Small images are convolved as **patches**: one matrix product. Its derivatives are products again,
also under a `vmap` over tasks. The patches of many or large images do not fit the caches of a CPU,
and moving them takes longer than multiplying. XLA convolves such images. Three things are done here
because XLA does not do them well:

- Derivatives. Convolution is bilinear, and so are its transposes:

      outputs = convolve(images, kernel)
      images' cotangent = by_outputs(outputs', kernel)
      kernel's cotangent = by_images(images, outputs')

  The derivative of each map by each of its arguments is another of the three. So they are closed
  under differentiation of any order, forward and reverse, and each has a fast implementation.
- The kernel's cotangent. XLA's convolution takes several times as long for it as for the outputs.
  Here it is a sum over images of products of patches, for a few images at once, so that their
  patches fit the caches.
- Tasks. Under a `vmap` that maps the kernel, XLA makes a grouped convolution, which is very slow on
  a CPU. Here tasks are convolved one after another.

On accelerators, all images are convolved as patches.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad
from jaxtyping import Array, Float

from ._bilinear import bilinear

_MOST_PATCHES = 2**18
"""Numbers in patches that fit the caches: 1 MiB of float32."""
_FEW_CHANNELS = 4
"""Up to this number of channels, `_by_images` puts the numbers of one channel side by side."""
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    images: Float[Array, "examples height width channels"],
    kernel: Float[Array, "rows columns channels outputs"],
    *,
    stride: int = 1,
) -> Float[Array, "examples new_height new_width outputs"]:
    """Convolution with "same" padding, which is fast even if each task has its own kernel.

        outputs[n, y, x, o] = Σ_{i,j,c} images[n, s·y + i − p, s·x + j − q, c] · kernel[i, j, c, o]

    Outside their edges, images are zero. There are ⌈height / s⌉ × ⌈width / s⌉ outputs. p and q are
    half of the zeros needed in total; an odd zero is added at the end, as in TensorFlow. The
    convolution can be differentiated any number of times, forward and reverse.

    Args:
        images: `[examples, height, width, channels]`.
        kernel: `[rows, columns, channels, outputs]`.
        stride: s, in both directions.

    Raises:
        ValueError: if the shapes do not match, or the stride is not positive.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> images, kernel = jnp.ones((5, 28, 28, 3)), jnp.ones((3, 3, 3, 64))
        >>> mamlax.models.convolve(images, kernel, stride=2).shape
        (5, 14, 14, 64)
    """
    if stride < 1:
        raise ValueError(f"stride must be 1 or more, got {stride}.")
    if images.ndim != 4 or kernel.ndim != 4 or images.shape[3] != kernel.shape[2]:
        raise ValueError(
            "convolve takes images [examples, height, width, channels] and a kernel [rows, columns,"
            f" channels, outputs] of as many channels, got {images.shape} and {kernel.shape}."
        )
    dtype = jnp.result_type(images, kernel)
    images, kernel = images.astype(dtype), kernel.astype(dtype)
    window = _Window(kernel.shape[:2], stride, images.shape[1:3])
    if jax.default_backend() == "cpu" and _are_many(images, kernel, window):
        return _convolve_p.bind(images, kernel, window=window, num_batch_dims=0)
    patches = _patches(images, window)
    outputs = patches @ kernel.reshape(-1, kernel.shape[-1])
    return outputs.reshape(images.shape[0], *window.output_size, kernel.shape[-1])


class _Window(NamedTuple):
    """Where the kernel is applied to an image.

    Attributes:
        kernel_size: rows and columns of the kernel.
        stride: distance from one output to the next.
        image_size: height and width.
    """

    kernel_size: Sequence[int]
    stride: int
    image_size: Sequence[int]

    @property
    def output_size(self) -> tuple[int, ...]:
        return tuple(-(-size // self.stride) for size in self.image_size)

    @property
    def padding(self) -> list[tuple[int, int]]:
        """Zeros before and after each of the two axes."""
        totals = [
            max((outputs - 1) * self.stride + kernel - size, 0)
            for outputs, kernel, size in zip(
                self.output_size, self.kernel_size, self.image_size, strict=True
            )
        ]
        return [(total // 2, total - total // 2) for total in totals]


def _are_many(images, kernel, window: _Window) -> bool:
    num_images, *_, channels = images.shape
    if not isinstance(num_images, int) or 0 in (*images.shape, *kernel.shape):
        return False  # a symbol, of `jax.export`, or nothing
    if any(_is_sharded(x) for x in (images, kernel)):
        return False
    return _num_patches(num_images, channels, window) > _MOST_PATCHES


def _is_sharded(x) -> bool:
    """Whether devices hold different parts of `x`, by its type. The primitives have no such types.

    This is so inside `jax.shard_map`, unless `check_vma=False`, and on meshes with explicit axes.
    """
    kind: Any = jax.typeof(x)
    manual = getattr(kind, "manual_axis_type", None)  # of JAX 0.10; `vma` in others
    axes = getattr(kind, "vma", ()) if manual is None else manual.varying
    return bool(axes) or any(axis is not None for axis in kind.sharding.spec)


def _num_patches(num_images: int, channels: int, window: _Window) -> int:
    """The number of numbers in the patches."""
    return num_images * math.prod((*window.output_size, *window.kernel_size, channels))


def _patches(images, window: _Window):
    """`[examples · height · width of outputs, rows · columns · channels]`."""
    patches = jnp.concatenate(_shifted(images, window), axis=-1)
    return patches.reshape(-1, patches.shape[-1])


def _planes(images, window: _Window):
    """The transpose of `_patches`, which takes less time for images of few channels."""
    planes = jnp.stack(_shifted(images, window)).transpose(0, 4, 1, 2, 3)
    return planes.reshape(planes.shape[0] * planes.shape[1], -1)


def _shifted(images, window: _Window):
    """What each weight of the kernel is multiplied by: `[examples, *output_size, channels]`."""
    padded = jnp.pad(images, [(0, 0), *window.padding, (0, 0)])
    (height, width), stride = window.output_size, window.stride
    num_images, *_, channels = padded.shape
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    return [  # by slices and no indices, which JAX gathers by where sizes are symbols
        lax.slice(
            padded,
            (0, i, j, 0),
            (num_images, i + rows, j + columns, channels),
            (1, stride, stride, 1),
        )
        for i in range(window.kernel_size[0])
        for j in range(window.kernel_size[1])
    ]


def _convolve(images, kernel, window: _Window):
    strides = (window.stride, window.stride)
    return lax.conv_general_dilated(
        images, kernel, strides, window.padding, dimension_numbers=_LAYOUT
    )


def _by_outputs(outputs, kernel, window: _Window):
    """The transpose by the images: outputs, spaced by the stride, with the kernel flipped."""
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    padding = []
    for (before, _), num_outputs, taps, size in zip(
        window.padding, window.output_size, window.kernel_size, window.image_size, strict=True
    ):
        set_apart = (num_outputs - 1) * window.stride + 1
        start = taps - 1 - before
        padding.append((start, size + taps - 1 - start - set_apart))
    strides = (window.stride, window.stride)
    return lax.conv_general_dilated(
        outputs, turned, (1, 1), padding, lhs_dilation=strides, dimension_numbers=_LAYOUT
    )


def _by_images(images, outputs, window: _Window):
    """The transpose by the kernel: a sum over groups of images of outputsᵀ · patches."""
    dtype = jnp.promote_types(images.dtype, jnp.float32)
    num_images, *_, channels = images.shape
    num_outputs = outputs.shape[-1]
    at_once = max(1, _MOST_PATCHES // _num_patches(1, channels, window))
    at_once = min(at_once, num_images)
    in_lots = num_images // at_once * at_once

    def add_lot(total, lot):
        # in `dtype` before the products: XLA has none of these with float32 results of bfloat16
        images, outputs = (x.astype(dtype) for x in lot)
        outputs = outputs.reshape(-1, num_outputs)
        if channels > _FEW_CHANNELS:
            return total + outputs.T @ _patches(images, window), None
        return total + (_planes(images, window) @ outputs).T, None

    lots = [x[:in_lots].reshape(-1, at_once, *x.shape[1:]) for x in (images, outputs)]
    shape = (num_outputs, math.prod(window.kernel_size) * channels)
    total, _ = lax.scan(add_lot, jnp.zeros(shape, dtype), tuple(lots))
    if in_lots < num_images:
        total, _ = add_lot(total, (images[in_lots:], outputs[in_lots:]))
    return total.T.reshape(*window.kernel_size, channels, num_outputs).astype(images.dtype)


_convolve_p = bilinear(
    "convolve",
    _convolve,
    lambda images, kernel, window: (images[0], *window.output_size, kernel[3]),
    sums=False,
)
_by_outputs_p = bilinear(
    "convolve_by_outputs",
    _by_outputs,
    lambda outputs, kernel, window: (outputs[0], *window.image_size, kernel[2]),
    sums=False,
)
_by_images_p = bilinear(
    "convolve_by_images",
    _by_images,
    lambda images, outputs, window: (*window.kernel_size, images[3], outputs[3]),
    sums=True,
)

# the cotangent of each argument, from that of the result and the other argument
ad.defbilinear(
    _convolve_p,
    lambda outputs, images, kernel, **settings: _by_outputs_p.bind(outputs, kernel, **settings),
    lambda outputs, images, kernel, **settings: _by_images_p.bind(images, outputs, **settings),
)
ad.defbilinear(
    _by_outputs_p,
    lambda images, outputs, kernel, **settings: _convolve_p.bind(images, kernel, **settings),
    lambda images, outputs, kernel, **settings: _by_images_p.bind(images, outputs, **settings),
)
ad.defbilinear(
    _by_images_p,
    lambda kernel, images, outputs, **settings: _by_outputs_p.bind(outputs, kernel, **settings),
    lambda kernel, images, outputs, **settings: _convolve_p.bind(images, kernel, **settings),
)
