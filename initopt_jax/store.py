"""The study folder: the only place that reads and writes files.

Every write is all or nothing. A small file is written beside its place and renamed; a tile's rows
count only once its line, with a checksum of the rows, stands in the journal; whatever a kill leaves
behind is redone or overwritten, never read as a result.
"""

import errno
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np
import pandas as pd
import xarray as xr
import zarr

from initopt_jax.engine.events import Checkpoint
from initopt_jax.engine.plan import Tile
from initopt_jax.engine.records import Variable
from initopt_jax.errors import Interrupted, StudyError

FORMAT = 1  # of the study folder; a reader refuses a later one
MANIFEST, LANES, RESULTS = "manifest.json", "lanes.csv", "results.zarr"
JOURNAL, LOCK, REPORT = "journal.jsonl", ".lock", "report.html"
CHUNK_LANES = 512


class Store:
    """One study folder.

    Args:
        folder: where; `create` makes it, `open_store` checks that it is one.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._arrays: dict[str, Any] = {}

    @property
    def exists(self) -> bool:
        """Whether the folder holds a study."""
        return (self.folder / MANIFEST).is_file()

    @property
    def has_report(self) -> bool:
        """Whether the report stands."""
        return (self.folder / REPORT).is_file()

    def refuse_foreign(self) -> None:
        """Raise StudyError where the folder holds somebody else's files: it is not ours to fill."""
        if self.exists or not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise StudyError(f"{str(self.folder)!r} is a file; choose a folder with --out")
        ours = {LANES, RESULTS, JOURNAL, LOCK}
        names = sorted(path.name for path in self.folder.iterdir())
        strange = [name for name in names if name not in ours and not name.endswith(".part")]
        if strange:
            raise StudyError(
                f"{str(self.folder)!r} is not a study folder and not empty (it holds "
                f"{strange[0]!r}); choose another with --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second writer; a killed process holds nothing."""
        with _clear_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.folder / LOCK, blocking=False)
            try:
                lock.acquire()
            except filelock.Timeout:
                message = f"another process is writing to {str(self.folder)!r}"
                raise StudyError(message) from None
        try:
            yield
        finally:
            lock.release()

    def create(
        self,
        manifest: Mapping[str, Any],
        lanes: pd.DataFrame,
        variables: Mapping[str, Variable],
        sizes: Mapping[str, int],
        coordinates: Mapping[str, Sequence[str]],
    ) -> None:
        """Lay down an empty study: lanes, result arrays full of NaN, and last the manifest."""
        with _clear_errors(self.folder):
            self.write_file(LANES, lanes.to_csv(lineterminator="\n").encode())
            shutil.rmtree(self.folder / RESULTS, ignore_errors=True)
            group = zarr.create_group(self.folder / RESULTS, zarr_format=3)
            for name, variable in variables.items():
                shape = tuple(sizes[dim] for dim in variable.dims)
                group.create_array(
                    name,
                    shape=shape,
                    chunks=(min(CHUNK_LANES, shape[0]), *shape[1:]),
                    dtype=variable.dtype,
                    fill_value=False if variable.dtype == "bool" else np.nan,
                    dimension_names=variable.dims,
                )
            group.attrs["coordinates"] = {
                name: list(labels) for name, labels in coordinates.items()
            }
            (self.folder / JOURNAL).unlink(missing_ok=True)
            self.write_manifest(manifest)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        text = json.dumps({"format": FORMAT, **manifest}, indent=2) + "\n"
        self.write_file(MANIFEST, text.encode())

    def manifest(self) -> dict[str, Any]:
        """The manifest. Raises StudyError where the folder is no study or cannot be read."""
        if not self.exists:
            raise StudyError(f"{str(self.folder)!r} is not a study folder: it holds no {MANIFEST}")
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            found = manifest["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"{MANIFEST} in {str(self.folder)!r} is damaged ({error}); "
                "remove the folder and run the study again"
            ) from None
        if found != FORMAT:
            raise StudyError(
                f"{str(self.folder)!r} has format {found}; this version reads format {FORMAT}"
            )
        return manifest

    def write_file(self, name: str, content: bytes) -> None:
        """Write one file of the study so that it is there whole or not at all."""
        with _clear_errors(self.folder):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(path.name + ".part")
            try:
                with beside.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(path)
            except OSError:
                beside.unlink(missing_ok=True)
                raise

    def lanes(self) -> pd.DataFrame:
        """The lane table, a row per lane."""
        path = self.folder / LANES
        if not path.is_file():
            raise StudyError(f"{str(self.folder)!r} lacks {LANES}")
        return pd.read_csv(StringIO(path.read_text(encoding="utf-8")), index_col="lane")

    def dataset(self) -> xr.Dataset:
        """The results, opened lazily: what is looked at is what is read."""
        if not (self.folder / RESULTS).is_dir():
            raise StudyError(f"{str(self.folder)!r} lacks {RESULTS}")
        found = xr.open_zarr(self.folder / RESULTS, consolidated=False, chunks=None)
        return found.assign_coords(
            lane=np.arange(found.sizes["lane"]), **found.attrs.pop("coordinates")
        )

    def write_tile(self, tile: Tile, record: Mapping[str, np.ndarray], seconds: float) -> None:
        """Write a finished tile's rows, then its line, with their checksum, in the journal."""
        with _clear_errors(self.folder):
            checksum = 0
            for name in sorted(record):
                array = self._array(name)
                rows = _padded(record[name], array.shape).astype(array.dtype)
                for place, part in _runs(tile.lanes):
                    array[place] = rows[part]
                checksum = zlib.crc32(rows.tobytes(), checksum)
            line = {"tile": tile.index, "crc": checksum, "seconds": round(seconds, 3)}
            with (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
                file.write("\n" + json.dumps(line) + "\n")  # a line cut short cannot spoil this one

    def finished(self, tiles: Sequence[Tile], names: Sequence[str]) -> set[int]:
        """Numbers of the tiles whose rows are there and match their checksum."""
        path = self.folder / JOURNAL
        if not path.is_file():
            return set()
        journal: dict[int, int] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                journal[int(entry["tile"])] = int(entry["crc"])
            except (ValueError, KeyError, TypeError):
                continue  # a line cut short by a kill: its tile is redone
        ordered = sorted(names)
        return {
            tile.index
            for tile in tiles
            if tile.index in journal and self._sound(tile, ordered, journal[tile.index])
        }

    def _sound(self, tile: Tile, names: Sequence[str], checksum: int) -> bool:
        try:
            found = 0
            for name in names:
                rows = [self._array(name)[place] for place, _ in _runs(tile.lanes)]
                found = zlib.crc32(np.concatenate(rows).tobytes(), found)
        except Exception:  # noqa: BLE001 - whatever a damaged array raises, its tile is redone
            return False
        return found == checksum

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = zarr.open_array(self.folder / RESULTS / name, mode="r+")
        return self._arrays[name]

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of tiles; a finished study needs none."""
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def save_checkpoint(self, tile: Tile, checkpoint: Checkpoint) -> None:
        """Replace a tile's checkpoint; the old one goes once the new one is whole."""
        import orbax.checkpoint as ocp

        with _clear_errors(self.folder):
            place = self._checkpoint_folder(tile)
            previous = [path for path in place.glob("[0-9]*") if path.name.isdigit()]
            new = place / str(checkpoint.step)
            with ocp.StandardCheckpointer() as saver:
                saver.save(new, checkpoint._asdict(), force=True)
            for path in previous:
                if path != new:
                    shutil.rmtree(path, ignore_errors=True)

    def load_checkpoint(self, tile: Tile) -> Checkpoint | None:
        """A tile's newest readable checkpoint, as host arrays, or None."""
        place = self._checkpoint_folder(tile)
        steps = sorted(
            (int(p.name) for p in place.glob("[0-9]*") if p.name.isdigit()), reverse=True
        )
        if not steps:
            return None
        import orbax.checkpoint as ocp

        for step in steps:
            try:
                with ocp.StandardCheckpointer() as loader:
                    saved = jax.tree.map(np.asarray, loader.restore(place / str(step)))
                return Checkpoint(**saved | {"step": int(saved["step"])})
            except Exception:  # noqa: BLE001 - damaged: an older one, or the tile's beginning, serves as well
                continue
        return None

    def _checkpoint_folder(self, tile: Tile) -> Path:
        return self.folder.resolve() / "checkpoints" / f"tile-{tile.index:06d}"


def _padded(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows [w, e, ...] with NaN behind their last evaluation, up to the array's [_, E, ...]."""
    if rows.ndim < 2 or rows.shape[1] == shape[1]:
        return rows
    missing = [(0, 0), (0, shape[1] - rows.shape[1])] + [(0, 0)] * (rows.ndim - 2)
    return np.pad(rows, missing, constant_values=np.nan)


def _runs(lanes: np.ndarray) -> list[tuple[slice, slice]]:
    """Consecutive lane numbers as (rows of the array, rows of the tile)."""
    cuts = np.flatnonzero(np.diff(lanes) != 1) + 1
    edges = [0, *cuts.tolist(), len(lanes)]
    return [
        (slice(int(lanes[first]), int(lanes[last - 1]) + 1), slice(first, last))
        for first, last in itertools.pairwise(edges)
    ]


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """What the file system refuses, in words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Interrupted(
                f"no space left for {str(folder)!r}; every tile that was finished is kept. "
                "Free some space and run the same command again"
            ) from error
        raise StudyError(f"cannot write to {str(folder)!r}: {error.strerror or error}") from error
