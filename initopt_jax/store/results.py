"""The result arrays: a Zarr group that opens as an xarray Dataset."""

import shutil
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from initopt_jax.engine.records import Variable
from initopt_jax.errors import StudyError
from initopt_jax.store.journal import runs

CHUNK_LANES = 512  # of a chunk, at most; a tile's rows rewrite the chunks that they lie in
CHUNK_BYTES = 2**20  # of a chunk before compression, unless one lane alone is larger
BLOCK_BYTES = 2**25  # read at once to check rows
METADATA = "zarr.json"


@dataclass(frozen=True)
class Layout:
    """The arrays of a study.

    Attributes:
        variables: what is recorded of a lane.
        sizes: of every dimension.
        coordinates: labels of the dimensions that have some.
    """

    variables: Mapping[str, Variable]
    sizes: Mapping[str, int]
    coordinates: Mapping[str, Sequence[str]]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a variable's array."""
        return tuple(self.sizes[dim] for dim in self.variables[name].dims)

    def chunks(self, name: str) -> tuple[int, ...]:
        """The shape of its chunks: a power of two of lanes, whole curves."""
        lanes, *rest = self.shape(name)
        row = np.dtype(self.variables[name].dtype).itemsize * int(np.prod(rest))
        fitting = 2 ** (max(CHUNK_BYTES // max(row, 1), 1).bit_length() - 1)
        return min(CHUNK_LANES, fitting, lanes), *rest


class Results:
    """The arrays in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._arrays: dict[str, Any] = {}

    def lay(self, layout: Layout) -> None:
        """Lay empty arrays in place of whatever is there."""
        self._arrays.clear()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self._lay_group(layout)
        for name in layout.variables:
            self._lay_array(name, layout)
        self._consolidate()

    def mend(self, layout: Layout) -> None:
        """Lay anew what describes the arrays where it is damaged or gone.

        Rows are left as they are: their checksums tell which of them still hold.
        """
        for leftover in self.folder.rglob("*.partial"):
            leftover.unlink(missing_ok=True)
        self._arrays.clear()
        if self._coordinates() != _labels(layout):
            self._lay_group(layout)
        for name in layout.variables:
            if not self._fits(name, layout):
                self._lay_array(name, layout)
        if not self._consolidated(layout):
            self._consolidate()

    def _lay_group(self, layout: Layout) -> None:
        (self.folder / METADATA).unlink(missing_ok=True)
        group = zarr.create_group(self.folder, zarr_format=3)
        group.attrs["coordinates"] = _labels(layout)

    def _lay_array(self, name: str, layout: Layout) -> None:
        variable = layout.variables[name]
        (self.folder / name / METADATA).unlink(missing_ok=True)
        zarr.create_array(
            self.folder / name,
            shape=layout.shape(name),
            chunks=layout.chunks(name),
            dtype=variable.dtype,
            fill_value=_fill(variable),
            dimension_names=variable.dims,
            zarr_format=3,
        )

    def _consolidate(self) -> None:
        """Copy what describes the arrays into the group, where `xarray.open_zarr` looks first.

        The group's file is replaced by one rename; arrays never change their shape afterwards.
        """
        with warnings.catch_warnings():  # that other implementations of Zarr may not read the copy
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
            zarr.consolidate_metadata(self.folder, zarr_format=3)

    def _consolidated(self, layout: Layout) -> bool:
        """Whether the copy is there and says what the arrays say."""
        try:
            group = zarr.open_group(self.folder, mode="r", use_consolidated=True)
            copied = getattr(group.metadata.consolidated_metadata, "metadata", {})
            return copied.keys() == set(layout.variables) and all(
                copied[name].to_dict() == zarr.open_array(self.folder / name).metadata.to_dict()
                for name in copied
            )
        except Exception:  # noqa: BLE001 - whatever damaged metadata raises
            return False

    def _coordinates(self) -> Any:
        """The labels that stand in the group, or None where it cannot be read."""
        try:
            return zarr.open_group(self.folder, mode="r").attrs["coordinates"]
        except Exception:  # noqa: BLE001 - whatever damaged metadata raises
            return None

    def _fits(self, name: str, layout: Layout) -> bool:
        variable = layout.variables[name]
        try:
            array = zarr.open_array(self.folder / name, mode="r")
            return bool(
                array.shape == layout.shape(name)
                and array.dtype == np.dtype(variable.dtype)
                and getattr(array.metadata, "dimension_names", None) == variable.dims
                and np.array_equal(array.fill_value, _fill(variable), equal_nan=True)
            )
        except Exception:  # noqa: BLE001 - whatever damaged metadata raises
            return False

    def write(self, tiles: Sequence[tuple[np.ndarray, Mapping[str, np.ndarray]]]) -> list[int]:
        """Write rows of tiles, each of ascending lanes, together: a write costs the same for many.

        Returns:
            Per tile the checksum of its rows, over variables by name.
        """
        lanes = np.concatenate([of_tile for of_tile, _ in tiles])
        order = np.argsort(lanes)
        checksums = [0] * len(tiles)
        for name in sorted(tiles[0][1]):
            array = self._array(name)
            parts = [_padded(record[name], array.shape).astype(array.dtype) for _, record in tiles]
            checksums = [
                zlib.crc32(part.tobytes(), before)
                for part, before in zip(parts, checksums, strict=True)
            ]
            rows = np.concatenate(parts)[order]
            for place, part in runs(lanes[order]):
                _put(array, place, rows[part])
        return checksums

    def checksums(
        self, tiles: Mapping[int, np.ndarray], names: Iterable[str]
    ) -> dict[int, int | None]:
        """Checksums of the rows of tiles (number to lanes); None where rows cannot be read.

        Blocks of lanes are read one after the other, each chunk once, however tiles and chunks lie
        to each other: a checksum goes on from block to block.
        """
        numbers = list(tiles)
        found: dict[int, int | None] = dict.fromkeys(numbers, 0)
        if not tiles:
            return found
        lanes = np.concatenate([tiles[number] for number in numbers])
        owner = np.repeat(numbers, [len(tiles[number]) for number in numbers])
        order = np.argsort(lanes, kind="stable")
        lanes, owner = lanes[order], owner[order]
        for name in sorted(names):
            for first, last, rows in self._blocks(name):
                low, high = np.searchsorted(lanes, [first, last])
                for number, places in _groups(owner[low:high], lanes[low:high] - first):
                    before = found[number]
                    if rows is None or before is None:
                        found[number] = None
                    else:
                        found[number] = zlib.crc32(rows[places].tobytes(), before)
        return found

    def _blocks(self, name: str) -> Iterator[tuple[int, int, np.ndarray | None]]:
        """First lane, last one + 1 and rows of blocks of whole chunks; no rows if unreadable."""
        try:
            array = self._array(name)
            lanes, chunk = array.shape[0], array.chunks[0]
            row = max(array.dtype.itemsize * int(np.prod(array.shape[1:])), 1)
        except Exception:  # noqa: BLE001 - whatever damaged metadata raises
            yield 0, np.iinfo(np.int64).max, None
            return
        block = chunk * max(BLOCK_BYTES // (row * chunk), 1)
        for first in range(0, lanes, block):
            last = min(first + block, lanes)
            rows = _read(array, first, last)
            if rows is not None:
                yield first, last, rows
                continue
            for start in range(first, last, chunk):
                stop = min(start + chunk, last)
                yield start, stop, _read(array, start, stop)

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            # Chunks of nothing but NaN are written too: not every NaN has the fill value's bits.
            with zarr.config.set({"array.write_empty_chunks": True}):
                self._arrays[name] = zarr.open_array(self.folder / name, mode="r+")
        return self._arrays[name]

    def dataset(self, names: Iterable[str]) -> xr.Dataset:
        """The arrays, opened lazily. Raises StudyError where one of them is damaged or missing."""
        try:
            found = xr.open_zarr(self.folder, consolidated=False, chunks=None)
            labels = found.attrs.pop("coordinates")
            found = found.assign_coords(lane=np.arange(found.sizes["lane"]), **labels)
        except Exception as error:
            raise StudyError(f"{str(self.folder)!r} is damaged or missing ({error})") from error
        missing = sorted(set(names) - set(found.data_vars))
        if missing:
            raise StudyError(f"{str(self.folder)!r} lacks {', '.join(missing)}")
        return found


def _labels(layout: Layout) -> dict[str, list[str]]:
    return {name: list(labels) for name, labels in layout.coordinates.items()}


def _fill(variable: Variable) -> Any:
    return {"bool": False, "uint8": 0}.get(variable.dtype, np.nan)


def _put(array: Any, place: slice, rows: np.ndarray) -> None:
    """Write rows, also where they lie in a chunk that cannot be read back.

    The other lanes of such a chunk are lost already, and their checksums say so.
    """
    try:
        array[place] = rows
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - whatever a codec raises on a damaged chunk
        size = array.chunks[0]
        for first in range(place.start // size * size, place.stop, size):
            array[first : first + size] = array.fill_value  # a whole chunk: nothing is read
        array[place] = rows


def _read(array: Any, first: int, last: int) -> np.ndarray | None:
    try:
        return array[first:last]
    except Exception:  # noqa: BLE001 - whatever a codec or a disk raises on a damaged chunk
        return None


def _groups(owner: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Places by their owner, in the order in which they stand."""
    order = np.argsort(owner, kind="stable")
    cuts = np.flatnonzero(np.diff(owner[order])) + 1
    for part in np.split(order, cuts):
        if len(part):
            yield int(owner[part[0]]), places[part]


def _padded(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows [w, e, ...] with NaN behind their last evaluation, up to the array's [_, E, ...].

    Stored states are as many for every lane: such rows are whole.
    """
    if rows.ndim < 2 or rows.shape[1] == shape[1]:
        return rows
    missing = [(0, 0), (0, shape[1] - rows.shape[1])] + [(0, 0)] * (rows.ndim - 2)
    return np.pad(rows, missing, constant_values=np.nan)
