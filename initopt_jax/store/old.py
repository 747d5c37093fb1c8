"""Folders of format 2, with one checksum per tile and no seals: read, and brought up to date."""

import functools
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.store.files import stamp
from initopt_jax.store.journal import Journal, JournalEntry
from initopt_jax.store.results import ArrayLayout, ArrayStore
from initopt_jax.store.rows import by_tile

_logger = logging.getLogger(__name__)


@functools.cache
def _known(folder: Path) -> dict[Any, dict[int, JournalEntry]]:
    """Of a folder, by the state of its journal: what `entries` found in this process."""
    return {}


def entries(
    journal: Journal, results: ArrayStore, layout: ArrayLayout, manifest: Mapping[str, Any]
) -> dict[int, JournalEntry]:
    """Finished tiles by number. All rows are read, to have a checksum of each variable from now on.

    A tile whose rows do not match its one checksum has no others, and is damaged by that.
    """
    known, state = _known(results.folder.resolve()), stamp(journal.path)
    if state not in known:
        _logger.warning(
            "note: %s was made by an earlier version and has no seals: damage to rows is found, "
            "to other files it is not; initopt run CONFIG --out %s brings it up to date",
            *(results.folder.parent,) * 2,
        )
        known.clear()
        known[state] = _entries(journal, results, layout, manifest)
    return known[state]


def _entries(
    journal: Journal, results: ArrayStore, layout: ArrayLayout, manifest: Mapping[str, Any]
) -> dict[int, JournalEntry]:
    old = journal.old_entries(manifest["lanes"])
    parts = [np.empty(0, int), *(entry.lanes for entry in old.values())]
    lanes, owner = np.concatenate(parts), np.repeat(list(old), [len(p) for p in parts[1:]])
    order = np.argsort(lanes, kind="stable")
    lanes, owner = lanes[order], owner[order]
    found: dict[int, int | None] = dict.fromkeys(old, 0)
    crcs: dict[int, dict[str, int]] = {tile: {} for tile in old}
    for name in sorted(layout.variables) if old else ():
        for block in results.blocks(name, np.unique(lanes), layout):
            for tile, rows in by_tile(block, lanes, owner):
                before = found[tile]
                found[tile] = None if rows is None or before is None else zlib.crc32(rows, before)
                crcs[tile][name] = zlib.crc32(rows or b"", crcs[tile].get(name, 0))
    return {
        tile: JournalEntry(entry.lanes, crcs[tile] if found[tile] == entry.crc else {})
        for tile, entry in old.items()
    }
