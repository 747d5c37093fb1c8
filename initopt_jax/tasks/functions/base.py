"""What a test function of two variables is, and how a function of one's own becomes one."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from initopt_jax.types import Array

Point: TypeAlias = tuple[float, float]
Domain: TypeAlias = tuple[float, float, float, float]
DOMAIN: Domain = (-2.0, 2.0, -2.0, 2.0)  # of a function that names none


@dataclass(frozen=True)
class TestFunctionEntry:
    """Registry entry of one test function of two variables.

    Attributes:
        name: as written in a config.
        value: `(x, y, **options) -> Array` of the shape of `x`; pure, for scalars and arrays alike.
        minima: `(**options) -> points`, the minima that a map of basins tells apart, the lowest
            ones first; empty where there are none or none is known.
        domain: x_low, x_high, y_low, y_high: the box that pictures show and grids of starts fill.
        formula: one line, plain text.
        reference: authors, year, equation or section.
        target: a value at or below which a run counts as solved; None where there is none.
    """

    __test__ = False  # its name is no name of a test

    name: str
    value: Callable[..., Array]
    minima: Callable[..., tuple[Point, ...]]
    domain: Domain
    formula: str = ""
    reference: str = ""
    target: float | None = None


def from_function(name: str, function: Callable[..., Any]) -> TestFunctionEntry:
    """The test function of a user's `(x, y, **options) -> scalar`.

    What else there is to know of it may stand on it as attributes: `minima` (points, or a function
    of its options), `domain` (four numbers; by default -2 to 2 on both axes) and `target`.

    Args:
        name: as written in the config.
        function: of two variables, and options by name.

    Returns:
        The entry; the function itself is not called.

    Raises:
        ValueError: an attribute is not what it should be, or there are no two variables.

    >>> def bowl(x, y):
    ...     return x**2 + (y - 1) ** 2
    >>> bowl.minima = [(0, 1)]
    >>> made = from_function("mine:bowl", bowl)
    >>> made.minima(), made.domain, made.target
    (((0.0, 1.0),), (-2.0, 2.0, -2.0, 2.0), None)
    """
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    if len([one for one in parameters if one.kind in positional]) < 2:
        raise ValueError("must take two variables, x and y, before its options")
    domain = _numbers("domain", getattr(function, "domain", DOMAIN), 4)
    if not (domain[0] < domain[1] and domain[2] < domain[3]):
        raise ValueError(f"domain must be (x_low, x_high, y_low, y_high), got {domain}")
    target = getattr(function, "target", None)
    return TestFunctionEntry(
        name=name,
        value=function,
        minima=_minima(getattr(function, "minima", ())),
        domain=domain,
        formula=(inspect.getdoc(function) or "").partition("\n")[0],
        target=None if target is None else _numbers("target", [target], 1)[0],
    )


def _minima(given: Any) -> Callable[..., tuple[Point, ...]]:
    def minima(**options: float) -> tuple[Point, ...]:
        points: Any = given(**options) if callable(given) else given
        try:
            return tuple(_numbers("minima", point, 2) for point in points)
        except TypeError:
            raise ValueError(f"minima must be a list of points (x, y), got {points!r}") from None

    return minima


def _numbers(what: str, values: Any, count: int) -> tuple[Any, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count:
        wanted = "a number" if count == 1 else f"{count} numbers"
        raise ValueError(f"{what} must be {wanted}, got {values!r}")
    return numbers
