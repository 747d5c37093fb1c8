"""What a file of a stranger's must be before it is opened."""

import stat
from pathlib import Path

from initopt_jax.errors import ConfigError

_KINDS = {
    stat.S_ISFIFO: "a pipe (FIFO)",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISDIR: "a folder",
}


def refuse_special(what: str, path: Path) -> None:
    """Refuse what is no plain file, without opening it: a pipe may wait for ever.

    Args:
        what: is read, for the message.
        path: of the file; a link counts as what it leads to.

    Raises:
        ConfigError: it is a pipe, a socket, a device or a folder, or cannot be looked at.

    >>> refuse_special("the config", Path("/dev/null"))
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: the config: /dev/null is a device; a plain file is needed
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{what}: {path} cannot be read ({reason})") from None
    if not stat.S_ISREG(mode):
        kind = next((word for test, word in _KINDS.items() if test(mode)), "no plain file")
        raise ConfigError(f"{what}: {path} is {kind}; a plain file is needed")


def may_wait(path: Path) -> bool:
    """Whether opening a path could wait for ever: it is there, and a pipe or a socket.

    >>> may_wait(Path("nowhere"))
    False
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # whoever opens it says so
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
