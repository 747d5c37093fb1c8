"""A config's values: what JSON holds and gives back unchanged, and what a dtype can tell apart."""

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pydantic

from initopt_jax.errors import ConfigError

NO_EFFECT = "leave the option out for its default; what is to have no effect is left out whole"


def plain(value: Any, place: str = "") -> Any:
    """A copy of nothing but texts, finite numbers, true, false, None, lists and mappings by text.

    JSON has no other values: they would be stored as something else, and a study could not be
    made again from its manifest. Tuples, and arrays and numbers of NumPy and JAX, become lists and
    numbers.

    Args:
        value: any.
        place: where it stands in a config, for messages.

    Raises:
        ConfigError: a number that is not finite or beyond float64, half of a surrogate pair, the
            character NUL, or another kind of value; with its place.

    >>> plain({"stddev": (0.1, np.float64(0.2)), "steps": np.array([1, 2])})
    {'stddev': [0.1, 0.2], 'steps': [1, 2]}
    >>> plain({"rate": [0.1, float("nan")]}, "optimizers.0")
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: optimizers.0.rate.1 must be a finite number, got nan
    """
    if isinstance(value, Mapping):
        return {_key(key, place): plain(item, _inside(place, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, _inside(place, index)) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, pydantic.BaseModel):  # a part that was built in Python
        plain(value.model_dump(), place)
        return value
    if isinstance(value, int | float):
        return _finite(value, place)
    if isinstance(value, np.ndarray | np.generic) or type(value).__module__.startswith("jax"):
        return plain(np.asarray(value).tolist(), place)
    raise ConfigError(
        f"{place or 'config'} must be a text, a number, true, false, a list or a mapping, got "
        f"{type(value).__name__} {value!r}{_instead(value)}"
    )


def _inside(place: str, part: Any) -> str:
    return f"{place}.{part}" if place else str(part)


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        where = f" of {place}" if place else ""
        raise ConfigError(f"keys{where} must be texts, got {key!r}; write '{key}' in quotes")
    return _text(key, place)


def _text(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{place or 'config'} holds half of a surrogate pair, which is no character and cannot "
            f"be stored: {text!a}; write the character itself"
        ) from None
    if "\0" in text:
        raise ConfigError(
            f"{place or 'config'} holds the character NUL, at which other programs end a text: "
            f"{text!r}; leave it out"
        )
    return text


def _finite(value: int | float, place: str) -> int | float:
    """Python's own number, of a subclass too, such as NumPy's float64."""
    try:
        finite = math.isfinite(value)
    except OverflowError:
        raise ConfigError(
            f"{place} must be a number that float64 holds, got a whole number of "
            f"{int(value).bit_length():,} bits"
        ) from None
    if not finite:
        advice = "" if math.isnan(value) else f"; {NO_EFFECT}"
        raise ConfigError(f"{place} must be a finite number, got {float(value)}{advice}")
    return float(value) if isinstance(value, float) else int(value)


def _instead(value: Any) -> str:
    if isinstance(value, dt.date | dt.time):
        return f"; as a text it is written in quotes: '{value}'"
    return "; name what is callable as 'module:function'" if callable(value) else ""


def refuse_lost(values: Any, dtype: np.dtype, place: str = "") -> None:
    """Raise ConfigError where a number is infinite or 0 in the dtype of a study, and else is not.

    Numbers below the smallest normal one are 0 in compiled programs.

    >>> refuse_lost({"eps": 1e-46}, np.dtype(np.float32), "optimizers.0")
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: optimizers.0.eps is 1e-46, which is 0 in float32: the smallest \
number above 0 is 1.18e-38; write 0, a larger number, or set precision: float64
    """
    limits = np.finfo(dtype)
    largest, smallest = float(limits.max), float(limits.tiny)
    for where, value in _floats(values, place):
        if abs(value) > largest:
            raise ConfigError(
                f"{where} is {value!r}, which is infinite in {dtype.name}: the largest number is "
                f"{largest:.3g}; write a smaller one{_wider(dtype)}"
            )
        if 0 < abs(value) < smallest:
            raise ConfigError(
                f"{where} is {value!r}, which is 0 in {dtype.name}: the smallest number above 0 is "
                f"{smallest:.3g}; write 0, a larger number{_wider(dtype)}"
            )


def _wider(dtype: np.dtype) -> str:
    return ", or set precision: float64" if dtype.itemsize < 8 else ""


def _floats(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield place, value
    items = value.items() if isinstance(value, Mapping) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for part, item in items:
        yield from _floats(item, _inside(place, part))


def refuse_equal(what: str, values: Sequence[float], dtype: np.dtype) -> None:
    """Raise ConfigError where two values of a swept axis are the same number in a dtype.

    >>> refuse_equal("'sgd': learning_rate", [0.1, 0.1000000001], np.dtype(np.float32))
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: 'sgd': learning_rate holds 0.1 and 0.1000000001, the same \
number in float32: 0.1; leave one of them out, or set precision: float64
    """
    known: dict[np.floating, float] = {}
    with np.errstate(over="ignore"):
        numbers = [dtype.type(value) for value in values]
    for value, number in zip(values, numbers, strict=True):
        if number not in known:
            known[number] = value
            continue
        other = known[number]
        if other == value:
            raise ConfigError(f"{what} holds a value twice: {other!r} and {value!r}")
        raise ConfigError(
            f"{what} holds {other!r} and {value!r}, the same number in {dtype.name}: "
            f"{number!s}; leave one of them out{_wider(dtype)}"
        )
