"""Weights whose variance keeps signals the same size from layer to layer.

All need a fan: how many inputs a unit has, or how many units an input has (see
`fans`). A normal and a uniform form have the same variance; `gain` multiplies the standard
deviation. Normal weights are real normals, as in the papers; those of `jax.nn.initializers` and
`tf.keras` are truncated ones of the same standard deviation.
"""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import scaled_normal, scaled_uniform
from initopt_jax.initializers.fans import weight_fans
from initopt_jax.types import Array, Initializer, Law, Shape


def _lecun_std(shape: Shape) -> float:
    fan_in, _ = weight_fans(shape)
    return math.sqrt(1 / fan_in)


def _glorot_std(shape: Shape) -> float:
    fan_in, fan_out = weight_fans(shape)
    return math.sqrt(2 / (fan_in + fan_out))


def _he_std(shape: Shape) -> float:
    fan_in, _ = weight_fans(shape)
    return math.sqrt(2 / fan_in)


def _normal(key: Array, shape: Shape, dtype: Any, std: float, gain: ArrayLike) -> Array:
    checks.positive("gain", gain)
    return scaled_normal(key, shape, dtype, gain * std)


def _uniform(key: Array, shape: Shape, dtype: Any, std: float, gain: ArrayLike) -> Array:
    # U[-a, a) has the standard deviation a / sqrt(3).
    checks.positive("gain", gain)
    return scaled_uniform(key, shape, dtype, gain * math.sqrt(3) * std)


def _normal_law(std: float, gain: float) -> Law:
    checks.positive("gain", gain)
    return Law("normal", std=gain * std)


def _uniform_law(std: float, gain: float) -> Law:
    checks.positive("gain", gain)
    bound = gain * math.sqrt(3) * std
    return Law("uniform", std=gain * std, low=-bound, high=bound)


