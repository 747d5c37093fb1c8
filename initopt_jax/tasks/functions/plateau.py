"""A plateau: flat nearly everywhere, with one narrow basin in its middle."""

import jax.numpy as jnp

from initopt_jax.tasks.functions.base import Point, TestFunctionEntry
from initopt_jax.types import Array


def value(x: Array, y: Array, *, width: float = 0.5) -> Array:
    """`f = 1 - exp(-(x^2 + y^2) / (2 width^2))`: a Gaussian well.

    The slope is greatest at a distance of `width`, `0.61 / width`, and falls as the well's own
    exponential: `1e-5 / width` at five widths, `1e-13 / width` at eight.

    Args:
        x: of any shape.
        y: of the same shape.
        width: of the basin, > 0, in the units of x and y.

    Returns:
        The value, of the shape of `x`.

    Reference: Easom 1990, A survey of global optimization techniques, M. Eng. thesis, University of
        Louisville: his function's envelope, without its cosines.

    >>> float(value(0.0, 0.0)), f"{value(0.5, 0.0):.4f}"
    (0.0, '0.3935')
    """
    return 1 - jnp.exp(-(x**2 + y**2) / (2 * width**2))


def minima(*, width: float = 0.5) -> tuple[Point, ...]:
    """The bottom of the well."""
    del width
    return ((0.0, 0.0),)


ENTRY = TestFunctionEntry(
    name="plateau",
    value=value,
    minima=minima,
    domain=(-3.0, 3.0, -3.0, 3.0),
    formula="f = 1 - exp(-(x^2 + y^2) / (2 width^2))",
    reference="after Easom 1990, A survey of global optimization techniques: its envelope",
    target=1e-4,  # near 0, float32 rounds the difference from 1 to about 6e-8
)
