"""Glorot and Bengio (2010): between what the forward and the backward pass ask for."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax.initializers.variance_scaling import (
    variance_scaling,
    variance_scaling_distribution,
)
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def glorot_normal(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mode: str = "fan_avg",
    activation: str = "linear",
) -> Array:
    """Normal weights between what the forward and the backward pass ask for.

    `W ~ N(0, 2 gain^2 / (fan_in + fan_out))`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.
        mode: the fan that divides: `fan_in`, `fan_out` or `fan_avg`, see `variance_scaling`.
        activation: what the layer's inputs have passed: its gain, see `gains.gain`, multiplies too;
            for `linear` it is 1.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete `gain`
            is not above 0, or a name is unknown.

    Reference:
        Glorot and Bengio (2010), eq. 12 (the variance).

    Deviations:
        The paper draws uniform weights; `jax.nn.initializers.glorot_normal` is truncated.

    >>> import jax
    >>> weights = glorot_normal(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 3)
    0.063
    """
    return variance_scaling(
        key, shape, dtype, gain=gain, mode=mode, activation=activation, distribution="normal"
    )


def glorot_normal_distribution(
    shape: Shape, *, gain: float = 1.0, mode: str = "fan_avg", activation: str = "linear"
) -> DistributionSpec:
    """The distribution of `glorot_normal`."""
    return variance_scaling_distribution(
        shape, gain=gain, mode=mode, activation=activation, distribution="normal"
    )


def glorot_uniform(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mode: str = "fan_avg",
    activation: str = "linear",
) -> Array:
    """Uniform weights between what the forward and the backward pass ask for.

    `W ~ U[-a, a), a = gain * sqrt(6 / (fan_in + fan_out))`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.
        mode: the fan that divides: `fan_in`, `fan_out` or `fan_avg`, see `variance_scaling`.
        activation: what the layer's inputs have passed: its gain, see `gains.gain`, multiplies too;
            for `linear` it is 1.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete `gain`
            is not above 0, or a name is unknown.

    Reference:
        Glorot and Bengio (2010), eq. 16, the normalized initialization.

    Deviations:
        `gain` is not in the paper.

    >>> import jax
    >>> weights = glorot_uniform(jax.random.key(0), (400, 100))
    >>> round(float(weights.max()), 3)
    0.11
    """
    return variance_scaling(
        key, shape, dtype, gain=gain, mode=mode, activation=activation, distribution="uniform"
    )


def glorot_uniform_distribution(
    shape: Shape, *, gain: float = 1.0, mode: str = "fan_avg", activation: str = "linear"
) -> DistributionSpec:
    """The distribution of `glorot_uniform`."""
    return variance_scaling_distribution(
        shape, gain=gain, mode=mode, activation=activation, distribution="uniform"
    )


ENTRIES = (
    Initializer(
        name="glorot_normal",
        draw=glorot_normal,
        distribution=glorot_normal_distribution,
        formula="W ~ N(0, 2 gain^2 / (fan_in + fan_out))",
        reference="Glorot and Bengio (2010), eq. 12",
    ),
    Initializer(
        name="glorot_uniform",
        draw=glorot_uniform,
        distribution=glorot_uniform_distribution,
        formula="W ~ U[-a, a), a = gain * sqrt(6 / (fan_in + fan_out))",
        reference="Glorot and Bengio (2010), eq. 16",
    ),
)
