"""Arrays kept between runs, so that pictures are decoded once: memory-mapped, checked, bounded.

An entry is a folder of `.npy` files, named by a hash of everything that its arrays follow from. It
is written beside its place and renamed, so that it is whole or absent; one process makes it while
others that want it wait. Every time it is read, the fingerprint of its bytes is computed and
compared: a damaged entry is removed and made again. Where the folder cannot be used (no space, no
permission), the arrays are made without it.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np

from initopt_jax.data.arrays import fingerprint
from initopt_jax.errors import ConfigError
from initopt_jax.types import Split

LIMIT_GIB = 4.0
_FORMAT = 2  # raised when the same key would mean other arrays
_ENTRY = "entry.json"
_READ = 1 << 20  # bytes hashed at a time
_PARTIAL = ".partial-"
_ABANDONED = 86400.0  # seconds after which a half-written entry is no one's
_KEY = re.compile(r"[0-9a-f]{40}")  # nothing else in the folder is ever removed
_logger = logging.getLogger(__name__)


class CachedFile(NamedTuple):
    """Splits with the plain values stored beside them, and the fingerprint of their arrays."""

    splits: tuple[Split, ...]
    facts: dict[str, Any]
    fingerprint: str


class Usage(NamedTuple):
    """What the cache holds: its folder, number of entries, their bytes and the bytes allowed."""

    folder: Path
    entries: int
    bytes: int
    limit: int


def cache_folder() -> Path:
    """The folder `data` in INITOPT_CACHE_DIR, else in `initopt-jax` of the user's cache folder."""
    if given := os.environ.get("INITOPT_CACHE_DIR"):
        return Path(given).expanduser() / "data"
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return root / "initopt-jax" / "data"


def cache_limit() -> int:
    """Bytes that the cache may hold: INITOPT_CACHE_GIB, by default 4 GiB; 0 turns it off.

    Raises:
        ConfigError: the variable is no number of at least 0.
    """
    text = os.environ.get("INITOPT_CACHE_GIB", "")
    try:
        size = float(text) if text else LIMIT_GIB
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise ConfigError(f"INITOPT_CACHE_GIB must be a number of at least 0, got {text!r}")
    return int(size * 2**30)


def digest_files(files: Iterable[Path]) -> str:
    """SHA-256 over names, sizes and contents of files, in the order of their names.

    Contents and not times: a copy of the files has the same digest, a changed byte another.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as stream:
            while block := stream.read(_READ):
                digest.update(block)
    return digest.hexdigest()


def make_key(**parts: Any) -> str:
    """The name of an entry: 40 hex digits of the SHA-256 of everything that its arrays follow from.

    Args:
        parts: plain values, such as the digest of the files, options, versions of packages.

    >>> make_key(split="train") == make_key(split="train") != make_key(split="test")
    True
    """
    text = json.dumps([_FORMAT, parts], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def kept(key: str, make: Callable[[], tuple[tuple[Split, ...], dict[str, Any]]]) -> CachedFile:
    """The arrays of a key: from the cache, or made and stored.

    Args:
        key: from `make_key`.
        make: returns the splits and plain JSON values; called at most once.

    Returns:
        Splits, values and fingerprint. Arrays from the cache are memory-mapped and read-only.

    Raises:
        ConfigError: INITOPT_CACHE_GIB is no size, or `make` says so.
    """
    limit, folder = cache_limit(), cache_folder()
    if limit == 0:
        return _made(make)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / f"{key}.lock")
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        _logger.warning("data cache %s is not used: %s", folder, error)
        return _made(make)
    try:
        if (found := _fetch(folder / key)) is not None:
            return found
        made = _made(make)
        try:
            _store(folder, key, made, limit)
        except OSError as error:
            _logger.warning("data cache %s could not keep an entry: %s", folder, error)
        return made
    finally:
        lock.release()


def holds(key: str) -> bool:
    """Whether an entry of that key is there; its bytes are not checked."""
    return cache_limit() > 0 and (cache_folder() / key / _ENTRY).is_file()


def usage() -> Usage:
    """What the cache holds now."""
    sizes = [_size(path) for path in _entries(cache_folder())]
    return Usage(cache_folder(), len(sizes), sum(sizes), cache_limit())


def clear() -> Usage:
    """Remove every entry and what was left half-written; returns what was there.

    Raises:
        ConfigError: the folder cannot be changed.
    """
    before = usage()
    try:
        for path in list(before.folder.iterdir()) if before.folder.is_dir() else []:
            if _is_entry(path) or _is_partial(path):
                shutil.rmtree(path)
            elif path.suffix == ".lock" and _KEY.fullmatch(path.stem):
                path.unlink()
    except OSError as error:
        raise ConfigError(f"the data cache {before.folder} cannot be cleared: {error}") from None
    return before


def _made(make: Callable[[], tuple[tuple[Split, ...], dict[str, Any]]]) -> CachedFile:
    splits, facts = make()
    return CachedFile(splits, facts, fingerprint(splits))


def _fetch(place: Path) -> CachedFile | None:
    """A whole entry, or None; a damaged one is removed."""
    if not place.is_dir():
        return None
    try:
        entry = json.loads((place / _ENTRY).read_text(encoding="utf-8"))
        splits = tuple(
            Split(*(_mapped(place / _file(number, field)) for field in Split._fields))
            for number in range(entry["splits"])
        )
        found = CachedFile(splits, entry["facts"], entry["fingerprint"])
        if fingerprint(splits) != found.fingerprint:
            raise ValueError("its bytes are not those that were written")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        _logger.warning("data cache entry %s is damaged and made again: %s", place, error)
        shutil.rmtree(place, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):  # a cache that may only be read
        os.utime(place)  # when it was used last: the oldest go first
    return found


def _mapped(path: Path) -> np.ndarray:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.asarray(array)


def _store(folder: Path, key: str, made: CachedFile, limit: int) -> None:
    """Write an entry beside its place, make room for it, rename it. Too large a one is not kept."""
    size = sum(array.nbytes for part in made.splits for array in part)
    if size > limit:
        return
    _make_room(folder, limit - size)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    try:
        for number, part in enumerate(made.splits):
            for field in Split._fields:
                np.save(partial / _file(number, field), getattr(part, field), allow_pickle=False)
        entry = {
            "splits": len(made.splits),
            "facts": made.facts,
            "fingerprint": made.fingerprint,
        }
        (partial / _ENTRY).write_text(json.dumps(entry), encoding="utf-8")
        partial.rename(folder / key)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _make_room(folder: Path, allowed: int) -> None:
    """Remove the entries not used for longest until the others fit; maps of them stay readable."""
    for path in folder.iterdir():
        if _is_partial(path) and time.time() - path.stat().st_mtime > _ABANDONED:
            shutil.rmtree(path, ignore_errors=True)
    ages = sorted((path.stat().st_mtime, path) for path in _entries(folder))
    sizes = {path: _size(path) for _, path in ages}
    for _, path in ages:
        if sum(sizes.values()) <= allowed:
            return
        shutil.rmtree(path, ignore_errors=True)
        del sizes[path]


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if _is_entry(path))


def _is_entry(path: Path) -> bool:
    return _KEY.fullmatch(path.name) is not None and path.is_dir()


def _is_partial(path: Path) -> bool:
    return path.name.startswith(_PARTIAL) and path.is_dir()


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.iterdir())


def _file(number: int, field: str) -> str:
    return f"{number}-{field}.npy"
