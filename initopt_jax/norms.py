"""Norms, standard deviations and angles over the whole range of a dtype.

In float32 the square of 1e20 is infinite and that of 1e-25 is 0. Arrays are therefore divided by a
power of two near their largest magnitude before anything is squared. That rounds nothing: where all
squares fit into the range, the bits are those of `sqrt(sum(x * x))`.

An infinite entry gives an infinite norm, NaN gives NaN, and an array without entries 0. XLA on CPU
takes numbers below the smallest normal one (1.2e-38 in float32) for 0, and so do these functions.
Complex entries count by their magnitude.
"""

from functools import reduce

import jax
import jax.numpy as jnp

from initopt_jax.types import Array

Axis = int | tuple[int, ...]


def scale_of(*arrays: Array, axis: Axis | None = None) -> Array:
    """A power of two near the largest magnitude of all entries: what to divide by before squaring.

    It lies between the smallest normal number of the dtype (also for zeros) and its inverse (also
    for infinities), so that dividing by it is exact; it is a constant to differentiation.

    Args:
        arrays: any shapes; the result is float32 at least.
        axis: the largest along these axes of one array, which stay with length 1; all by default.

    >>> float(scale_of(jnp.array([3e20, 1.0]))), float(scale_of(jnp.array([0.75, -1.5])))
    (2.9514790517935283e+20, 2.0)
    """
    kept = axis is not None
    sizes = [
        jnp.max(jnp.abs(jax.lax.stop_gradient(array)), axis=axis, keepdims=kept, initial=0.0)
        for array in _wide(*arrays)
    ]
    if not sizes:
        return jnp.ones(())
    largest = reduce(jnp.maximum, sizes)
    limits = jnp.finfo(largest.dtype)
    power = jax.lax.reduce_precision(largest, exponent_bits=limits.nexp, mantissa_bits=0)
    smallest = float(limits.smallest_normal)
    return jnp.minimum(jnp.maximum(power, smallest), 1 / smallest)


def rescaled(array: Array) -> tuple[Array, Array]:
    """The array divided by its `scale_of`, so that entries are of order 1, and the scale.

    For formulas that do not depend on the size of an array, and for those that put it back.

    >>> scaled, scale = rescaled(jnp.array([2.0**100, -(2.0**98)]))
    >>> scaled.tolist(), float(scale) == 2.0**100
    ([1.0, -0.25], True)
    """
    (wide,) = _wide(array)
    scale = scale_of(wide)
    return wide * (1 / scale), scale


def norm(*arrays: Array, axis: Axis | None = None) -> Array:
    """The Euclidean norm of all arrays together, or along axes of one; its slope at 0 is 0.

    `sqrt(sum |x_i|^2)`

    Args:
        arrays: any shapes; the result is float32 at least.
        axis: sum along these axes of one array, which stay with length 1; all by default.

    Reference:
        Blue (1978), A portable Fortran program to find the Euclidean norm of a vector, on scaling.

    >>> float(norm(jnp.array([3.0]), jnp.array(4.0)))
    5.0
    >>> f"{float(norm(jnp.full(4, 1e20))):.3g}", f"{float(norm(jnp.full(4, 1e-25))):.3g}"
    ('2e+20', '2e-25')
    >>> norm(jnp.array([[3.0, 4.0], [6.0, 8.0]]), axis=1).tolist()
    [[5.0], [10.0]]
    """
    scale = scale_of(*arrays, axis=axis)
    return scale * norm_in(scale, *arrays, axis=axis)


def norm_in(scale: Array, *arrays: Array, axis: Axis | None = None) -> Array:
    """The norm in units of `scale_of(*arrays)`: of order 1 where the norm itself may not fit.

    >>> huge = jnp.full(4, 3e38)
    >>> bool(jnp.isinf(norm(huge))), round(float(norm_in(scale_of(huge), huge)), 2)
    (True, 7.05)
    """
    kept, inverse = axis is not None, 1 / scale
    total = jnp.zeros((), scale.dtype)
    for array in _wide(*arrays):
        sizes = jnp.abs(array) * inverse
        total = total + jnp.sum(sizes * sizes, axis=axis, keepdims=kept)
    nothing = total == 0
    return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, total)))


def root_mean_square(array: Array) -> Array:
    """The root of the mean of an array's squares, float32 at least; 0 for one without entries.

    >>> float(root_mean_square(jnp.array([7.0, 1.0]))), float(root_mean_square(jnp.array([1e30])))
    (5.0, 1.0000000150474662e+30)
    """
    (wide,) = _wide(array)
    scale = scale_of(wide)
    sizes = jnp.abs(wide) * (1 / scale)
    return scale * jnp.sqrt(jnp.sum(sizes * sizes) / max(array.size, 1))


def standard_deviation(array: Array, axis: Axis | None = None) -> Array:
    """Around the mean, of all entries or along axes, which go; float32 at least.

    >>> round(float(standard_deviation(jnp.array([1e25, -1e25]))) / 1e25, 4)
    1.0
    """
    scaled, scale = rescaled(array)
    return scale * jnp.std(scaled, axis=axis)


def cosine(one: Array, other: Array) -> Array:
    """The cosine of the angle between two arrays of one shape, -1 to 1; NaN where either is 0.

    >>> round(float(cosine(jnp.array([1e-30, 0.0]), jnp.array([3e30, 4e30]))), 4)
    0.6
    """
    left, right = unit(one), unit(other)
    return jnp.clip(jnp.sum(left * right), -1.0, 1.0)


def unit(array: Array) -> Array:
    """An array divided by its norm; NaN where that is 0 or not finite.

    >>> [round(x, 4) for x in unit(jnp.array([3e-30, 4e-30])).tolist()]
    [0.6, 0.8]
    """
    scaled, _ = rescaled(array)
    length = norm_in(jnp.ones((), scaled.dtype), scaled)
    return scaled / jnp.where(jnp.isfinite(length) & (length > 0), length, jnp.nan)


def _wide(*arrays: Array) -> list[Array]:
    """The arrays in float64 where one of them is, else in float32; complex ones stay complex."""
    double = any(array.dtype in (jnp.float64, jnp.complex128) for array in arrays)
    real, both = (jnp.float64, jnp.complex128) if double else (jnp.float32, jnp.complex64)
    return [array.astype(both if jnp.iscomplexobj(array) else real) for array in arrays]
