"""Himmelblau's function: four minima, all of them equally low."""

from initopt_jax.tasks.functions.base import Point, TestFunctionEntry
from initopt_jax.types import Array


def value(x: Array, y: Array) -> Array:
    """`f = (x^2 + y - 11)^2 + (x + y^2 - 7)^2`.

    Args:
        x: of any shape.
        y: of the same shape.

    Returns:
        The value, of the shape of `x`.

    Reference: Himmelblau 1972, Applied Nonlinear Programming, McGraw-Hill.

    >>> value(3.0, 2.0), value(0.0, 0.0)
    (0.0, 170.0)
    """
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def minima() -> tuple[Point, ...]:
    """The four real roots of `x^2 + y = 11, x + y^2 = 7`, to the last digit of float64."""
    return (
        (3.0, 2.0),
        (-2.805118086952745, 3.131312518250573),
        (-3.779310253377747, -3.2831859912861696),
        (3.584428340330492, -1.8481265269644036),
    )


ENTRY = TestFunctionEntry(
    name="himmelblau",
    value=value,
    minima=minima,
    domain=(-5.0, 5.0, -5.0, 5.0),
    formula="f = (x^2 + y - 11)^2 + (x + y^2 - 7)^2",
    reference="Himmelblau 1972, Applied Nonlinear Programming, McGraw-Hill",
    target=1e-6,
)
