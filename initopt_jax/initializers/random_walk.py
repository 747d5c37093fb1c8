"""Weights under which the logarithm of a signal's size walks without a drift."""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.errors import unknown_name
from initopt_jax.initializers.base import scaled_normal
from initopt_jax.initializers.normal import normal_distribution
from initopt_jax.networks.fans import weight_fans
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape

ACTIVATIONS = ("linear", "relu")


def random_walk(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    activation: str = "linear",
) -> Array:
    """Normal weights that correct LeCun's and He's for a finite width.

    `W ~ N(0, (gain g)^2 / N)`, `N = fan_in`, `g = exp(1 / (2 N))` for `linear`,
    `g = sqrt(2) exp(1.2 / (max(N, 6) - 2.4))` for `relu`

    Weights of variance `1 / N` keep the mean of a signal's squared norm, but not that of its
    logarithm, which is what a product of many layers goes by: it loses about `1 / N` per layer
    (`2.4 / (N - 2.4)` with rectifiers). `g` gives it back.

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the standard deviation; above 0, concrete or traced.
        activation: between the layers, `linear` or `relu`. For `tanh` the paper has no formula
            and finds a `g` of 1.1 to 1.3 by experiment: set it as `gain` with `linear`.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete `gain`
            is not above 0, or `activation` is another.

    Reference:
        Sussillo and Abbott (2014), Random walk initialization for training very deep feedforward
        networks, section 3 (arXiv:1412.6558).

    Deviations:
        The paper's layers are square and its `N` is their width; here it is the fan-in, as in
        TensorFlow's former `_random_walk`, whose constants (and those of a summary of the paper)
        these are. For `linear` `E ln(chi^2_N / N)` is known exactly; the paper, and this, keep its
        first term, `-1 / N`. The constants for `relu` are the paper's fit to simulations.

    >>> import jax
    >>> weights = random_walk(jax.random.key(0), (400, 100), activation="relu")
    >>> round(float(weights.std()), 3)
    0.071
    """
    checks.positive("gain", gain)
    return scaled_normal(key, shape, dtype, gain * _std(shape, activation))


def random_walk_distribution(
    shape: Shape, *, gain: float = 1.0, activation: str = "linear"
) -> DistributionSpec:
    """The distribution of `random_walk`."""
    checks.positive("gain", gain)
    return normal_distribution(shape, stddev=gain * _std(shape, activation))


def _std(shape: Shape, activation: str) -> float:
    n, _ = weight_fans(shape)
    if activation == "linear":
        return math.exp(1 / (2 * n)) / math.sqrt(n)
    if activation == "relu":
        return math.sqrt(2) * math.exp(1.2 / (max(n, 6) - 2.4)) / math.sqrt(n)
    raise ValueError(unknown_name("activation", activation, ACTIVATIONS))


ENTRIES = (
    Initializer(
        name="random_walk",
        draw=random_walk,
        distribution=random_walk_distribution,
        formula="W ~ N(0, (gain g)^2 / N), g = exp(1/(2N)), ReLU sqrt(2) exp(1.2/(max(N,6)-2.4))",
        reference="Sussillo and Abbott (2014), section 3",
    ),
)
