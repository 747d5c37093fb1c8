"""A ravine: a quadratic that is much steeper across than along."""

from initopt_jax.tasks.functions.base import Point, TestFunctionEntry
from initopt_jax.types import Array


def value(x: Array, y: Array, *, condition: float = 100.0) -> Array:
    """`f = (x^2 + condition y^2) / 2`: the eigenvalues of its Hessian are 1 and `condition`.

    Gradient descent is stable below a learning rate of `2 / condition`; the best it can do is a
    factor `(condition - 1) / (condition + 1)` per step, with `2 / (condition + 1)`.

    Args:
        x: of any shape.
        y: of the same shape.
        condition: the condition number, >= 1.

    Returns:
        The value, of the shape of `x`.

    Reference: Polyak 1964, Some methods of speeding up the convergence of iteration methods, USSR
        Computational Mathematics and Mathematical Physics 4(5) (the rates).

    >>> value(2.0, 1.0, condition=10.0)
    7.0
    """
    return (x**2 + condition * y**2) / 2


def minima(*, condition: float = 100.0) -> tuple[Point, ...]:
    """The origin, whatever the condition number."""
    del condition
    return ((0.0, 0.0),)


ENTRY = TestFunctionEntry(
    name="ravine",
    value=value,
    minima=minima,
    domain=(-2.0, 2.0, -2.0, 2.0),
    formula="f = (x^2 + condition y^2) / 2",
    reference="Polyak 1964, USSR Computational Mathematics and Mathematical Physics 4(5)",
    target=1e-6,
)
