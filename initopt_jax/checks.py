"""Checks of the numbers that a user hands to a transform or an initializer.

Only concrete numbers (Python or NumPy scalars) are looked at: a JAX array may be traced and have no
value yet, a schedule (any callable) has many, so both pass. Each check returns None or raises a
`ValueError` that names the argument, the value and what is allowed.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

LARGEST_FLOAT = int(sys.float_info.max)
LARGEST = 2**31 - 1  # of a count: what JAX's own counters, which are int32, can hold


def number(name: str, value: Any) -> None:
    """Refuses what is not one finite number.

    Args:
        name: the argument, as the user wrote it.
        value: what was given; JAX arrays and callables pass unchecked.

    Raises:
        ValueError: if `value` is a bool, not a number, NaN or infinite.

    >>> number("learning_rate", "fast")
    Traceback (most recent call last):
    ValueError: learning_rate must be a number, got 'fast'
    """
    _check(name, value, lambda _: True, "a finite number")


def positive(name: str, value: Any) -> None:
    """Refuses what is not a finite number above 0; arguments and errors as for `number`.

    >>> positive("eps", 0.0)
    Traceback (most recent call last):
    ValueError: eps must be a finite number above 0, got 0.0
    """
    above(name, value, low=0)


def non_negative(name: str, value: Any) -> None:
    """Refuses what is not a finite number of at least 0; arguments and errors as for `number`.

    >>> non_negative("learning_rate", -0.1)
    Traceback (most recent call last):
    ValueError: learning_rate must be a finite number of at least 0, got -0.1
    """
    _check(name, value, lambda x: x >= 0, "a finite number of at least 0")


def above(name: str, value: Any, low: float) -> None:
    """Refuses what is not a finite number above `low`; other arguments and errors as `number`.

    >>> above("t_max", 2.0, low=2)
    Traceback (most recent call last):
    ValueError: t_max must be a finite number above 2, got 2.0
    """
    _check(name, value, lambda x: x > low, f"a finite number above {low:g}")


def probability(name: str, value: Any) -> None:
    """Refuses what is not in `0 < value < 1`; arguments and errors as for `number`.

    >>> probability("prior", 0.0)
    Traceback (most recent call last):
    ValueError: prior must be above 0 and below 1, got 0.0
    """
    _check(name, value, lambda x: 0 < x < 1, "above 0 and below 1")


def fraction(name: str, value: Any) -> None:
    """Refuses what is not in `0 <= value < 1`; arguments and errors as for `number`.

    >>> fraction("decay", 1.0)
    Traceback (most recent call last):
    ValueError: decay must be at least 0 and below 1, got 1.0
    """
    _check(name, value, lambda x: 0 <= x < 1, "at least 0 and below 1")


def in_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuses what is not in `low <= value <= high`; other arguments and errors as for `number`.

    >>> in_range("sparsity", 1.5, low=0, high=1)
    Traceback (most recent call last):
    ValueError: sparsity must be between 0 and 1 (both allowed), got 1.5
    """
    meaning = f"between {low:g} and {high:g} (both allowed)"
    _check(name, value, lambda x: low <= x <= high, meaning)


def whole(name: str, value: Any) -> None:
    """Refuses what is not a whole number from 1 to 2^31 - 1; arguments and errors as `number`.

    >>> whole("every", 2.5)
    Traceback (most recent call last):
    ValueError: every must be a whole number above 0, got 2.5
    """
    _check(name, value, _is_whole, "a whole number above 0")
    _check(name, value, lambda x: x <= LARGEST, f"at most {LARGEST}")


def flag(name: str, value: Any) -> None:
    """Refuses what is not a concrete true or false: flags choose structure and are never traced.

    >>> flag("centered", "no")
    Traceback (most recent call last):
    ValueError: centered must be True or False, got 'no'
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def _is_whole(number: float) -> bool:
    return number >= 1 and float(number).is_integer()


def count(name: str, value: Any, most: int = LARGEST) -> None:
    """Refuses what is not a concrete whole number from 1 to `most`: counts choose structure.

    >>> count("steps", 2.5)
    Traceback (most recent call last):
    ValueError: steps must be a whole number above 0, got 2.5
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, got {value!r}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")


def _check(name: str, value: Any, allowed: Callable[[Any], bool], meaning: str) -> None:
    if isinstance(value, jax.Array) or callable(value):
        return
    if isinstance(value, int) and abs(value) > LARGEST_FLOAT:
        raise ValueError(f"{name} must be {meaning}, got a number of {len(str(value))} digits")
    concrete = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    # Python's bool is an int; NumPy's is none of these types.
    is_number = isinstance(concrete, int | float | np.integer | np.floating)
    if isinstance(concrete, bool) or not is_number:
        raise ValueError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(concrete) and allowed(concrete)):
        raise ValueError(f"{name} must be {meaning}, got {concrete}")
