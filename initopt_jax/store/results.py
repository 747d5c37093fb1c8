"""The result arrays: a Zarr group that opens as an xarray Dataset."""

import shutil
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from initopt_jax.engine.records import Variable
from initopt_jax.store.files import stamp
from initopt_jax.store.journal import runs

CHUNK_LANES = 512  # of a chunk, at most; a tile's rows rewrite the chunks that they lie in
CHUNK_BYTES = 2**20  # of a chunk before compression, unless one lane alone is larger
BLOCK_BYTES = 2**25  # read at once to check rows
METADATA = "zarr.json"


@dataclass(frozen=True)
class ArrayLayout:
    """The arrays of a study.

    Attributes:
        variables: what is recorded of a lane.
        sizes: of every dimension.
        coordinates: labels of the dimensions that have some.
    """

    variables: Mapping[str, Variable]
    sizes: Mapping[str, int]
    coordinates: Mapping[str, Sequence[str]]

    def to_json(self) -> dict[str, Any]:
        """As plain values, for the manifest."""
        return {
            "sizes": dict(self.sizes),
            "coordinates": {name: list(labels) for name, labels in self.coordinates.items()},
            "variables": {n: [list(v.dims), v.dtype] for n, v in sorted(self.variables.items())},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "ArrayLayout":
        """What `to_json` gave."""
        known = {n: Variable(tuple(dims), dtype) for n, (dims, dtype) in plain["variables"].items()}
        return cls(known, plain["sizes"], plain["coordinates"])

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a variable's array."""
        return tuple(self.sizes[dim] for dim in self.variables[name].dims)

    def chunks(self, name: str) -> tuple[int, ...]:
        """The shape of its chunks: a power of two of lanes, whole curves."""
        lanes, *rest = self.shape(name)
        row = np.dtype(self.variables[name].dtype).itemsize * int(np.prod(rest))
        fitting = 2 ** (max(CHUNK_BYTES // max(row, 1), 1).bit_length() - 1)
        return min(CHUNK_LANES, fitting, lanes), *rest


class ArrayStore:
    """The arrays in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._arrays: dict[str, Any] = {}

    def create(self, layout: ArrayLayout, study: str) -> None:
        """Make empty arrays of a study, by its id, in place of whatever is there."""
        self._arrays.clear()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self._create_group(layout, study)
        for name in layout.variables:
            self._lay_array(name, layout)
        self._consolidate()

    def repair(self, layout: ArrayLayout, study: str) -> None:
        """Lay anew what describes the arrays where it is damaged or gone.

        Rows are left as they are: their checksums tell which of them still hold.
        """
        for leftover in self.folder.rglob("*.partial"):
            leftover.unlink(missing_ok=True)
        self._arrays.clear()
        if self._attributes() != {"coordinates": _labels(layout), "study": study}:
            self._create_group(layout, study)
        for name in layout.variables:
            if not self._fits(name, layout):
                self._lay_array(name, layout)
        if not self._consolidated(layout):
            self._consolidate()

    def _create_group(self, layout: ArrayLayout, study: str) -> None:
        (self.folder / METADATA).unlink(missing_ok=True)
        group = zarr.create_group(self.folder, zarr_format=3)
        group.attrs.update({"coordinates": _labels(layout), "study": study})

    def _lay_array(self, name: str, layout: ArrayLayout) -> None:
        variable = layout.variables[name]
        (self.folder / name / METADATA).unlink(missing_ok=True)
        zarr.create_array(
            self.folder / name,
            shape=layout.shape(name),
            chunks=layout.chunks(name),
            dtype=variable.dtype,
            fill_value=fill(variable),
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

    def _consolidated(self, layout: ArrayLayout) -> bool:
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

    def study(self) -> str | None:
        """The id of the study that the arrays were made for, as far as they tell."""
        return self._attributes().get("study")

    def _attributes(self) -> dict[str, Any]:
        """What stands in the group besides arrays; nothing where it cannot be read."""
        try:
            return dict(zarr.open_group(self.folder, mode="r").attrs)
        except Exception:  # noqa: BLE001 - whatever damaged metadata raises
            return {}

    def _fits(self, name: str, layout: ArrayLayout) -> bool:
        variable = layout.variables[name]
        try:
            array = zarr.open_array(self.folder / name, mode="r")
            return bool(
                array.shape == layout.shape(name)
                and array.dtype == np.dtype(variable.dtype)
                and getattr(array.metadata, "dimension_names", None) == variable.dims
                and np.array_equal(array.fill_value, fill(variable), equal_nan=True)
            )
        except Exception:  # noqa: BLE001 - whatever damaged metadata raises
            return False

    def write(
        self, tiles: Sequence[tuple[np.ndarray, Mapping[str, np.ndarray]]]
    ) -> list[dict[str, int]]:
        """Write rows of tiles, each of ascending lanes, together: a write costs the same for many.

        Returns:
            Per tile the checksum of its rows of each variable.
        """
        lanes = np.concatenate([of_tile for of_tile, _ in tiles])
        order = np.argsort(lanes)
        checksums: list[dict[str, int]] = [{} for _ in tiles]
        for name in sorted(tiles[0][1]):
            array = self._array(name)
            parts = [_padded(record[name], array.shape).astype(array.dtype) for _, record in tiles]
            for part, own in zip(parts, checksums, strict=True):
                own[name] = zlib.crc32(part.tobytes())
            rows = np.concatenate(parts)[order]
            for place, part in runs(lanes[order]):
                _put(array, place, rows[part])
        return checksums

    def blocks(
        self, name: str, lanes: np.ndarray, layout: ArrayLayout
    ) -> Iterator[tuple[int, int, np.ndarray | None]]:
        """First lane, last one + 1 and rows of blocks of whole chunks that hold some lanes.

        No rows where a chunk cannot be read, or the array is not the one that was made.

        Args:
            name: of the variable.
            lanes: ascending.
            layout: the arrays as they were made.
        """
        if not self._fits(name, layout):
            yield 0, np.iinfo(np.int64).max, None
            return
        array = self._array(name)
        chunk, total = array.chunks[0], array.shape[0]
        row = max(array.dtype.itemsize * int(np.prod(array.shape[1:])), 1)
        most = max(BLOCK_BYTES // (row * chunk), 1)
        for run, _ in runs(np.unique(lanes // chunk)):
            for first in range(run.start, run.stop, most):
                start, stop = first * chunk, min(min(first + most, run.stop) * chunk, total)
                rows = _read(array, start, stop)
                if rows is not None:
                    yield start, stop, rows
                    continue
                for low in range(start, stop, chunk):
                    high = min(low + chunk, stop)
                    yield low, high, _read(array, low, high)

    def state(self, name: str, lanes: np.ndarray) -> tuple[Any, ...]:
        """What tells that the files with these lanes of a variable were not written since."""
        try:
            array = self._array(name)
        except Exception:  # noqa: BLE001 - whatever damaged metadata raises
            return ()
        place, rest = self.folder / name, ["0"] * (len(array.shape) - 1)
        chunks = np.unique(lanes // array.chunks[0]).tolist()
        files = [place / METADATA, *(place.joinpath("c", str(chunk), *rest) for chunk in chunks)]
        return tuple(map(stamp, files))

    def missing(self, layout: ArrayLayout) -> list[str]:
        """Variables whose array is not there as it was made."""
        return [name for name in layout.variables if not self._fits(name, layout)]

    def found(self, names: Iterable[str]) -> ArrayLayout:
        """The layout that the arrays themselves tell, of a study that did not record it.

        Raises:
            Exception: whatever damaged metadata raises.
        """
        arrays = {name: zarr.open_array(self.folder / name, mode="r") for name in names}
        dims = {
            name: tuple(map(str, getattr(array.metadata, "dimension_names", None) or ()))
            for name, array in arrays.items()
        }
        labels = self._attributes()["coordinates"]
        return ArrayLayout(
            {name: Variable(dims[name], arrays[name].dtype.name) for name in arrays},
            {d: n for name in arrays for d, n in zip(dims[name], arrays[name].shape, strict=True)},
            labels,
        )

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            # Chunks of nothing but NaN are written too: not every NaN has the fill value's bits.
            with zarr.config.set({"array.write_empty_chunks": True}):
                self._arrays[name] = zarr.open_array(self.folder / name, mode="r+")
        return self._arrays[name]


def _labels(layout: ArrayLayout) -> dict[str, list[str]]:
    return {name: list(labels) for name, labels in layout.coordinates.items()}


def fill(variable: Variable) -> Any:
    """What stands where a variable has no value yet."""
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


def _padded(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows [w, e, ...] with NaN behind their last evaluation, up to the array's [_, E, ...].

    Stored states are as many for every lane: such rows are whole.
    """
    if rows.ndim < 2 or rows.shape[1] == shape[1]:
        return rows
    missing = [(0, 0), (0, shape[1] - rows.shape[1])] + [(0, 0)] * (rows.ndim - 2)
    return np.pad(rows, missing, constant_values=np.nan)