def lecun_normal(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """Normal weights that keep the variance of the inputs' sums at 1.

    `W ~ N(0, gain^2 / fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, or a concrete
            `gain` is not above 0.

    Reference:
        LeCun, Bottou, Orr and Müller (1998), Efficient BackProp, section 4.6.

    Deviations:
        The paper fixes the variance, not the shape. `jax.nn.initializers.lecun_normal`, the
        default of Flax's `Dense`, is truncated.

    >>> import jax
    >>> weights = lecun_normal(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 3)
    0.05
    """
    return _normal(key, shape, dtype, _lecun_std(shape), gain)


def lecun_normal_law(shape: Shape, *, gain: float = 1.0) -> Law:
    """The law of `lecun_normal`."""
    return _normal_law(_lecun_std(shape), gain)


def lecun_uniform(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """Uniform weights that keep the variance of the inputs' sums at 1.

    `W ~ U[-a, a), a = gain * sqrt(3 / fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, or a concrete
            `gain` is not above 0.

    Reference:
        LeCun, Bottou, Orr and Müller (1998), Efficient BackProp, section 4.6.

    Deviations:
        The paper fixes the variance, not the shape. PyTorch's default for linear layers has a third
        of this variance.

    >>> import jax
    >>> weights = lecun_uniform(jax.random.key(0), (400, 100))
    >>> round(float(weights.max()), 3)
    0.087
    """
    return _uniform(key, shape, dtype, _lecun_std(shape), gain)


def lecun_uniform_law(shape: Shape, *, gain: float = 1.0) -> Law:
    """The law of `lecun_uniform`."""
    return _uniform_law(_lecun_std(shape), gain)


def glorot_normal(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """Normal weights between what the forward and the backward pass ask for.

    `W ~ N(0, 2 gain^2 / (fan_in + fan_out))`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, or a concrete
            `gain` is not above 0.

    Reference:
        Glorot and Bengio (2010), eq. 12 (the variance).

    Deviations:
        The paper draws uniform weights; `jax.nn.initializers.glorot_normal` is truncated.

    >>> import jax
    >>> weights = glorot_normal(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 3)
    0.063
    """
    return _normal(key, shape, dtype, _glorot_std(shape), gain)


def glorot_normal_law(shape: Shape, *, gain: float = 1.0) -> Law:
    """The law of `glorot_normal`."""
    return _normal_law(_glorot_std(shape), gain)


def glorot_uniform(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """Uniform weights between what the forward and the backward pass ask for.

    `W ~ U[-a, a), a = gain * sqrt(6 / (fan_in + fan_out))`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, or a concrete
            `gain` is not above 0.

    Reference:
        Glorot and Bengio (2010), eq. 16, the normalized initialization.

    Deviations:
        `gain` is not in the paper.

    >>> import jax
    >>> weights = glorot_uniform(jax.random.key(0), (400, 100))
    >>> round(float(weights.max()), 3)
    0.11
    """
    return _uniform(key, shape, dtype, _glorot_std(shape), gain)


def glorot_uniform_law(shape: Shape, *, gain: float = 1.0) -> Law:
    """The law of `glorot_uniform`."""
    return _uniform_law(_glorot_std(shape), gain)


def he_normal(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """Normal weights that keep the forward signal of rectified units the same size.

    `W ~ N(0, 2 gain^2 / fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, or a concrete
            `gain` is not above 0.

    Reference:
        He, Zhang, Ren and Sun (2015), Delving deep into rectifiers, eq. 10.

    Deviations:
        `gain` is not in the paper; `jax.nn.initializers.he_normal` is truncated.

    >>> import jax
    >>> weights = he_normal(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 3)
    0.071
    """
    return _normal(key, shape, dtype, _he_std(shape), gain)


def he_normal_law(shape: Shape, *, gain: float = 1.0) -> Law:
    """The law of `he_normal`."""
    return _normal_law(_he_std(shape), gain)


def he_uniform(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """Uniform weights that keep the forward signal of rectified units the same size.

    `W ~ U[-a, a), a = gain * sqrt(6 / fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, or a concrete
            `gain` is not above 0.

    Reference:
        He, Zhang, Ren and Sun (2015), Delving deep into rectifiers, eq. 10 (the variance).

    Deviations:
        The paper draws normal weights.

    >>> import jax
    >>> weights = he_uniform(jax.random.key(0), (400, 100))
    >>> round(float(weights.max()), 3)
    0.122
    """
    return _uniform(key, shape, dtype, _he_std(shape), gain)


def he_uniform_law(shape: Shape, *, gain: float = 1.0) -> Law:
    """The law of `he_uniform`."""
    return _uniform_law(_he_std(shape), gain)


ENTRIES = (
    Initializer(
        name="lecun_normal",
        draw=lecun_normal,
        law=lecun_normal_law,
        formula="W ~ N(0, gain^2 / fan_in)",
        reference="LeCun, Bottou, Orr and Müller (1998), section 4.6",
    ),
    Initializer(
        name="lecun_uniform",
        draw=lecun_uniform,
        law=lecun_uniform_law,
        formula="W ~ U[-a, a), a = gain * sqrt(3 / fan_in)",
        reference="LeCun, Bottou, Orr and Müller (1998), section 4.6",
    ),
    Initializer(
        name="glorot_normal",
        draw=glorot_normal,
        law=glorot_normal_law,
        formula="W ~ N(0, 2 gain^2 / (fan_in + fan_out))",
        reference="Glorot and Bengio (2010), eq. 12",
    ),
    Initializer(
        name="glorot_uniform",
        draw=glorot_uniform,
        law=glorot_uniform_law,
        formula="W ~ U[-a, a), a = gain * sqrt(6 / (fan_in + fan_out))",
        reference="Glorot and Bengio (2010), eq. 16",
    ),
    Initializer(
        name="he_normal",
        draw=he_normal,
        law=he_normal_law,
        formula="W ~ N(0, 2 gain^2 / fan_in)",
        reference="He, Zhang, Ren and Sun (2015), eq. 10",
    ),
    Initializer(
        name="he_uniform",
        draw=he_uniform,
        law=he_uniform_law,
        formula="W ~ U[-a, a), a = gain * sqrt(6 / fan_in)",
        reference="He, Zhang, Ren and Sun (2015), eq. 10",
    ),
)
