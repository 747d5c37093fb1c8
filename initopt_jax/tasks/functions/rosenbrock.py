"""Rosenbrock's function: a curved, flat valley with the minimum at its end."""

from initopt_jax.tasks.functions.base import Point, TestFunctionEntry
from initopt_jax.types import Array


def value(x: Array, y: Array, *, steepness: float = 100.0) -> Array:
    """`f = steepness (y - x^2)^2 + (1 - x)^2`.

    Args:
        x: of any shape.
        y: of the same shape.
        steepness: of the valley's walls, > 0; Rosenbrock's is 100.

    Returns:
        The value, of the shape of `x`.

    Reference: Rosenbrock 1960, An automatic method for finding the greatest or least value of a
        function, The Computer Journal 3(3).

    >>> value(-1.0, 1.0)  # where the valley begins
    4.0
    """
    return steepness * (y - x**2) ** 2 + (1 - x) ** 2


def minima(*, steepness: float = 100.0) -> tuple[Point, ...]:
    """The only one, whatever the steepness."""
    del steepness
    return ((1.0, 1.0),)


ENTRY = TestFunctionEntry(
    name="rosenbrock",
    value=value,
    minima=minima,
    domain=(-2.0, 2.0, -1.0, 3.0),
    formula="f = steepness (y - x^2)^2 + (1 - x)^2",
    reference="Rosenbrock 1960, The Computer Journal 3(3)",
    target=1e-6,
)
