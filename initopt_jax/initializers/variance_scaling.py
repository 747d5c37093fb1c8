"""Weights whose variance keeps signals the same size from layer to layer: the general form.

All need a fan: how many inputs a unit has, or how many units an input has (see `fans`). The forms
of one variance differ in shape alone; `gain` multiplies the standard deviation. The named families
(`lecun`, `glorot`, `he`) are this with a mode, an activation and a shape of their own. Their normal
weights are real normals, as in the papers; those of `jax.nn.initializers` and `tf.keras` are
truncated ones of the same standard deviation.
"""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.errors import unknown_name
from initopt_jax.initializers.base import (
    scaled_normal,
    scaled_truncated_normal,
    scaled_uniform,
)
from initopt_jax.initializers.gains import squared_gain
from initopt_jax.initializers.normal import normal_distribution, truncated_normal_distribution
from initopt_jax.initializers.uniform import uniform_distribution
from initopt_jax.networks.fans import weight_fans
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("normal", "truncated_normal", "uniform")


def _std(shape: Shape, mode: str, activation: str) -> float:
    """`gain(activation) / sqrt(fan)`."""
    if mode not in MODES:
        raise ValueError(unknown_name("mode", mode, MODES))
    fan_in, fan_out = weight_fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    return math.sqrt(squared_gain(activation) / fan)


def variance_scaling(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mode: str = "fan_in",
    activation: str = "linear",
    distribution: str = "normal",
) -> Array:
    """Weights of a variance that follows from a fan, an activation and a gain.

    `E W = 0, Var W = gain^2 / (E[phi(z)^2] fan)`, `z ~ N(0, 1)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.
        mode: which fan. `fan_in` keeps the size of signals on the way forward, `fan_out` that of
            gradients on the way back, `fan_avg` is the mean of both.
        activation: phi, what the layer's inputs have passed, by a name that `gains.gain` knows;
            `linear` for none.
        distribution: `normal`, `uniform`, or `truncated_normal` (at two standard deviations of the
            underlying normal, see there).

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete `gain`
            is not above 0, or a name is unknown.

    Reference:
        He, Zhang, Ren and Sun (2015), Delving deep into rectifiers, eq. 10 and 14; Glorot and
        Bengio (2010), eq. 12, for the mean of both fans.

    Deviations:
        `jax.nn.initializers.variance_scaling(scale)` takes `scale = gain^2` and no activation; its
        `normal` is the same as here. PyTorch's `kaiming_*` take their `calculate_gain` for the
        activation, which `gains.gain` compares.

    >>> import jax
    >>> weights = variance_scaling(jax.random.key(0), (400, 100), activation="relu", mode="fan_out")
    >>> round(float(weights.var()) * 100, 2)
    2.01
    """
    checks.positive("gain", gain)
    std = _std(shape, mode, activation)
    if distribution == "normal":
        return scaled_normal(key, shape, dtype, gain * std)
    if distribution == "truncated_normal":
        return scaled_truncated_normal(key, shape, dtype, gain * std)
    if distribution == "uniform":
        # U[-a, a) has the standard deviation a / sqrt(3).
        return scaled_uniform(key, shape, dtype, gain * math.sqrt(3) * std)
    raise ValueError(unknown_name("distribution", distribution, DISTRIBUTIONS))


def variance_scaling_distribution(
    shape: Shape,
    *,
    gain: float = 1.0,
    mode: str = "fan_in",
    activation: str = "linear",
    distribution: str = "normal",
) -> DistributionSpec:
    """The distribution of `variance_scaling`."""
    checks.positive("gain", gain)
    std = gain * _std(shape, mode, activation)
    if distribution == "normal":
        return normal_distribution(shape, stddev=std)
    if distribution == "truncated_normal":
        return truncated_normal_distribution(shape, stddev=std)
    if distribution == "uniform":
        return uniform_distribution(shape, scale=math.sqrt(3) * std)
    raise ValueError(unknown_name("distribution", distribution, DISTRIBUTIONS))


ENTRIES = (
    Initializer(
        name="variance_scaling",
        draw=variance_scaling,
        distribution=variance_scaling_distribution,
        formula="Var W = gain^2 / (E[phi(z)^2] fan), z ~ N(0, 1)",
        reference="He, Zhang, Ren and Sun (2015), eq. 10 and 14",
    ),
)
