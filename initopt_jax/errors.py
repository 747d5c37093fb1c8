"""Errors that are the user's to mend, and the one way their messages are worded."""

import difflib
import re
from collections.abc import Iterable

UNITS = ("KiB", "MiB", "GiB", "TiB")


class ConfigError(ValueError):
    """The config, a command-line value or an argument is wrong. The CLI exits with 2."""


class StudyError(RuntimeError):
    """A study folder cannot be used as asked (not one, changed, locked, damaged). Exit code 2."""


class OutOfMemory(StudyError):
    """A tile does not fit in a device's memory. What was finished is kept. Exit code 2."""


class CheckFailed(ValueError):
    """A check that the project makes did not pass (the audit of first weights). Exit code 1."""


class Interrupted(RuntimeError):
    """A run stopped before its last tile, and can be resumed. The CLI exits with 3."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name closest to `name`, or None where nothing is near.

    The same letters in another order are the likeliest slip.

    >>> nearest("adma", ["adamax", "adam"])
    'adam'
    """
    wanted = str(name).lower()
    matches = difflib.get_close_matches(wanted, list(allowed), n=5, cutoff=0.6)
    swapped = [match for match in matches if sorted(match) == sorted(wanted)]
    return next(iter(swapped or matches), None)


def unknown_name(kind: str, name: str, allowed: Iterable[str], also: str = "") -> str:
    """The message for a name that no registry holds: the value, a near match, what is allowed.

    >>> unknown_name("initializer", "he_norml", ["he_normal", "zeros"])
    "unknown initializer 'he_norml'; did you mean 'he_normal'? Allowed: he_normal, zeros"
    """
    allowed = sorted(allowed)
    close = nearest(name, allowed)
    hint = f"; did you mean {close!r}?" if close else "."
    return f"unknown {kind} {name!r}{hint} Allowed: {', '.join(allowed)}{also}"


def byte_size(count: float) -> str:
    """A number of bytes for people.

    >>> byte_size(2048), byte_size(3 * 2**30)
    ('2.0 KiB', '3.0 GiB')
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 2**10:,.1f} KiB"


def parse_size(text: str) -> int:
    """The bytes of a size such as people write it: a number with KiB, MiB, GiB or TiB.

    Raises:
        ValueError: it is none, or less than a byte.

    >>> parse_size("512MiB"), parse_size("1.5 GiB")
    (536870912, 1610612736)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(KiB|MiB|GiB|TiB)", text)
    size = int(float(found[1]) * 1024 ** (1 + UNITS.index(found[2]))) if found else 0
    if size < 1:
        raise ValueError(f"must be a size such as 512MiB or 2GiB ({', '.join(UNITS)})")
    return size


def checked_size(text: str) -> str:
    """The text of a size, as it was given. Raises ValueError where `parse_size` does."""
    parse_size(text)
    return text
