"""LeCun et al. (1998): a unit's sum of inputs has the variance of one input."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax.initializers.variance_scaling import (
    variance_scaling,
    variance_scaling_distribution,
)
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def lecun_normal(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mode: str = "fan_in",
    activation: str = "linear",
) -> Array:
    """Normal weights that keep the variance of the inputs' sums at 1.

    `W ~ N(0, gain^2 / fan_in)`

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
        LeCun, Bottou, Orr and Müller (1998), Efficient BackProp, section 4.6.

    Deviations:
        The paper fixes the variance, not the shape. `jax.nn.initializers.lecun_normal`, the
        default of Flax's `Dense`, is truncated: see `flax_default`.

    >>> import jax
    >>> weights = lecun_normal(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 3)
    0.05
    """
    return variance_scaling(
        key, shape, dtype, gain=gain, mode=mode, activation=activation, distribution="normal"
    )


def lecun_normal_distribution(
    shape: Shape, *, gain: float = 1.0, mode: str = "fan_in", activation: str = "linear"
) -> DistributionSpec:
    """The distribution of `lecun_normal`."""
    return variance_scaling_distribution(
        shape, gain=gain, mode=mode, activation=activation, distribution="normal"
    )


def lecun_uniform(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mode: str = "fan_in",
    activation: str = "linear",
) -> Array:
    """Uniform weights that keep the variance of the inputs' sums at 1.

    `W ~ U[-a, a), a = gain * sqrt(3 / fan_in)`

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
        LeCun, Bottou, Orr and Müller (1998), Efficient BackProp, section 4.6.

    Deviations:
        The paper fixes the variance, not the shape. PyTorch's default for linear layers has a third
        of this variance: see `torch_default`.

    >>> import jax
    >>> weights = lecun_uniform(jax.random.key(0), (400, 100))
    >>> round(float(weights.max()), 3)
    0.087
    """
    return variance_scaling(
        key, shape, dtype, gain=gain, mode=mode, activation=activation, distribution="uniform"
    )


def lecun_uniform_distribution(
    shape: Shape, *, gain: float = 1.0, mode: str = "fan_in", activation: str = "linear"
) -> DistributionSpec:
    """The distribution of `lecun_uniform`."""
    return variance_scaling_distribution(
        shape, gain=gain, mode=mode, activation=activation, distribution="uniform"
    )


ENTRIES = (
    Initializer(
        name="lecun_normal",
        draw=lecun_normal,
        distribution=lecun_normal_distribution,
        formula="W ~ N(0, gain^2 / fan_in)",
        reference="LeCun, Bottou, Orr and Müller (1998), section 4.6",
    ),
    Initializer(
        name="lecun_uniform",
        draw=lecun_uniform,
        distribution=lecun_uniform_distribution,
        formula="W ~ U[-a, a), a = gain * sqrt(3 / fan_in)",
        reference="LeCun, Bottou, Orr and Müller (1998), section 4.6",
    ),
)
