"""Rows of finished tiles, held to their checksums when they are read; and as an xarray Dataset."""

import functools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from initopt_jax.errors import StudyError
from initopt_jax.store.journal import JournalEntry, runs
from initopt_jax.store.results import ArrayLayout, ArrayStore, fill

SHOWN = 4  # variables, groups and spans of lanes that a message names
Block = tuple[int, int, np.ndarray | None]  # first lane, last one + 1, rows


@functools.cache
def _verified(folder: Path) -> dict[tuple[str, int], tuple[Any, ...]]:
    """Of a folder, by variable and tile: the checksum that was met, and the state of the files.

    What was verified once in a process is not verified again, unless its files were written since.
    """
    return {}


class Rows:
    """The rows of finished tiles. What an unfinished study still lacks is what stands for nothing.

    Args:
        results: the arrays.
        layout: as they were made.
        entries: of the journal, by tile.
        again: the command that redoes what is lost.
        complete: whether every tile should be there.
    """

    def __init__(
        self,
        results: ArrayStore,
        layout: ArrayLayout,
        entries: Mapping[int, JournalEntry],
        again: str,
        complete: bool,
    ):
        self.layout, self._again, self._complete = layout, again, complete
        self._results, self._entries = results, entries
        self._known = _verified(results.folder.resolve())
        self._owner = np.full(layout.sizes["lane"], -1)
        for tile, entry in entries.items():
            self._owner[entry.lanes] = tile

    def read(self, name: str, lanes: np.ndarray, rest: Sequence[Any] = ()) -> np.ndarray:
        """Rows of a variable. Of tiles that were not verified yet, all rows are read.

        Args:
            name: of the variable.
            lanes: [n], ascending numbers.
            rest: what to take along each further axis: an integer, a slice or an array.

        Raises:
            StudyError: rows are not those that were written, or are missing from what is done.
        """
        there = np.flatnonzero(self._owner[lanes] >= 0)
        if self._complete and len(there) < len(lanes):
            absent = _spans(lanes[self._owner[lanes] < 0])
            raise StudyError(
                f"{str(self._results.folder)!r}: the journal has no line of lanes {absent}; "
                f"{self._again}, which redoes what is lost"
            )
        asked, owner = lanes[there], self._owner[lanes[there]]
        variable = self.layout.variables[name]
        shape = _taken(np.empty((1, *self.layout.shape(name)[1:]), bool), rest).shape[1:]
        out = np.full((len(lanes), *shape), fill(variable), variable.dtype)
        unreadable: set[int] = set()  # a disk may fail at what it gave before

        def take(block: Block) -> None:
            first, last, rows = block
            part = slice(*np.searchsorted(asked, [first, last]))
            if rows is None:
                unreadable.update(owner[part].tolist())
            else:
                out[there[part]] = _taken(rows[asked[part] - first], rest)

        damaged = self._check(name, np.unique(owner).tolist(), asked, take) | unreadable
        if damaged:
            where = self.where({tile: [name] for tile in sorted(damaged)})
            raise StudyError(
                f"{str(self._results.folder)!r} is damaged: {where}; {self._again}, which redoes "
                "what is lost"
            )
        return out

    def unverified(self, name: str, lanes: np.ndarray, rest: Sequence[Any] = ()) -> np.ndarray:
        """Rows as they lie on the disk, of any lanes; arguments as of `read`.

        Raises:
            StudyError: a chunk cannot be read.
        """
        parts = []
        for first, last, rows in self._results.blocks(name, lanes, self.layout):
            if rows is None:
                raise StudyError(f"{name} in {str(self._results.folder)!r} cannot be read")
            part = slice(*np.searchsorted(lanes, [first, last]))
            parts.append(_taken(rows[lanes[part] - first], rest))
        return np.concatenate(parts)

    def damaged(self, names: Iterable[str], tiles: Iterable[int]) -> dict[int, list[str]]:
        """The tiles whose rows are not those that were written, with the variables that are not."""
        found: dict[int, list[str]] = {}
        tiles = list(tiles)
        for name in sorted(names):
            for tile in self._check(name, tiles):
                found.setdefault(tile, []).append(name)
        return dict(sorted(found.items()))

    def where(self, damaged: Mapping[int, Sequence[str]]) -> str:
        """Damaged tiles in words: variables and lanes."""
        groups: dict[str, list[np.ndarray]] = {}
        for tile, names in damaged.items():
            shown = ", ".join(names[:SHOWN])
            if len(names) > SHOWN:
                shown += f" and {len(names) - SHOWN} more variables"
            groups.setdefault(shown, []).append(self._entries[tile].lanes)
        texts = [f"{names} of lanes {_spans(np.concatenate(of))}" for names, of in groups.items()]
        if len(texts) > SHOWN:
            texts[SHOWN:] = [f"and others of {len(texts) - SHOWN} more groups of lanes"]
        return "; ".join(texts)

    def _check(
        self,
        name: str,
        tiles: Iterable[int],
        besides: Sequence[int] | np.ndarray = (),
        take: Callable[[Block], None] | None = None,
    ) -> set[int]:
        """Verify tiles that were not yet; each chunk is read once, however tiles and chunks lie.

        Args:
            name: of the variable.
            tiles: their numbers.
            besides: further lanes to read.
            take: called with every block that was read.

        Returns:
            The tiles whose rows do not match.
        """
        states = {tile: self._state(name, tile) for tile in tiles}  # as of before they are read
        fresh = [tile for tile, state in states.items() if self._known.get((name, tile)) != state]
        found: dict[int, int | None] = dict.fromkeys(fresh, 0)
        lanes, owner = self._sorted(fresh)
        wanted = np.unique(np.concatenate([lanes, np.asarray(besides, int)]))
        for block in self._results.blocks(name, wanted, self.layout) if len(wanted) else ():
            for tile, rows in by_tile(block, lanes, owner):
                before = found[tile]
                found[tile] = None if rows is None or before is None else zlib.crc32(rows, before)
            if take:
                take(block)
        wrong = {tile for tile in fresh if found[tile] != self._entries[tile].crcs.get(name, -1)}
        self._known |= {(name, tile): states[tile] for tile in set(fresh) - wrong}
        return wrong

    def _state(self, name: str, tile: int) -> tuple[Any, ...]:
        entry = self._entries[tile]
        return entry.crcs.get(name), self._results.state(name, entry.lanes)

    def _sorted(self, tiles: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """All lanes of tiles, ascending, and whose each is."""
        parts = [self._entries[tile].lanes for tile in tiles]
        lanes = np.concatenate([np.empty(0, int), *parts])
        owner = np.repeat(np.asarray(tiles, int), [len(part) for part in parts])
        order = np.argsort(lanes, kind="stable")
        return lanes[order], owner[order]


class _LazyRows(BackendArray):
    """One variable, for xarray.

    Args:
        rows: of the study.
        name: of the variable.
        read: `Rows.read` or `Rows.unverified`.
    """

    def __init__(self, rows: Rows, name: str, read: Callable[..., np.ndarray]):
        self._read, self._name = read, name
        self.shape = rows.layout.shape(name)
        self.dtype = np.dtype(rows.layout.variables[name].dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._get)

    def _get(self, key: tuple[Any, ...]) -> np.ndarray:
        asked = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        lanes, back = np.unique(asked, return_inverse=True)
        found = self._read(self._name, lanes, key[1:])[back]
        return found if isinstance(key[0], slice | np.ndarray) else found[0]


def lazy_dataset(rows: Rows, *, verified: bool = True) -> xr.Dataset:
    """Rows as a Dataset: read when they are looked at, and by default verified then."""
    layout, read = rows.layout, rows.read if verified else rows.unverified
    lazy = {
        name: indexing.MemoryCachedArray(indexing.LazilyIndexedArray(_LazyRows(rows, name, read)))
        for name in layout.variables
    }
    return xr.Dataset(
        {name: (layout.variables[name].dims, array) for name, array in lazy.items()},
        {"lane": np.arange(layout.sizes["lane"]), **layout.coordinates},
    )


def _taken(rows: np.ndarray, rest: Sequence[Any]) -> np.ndarray:
    """Rows [n, ...] with what is asked for along each axis behind the first."""
    for axis, part in reversed(list(enumerate(rest, start=1))):
        rows = rows[(*[slice(None)] * axis, part)]
    return rows


def by_tile(
    block: Block, lanes: np.ndarray, owner: np.ndarray
) -> Iterator[tuple[int, bytes | None]]:
    """The bytes that a block has of each tile's rows, in the order in which they stand.

    Args:
        block: rows, or None where they cannot be read.
        lanes: [n] of all tiles, ascending.
        owner: [n], whose tile each is.
    """
    first, last, rows = block
    low, high = np.searchsorted(lanes, [first, last])
    order = low + np.argsort(owner[low:high], kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        if len(part):
            yield int(owner[part[0]]), None if rows is None else rows[lanes[part] - first].tobytes()


def _spans(lanes: np.ndarray) -> str:
    """Lane numbers in words.

    >>> _spans(np.array([3, 0, 1, 7]))
    '0 to 1, 3, 7'
    """
    parts = [place for place, _ in runs(np.unique(lanes))]
    texts = [
        f"{part.start}" if part.stop == part.start + 1 else f"{part.start} to {part.stop - 1}"
        for part in parts
    ]
    more = [f"and {len(lanes):,} lanes in all"] if len(texts) > SHOWN else []
    return ", ".join(texts[:SHOWN] + more)
