"""The smallest input that still ends the same way."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

Path = tuple[Any, ...]


def shrink(given: dict[str, Any], same: Callable[[dict[str, Any]], bool], tries: int = 80) -> Any:
    """Leave out parts of plain values, and halves of texts, as long as `same` holds.

    Args:
        given: what was tried.
        same: whether another input ends as this one did.
        tries: how often that is asked at most.

    >>> shrink({"a": [1, 2, 3], "b": "x"}, lambda one: 2 in one.get("a", []))
    {'a': [2]}
    """
    smallest, left, changed = given, tries, True
    while changed and left > 0:
        changed = False
        for candidate in _smaller(smallest):
            left -= 1
            if same(candidate):
                smallest, changed = candidate, True
                break
            if left <= 0:
                break
    return smallest


def _smaller(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in _places(value):
        holder = _at(value, path[:-1])
        part = holder[path[-1]]
        without = copy.deepcopy(value)
        del _at(without, path[:-1])[path[-1]]
        yield without
        if isinstance(part, str) and len(part) > 8:
            for half in (part[: len(part) // 2], part[len(part) // 2 :]):
                shorter = copy.deepcopy(value)
                _at(shorter, path[:-1])[path[-1]] = half
                yield shorter


def _places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Places of parts, the large ones first: those that hold others before what they hold."""
    pairs = value.items() if isinstance(value, dict) else ()
    pairs = list(enumerate(value) if isinstance(value, list) else pairs)
    for key, _ in pairs:
        yield (*path, key)
    for key, inner in pairs:
        yield from _places(inner, (*path, key))


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value
