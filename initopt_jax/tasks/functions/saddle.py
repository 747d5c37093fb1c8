"""Two saddles at the origin: one to leave along an axis, one with three ways down."""

from initopt_jax.tasks.functions.base import Domain, Point, TestFunctionEntry
from initopt_jax.types import Array

DOMAIN: Domain = (-2.0, 2.0, -2.0, 2.0)


def saddle(x: Array, y: Array) -> Array:
    """`f = x^2 - y^2`: unbounded below; along y = 0 the origin looks like a minimum.

    Args:
        x: of any shape.
        y: of the same shape.

    Returns:
        The value, of the shape of `x`.

    Reference: Dauphin et al. 2014, Identifying and attacking the saddle point problem in
        high-dimensional non-convex optimization, NeurIPS 27, up to a factor.

    >>> saddle(3.0, 1.0)
    8.0
    """
    return x**2 - y**2


def monkey_saddle(x: Array, y: Array) -> Array:
    """`f = x^3 - 3 x y^2`: unbounded below; gradient and Hessian are both 0 at the origin.

    Args:
        x: of any shape.
        y: of the same shape.

    Returns:
        The value, of the shape of `x`.

    Reference: Hilbert & Cohn-Vossen 1932, Anschauliche Geometrie; as a value, Dauphin
        et al. 2014, NeurIPS 27.

    >>> monkey_saddle(2.0, 1.0)
    2.0
    """
    return x**3 - 3 * x * y**2


def minima() -> tuple[Point, ...]:
    """None: both fall without end."""
    return ()


ENTRIES = (
    TestFunctionEntry(
        name="saddle",
        value=saddle,
        minima=minima,
        domain=DOMAIN,
        formula="f = x^2 - y^2",
        reference="Dauphin et al. 2014, NeurIPS 27",
    ),
    TestFunctionEntry(
        name="monkey_saddle",
        value=monkey_saddle,
        minima=minima,
        domain=DOMAIN,
        formula="f = x^3 - 3 x y^2",
        reference="Hilbert & Cohn-Vossen 1932, Anschauliche Geometrie",
    ),
)
