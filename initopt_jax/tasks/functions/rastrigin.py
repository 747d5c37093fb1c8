"""Rastrigin's function: a bowl covered with a regular lattice of minima."""

import math

import jax.numpy as jnp

from initopt_jax.tasks.functions.base import Domain, Point, TestFunctionEntry
from initopt_jax.types import Array

DOMAIN: Domain = (-5.12, 5.12, -5.12, 5.12)
NEWTON_STEPS = 8  # errors start below 0.03 and are squared each time: four suffice


def value(x: Array, y: Array) -> Array:
    """`f = 20 + x^2 - 10 cos(2 pi x) + y^2 - 10 cos(2 pi y)`.

    Args:
        x: of any shape.
        y: of the same shape.

    Returns:
        The value, of the shape of `x`.

    Reference: Rastrigin 1974, Systems of Extremal Control, Nauka, Moscow.

    >>> float(value(0.0, 0.0))
    0.0
    """
    waves = jnp.cos(2 * math.pi * x) + jnp.cos(2 * math.pi * y)
    return 20 + x**2 + y**2 - 10 * waves


def minima() -> tuple[Point, ...]:
    """All 121 within the domain, the lowest first.

    The function is a sum of one term per axis, so they are all pairs of the roots of
    `2 x + 20 pi sin(2 pi x) = 0` next to a whole number, found by Newton's method.
    """
    reach = math.floor(DOMAIN[1])
    roots = [_root(whole) for whole in range(-reach, reach + 1)]
    points = [(x, y) for x in roots for y in roots]
    return tuple(sorted(points, key=lambda point: point[0] ** 2 + point[1] ** 2))


def _root(whole: int) -> float:
    x = float(whole)
    for _ in range(NEWTON_STEPS):
        slope = 2 * x + 20 * math.pi * math.sin(2 * math.pi * x)
        x -= slope / (2 + 40 * math.pi**2 * math.cos(2 * math.pi * x))
    return x


ENTRY = TestFunctionEntry(
    name="rastrigin",
    value=value,
    minima=minima,
    domain=DOMAIN,
    formula="f = 20 + x^2 - 10 cos(2 pi x) + y^2 - 10 cos(2 pi y)",
    reference="Rastrigin 1974, Systems of Extremal Control, Nauka, Moscow",
    target=1e-3,  # near 0, float32 rounds the sum of terms of size 20 to about 2e-6
)
