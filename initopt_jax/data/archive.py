"""NumPy archives of strangers: every member is looked at before any is read."""

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.errors import ConfigError
from initopt_jax.memory import require_memory
from initopt_jax.opening import refuse_special

MOST_MEMBERS = 1_000  # of an archive
MOST_HEADER = 2**16  # bytes of an array's header


def read_npz(what: str, path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive; each is looked at before any is read.

    Args:
        what: is read, for the messages.
        path: of the archive.

    Raises:
        ConfigError: it is no archive, a member is damaged, encrypted, there twice, of Python
            objects or no array, there are too many, or together they are too large.
    """
    refuse_special(what, path)
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ConfigError(f"{what}: {path} holds one array, not an archive of them")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _refuse_names(what, path, members)
            heads = [_head(f"{what}: {path}: {m.filename}", archive, m) for m in members]
            require_memory(sum(heads), f"{what}: {path}", "write fewer examples")
            return {
                member.filename.removesuffix(".npy"): _array(
                    f"{what}: {path}: {member.filename}", archive, member
                )
                for member in members
            }
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - as of a member
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{what}: {path} cannot be read as arrays of numbers ({reason}); write it with "
            "numpy.savez, and without Python objects"
        ) from None


def _refuse_names(what: str, path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS:
        raise ConfigError(
            f"{what}: {path} has {len(members):,} members, and {MOST_MEMBERS:,} are allowed"
        )
    names = [member.filename for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{what}: {path} holds {twice[0]!r} twice")


def _head(what: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """The bytes that a member's array takes by its header, which what follows must bear out."""
    if member.flag_bits & 1:
        raise ConfigError(f"{what} is encrypted; write the archive without a password")
    if not member.filename.endswith(".npy"):
        raise ConfigError(f"{what} is no array (.npy); write the archive with numpy.savez")
    with _clear(what), archive.open(member) as file:
        shape, dtype = _read_header(file)
        header = file.tell()
    if dtype.hasobject:
        raise ConfigError(
            f"{what} holds Python objects, which are never loaded; write it without Python objects"
        )
    size = dtype.itemsize * math.prod(shape)
    if header + size != member.file_size:
        raise ConfigError(
            f"{what} is damaged: its header tells of {size:,} bytes ({dtype} {shape}), and "
            f"{member.file_size - header:,} follow"
        )
    return size


def _read_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version[0]}.{version[1]} of NumPy's format is not known here")
    shape, _, dtype = readers[version](file, max_header_size=MOST_HEADER)
    return shape, dtype


def _array(what: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with _clear(what), archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


@contextlib.contextmanager
def _clear(what: str) -> Iterator[None]:
    """Whatever a damaged member raises names it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - zipfile, its codecs and NumPy raise many kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{what} is damaged ({reason})") from None
