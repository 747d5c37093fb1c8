"""The journal: a line per finished tile, with its lanes and a checksum of its rows."""

import itertools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from initopt_jax.engine.plan import Tile


class Entry(NamedTuple):
    """A finished tile. `lanes`: its lane numbers. `crc`: of its rows, see `Results.write`."""

    lanes: np.ndarray
    crc: int


class Journal:
    """An append-only file; the last line of a tile counts."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, tile: Tile, crc: int, seconds: float) -> None:
        """Add a tile's line, and see to it that it reaches the disk."""
        line = {
            "tile": tile.index,
            "lanes": [[run.start, run.stop] for run, _ in runs(tile.lanes)],
            "crc": crc,
            "seconds": round(seconds, 3),
        }
        with self.path.open("ab") as file:
            # A line that a kill cut short must not spoil this one: begin on a line of its own.
            file.write(f"\n{json.dumps(line)}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def entries(self, lanes: int) -> dict[int, Entry]:
        """Entries by tile number, of a study of so many lanes; what makes no sense is left out."""
        if not self.path.is_file():
            return {}
        found: dict[int, Entry] = {}
        for line in self.path.read_bytes().splitlines():
            try:
                tile, entry = _parse(json.loads(line), lanes)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue  # cut short by a kill, or garbage: its tile is redone
            found[tile] = entry
        return found


def _parse(line: Any, lanes: int) -> tuple[int, Entry]:
    parts = [(int(first), int(last)) for first, last in line["lanes"]]
    if not parts or not all(0 <= first < last <= lanes for first, last in parts):
        raise ValueError("lanes that the study does not have")
    numbers = np.concatenate([np.arange(first, last) for first, last in parts])
    return int(line["tile"]), Entry(numbers, int(line["crc"]))


def runs(lanes: np.ndarray) -> list[tuple[slice, slice]]:
    """Consecutive lane numbers as (rows of the array, rows of the tile)."""
    cuts = np.flatnonzero(np.diff(lanes) != 1) + 1
    edges = [0, *cuts.tolist(), len(lanes)]
    return [
        (slice(int(lanes[first]), int(lanes[last - 1]) + 1), slice(first, last))
        for first, last in itertools.pairwise(edges)
    ]
