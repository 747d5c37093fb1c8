"""Weights and biases at the edge of chaos."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.activations import HOMOGENEOUS
from initopt_jax.initializers.base import scaled_normal, working_dtype
from initopt_jax.initializers.gains import gain
from initopt_jax.initializers.mean_field import (
    critical_sigma_w,
    critical_table,
    require_critical,
)
from initopt_jax.initializers.normal import normal_distribution
from initopt_jax.networks.fans import weight_fans
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape

SIGMA_B = math.sqrt(0.05)


def mean_field_critical(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    sigma_b: ArrayLike = SIGMA_B,
    activation: str = "tanh",
) -> Array:
    """Normal weights at the edge between order and chaos, where signals reach deepest.

    `W ~ N(0, sigma_w^2 / fan_in)`, `sigma_w` such that `sigma_w^2 E[phi'(sqrt(q*) z)^2] = 1` with
    the biases that `mean_field_bias` draws at the same `sigma_b`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        sigma_b: standard deviation of the network's biases, between 0 and 5, concrete or traced.
        activation: phi. One of `mean_field.CRITICAL`; or `identity`, `linear`, `leaky_relu`,
            `relu`, which are critical at `sigma_b = 0` only.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete
            `sigma_b` is out of range, or `activation` has no critical line.

    Reference:
        Poole et al. (2016), Exponential expressivity in deep neural networks through transient
        chaos, eq. 6; Schoenholz et al. (2017), Deep information propagation, section 3. The
        default `sigma_b^2 = 0.05` is that of the latter's figures.

    Deviations:
        A traced `sigma_b` interpolates between 4,096 solutions, within 1e-5 of the exact one; where
        only 0 is allowed it is not looked at.

    >>> import jax
    >>> weights = mean_field_critical(jax.random.key(0), (400, 100))
    >>> round(400 * float(weights.var()), 2)
    1.77
    """
    checks.number("sigma_b", sigma_b)
    require_critical(activation)
    fan_in, _ = weight_fans(shape)
    if not isinstance(sigma_b, jax.Array):
        sigma_w: ArrayLike = critical_sigma_w(activation, float(np.asarray(sigma_b)))
    elif activation in HOMOGENEOUS:
        sigma_w = gain(activation)
    else:
        working = working_dtype(dtype)
        points, values = (jnp.asarray(part, working) for part in critical_table(activation))
        sigma_w = jnp.interp(sigma_b.astype(working), points, values)
    return scaled_normal(key, shape, dtype, sigma_w / math.sqrt(fan_in))


def mean_field_critical_distribution(
    shape: Shape, *, sigma_b: float = SIGMA_B, activation: str = "tanh"
) -> DistributionSpec:
    """The distribution of `mean_field_critical`."""
    checks.number("sigma_b", sigma_b)
    fan_in, _ = weight_fans(shape)
    sigma_w = critical_sigma_w(activation, float(sigma_b))
    return normal_distribution(shape, stddev=sigma_w / math.sqrt(fan_in))


def mean_field_bias(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, sigma_b: ArrayLike = SIGMA_B
) -> Array:
    """Normal biases, the companions of `mean_field_critical`.

    `b ~ N(0, sigma_b^2)`

    Args:
        key: of this leaf.
        shape: of the leaf.
        dtype: of the leaf, floating.
        sigma_b: standard deviation, above 0 (for 0 use `zeros`), concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype, or a concrete `sigma_b` is not above 0.

    Reference:
        Schoenholz et al. (2017), Deep information propagation, section 2.

    >>> import jax
    >>> biases = mean_field_bias(jax.random.key(0), (4000,), sigma_b=0.1)
    >>> round(float(biases.std()), 2)
    0.1
    """
    checks.positive("sigma_b", sigma_b)
    return scaled_normal(key, shape, dtype, sigma_b)


def mean_field_bias_distribution(shape: Shape, *, sigma_b: float = SIGMA_B) -> DistributionSpec:
    """The distribution of `mean_field_bias`."""
    checks.positive("sigma_b", sigma_b)
    return normal_distribution(shape, stddev=sigma_b)


ENTRIES = (
    Initializer(
        name="mean_field_critical",
        draw=mean_field_critical,
        distribution=mean_field_critical_distribution,
        formula="W ~ N(0, sigma_w^2 / fan_in), sigma_w^2 E[phi'(sqrt(q*) z)^2] = 1",
        reference="Schoenholz et al. (2017), section 3",
    ),
    Initializer(
        name="mean_field_bias",
        draw=mean_field_bias,
        distribution=mean_field_bias_distribution,
        formula="b ~ N(0, sigma_b^2)",
        reference="Schoenholz et al. (2017), section 2",
    ),
)
