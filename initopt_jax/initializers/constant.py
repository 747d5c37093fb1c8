"""Weights that are all alike: the starting points that never break the symmetry between units."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import as_number, working_dtype
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def zeros(key: Array, shape: Shape, dtype: Any = jnp.float32) -> Array:
    """Every weight is 0.

    `W = 0`

    Args:
        key: not used.
        shape: of the leaf.
        dtype: of the leaf, floating.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype.

    Reference:
        Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors:
        equal weights cannot become different, hence random ones.

    >>> import jax
    >>> zeros(jax.random.key(0), (2,)).tolist()
    [0.0, 0.0]
    """
    return constant(key, shape, dtype, value=0.0)


def zeros_distribution(shape: Shape) -> DistributionSpec:
    """The distribution of `zeros`."""
    return constant_distribution(shape, value=0.0)


def ones(key: Array, shape: Shape, dtype: Any = jnp.float32) -> Array:
    """Every weight is 1.

    `W = 1`

    Args:
        key: not used.
        shape: of the leaf.
        dtype: of the leaf, floating.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype.

    Reference:
        Ioffe and Szegedy (2015), Batch normalization: the usual start of a layer's scale.

    >>> import jax
    >>> ones(jax.random.key(0), (2,)).tolist()
    [1.0, 1.0]
    """
    return constant(key, shape, dtype, value=1.0)


def ones_distribution(shape: Shape) -> DistributionSpec:
    """The distribution of `ones`."""
    return constant_distribution(shape, value=1.0)


def constant(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, value: ArrayLike = 0.1
) -> Array:
    """Every weight is `value`.

    `W = value`

    Args:
        key: not used.
        shape: of the leaf.
        dtype: of the leaf, floating.
        value: any finite number, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype, or a concrete `value` is not finite.

    Reference:
        Rumelhart, Hinton and Williams (1986), as for `zeros`.

    >>> import jax
    >>> constant(jax.random.key(0), (2,), value=0.5).tolist()
    [0.5, 0.5]
    """
    del key
    checks.number("value", value)
    number = as_number(value, working_dtype(dtype))
    return _filled(number, shape=tuple(shape), dtype=jnp.dtype(dtype))


@functools.partial(jax.jit, static_argnames=("shape", "dtype"))
def _filled(number: ArrayLike, *, shape: Shape, dtype: Any) -> Array:
    return jnp.full(shape, number).astype(dtype)


def constant_distribution(shape: Shape, *, value: float = 0.1) -> DistributionSpec:
    """The distribution of `constant`."""
    del shape
    checks.number("value", value)
    return DistributionSpec("constant", mean=value, low=value, high=value)


ENTRIES = (
    Initializer(
        name="zeros",
        draw=zeros,
        distribution=zeros_distribution,
        formula="W = 0",
        reference="Rumelhart, Hinton and Williams (1986)",
    ),
    Initializer(
        name="ones",
        draw=ones,
        distribution=ones_distribution,
        formula="W = 1",
        reference="Ioffe and Szegedy (2015)",
    ),
    Initializer(
        name="constant",
        draw=constant,
        distribution=constant_distribution,
        formula="W = value",
        reference="Rumelhart, Hinton and Williams (1986)",
    ),
)
