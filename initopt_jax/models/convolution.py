"""Convolutions as matrix products: fast where every lane has kernels of its own.

`lax.conv_general_dilated` under `vmap` over kernels becomes a grouped convolution, and inside
`lax.scan` on CPU even a single one runs outside the fast library. Here a convolution is one matrix
product over patches, and so are both of its gradients. Inside, pictures are [C, H, W, B]: with the
batch last, every shifted copy is made of long runs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from initopt_jax.models.convolution_blocks import Windows
from initopt_jax.models.convolution_blocks import convolve as convolve_blocks
from initopt_jax.types import Array, Shape

Form = Literal["stock", "patches", "rows", "blocks"]
Pair = tuple[int, int]
LARGEST_PATCHES = 2**28  # elements; beyond a gigabyte of patches the stock form wins by memory
CACHED = 2**21  # elements: what a step moves beyond these eight megabytes leaves the cache


_ONLY_STOCK: ContextVar[bool] = ContextVar("only_stock", default=False)


@contextmanager
def as_stock() -> Iterator[None]:
    """Within the block, convolutions are traced as `lax` has them, for those who read traces."""
    token = _ONLY_STOCK.set(True)
    try:
        yield
    finally:
        _ONLY_STOCK.reset(token)


@dataclass(frozen=True)
class Geometry:
    """Where the windows of a two-dimensional convolution lie; each field is (vertical, horizontal).

    Attributes:
        strides: steps between windows.
        padding: (before, after) of each axis, in pixels of the dilated picture; may be negative.
        lhs_dilation: distance of neighbouring pixels, filled with zeros.
        rhs_dilation: distance of neighbouring kernel weights.
        precision: of the products, as for `lax.dot_general`.
    """

    strides: Pair
    padding: tuple[Pair, Pair]
    lhs_dilation: Pair = (1, 1)
    rhs_dilation: Pair = (1, 1)
    precision: Any = None

    def outputs(self, height: int, width: int, kernel: Pair) -> Pair:
        """Height and width of the outputs."""
        vertical, horizontal = (
            max(0, (_dilated(size, hole) + sum(pad) - _dilated(taps, gap)) // stride + 1)
            for size, taps, stride, pad, hole, gap in zip(
                (height, width),
                kernel,
                self.strides,
                self.padding,
                self.lhs_dilation,
                self.rhs_dilation,
                strict=True,
            )
        )
        return vertical, horizontal

    def transposed(self, inputs: Pair, outputs: Pair, kernel: Pair) -> "Geometry":
        """The convolution that takes cotangents of the outputs to those of the inputs."""
        padding = []
        for axis in (0, 1):
            reach = _dilated(kernel[axis], self.rhs_dilation[axis])
            before = reach - 1 - self.padding[axis][0]
            whole = _dilated(inputs[axis], self.lhs_dilation[axis]) + reach - 1
            padding.append((before, whole - _dilated(outputs[axis], self.strides[axis]) - before))
        return replace(
            self,
            strides=self.lhs_dilation,
            padding=(padding[0], padding[1]),
            lhs_dilation=self.strides,
        )


def choose_form(
    inputs: Shape, kernel: Shape, geometry: Geometry, dtype: Any, platform: str
) -> Form:
    """How a convolution is computed, by rule from shapes and platform alone, never by timing.

    - `stock`: `lax.conv_general_dilated`; off CPU, where nothing was measured, for dtypes that are
      not real floating ones, for empty arrays, and where patches of dilated pixels would exceed a
      gigabyte.
    - `blocks`: whole patches, a few rows and columns at a time; wherever windows are strided and
      where the other two would move more than 8 MiB, unless pixels are dilated.
    - `rows`: patches of one kernel row, a product with all rows of the kernel at once, and a sum of
      vertically shifted outputs: `kw c + kh f` numbers per pixel pass through memory.
    - `patches`: whole patches: `kh kw c` numbers per pixel. Also wherever pixels are dilated.

    Args:
        inputs: [C, H, W, B], channels of one group.
        kernel: [kh, kw, C, F], of one group.
        geometry: of the windows.
        dtype: of the computation.
        platform: such as `cpu` or `gpu`.

    Returns:
        The form.

    >>> plain = Geometry((1, 1), ((1, 1), (1, 1)))
    >>> choose_form((16, 14, 14, 64), (3, 3, 16, 32), plain, jnp.float32, "cpu")
    'rows'
    >>> choose_form((1, 28, 28, 64), (3, 3, 1, 16), plain, jnp.float32, "cpu")
    'patches'
    """
    if platform != "cpu" or not jnp.issubdtype(dtype, jnp.floating):
        return "stock"
    rows, columns, channels, _ = kernel
    pixels = math.prod(geometry.outputs(inputs[1], inputs[2], (rows, columns))) * inputs[3]
    patches = rows * columns * channels
    if 0 in (*inputs, *kernel, pixels):
        return "stock"
    if geometry.lhs_dilation == (1, 1):
        moved = min(patches, columns * channels + rows * kernel[3]) * pixels
        strided = geometry.strides != (1, 1)
        return "blocks" if strided or moved > CACHED else whole_form(kernel, geometry)
    return "stock" if pixels * patches > LARGEST_PATCHES else whole_form(kernel, geometry)


def whole_form(kernel: Shape, geometry: Geometry) -> Form:
    """The form with less memory traffic of the two that take a picture whole."""
    rows, columns, channels, features = kernel
    dense = geometry.strides == geometry.lhs_dilation == (1, 1)
    cheaper = columns * channels + rows * features <= rows * columns * channels
    return "rows" if dense and cheaper else "patches"


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[Pair],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    *,
    convolution: str = "auto",
) -> Array:
    """`lax.conv_general_dilated`, computed by matrix products where that pays.

    A drop-in, also for `flax.linen.Conv(conv_general_dilated=...)`. Values and gradients are those
    of the stock form up to the rounding of sums in another order. Reverse-mode derivatives of any
    order exist; forward mode (`jax.jvp`) only where the rule picks the stock form.

    Args:
        lhs: pictures, in the layout of `dimension_numbers`, one or two spatial axes; with any other
            number the stock form is used.
        rhs: kernel.
        window_strides: as in `lax`.
        padding: as in `lax`.
        lhs_dilation: as in `lax`.
        rhs_dilation: as in `lax`.
        dimension_numbers: as in `lax`.
        feature_group_count: as in `lax`; as many as input channels is a depthwise convolution.
        batch_group_count: as in `lax`; above 1 the stock form is used.
        precision: as in `lax`.
        preferred_element_type: as in `lax`; where given the stock form is used.
        convolution: `auto` for the rule of `choose_form`, `stock`, or `patches` for the rule of
            CPU on every platform.

    Returns:
        The outputs.

    >>> pictures, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    >>> layout = ("NHWC", "HWIO", "NHWC")
    >>> conv_general_dilated(pictures, kernel, (1, 1), "SAME", dimension_numbers=layout).shape
    (2, 8, 8, 4)
    """
    spatial = lhs.ndim - 2
    strides = tuple(window_strides)
    holes = tuple(lhs_dilation or (1,) * spatial)
    gaps = tuple(rhs_dilation or (1,) * spatial)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    groups = feature_group_count

    def stock() -> Array:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            strides,
            padding,
            lhs_dilation=holes,
            rhs_dilation=gaps,
            dimension_numbers=numbers,
            feature_group_count=groups,
            batch_group_count=batch_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
        )

    special = _ONLY_STOCK.get() or batch_group_count != 1 or preferred_element_type is not None
    if convolution == "stock" or special or spatial not in (1, 2) or lhs.dtype != rhs.dtype:
        return stock()
    batch, features, *axes = numbers.lhs_spec
    pictures = lhs.transpose(features, *axes, batch)
    out_features, in_features, *axes = numbers.rhs_spec
    kernel = rhs.transpose(*axes, in_features, out_features)
    if isinstance(padding, str):
        sizes = [
            _dilated(size, hole) for size, hole in zip(pictures.shape[1:-1], holes, strict=True)
        ]
        reach = [_dilated(size, gap) for size, gap in zip(kernel.shape[:-2], gaps, strict=True)]
        padding = lax.padtype_to_pads(sizes, reach, strides, padding)
    pads = tuple((int(before), int(after)) for before, after in padding)
    if spatial == 1:  # a picture of one row
        pictures, kernel = pictures[:, None], kernel[None]
        strides, holes, gaps, pads = (1, *strides), (1, *holes), (1, *gaps), ((0, 0), *pads)
    geometry = Geometry(strides, pads, holes, gaps, precision)  # type: ignore[arg-type]
    one_group = (pictures.shape[0] // groups, *pictures.shape[1:])
    of_group = (*kernel.shape[:3], kernel.shape[3] // groups)
    platform = "cpu" if convolution == "patches" else jax.default_backend()
    form = choose_form(one_group, of_group, geometry, lhs.dtype, platform)
    if form == "stock":
        return stock()
    convolve: Any = _by_blocks if form == "blocks" else _convolve
    outputs = _grouped(convolve, pictures, kernel, geometry, groups)
    if spatial == 1:
        outputs = outputs[:, 0]
    order = (numbers.out_spec[1], *numbers.out_spec[2:], numbers.out_spec[0])
    return outputs.transpose(*(order.index(axis) for axis in range(lhs.ndim)))


def _grouped(
    convolve: Callable[..., Array], pictures: Array, kernel: Array, geometry: Geometry, groups: int
) -> Array:
    """Outputs [F, H', W', B] of [C, H, W, B] in groups of channels."""
    if groups == 1:
        return convolve(pictures, kernel, geometry)
    parts = pictures.reshape(groups, -1, *pictures.shape[1:])
    kernels = kernel.reshape(*kernel.shape[:3], groups, -1)
    each = jax.vmap(partial(convolve, geometry=geometry), in_axes=(0, 3))
    outputs = each(parts, kernels)
    return outputs.reshape(-1, *outputs.shape[2:])


def _by_blocks(pictures: Array, kernel: Array, geometry: Geometry) -> Array:
    inputs = pictures.shape[1], pictures.shape[2]
    windows = Windows(
        inputs=inputs,
        outputs=geometry.outputs(*inputs, _taps(kernel)),
        taps=_taps(kernel),
        strides=geometry.strides,
        before=(geometry.padding[0][0], geometry.padding[1][0]),
        gaps=geometry.rhs_dilation,
        precision=geometry.precision,
    )
    return convolve_blocks(pictures, kernel, windows)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(pictures: Array, kernel: Array, geometry: Geometry) -> Array:
    """Outputs [F, H', W', B] of pictures [C, H, W, B] and a kernel [kh, kw, C, F]."""
    return _forward(pictures, kernel, geometry)[0]


def _forward(pictures: Array, kernel: Array, geometry: Geometry) -> tuple[Array, Array]:
    """The outputs, and the patches [K, M] that they were made from."""
    if whole_form(kernel.shape, geometry) == "rows":
        return _rows(pictures, kernel, geometry)
    patches = _patches(pictures, kernel.shape, geometry)
    size = geometry.outputs(pictures.shape[1], pictures.shape[2], _taps(kernel))
    weights = kernel.reshape(-1, kernel.shape[3])
    outputs = _product(weights, patches, (0, 0), geometry)
    return outputs.reshape(kernel.shape[3], *size, pictures.shape[3]), patches


def _save(pictures: Array, kernel: Array, geometry: Geometry) -> tuple[Array, Any]:
    outputs, patches = _forward(pictures, kernel, geometry)
    # An empty array carries the pictures' size: residuals must be arrays.
    return outputs, (patches, kernel, jnp.empty((*pictures.shape[:3], 0), pictures.dtype))


def _pull_back(geometry: Geometry, saved: Any, cotangent: Array) -> tuple[Array, Array]:
    """Cotangents of pictures and kernel."""
    patches, kernel, empty = saved
    _, height, width, _ = empty.shape
    if whole_form(kernel.shape, geometry) == "rows":
        return _rows_pull_back(patches, kernel, geometry, cotangent, height, width)
    features, *size, _ = cotangent.shape
    kernel_cotangent = _product(patches, cotangent.reshape(features, -1), (1, 1), geometry)
    back = geometry.transposed((height, width), (size[0], size[1]), _taps(kernel))
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    # Plain, not through the custom rule, so that second derivatives are plain as well.
    return _forward(cotangent, flipped, back)[0], kernel_cotangent.reshape(kernel.shape)


_convolve.defvjp(_save, _pull_back)


def _patches(pictures: Array, kernel: Shape, geometry: Geometry) -> Array:
    """Patches [kh kw C, H' W' B]: the window of every output as a column."""
    pads = zip(geometry.padding, geometry.lhs_dilation, strict=True)
    config = [(before, after, hole - 1) for (before, after), hole in pads]
    padded = lax.pad(pictures, _zero(pictures), [(0, 0, 0), *config, (0, 0, 0)])
    size = geometry.outputs(pictures.shape[1], pictures.shape[2], (kernel[0], kernel[1]))
    copies = []
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            start = [row * geometry.rhs_dilation[0], column * geometry.rhs_dilation[1]]
            stop = [
                first + (count - 1) * stride + 1
                for first, count, stride in zip(start, size, geometry.strides, strict=True)
            ]
            copies.append(
                lax.slice(
                    padded,
                    (0, *start, 0),
                    (padded.shape[0], *stop, padded.shape[3]),
                    (1, *geometry.strides, 1),
                )
            )
    return lax.concatenate(copies, 0).reshape(len(copies) * pictures.shape[0], -1)


def _rows(pictures: Array, kernel: Array, geometry: Geometry) -> tuple[Array, Array]:
    """The outputs from patches [kw C, H W' B] of single rows."""
    rows, columns, channels, features = kernel.shape
    _, height, width, batch = pictures.shape
    size = geometry.outputs(height, width, (rows, columns))
    copies = [_shift(pictures, 2, -offset, size[1]) for offset in _offsets(geometry, 1, columns)]
    patches = lax.concatenate(copies, 0).reshape(columns * channels, -1)
    weights = kernel.transpose(0, 3, 1, 2).reshape(rows * features, columns * channels)
    parts = _product(weights, patches, (1, 0), geometry)
    parts = parts.reshape(rows, features, height, size[1], batch)
    offsets = _offsets(geometry, 0, rows)
    return _total([_shift(parts[i], 1, -offsets[i], size[0]) for i in range(rows)]), patches


def _rows_pull_back(
    patches: Array, kernel: Array, geometry: Geometry, cotangent: Array, height: int, width: int
) -> tuple[Array, Array]:
    """Both cotangents from one set of vertically shifted copies of the outputs' cotangent."""
    rows, columns, channels, features = kernel.shape
    copies = [_shift(cotangent, 1, offset, height) for offset in _offsets(geometry, 0, rows)]
    shifted = lax.concatenate(copies, 0).reshape(rows * features, -1)
    found = _product(patches, shifted, (1, 1), geometry)
    found = found.reshape(columns, channels, rows, features).transpose(2, 0, 1, 3)
    weights = kernel.transpose(1, 2, 0, 3).reshape(columns * channels, rows * features)
    parts = _product(weights, shifted, (1, 0), geometry)
    parts = parts.reshape(columns, channels, height, *cotangent.shape[2:])
    offsets = _offsets(geometry, 1, columns)
    return _total([_shift(parts[j], 2, offsets[j], width) for j in range(columns)]), found


def _offsets(geometry: Geometry, axis: int, taps: int) -> list[int]:
    """Where each tap of the kernel reads, relative to the output's own place."""
    return [tap * geometry.rhs_dilation[axis] - geometry.padding[axis][0] for tap in range(taps)]


def _shift(pictures: Array, axis: int, by: int, size: int) -> Array:
    """The array moved by so many places along an axis, cut or filled with zeros to `size`."""
    config = [(0, 0, 0)] * pictures.ndim
    config[axis] = (by, size - pictures.shape[axis] - by, 0)
    return lax.pad(pictures, _zero(pictures), config)


def _product(left: Array, right: Array, contract: Pair, geometry: Geometry) -> Array:
    numbers = (((contract[0],), (contract[1],)), ((), ()))
    return lax.dot_general(left, right, numbers, precision=geometry.precision)


def _total(terms: Sequence[Array]) -> Array:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _taps(kernel: Array) -> Pair:
    return kernel.shape[0], kernel.shape[1]


def _zero(array: Array) -> Array:
    return jnp.zeros((), array.dtype)


def _dilated(size: int, distance: int) -> int:
    """Extent of `size` places so far apart."""
    return (size - 1) * distance + 1 if size else 0
