"""Convolutions of large pictures, block by block: patches stay in the cache.

Whole patches of a large layer are many times its pictures, and writing and reading them takes
longer than the products. Here a loop makes the patches of a few rows and columns at a time, in one
buffer that is used again and again, and multiplies them while they are near.

Strided windows read pictures taken apart by phase, `x[u s + phase]`: each tap of the kernel then
reads one phase without a stride, and gradients of strided convolutions multiply no zeros.

The three functions `convolve`, `pull_back` and `correlate` are the derivatives of one sum of
products of pictures, kernel and cotangent by each of them, so each one's derivatives are the other
two: reverse mode of any order exists.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from initopt_jax.types import Array

Pair = tuple[int, int]
BLOCK_COLUMNS = 256  # of patches: from 128 to 1024 tried, the fastest over the layers of ResNet-9


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution lie; each field is (vertical, horizontal).

    Attributes:
        inputs: size of the pictures.
        outputs: size of the results.
        taps: size of the kernel.
        strides: steps between windows.
        before: padding before the first pixel; negative cuts.
        gaps: distance of neighbouring kernel weights.
        precision: of the products, as for `lax.dot_general`.
    """

    inputs: Pair
    outputs: Pair
    taps: Pair
    strides: Pair
    before: Pair
    gaps: Pair
    precision: Any = None

    def reads(self, axis: int) -> list[Pair]:
        """Phase and first place within the phase that each tap reads along an axis."""
        places = [tap * self.gaps[axis] - self.before[axis] for tap in range(self.taps[axis])]
        return [(place % self.strides[axis], place // self.strides[axis]) for place in places]

    def phase_size(self, axis: int) -> int:
        """Pixels of one phase along an axis, the last one filled up."""
        return -(-self.inputs[axis] // self.strides[axis])


@dataclass(frozen=True)
class _Tap:
    """What one tap of a kernel reads: which source, from which row and column."""

    source: int
    row: int
    column: int


def convolve(pictures: Array, kernel: Array, windows: Windows) -> Array:
    """Outputs [F, H', W', B] of pictures [C, H, W, B] and a kernel [kh, kw, C, F].

    >>> ones = Windows((3, 4), (2, 2), (2, 2), (1, 2), (0, 0), (1, 1))
    >>> convolve(jnp.ones((5, 3, 4, 1)), jnp.ones((2, 2, 5, 1)), ones).ravel().tolist()
    [20.0, 20.0, 20.0, 20.0]
    """
    return _convolve(pictures, kernel, windows)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(pictures: Array, kernel: Array, windows: Windows) -> Array:
    def one(pictures: Array, kernel: Array) -> Array:
        sources, taps = _sources(pictures, windows)
        weights = kernel.reshape(-1, kernel.shape[3]).T
        size = (*windows.outputs, pictures.shape[3])
        return _sum_of_taps(sources, taps, weights, size, windows.precision)

    return _lane_by_lane(one)(pictures, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _pull_back(cotangent: Array, kernel: Array, windows: Windows) -> Array:
    """The cotangent of the pictures."""

    def one(cotangent: Array, kernel: Array) -> Array:
        rows, columns = windows.reads(0), windows.reads(1)
        size = windows.phase_size(0), windows.phase_size(1)
        phases = []
        for vertical in range(windows.strides[0]):
            for horizontal in range(windows.strides[1]):
                # A pixel u of the phase meets the output h = u - place of each tap that reads it.
                reads = [
                    (row, column, -first, -second)
                    for row, (own, first) in enumerate(rows)
                    for column, (other, second) in enumerate(columns)
                    if (own, other) == (vertical, horizontal)
                ]
                phases.append(_one_phase(cotangent, kernel, reads, size, windows.precision))
        together = jnp.stack(phases).reshape(*windows.strides, *phases[0].shape)
        together = together.transpose(2, 3, 0, 4, 1, 5)
        height, width = (own * stride for own, stride in zip(size, windows.strides, strict=True))
        whole = together.reshape(kernel.shape[2], height, width, cotangent.shape[3])
        return whole[:, : windows.inputs[0], : windows.inputs[1]]

    return _lane_by_lane(one)(cotangent, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(pictures: Array, cotangent: Array, windows: Windows) -> Array:
    """The cotangent of the kernel."""

    def one(pictures: Array, cotangent: Array) -> Array:
        sources, taps = _sources(pictures, windows)
        features, batch = cotangent.shape[0], cotangent.shape[3]
        channels = pictures.shape[0]
        flat = cotangent.reshape(*cotangent.shape[:2], -1)
        # Sums of many blocks: in half precision they would stop growing.
        wide = jnp.promote_types(pictures.dtype, jnp.float32)

        def add(total: Array, patches: Array, row: Any, column: Any, block: Pair) -> Array:
            start, size = (0, row, column * batch), (features, block[0], block[1] * batch)
            own = lax.dynamic_slice(flat, start, size).reshape(features, -1)
            return total + lax.dot_general(
                patches,
                own,
                (((1,), (1,)), ((), ())),
                precision=windows.precision,
                preferred_element_type=wide,
            )

        start = jnp.zeros((len(taps) * channels, features), wide)
        total = _over_blocks(sources, taps, channels, batch, windows.outputs, add, start)
        return total.reshape(*windows.taps, channels, features).astype(pictures.dtype)

    return _lane_by_lane(one)(pictures, cotangent)


def _save(left: Array, right: Array, windows: Windows, rule: Any) -> Any:
    return rule(left, right, windows), (left, right)


def _of_convolve(windows: Windows, saved: Any, by: Array) -> tuple[Array, Array]:
    pictures, kernel = saved
    return _pull_back(by, kernel, windows), _correlate(pictures, by, windows)


def _of_pull_back(windows: Windows, saved: Any, by: Array) -> tuple[Array, Array]:
    cotangent, kernel = saved
    return _convolve(by, kernel, windows), _correlate(by, cotangent, windows)


def _of_correlate(windows: Windows, saved: Any, by: Array) -> tuple[Array, Array]:
    pictures, cotangent = saved
    return _pull_back(cotangent, by, windows), _convolve(pictures, by, windows)


_convolve.defvjp(partial(_save, rule=_convolve), _of_convolve)
_pull_back.defvjp(partial(_save, rule=_pull_back), _of_pull_back)
_correlate.defvjp(partial(_save, rule=_correlate), _of_correlate)


def _lane_by_lane(function: Callable[..., Array]) -> Callable[..., Array]:
    """Lanes one after another: the blocks of several at once would not stay in the cache."""
    return jax.custom_batching.sequential_vmap(function)


def _sources(pictures: Array, windows: Windows) -> tuple[Array, list[_Tap]]:
    """The phases of padded pictures [P C, rows, columns B], and where each tap reads."""
    reads = windows.reads(0), windows.reads(1)
    config, first = [], []
    for axis in (0, 1):
        offsets = [offset for _, offset in reads[axis]]
        ahead = max(0, -min(offsets))
        last = windows.outputs[axis] - 1 + max(offsets)
        behind = max(0, last + 1 - windows.phase_size(axis))
        stride = windows.strides[axis]
        filled = windows.phase_size(axis) * stride - windows.inputs[axis]
        config.append((ahead * stride, behind * stride + filled, 0))
        first.append(ahead)
    zero = jnp.zeros((), pictures.dtype)
    padded = lax.pad(pictures, zero, [(0, 0, 0), *config, (0, 0, 0)])
    channels, height, width, batch = padded.shape
    down, across = windows.strides
    parted = padded.reshape(channels, height // down, down, width // across, across, batch)
    parted = parted.transpose(2, 4, 0, 1, 3, 5)
    taps = [
        _Tap(phase * across + other, first[0] + row, first[1] + column)
        for phase, row in reads[0]
        for other, column in reads[1]
    ]
    return parted.reshape(down * across * channels, height // down, -1), taps


def _one_phase(
    cotangent: Array, kernel: Array, reads: Sequence[Any], size: Pair, precision: Any
) -> Array:
    """What the taps of one phase bring back, [C, rows, columns, B]."""
    channels = kernel.shape[2]
    if not reads:
        return jnp.zeros((channels, *size, cotangent.shape[3]), cotangent.dtype)
    config, first = [], []
    for axis in (0, 1):
        offsets = [read[2 + axis] for read in reads]
        ahead = max(0, -min(offsets))
        behind = max(0, size[axis] + max(offsets) - cotangent.shape[1 + axis])
        config.append((ahead, behind, 0))
        first.append(ahead)
    zero = jnp.zeros((), cotangent.dtype)
    padded = lax.pad(cotangent, zero, [(0, 0, 0), *config, (0, 0, 0)])
    sources = padded.reshape(*padded.shape[:2], -1)
    taps = [_Tap(0, first[0] + row, first[1] + column) for _, _, row, column in reads]
    own = jnp.stack([kernel[row, column] for row, column, _, _ in reads])  # [T, C, F]
    weights = own.transpose(1, 0, 2).reshape(channels, -1)
    whole = (*size, cotangent.shape[3])
    return _sum_of_taps(sources, taps, weights, whole, precision)


def _sum_of_taps(
    sources: Array, taps: Sequence[_Tap], weights: Array, size: Sequence[int], precision: Any
) -> Array:
    """`sum over taps of weights @ what the tap reads`, [F, H', W', B]; `size` is (H', W', B)."""
    features, depth = weights.shape[0], weights.shape[1] // len(taps)
    height, width, batch = size
    numbers = (((1,), (0,)), ((), ()))

    def write(outputs: Array, patches: Array, row: Any, column: Any, block: Pair) -> Array:
        made = lax.dot_general(weights, patches, numbers, precision=precision)
        made = made.reshape(features, block[0], -1)
        return lax.dynamic_update_slice(outputs, made, (0, row, column * batch))

    outputs = jnp.zeros((features, height, width * batch), sources.dtype)
    filled = _over_blocks(sources, taps, depth, batch, (height, width), write, outputs)
    return filled.reshape(features, height, width, batch)


def _over_blocks(
    sources: Array,
    taps: Sequence[_Tap],
    channels: int,
    batch: int,
    size: Pair,
    use: Callable[..., Array],
    start: Array,
) -> Array:
    """`carry <- use(carry, patches [T C, n], row, column, block)` for one block after another.

    Rows are flat, [rows, columns B]: the longer the runs that are copied, the faster.
    """
    block = block_size(batch, size)
    rows, columns = block
    across = size[1] // columns

    def step(number: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        made, patches = carry
        row, column = number // across * rows, number % across * columns
        for index, tap in enumerate(taps):
            first = (tap.source * channels, row + tap.row, (column + tap.column) * batch)
            own = lax.dynamic_slice(sources, first, (channels, rows, columns * batch))
            # Written in place, one tap after another: half the time of a concatenation.
            patches = lax.dynamic_update_slice(patches, own, (index * channels, 0, 0))
        flat = patches.reshape(len(taps) * channels, -1)
        return use(made, flat, row, column, block), patches

    buffer = jnp.zeros((len(taps) * channels, rows, columns * batch), sources.dtype)
    return lax.fori_loop(0, size[0] // rows * across, step, (start, buffer))[0]


def block_size(batch: int, size: Pair) -> Pair:
    """Rows and columns of the largest equal blocks of at most BLOCK_COLUMNS patches; at least 1.

    >>> block_size(64, (32, 32)), block_size(16, (7, 7)), block_size(1000, (8, 8))
    ((1, 4), (1, 7), (1, 1))
    """
    heights, widths = (
        [part for part in range(1, whole + 1) if whole % part == 0] for whole in size
    )
    fitting = [
        (rows, columns)
        for rows in heights
        for columns in widths
        if rows * columns * batch <= BLOCK_COLUMNS
    ]
    return max(fitting, key=lambda block: (math.prod(block), block[1]), default=(1, 1))
