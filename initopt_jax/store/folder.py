"""One study folder: its lock, its small files, and the way to its results and checkpoints."""

import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.csv_table import column_kinds, from_csv, to_csv
from initopt_jax.engine.events import Checkpoint
from initopt_jax.engine.plan import Tile
from initopt_jax.errors import StudyError
from initopt_jax.store import checkpoints
from initopt_jax.store.files import PART, clear_errors, write_whole
from initopt_jax.store.journal import Journal
from initopt_jax.store.results import Layout, Results

FORMAT = 2  # of the study folder; a reader refuses any other
MANIFEST, LANES, RESULTS = "manifest.json", "lanes.csv", "results.zarr"
JOURNAL, LOCK, REPORT = "journal.jsonl", ".lock", "report.html"
LANDSCAPES, SURFACE = "landscapes.npz", "surface.npz"
CHECKPOINTS = "checkpoints"


class Damage(NamedTuple):
    """Tiles of a study that are `missing`, and those whose rows do not match their checksum."""

    tiles: int
    missing: int
    damaged: int


class FinishedTile(NamedTuple):
    """A tile, its rows by variable, and the seconds that it took."""

    tile: Tile
    record: Mapping[str, np.ndarray]
    seconds: float


class Store:
    """One study folder.

    Args:
        folder: where; `create` makes it.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._results = Results(self.folder / RESULTS)
        self._journal = Journal(self.folder / JOURNAL)

    @property
    def exists(self) -> bool:
        """Whether the folder holds a study."""
        return (self.folder / MANIFEST).is_file()

    @property
    def has_report(self) -> bool:
        """Whether the report stands."""
        return (self.folder / REPORT).is_file()

    def refuse_foreign(self) -> None:
        """Raise StudyError where the folder holds what is not ours to fill or to overwrite."""
        if self.exists or not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise StudyError(f"{str(self.folder)!r} is a file; choose a folder with --out")
        ours = {LANES, RESULTS, LOCK}
        names = sorted(path.name for path in self.folder.iterdir())
        if JOURNAL in names:
            raise StudyError(
                f"{str(self.folder)!r} holds results, but its {MANIFEST} is gone; "
                "choose another folder with --out, or remove this one"
            )
        strange = [name for name in names if name not in ours and not name.endswith(PART)]
        if strange:
            raise StudyError(
                f"{str(self.folder)!r} is not a study folder and not empty (it holds "
                f"{strange[0]!r}); choose another with --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second writer; a killed process holds nothing."""
        with clear_errors(self.folder):
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

    def create(self, manifest: Mapping[str, Any], lanes: pd.DataFrame, layout: Layout) -> None:
        """Lay down an empty study: lanes, result arrays full of NaN, and last the manifest."""
        with clear_errors(self.folder):
            table = self._write_lanes(lanes)
            self._results.lay(layout)
            self.write_manifest({**manifest, "variables": sorted(layout.variables), **table})

    def restore(self, lanes: pd.DataFrame, layout: Layout) -> None:
        """Before a study goes on: clear away what a kill left, lay anew what can be re-made.

        Args:
            lanes: the table that the config asks for.
            layout: the arrays that it asks for.
        """
        with clear_errors(self.folder):
            manifest = self.manifest()
            for leftover in (*self.folder.glob(f"*{PART}"), *self.folder.glob(f"*/*{PART}")):
                leftover.unlink(missing_ok=True)
            for leftover in (self.folder / CHECKPOINTS).glob("*/*.orbax-checkpoint-tmp*"):
                shutil.rmtree(leftover, ignore_errors=True)
            if manifest["status"] == "done":
                self.remove_checkpoints()
            self._results.mend(layout)
            if "lane_columns" not in manifest or not self._has_lanes():
                self.write_manifest(manifest | self._write_lanes(lanes))

    def _has_lanes(self) -> bool:
        try:
            self.lanes()
        except StudyError:
            return False
        return True

    def _write_lanes(self, lanes: pd.DataFrame) -> dict[str, Any]:
        """Write the lane table; returns what the manifest says of it."""
        table = lanes.reset_index()
        content = to_csv(table)
        self.write_file(LANES, content)
        return {"lanes_crc": zlib.crc32(content), "lane_columns": column_kinds(table)}

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        text = json.dumps({**manifest, "format": FORMAT}, indent=2) + "\n"
        self.write_file(MANIFEST, text.encode())

    def manifest(self) -> dict[str, Any]:
        """The manifest. Raises StudyError where the folder is no study or cannot be read."""
        if not self.exists:
            raise StudyError(f"{str(self.folder)!r} is not a study folder: it holds no {MANIFEST}")
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["format"] != FORMAT:
                raise StudyError(
                    f"{str(self.folder)!r} has format {manifest['format']}; "
                    f"this version reads format {FORMAT}"
                )
            _ = [manifest[name] for name in ("status", "variables", "lanes_crc")]
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"{MANIFEST} in {str(self.folder)!r} is damaged ({error}); "
                "remove the folder and run the study again"
            ) from None
        return manifest

    def write_file(self, name: str, content: bytes) -> None:
        """Write one file of the study so that it is there whole or not at all."""
        with clear_errors(self.folder):
            write_whole(self.folder / name, content)

    def read_file(self, name: str) -> bytes | None:
        """The content of one file of the study; None where it is not there."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def lanes(self) -> pd.DataFrame:
        """The lane table, a row per lane. Raises StudyError where it is not as it was written."""
        manifest = self.manifest()
        content = self._lanes_file(manifest["lanes_crc"])
        why = "is missing or was altered"
        try:
            if content is not None:
                return from_csv(content, manifest.get("lane_columns")).set_index("lane")
        except ValueError as error:
            why = f"cannot be read ({error})"
        raise StudyError(
            f"{LANES} in {str(self.folder)!r} {why}; {self._again}, which writes it anew"
        )

    def _lanes_file(self, checksum: int) -> bytes | None:
        path = self.folder / LANES
        content = path.read_bytes() if path.is_file() else b""
        return content if content and zlib.crc32(content) == checksum else None

    @property
    def _again(self) -> str:
        return f"run the study again (initopt run CONFIG --out {self.folder})"

    def dataset(self) -> xr.Dataset:
        """The results, opened lazily: what is looked at is what is read, unchecked.

        Raises:
            StudyError: an array is damaged or missing.
        """
        try:
            return self._results.dataset(self.manifest()["variables"])
        except StudyError as error:
            raise StudyError(f"{error}; {self._again}, which redoes what is lost") from error

    def write_tiles(self, finished: Sequence[FinishedTile]) -> None:
        """Write finished tiles' rows, then their lines, with checksums, in the journal."""
        with clear_errors(self.folder):
            rows = [(tile.lanes, record) for tile, record, _ in finished]
            checksums = self._results.write(rows)
            for (tile, _, seconds), checksum in zip(finished, checksums, strict=True):
                self._journal.append(tile, checksum, seconds)
                shutil.rmtree(self._checkpoint_folder(tile), ignore_errors=True)

    def finished(self, tiles: Sequence[Tile], names: Sequence[str]) -> set[int]:
        """Numbers of the tiles whose rows are there and match their checksum."""
        lanes = 1 + max((int(tile.lanes.max()) for tile in tiles), default=0)
        journal = self._journal.entries(lanes)
        known = {
            tile.index: tile.lanes
            for tile in tiles
            if tile.index in journal and np.array_equal(journal[tile.index].lanes, tile.lanes)
        }
        found = self._results.checksums(known, names)
        return {number for number in known if found[number] == journal[number].crc}

    def damage(self) -> Damage:
        """What the study lacks, by its journal; reads every row."""
        manifest = self.manifest()
        total = manifest["tiles"]
        journal = {
            number: entry
            for number, entry in self._journal.entries(manifest["lanes"]).items()
            if 0 <= number < total
        }
        found = self._results.checksums(
            {number: entry.lanes for number, entry in journal.items()}, manifest["variables"]
        )
        sound = sum(found[number] == entry.crc for number, entry in journal.items())
        return Damage(total, total - len(journal), len(journal) - sound)

    def refuse_damage(self, *, unfinished: bool = False) -> None:
        """Raise StudyError where rows are damaged, or tiles missing unless `unfinished` is fine."""
        tiles, missing, damaged = self.damage()
        lacks = [
            f"{count} of {tiles} tiles {'is' if count == 1 else 'are'} {what}"
            for count, what in ((0 if unfinished else missing, "missing"), (damaged, "damaged"))
            if count
        ]
        if lacks:
            raise StudyError(
                f"{str(self.folder)!r}: {' and '.join(lacks)}; {self._again} to finish"
            )

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of tiles; a finished study needs none."""
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)

    def save_checkpoint(self, tile: Tile, checkpoint: Checkpoint) -> None:
        """Replace a tile's checkpoint; the old one goes once the new one is whole."""
        with clear_errors(self.folder):
            checkpoints.save(self._checkpoint_folder(tile), checkpoint)

    def load_checkpoint(self, tile: Tile) -> Checkpoint | None:
        """A tile's newest checkpoint that is whole, as host arrays, or None."""
        return checkpoints.load(self._checkpoint_folder(tile))

    def _checkpoint_folder(self, tile: Tile) -> Path:
        return self.folder.resolve() / CHECKPOINTS / f"tile-{tile.index:06d}"
