"""Files that are whole or not there, and what a file system refuses, in words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from initopt_jax.errors import Interrupted, StudyError

PART = ".part"  # ends the name of a file that is being written
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + PART)
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def stamp(path: Path) -> tuple[int, ...] | None:
    """What differs once a file was written again; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """What the file system refuses, in words.

    Raises:
        Interrupted: no space is left.
        StudyError: anything else that the file system refuses.
    """
    try:
        yield
    except (Interrupted, StudyError):
        raise
    except Exception as error:
        code, reason = _refusal(error)
        if code in FULL:
            raise Interrupted(
                f"no space left for {str(folder)!r}; every tile that was finished is kept. "
                "Free some space and run the same command again"
            ) from error
        if reason is None:
            raise
        raise StudyError(
            f"cannot write to {str(folder)!r}: {reason}. Whatever was finished is kept: "
            "run the same command again once that is mended"
        ) from error


def _refusal(error: Exception) -> tuple[int | None, str | None]:
    """The number and words of a file system's refusal; Orbax gives the words alone."""
    if isinstance(error, OSError):
        return error.errno, error.strerror or str(error)
    text = str(error)
    for code in (*FULL, *REFUSED):
        if os.strerror(code) in text:
            return code, os.strerror(code)
    return None, None
