"""Errors that are the user's to mend, and the one way their messages are worded."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

FEW, MANY = 12, 30  # names that are read at a glance, and more than anybody reads
WORD, MESSAGE = 300, 4_000  # letters that a message shows of one word, and in all
LISTED = {  # kind of name to what `initopt list` calls all of them
    "augmentation": "augmentations",
    "data set": "datasets",
    "function": "functions",
    "initializer": "initializers",
    "model": "models",
    "modifier": "modifiers",
    "optimizer": "transforms",
    "probe": "probes",
    "schedule": "schedules",
    "task": "tasks",
}
UNITS = ("KiB", "MiB", "GiB", "TiB")


class ConfigError(ValueError):
    """The config, a command-line value or an argument is wrong. The CLI exits with 2."""

    def __init__(self, message: str = ""):
        super().__init__(plain(message))


class StudyError(RuntimeError):
    """A study folder cannot be used as asked (not one, changed, locked, damaged). Exit code 2."""


class OutOfMemory(StudyError):
    """A tile does not fit in a device's memory. What was finished is kept. Exit code 2."""


class CheckFailed(ValueError):
    """A check that the project makes did not pass (the audit of first weights). Exit code 1."""


class Interrupted(RuntimeError):
    """A run stopped before its last tile, and can be resumed. The CLI exits with 3."""


def plain(message: str) -> str:
    r"""A message as one paragraph that a terminal shows as it is; of what is very long, the ends.

    >>> plain("no\nsuch\tname " + "9" * 5000 + "\x1b[2J")[:60]
    'no such name 99999999999999999999999999999999999999999999999'
    >>> len(plain("x" * 10**6)) < WORD + 50
    True
    """
    words = [
        word if len(word) <= WORD else f"{word[: WORD // 3]}...[{len(word):,} characters]"
        for word in str(message).split()
    ]
    text = " ".join(words)
    if len(text) > MESSAGE:
        text = f"{text[: MESSAGE // 2]} ... {text[-MESSAGE // 4 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter).strip("'") for letter in text)


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name closest to `name`, or None where nothing is near.

    >>> nearest("adma", ["adamax", "adam"])
    'adam'
    """
    return next(iter(near_names(name, allowed)), None)


def near_names(name: str, allowed: Iterable[str], *, last: bool = False) -> list[str]:
    """Allowed names close to a name, the closest first; three at most.

    The same letters, capital or not, in another order are the likeliest slip: if there are such,
    nothing else is near. Where no spelling is close, names that hold the name are.

    Args:
        name: as it was written.
        allowed: names.
        last: whether what follows the last dot is compared, not the whole.

    >>> near_names("optax.muno", ["optax.contrib.muon", "optax.sm3"], last=True)
    ['optax.contrib.muon']
    """

    def word(text: Any) -> str:
        return str(text).lower().rpartition("." if last else "\0")[2]

    wanted = word(name)
    same = [one for one in allowed if sorted(word(one)) == sorted(wanted)]
    shares = {
        one: difflib.SequenceMatcher(None, word(one), wanted).ratio() for one in map(str, allowed)
    }
    least = max(0.6, max(shares.values(), default=0) - 0.15)
    close = sorted((one for one in shares if shares[one] >= least), key=lambda one: -shares[one])
    holding = [one for one in shares if len(wanted) > 3 and wanted in word(one)]
    return (same or close or holding)[:3]


def unknown_name(
    kind: str,
    name: str,
    allowed: Iterable[str],
    also: str = "",
    *,
    elsewhere: Iterable[str] = (),
    last: bool = False,
) -> str:
    """The message for a name that no registry holds: the value, near matches, what is allowed.

    Args:
        kind: of thing, as people call it.
        name: as it was written.
        allowed: all names. Of many, the command that lists them is named, or the first dozen and
            their number.
        also: what else may be written.
        elsewhere: further names that it may be near to.
        last: whether what follows the last dot of a name is compared, not the whole.

    >>> unknown_name("initializer", "he_norml", ["he_normal", "zeros"])
    "unknown initializer 'he_norml'; did you mean 'he_normal'? Allowed: he_normal, zeros"
    """
    names = sorted(map(str, allowed))
    close = near_names(name, [*names, *elsewhere], last=last)
    close = [one for one in close if one in names] or close
    *first, final = map(repr, close or [""])
    meant = f"{', '.join(first)} or {final}" if first else final
    hint = f"; did you mean {meant}?" if final != "''" else "."
    shown = ", ".join(names) or "none"
    if len(names) > FEW and kind in LISTED:
        shown = f"those of `initopt list {LISTED[kind]}`"
    elif len(names) > MANY:
        shown = f"{', '.join(names[:FEW])} ... ({len(names)} in all)"
    return f"unknown {kind} {name!r}{hint} Allowed: {shown}{also}"


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
