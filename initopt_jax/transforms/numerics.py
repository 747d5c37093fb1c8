"""The arithmetic that the transforms share, one leaf at a time.

Sums are formed in float32 (float64 for float64 leaves) and rounded to the stored dtype once: in
bfloat16 a decay of 0.999 is 1, and `1 - decay` would be 0. Hyperparameters are cast to that working
dtype first, so that a Python number and a traced float32 scalar give the same trajectory.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax.types import Array, PyTree


def widen(*leaves: Array) -> tuple[Array, ...]:
    """The leaves in their working dtype: float64 if any of them is, else float32."""
    dtype = jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in leaves) else jnp.float32
    return tuple(leaf.astype(dtype) for leaf in leaves)


def scalar(value: ArrayLike, like: Array) -> Array:
    """A hyperparameter, concrete or traced, in the dtype of an array."""
    return jnp.asarray(value, dtype=like.dtype)


def zeros(params: PyTree) -> PyTree:
    """A fresh accumulator: zeros in buffers of their own, of the shapes and dtypes of `params`."""
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype=leaf.dtype), params)


def moving_mean(mean: Array, new: Array, decay: ArrayLike) -> Array:
    """`decay * mean + (1 - decay) * new`, in the dtype of `mean`.

    >>> float(moving_mean(jnp.array(8.0), jnp.array(4.0), 0.75))
    7.0
    """
    old, value = widen(mean, new)
    keep = scalar(decay, old)
    return (keep * old + (1 - keep) * value).astype(mean.dtype)


def moving_mean_square(mean: Array, new: Array, decay: ArrayLike) -> Array:
    """`decay * mean + (1 - decay) * new^2`, in the dtype of `mean`.

    >>> float(moving_mean_square(jnp.array(8.0), jnp.array(4.0), 0.75))
    10.0
    """
    (value,) = widen(new)
    return moving_mean(mean, value * value, decay)


def one_minus_power(decay: ArrayLike, count: Array, like: Array) -> Array:
    """`1 - decay^count` for `0 <= decay < 1`, `count >= 1`, to full precision.

    `1 - decay` is exact in floating point for a decay of at least 1/2, and `log1p`, `expm1` lose
    nothing near 0; `1 - decay**count` itself keeps four digits of float32 for a decay of 0.999.

    >>> float(one_minus_power(0.5, jnp.array(3), jnp.zeros(())))
    0.875
    """
    rate = jnp.log1p(-(1 - scalar(decay, like)))
    return -jnp.expm1(count.astype(like.dtype) * rate)


def normalized(numerator: Array, size: Array, gradient: Array) -> Array:
    """`numerator / size`, `size` the root of sums of squared gradients, plus a constant or not.

    0 where there was no gradient. NaN where the squares left the range of the dtype, so that the
    lane is seen to fail: `size` is infinite (in float32, gradients above 1.8e19), or it is 0 beside
    a gradient that is not (below 1e-19, and no constant). The quotient would be 0 in silence, and
    with an infinite accumulator for ever.

    >>> g = jnp.array([1.0, 1.0, 0.0, 1e-25])
    >>> normalized(jnp.ones(4), jnp.array([4.0, jnp.inf, 0.0, 0.0]), g).tolist()
    [0.25, nan, 0.0, nan]
    """
    nothing = size == 0
    lost = jnp.isinf(size) | (nothing & (gradient != 0))
    quotient = numerator / jnp.where(nothing, 1, size)
    return jnp.where(lost, jnp.nan, jnp.where(nothing, 0, quotient))


def ratio(numerator: Array, denominator: Array) -> Array:
    """`numerator / denominator`, and 0 where the denominator is 0: no gradient, no step.

    >>> ratio(jnp.array([1.0, 1.0]), jnp.array([4.0, 0.0])).tolist()
    [0.25, 0.0]
    """
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))
