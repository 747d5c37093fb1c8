"""Kernels that act at one point: a matrix at the centre of the window, zeros around it.

The centre of a window of `k` taps is tap `(k - 1) // 2`: with the padding `SAME` of XLA, and so of
Flax, that is the tap over the output's own position, for even `k` too.
"""

import jax.numpy as jnp
import numpy as np

from initopt_jax.networks.fans import require_kernel
from initopt_jax.types import Array, Shape


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """Inputs and outputs of a leaf `(inputs, outputs)` or `(..window.., inputs, outputs)`.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, or what they do is
            not known.

    >>> matrix_shape((3, 3, 16, 32))
    (16, 32)
    """
    require_kernel(shape)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"shape must have at least two dimensions, none empty, to hold a matrix; got {shape}"
        )
    return shape[-2], shape[-1]


def centre(shape: Shape) -> tuple[int, ...]:
    """Where the matrix of a kernel stands; empty for a dense layer.

    >>> centre((3, 3, 16, 32)), centre((2, 5, 16, 32)), centre((16, 32))
    ((1, 1), (0, 2), ())
    """
    return tuple((taps - 1) // 2 for taps in shape[:-2])


def at_centre(matrix: Array, shape: Shape) -> Array:
    """The leaf of this shape with `matrix` at its centre and zeros around it."""
    if len(shape) == 2:
        return matrix
    return jnp.zeros(shape, matrix.dtype).at[centre(shape)].set(matrix)


def centre_of(weights: np.ndarray) -> np.ndarray:
    """The matrix at the centre of a leaf, for `DistributionSpec.drawn`."""
    return weights[centre(weights.shape)]


def around_centre(weights: np.ndarray) -> str:
    """What is wrong with the rest of a leaf, for `DistributionSpec.arranged`."""
    rest = weights.copy()
    rest[centre(weights.shape)] = 0
    count = int(np.count_nonzero(rest))
    return f"{count} weights beside the centre of the window are not 0" if count else ""
