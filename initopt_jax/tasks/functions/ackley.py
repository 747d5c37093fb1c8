"""Ackley's function: a funnel with a sharp tip in a field of ripples."""

import math

import jax.numpy as jnp

from initopt_jax.tasks.functions.base import Point, TestFunctionEntry
from initopt_jax.types import Array


def value(x: Array, y: Array) -> Array:
    """`f = 20 + e - 20 exp(-0.2 r) - exp((cos 2 pi x + cos 2 pi y) / 2)`, r^2 = (x^2 + y^2) / 2.

    At the origin, the tip of a cone, the gradient is set to 0.

    Args:
        x: of any shape.
        y: of the same shape.

    Returns:
        The value, of the shape of `x`.

    Reference: Ackley 1987, A Connectionist Machine for Genetic Hillclimbing, Kluwer, pages 13-14.

    >>> round(float(value(0.0, 0.0)), 5), f"{value(1.0, 1.0):.4f}"
    (0.0, '3.6254')
    """
    square = jnp.asarray((x**2 + y**2) / 2)
    # The root's slope is infinite at 0, and infinity times 0 would be NaN.
    radius = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    waves = (jnp.cos(2 * math.pi * x) + jnp.cos(2 * math.pi * y)) / 2
    return 20 + math.e - 20 * jnp.exp(-0.2 * radius) - jnp.exp(waves)


def minima() -> tuple[Point, ...]:
    """The lowest one; the local ones, near whole numbers, count as missed."""
    return ((0.0, 0.0),)


ENTRY = TestFunctionEntry(
    name="ackley",
    value=value,
    minima=minima,
    domain=(-5.0, 5.0, -5.0, 5.0),
    formula="f = 20 + e - 20 exp(-0.2 r) - exp((cos 2 pi x + cos 2 pi y) / 2), "
    "r^2 = (x^2 + y^2) / 2",
    reference="Ackley 1987, A Connectionist Machine for Genetic Hillclimbing, Kluwer, pages 13-14",
    target=0.01,  # the cone's slope is 2.8: within 0.004 of its tip
)
