"""Uniform weights of a width that does not look at the layer."""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import scaled_uniform
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def uniform(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, scale: ArrayLike = 0.05
) -> Array:
    """Independent uniform weights around 0.

    `W ~ U[-scale, scale)`, with variance `scale^2 / 3`

    Args:
        key: of this leaf.
        shape: of the leaf.
        dtype: of the leaf, floating.
        scale: largest magnitude, above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype, or a concrete `scale` is not above 0.

    Reference:
        Glorot and Bengio (2010), section 2.3 and eq. 1, which sets `scale = 1 / sqrt(fan_in)`.

    Deviations:
        `jax.nn.initializers.uniform(scale)` draws from `[0, scale)`, which is not centred.

    >>> import jax
    >>> weights = uniform(jax.random.key(0), (300, 100), scale=0.3)
    >>> round(float(weights.min()), 2), round(float(weights.max()), 2)
    (-0.3, 0.3)
    """
    checks.positive("scale", scale)
    return scaled_uniform(key, shape, dtype, scale)


def uniform_distribution(shape: Shape, *, scale: float = 0.05) -> DistributionSpec:
    """The distribution of `uniform`."""
    del shape
    checks.positive("scale", scale)
    return DistributionSpec("uniform", std=scale / math.sqrt(3), low=-scale, high=scale)


ENTRIES = (
    Initializer(
        name="uniform",
        draw=uniform,
        distribution=uniform_distribution,
        formula="W ~ U[-scale, scale)",
        reference="Glorot and Bengio (2010), eq. 1",
    ),
)
