"""He et al. (2015): the forward signal of rectified units keeps its size."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax.initializers.variance_scaling import (
    variance_scaling,
    variance_scaling_distribution,
)
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def he_normal(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mode: str = "fan_in",
    activation: str = "relu",
) -> Array:
    """Normal weights that keep the forward signal of rectified units the same size.

    `W ~ N(0, 2 gain^2 / fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.
        mode: the fan that divides: `fan_in`, `fan_out` or `fan_avg`, see `variance_scaling`.
        activation: what the layer's inputs have passed; its squared gain, see `gains.gain`, takes
            the place of the 2.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete `gain`
            is not above 0, or a name is unknown.

    Reference:
        He, Zhang, Ren and Sun (2015), Delving deep into rectifiers, eq. 10; eq. 14 with `fan_out`.

    Deviations:
        `gain` is not in the paper; `jax.nn.initializers.he_normal` is truncated.

    >>> import jax
    >>> weights = he_normal(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 3)
    0.071
    """
    return variance_scaling(
        key, shape, dtype, gain=gain, mode=mode, activation=activation, distribution="normal"
    )


def he_normal_distribution(
    shape: Shape, *, gain: float = 1.0, mode: str = "fan_in", activation: str = "relu"
) -> DistributionSpec:
    """The distribution of `he_normal`."""
    return variance_scaling_distribution(
        shape, gain=gain, mode=mode, activation=activation, distribution="normal"
    )


def he_uniform(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mode: str = "fan_in",
    activation: str = "relu",
) -> Array:
    """Uniform weights that keep the forward signal of rectified units the same size.

    `W ~ U[-a, a), a = gain * sqrt(6 / fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.
        mode: the fan that divides: `fan_in`, `fan_out` or `fan_avg`, see `variance_scaling`.
        activation: what the layer's inputs have passed; its squared gain, see `gains.gain`, takes
            the place of the 2.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete `gain`
            is not above 0, or a name is unknown.

    Reference:
        He, Zhang, Ren and Sun (2015), Delving deep into rectifiers, eq. 10 (the variance).

    Deviations:
        The paper draws normal weights.

    >>> import jax
    >>> weights = he_uniform(jax.random.key(0), (400, 100))
    >>> round(float(weights.max()), 3)
    0.122
    """
    return variance_scaling(
        key, shape, dtype, gain=gain, mode=mode, activation=activation, distribution="uniform"
    )


def he_uniform_distribution(
    shape: Shape, *, gain: float = 1.0, mode: str = "fan_in", activation: str = "relu"
) -> DistributionSpec:
    """The distribution of `he_uniform`."""
    return variance_scaling_distribution(
        shape, gain=gain, mode=mode, activation=activation, distribution="uniform"
    )


ENTRIES = (
    Initializer(
        name="he_normal",
        draw=he_normal,
        distribution=he_normal_distribution,
        formula="W ~ N(0, 2 gain^2 / fan_in)",
        reference="He, Zhang, Ren and Sun (2015), eq. 10",
    ),
    Initializer(
        name="he_uniform",
        draw=he_uniform,
        distribution=he_uniform_distribution,
        formula="W ~ U[-a, a), a = gain * sqrt(6 / fan_in)",
        reference="He, Zhang, Ren and Sun (2015), eq. 10",
    ),
)
