"""The journal: a line per finished tile with checksums of its rows, and copies of the manifest.

Every line is sealed and names its study, so that one of another study, or one that was cut short or
altered, does not count.
"""

import copy
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from initopt_jax.engine.plan import Tile
from initopt_jax.store.files import stamp
from initopt_jax.store.seals import is_sealed, sealed

UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError)


class JournalEntry(NamedTuple):
    """A finished tile. `lanes`: its lane numbers. `crcs`: of its rows, by variable."""

    lanes: np.ndarray
    crcs: Mapping[str, int]


class OldEntry(NamedTuple):
    """A finished tile of format 2. `crc`: of its rows of all variables, one after the other."""

    lanes: np.ndarray
    crc: int


class Journal:
    """An append-only file; the last line of a tile, and the last copy of the manifest, count."""

    def __init__(self, path: Path):
        self.path = path
        self._read: tuple[Any, list[dict[str, Any]]] = None, []

    def append(self, study: str, tile: Tile, crcs: Mapping[str, int], seconds: float) -> None:
        """Add a tile's line, and see to it that it reaches the disk."""
        self._append(_line(study, tile.index, JournalEntry(tile.lanes, crcs), round(seconds, 3)))

    def copy(self, manifest: Mapping[str, Any]) -> None:
        """Add a copy of a manifest."""
        self._append({"manifest": manifest})

    def content(self, manifest: Mapping[str, Any], entries: Mapping[int, JournalEntry]) -> bytes:
        """A whole journal, with a manifest's copy and with entries whose seconds are not known."""
        study = manifest["study"]
        lines = [_line(study, tile, entry, None) for tile, entry in entries.items()]
        return b"".join(_text(line) for line in ({"manifest": manifest}, *lines))

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("ab") as file:
            # A line that a kill cut short must not spoil this one: begin on a line of its own.
            file.write(b"\n" + _text(line))
            file.flush()
            os.fsync(file.fileno())

    def entries(self, study: str, lanes: int) -> dict[int, JournalEntry]:
        """Entries by tile number, of a study of so many lanes; what makes no sense is left out."""
        found: dict[int, JournalEntry] = {}
        for line in self._lines():
            try:
                if line["study"] == study and is_sealed(line):
                    found[int(line["tile"])] = JournalEntry(
                        _numbers(line, lanes), dict(line["crcs"])
                    )
            except UNREADABLE:
                continue  # cut short by a kill, or garbage: its tile is redone
        return found

    def old_entries(self, lanes: int) -> dict[int, OldEntry]:
        """Those of a study of format 2, whose lines have no seals."""
        found: dict[int, OldEntry] = {}
        for line in self._lines():
            try:
                found[int(line["tile"])] = OldEntry(_numbers(line, lanes), int(line["crc"]))
            except UNREADABLE:
                continue
        return found

    def manifest(self) -> dict[str, Any] | None:
        """The last copy of the manifest that is whole."""
        copies = (line["manifest"] for line in reversed(self._lines()) if "manifest" in line)
        return next((copy.deepcopy(one) for one in copies if is_sealed(one)), None)

    def _lines(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects; read anew where the file was written since."""
        state = stamp(self.path)
        if self._read[0] != state:
            self._read = (
                state,
                list(_objects(self.path.read_bytes() if self.path.is_file() else b"")),
            )
        return self._read[1]


def _objects(content: bytes) -> Iterator[dict[str, Any]]:
    for text in content.splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            yield line


def _line(study: str, tile: int, entry: JournalEntry, seconds: float | None) -> dict[str, Any]:
    parts = [[run.start, run.stop] for run, _ in runs(entry.lanes)]
    return sealed(
        {"study": study, "tile": tile, "lanes": parts, "crcs": entry.crcs, "seconds": seconds}
    )


def _text(line: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(line)}\n".encode()


def _numbers(line: Mapping[str, Any], lanes: int) -> np.ndarray:
    parts = [(int(first), int(last)) for first, last in line["lanes"]]
    if not parts or not all(0 <= first < last <= lanes for first, last in parts):
        raise ValueError("lanes that the study does not have")
    return np.concatenate([np.arange(first, last) for first, last in parts])


def runs(lanes: np.ndarray) -> list[tuple[slice, slice]]:
    """Consecutive lane numbers as (rows of the array, rows of the tile)."""
    cuts = np.flatnonzero(np.diff(lanes) != 1) + 1
    edges = [0, *cuts.tolist(), len(lanes)]
    return [
        (slice(int(lanes[first]), int(lanes[last - 1]) + 1), slice(first, last))
        for first, last in itertools.pairwise(edges)
    ]
