"""What the memory holds, asked before anything large is made: one limit for data, models, studies.

The limit is the machine's memory, or less where a container (cgroup) or `ulimit -v` allows less.
INITOPT_MEMORY, a size such as 64GiB, takes its place.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from initopt_jax.errors import ConfigError, byte_size, parse_size

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None

SETTING = "INITOPT_MEMORY"
CGROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = 2**60  # bytes; cgroups write "no limit" as a number near 2^63


def require_memory(size: float, what: str, advice: str) -> None:
    """Refuse what cannot fit, before any of it is allocated.

    Args:
        size: bytes that it takes at least.
        what: takes them, such as "one network of model 'mlp'".
        advice: what to set instead, such as "lower hidden".

    Raises:
        ConfigError: there is less memory than that.

    >>> require_memory(1e18, "the data set 'friedman'", "lower samples")
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: the data set 'friedman' needs about 931,322,574.6 GiB of ...
    """
    there, whose = memory_limit()
    if size > there:
        raise ConfigError(
            f"{what} needs about {byte_size(size)} of memory, and there are {byte_size(there)} "
            f"({whose}): {advice}, or set {SETTING} to a size such as 64GiB if there is more"
        )


def memory_limit() -> tuple[int, str]:
    """The bytes that may be used, and what says so.

    Raises:
        ConfigError: INITOPT_MEMORY is no size.
    """
    if given := os.environ.get(SETTING):
        try:
            return parse_size(given), SETTING
        except ValueError as error:
            raise ConfigError(f"{SETTING} {error}, got {given!r}") from None
    return min(_limits())


def _limits() -> Iterator[tuple[int, str]]:
    """All limits that are known, with their names."""
    yield NO_LIMIT, "unlimited"
    with contextlib.suppress(AttributeError, ValueError, OSError):  # a system that does not tell
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "of this machine"
    if resource is not None:
        for name, kind in (("ulimit -v", resource.RLIMIT_AS), ("ulimit -d", resource.RLIMIT_DATA)):
            allowed, _ = resource.getrlimit(kind)
            if allowed != resource.RLIM_INFINITY:
                yield allowed, name
    for file in _cgroup_files():
        try:
            text = file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdecimal():  # "max" where there is no limit
            yield int(text), "of this container"


def _cgroup_files() -> Iterator[Path]:
    """Where the limits of this process's control groups may stand, of both versions."""
    yield CGROUPS / "memory.max"
    yield CGROUPS / "memory" / "memory.limit_in_bytes"
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        group = line.rpartition(":")[2].strip("/")
        for folder in (CGROUPS, CGROUPS / "memory"):
            place = folder / group
            while place != folder and folder in place.parents:
                yield place / "memory.max"
                yield place / "memory.limit_in_bytes"
                place = place.parent
