"""`key=value` settings on the command line, put into plain values before they are checked."""

import re
from collections.abc import Sequence
from typing import Any

from initopt_jax.config.yaml_text import DEPTH, parse_yaml, shorten
from initopt_jax.errors import ConfigError


def read_settings(settings: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    """`key=value` settings as a mapping, values as in YAML; `flag` is where they were given.

    >>> read_settings(["fan_in=64", "mirror=both"])
    {'fan_in': 64, 'mirror': 'both'}
    """
    raw: dict[str, Any] = {}
    for setting in settings:
        apply_override(raw, setting, flag)
    return raw


def apply_override(raw: dict[str, Any], override: str, flag: str = "--set") -> None:
    """Set one value in place: `steps=100`, `tuning.seeds=1`, `optimizers.0.learning_rate=[0.1]`."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise ConfigError(f"{flag} takes key=value, got {override!r}")
    where = f"{flag} {shorten(override)}"
    value = parse_yaml(text, f"the value in {where}")
    place: Any = raw
    *parents, last = _parts(dotted.strip(), where)
    for part in parents:
        if isinstance(place, dict) and not isinstance(place.get(part), dict | list):
            shorthand = place.get(part)
            place[part] = {"name": shorthand} if isinstance(shorthand, str) else {}
        place = _child(place, part, where)
    if isinstance(place, list):
        place[_position(place, last, where)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ConfigError(f"{where}: {dotted!r} has no keys of its own")


def _parts(dotted: str, where: str) -> list[str]:
    """The keys of a dotted name."""
    parts = dotted.split(".")
    if not all(parts):
        raise ConfigError(f"{where}: a key is missing between dots; write it as in tuning.seeds")
    if len(parts) > DEPTH:
        raise ConfigError(f"{where}: {len(parts)} keys lie in one another; {DEPTH} are the most")
    if bracket := re.search(r"\[\s*(-?\w*)\s*\]", dotted):
        written = dotted.replace(bracket[0], f".{bracket[1]}", 1)
        raise ConfigError(f"{where}: the place in a list is written with a dot: {written}")
    return parts


def _child(place: Any, part: str, where: str) -> Any:
    if isinstance(place, list):
        index = _position(place, part, where)
        if isinstance(place[index], str):  # the short form of an entry: its name alone
            place[index] = {"name": place[index]}
        return place[index]
    return place[part] if isinstance(place, dict) else None


def _position(place: list[Any], part: str, where: str) -> int:
    if re.fullmatch("[0-9]{1,9}", part) and int(part) < len(place):
        return int(part)
    entries = [item.get("name", "") if isinstance(item, dict) else item for item in place]
    known = ", ".join(f"{number} ({entry})" for number, entry in enumerate(entries))
    raise ConfigError(
        f"{where}: {part!r} must be the position of an entry: {known}"
        if known
        else f"{where}: there is no entry {part!r}, for the list is empty"
    )
