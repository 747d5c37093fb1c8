"""Normal weights of a standard deviation that does not look at the layer."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import (
    CUT,
    TRUNCATED_STD,
    scaled_normal,
    scaled_truncated_normal,
)
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def normal(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, stddev: ArrayLike = 0.01
) -> Array:
    """Independent normal weights.

    `W ~ N(0, stddev^2)`

    Args:
        key: of this leaf.
        shape: of the leaf.
        dtype: of the leaf, floating.
        stddev: above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype, or a concrete `stddev` is not above 0.

    Reference:
        Krizhevsky, Sutskever and Hinton (2012), section 5, with the default 0.01.

    >>> import jax
    >>> weights = normal(jax.random.key(0), (300, 100), stddev=0.05)
    >>> round(float(weights.std()), 3)
    0.05
    """
    checks.positive("stddev", stddev)
    return scaled_normal(key, shape, dtype, stddev)


def normal_distribution(shape: Shape, *, stddev: float = 0.01) -> DistributionSpec:
    """The distribution of `normal`."""
    del shape
    checks.positive("stddev", stddev)
    return DistributionSpec("normal", std=stddev)


def truncated_normal(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, stddev: ArrayLike = 0.01
) -> Array:
    """Independent normal weights without the tails.

    `W ~ N(0, s^2)` given `|W| <= 2 s`, with `s = stddev / 0.8796`

    The cut is at two standard deviations `s` of the underlying normal. It removes 12 % of the
    standard deviation, so `s` is larger by that much: `stddev` is the one of the weights drawn.

    Args:
        key: of this leaf.
        shape: of the leaf.
        dtype: of the leaf, floating.
        stddev: standard deviation of the drawn weights, above 0, concrete or traced.

    Returns:
        The leaf; no weight lies beyond `2.274 * stddev`.

    Raises:
        ValueError: if `dtype` is not a real floating dtype, or a concrete `stddev` is not above 0.

    Reference:
        Johnson, Kotz and Balakrishnan (1994), Continuous univariate distributions 1, section 10.1.

    Deviations:
        `jax.nn.initializers.truncated_normal(s)` and `torch.nn.init.trunc_normal_` take `s`, not
        the standard deviation of what they draw.

    >>> import jax
    >>> weights = truncated_normal(jax.random.key(0), (300, 100), stddev=0.05)
    >>> round(float(weights.std()), 3), bool(abs(weights).max() <= 2.274 * 0.05)
    (0.05, True)
    """
    checks.positive("stddev", stddev)
    return scaled_truncated_normal(key, shape, dtype, stddev)


def truncated_normal_distribution(shape: Shape, *, stddev: float = 0.01) -> DistributionSpec:
    """The distribution of `truncated_normal`."""
    del shape
    checks.positive("stddev", stddev)
    bound = CUT * stddev / TRUNCATED_STD
    return DistributionSpec("truncated_normal", std=stddev, low=-bound, high=bound)


ENTRIES = (
    Initializer(
        name="normal",
        draw=normal,
        distribution=normal_distribution,
        formula="W ~ N(0, stddev^2)",
        reference="Krizhevsky, Sutskever and Hinton (2012), section 5",
    ),
    Initializer(
        name="truncated_normal",
        draw=truncated_normal,
        distribution=truncated_normal_distribution,
        formula="W ~ N(0, s^2) given |W| <= 2 s, s = stddev / 0.8796",
        reference="Johnson, Kotz and Balakrishnan (1994), section 10.1",
    ),
)
