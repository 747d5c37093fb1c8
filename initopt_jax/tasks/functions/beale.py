"""Beale's function: a flat valley between steep corners."""

from initopt_jax.tasks.functions.base import Point, TestFunctionEntry
from initopt_jax.types import Array


def value(x: Array, y: Array) -> Array:
    """`f = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2`.

    Args:
        x: of any shape.
        y: of the same shape.

    Returns:
        The value, of the shape of `x`.

    Reference: Beale 1958, On an iterative method for finding a local minimum of a function of more
        than one variable, Technical Report 25, Princeton University; as problem 5 of More, Garbow
        & Hillstrom 1981, Testing unconstrained optimization software, ACM TOMS 7(1).

    >>> value(3.0, 0.5), value(0.0, 0.0)
    (0.0, 14.203125)
    """
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def minima() -> tuple[Point, ...]:
    """The only one."""
    return ((3.0, 0.5),)


ENTRY = TestFunctionEntry(
    name="beale",
    value=value,
    minima=minima,
    domain=(-4.5, 4.5, -4.5, 4.5),
    formula="f = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2",
    reference="Beale 1958, Technical Report 25, Princeton University",
    target=1e-6,
)
