"""Weights of one magnitude and random signs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import working_dtype
from initopt_jax.networks.fans import weight_fans
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape

# bfloat16, the coarsest dtype of a leaf, rounds by at most this.
ROUNDING = 2**-8


def signed_constant(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """One magnitude, that of He's standard deviation, under a fair sign for each weight.

    `W = +-c`, `P(W = c) = 1/2`, `c = gain * sqrt(2 / fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        gain: multiplies the magnitude; above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, or a concrete
            `gain` is not above 0.

    Reference:
        Ramanujan, Wortsman, Kembhavi, Farhadi and Rastegari (2020), What's hidden in a randomly
        weighted neural network?, the signed Kaiming constant.

    Deviations:
        `gain` is not in the paper.

    >>> import jax
    >>> weights = signed_constant(jax.random.key(0), (50, 20))
    >>> sorted({round(float(w), 3) for w in weights.ravel()})
    [-0.2, 0.2]
    """
    checks.positive("gain", gain)
    working = working_dtype(dtype)
    magnitude = jnp.asarray(gain, working) * _magnitude(shape)
    # One random byte per weight: a fourth of the generator's work.
    odd = jax.random.bits(key, shape, jnp.uint8) & 1
    return jnp.where(odd == 1, magnitude, -magnitude).astype(dtype)


def signed_constant_distribution(shape: Shape, *, gain: float = 1.0) -> DistributionSpec:
    """The distribution of `signed_constant`."""
    checks.positive("gain", gain)
    magnitude = gain * _magnitude(shape)

    def arranged(weights: np.ndarray) -> str:
        low, high = float(np.abs(weights).min()), float(np.abs(weights).max())
        if low == high and abs(low - magnitude) <= ROUNDING * magnitude:
            return ""
        return f"magnitudes from {low:.4g} to {high:.4g}, asked was {magnitude:.4g} for all"

    return DistributionSpec(
        "moments", std=magnitude, low=-magnitude, high=magnitude, arranged=arranged
    )


def _magnitude(shape: Shape) -> float:
    fan_in, _ = weight_fans(shape)
    return math.sqrt(2 / fan_in)


ENTRIES = (
    Initializer(
        name="signed_constant",
        draw=signed_constant,
        distribution=signed_constant_distribution,
        formula="W = +-gain * sqrt(2 / fan_in) with fair signs",
        reference="Ramanujan et al. (2020), the signed Kaiming constant",
    ),
)
