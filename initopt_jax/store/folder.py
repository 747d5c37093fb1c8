"""One study folder: its lock, its small files, and the way to its results and checkpoints."""

import logging
import shutil
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.engine.events import Checkpoint
from initopt_jax.engine.plan import Tile
from initopt_jax.errors import StudyError
from initopt_jax.store import checkpoints, old
from initopt_jax.store.csv_table import column_kinds, from_csv, to_csv
from initopt_jax.store.files import PART, clear_errors, stamp, write_whole
from initopt_jax.store.journal import Journal, JournalEntry, runs
from initopt_jax.store.made import LANDSCAPES, REPORT, SURFACE, MadeFiles
from initopt_jax.store.manifest_file import OLD, ManifestFile
from initopt_jax.store.results import ArrayLayout, ArrayStore
from initopt_jax.store.rows import Rows, lazy_dataset

MANIFEST, LANES, RESULTS = "manifest.json", "lanes.csv", "results.zarr"
JOURNAL, LOCK = "journal.jsonl", ".lock"
CHECKPOINTS = "checkpoints"

_logger = logging.getLogger(__name__)


class Damage(NamedTuple):
    """Tiles of a study that are `missing`, and those whose rows do not match their checksums.

    damaged: tile to the variables that do not. where: the same in words.
    """

    tiles: int
    missing: int
    damaged: Mapping[int, Sequence[str]]
    where: str


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
        self._results = ArrayStore(self.folder / RESULTS)
        self._journal = Journal(self.folder / JOURNAL)
        self._manifest = ManifestFile(self.folder / MANIFEST, self._journal, self._results)
        self._id = ""  # of the study, once it is known
        self._lock: int | None = None  # inode of the file that is locked

    @property
    def exists(self) -> bool:
        """Whether the folder holds a study, were its manifest gone."""
        return (self.folder / MANIFEST).is_file() or self._manifest.copy() is not None

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
                f"{str(self.folder)!r} holds results, but its {MANIFEST} is gone, and so is the "
                f"copy in {JOURNAL}: nothing tells what they are of; choose another folder with "
                "--out"
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
            self._lock = (self.folder / LOCK).stat().st_ino
        try:
            yield
        finally:
            self._lock = None
            lock.release()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What the file system refuses, in words; nothing is written to a folder that was lost."""
        if self._lock is not None and (stamp(self.folder / LOCK) or (None,))[0] != self._lock:
            raise StudyError(
                f"{str(self.folder)!r} was removed, moved or replaced while it was written to; "
                "nothing more is written. Run the same command again to begin anew, or with the "
                "folder at its old place to go on"
            )
        with clear_errors(self.folder):
            yield

    def create(self, manifest: Mapping[str, Any], lanes: pd.DataFrame, layout: ArrayLayout) -> None:
        """Make an empty study: lanes, result arrays full of NaN, and last the manifest."""
        with self._writing():
            table, study = self._write_lanes(lanes), uuid.uuid4().hex
            self._results.create(layout, study)
            self.write_manifest({**manifest, "study": study, **table, **_described(layout)})
            self._id = study

    def known(self) -> dict[str, Any]:
        """The manifest, or its copy where it is damaged or gone; empty where there is no study.

        Raises:
            StudyError: it is damaged, and there is no copy.
        """
        if not self.exists:
            return {}
        try:
            return self.manifest()
        except StudyError:
            copy = self._manifest.copy()
            if copy is None:
                raise
            return copy

    def restore(self, lanes: pd.DataFrame, layout: ArrayLayout) -> None:
        """Before a study goes on: clear away what a kill left, make anew what can be made.

        Args:
            lanes: the table that the config asks for.
            layout: the arrays that it asks for.
        """
        with self._writing():
            manifest = self._repaired(layout)
            for leftover in (*self.folder.glob(f"*{PART}"), *self.folder.glob(f"*/*{PART}")):
                leftover.unlink(missing_ok=True)
            for leftover in (self.folder / CHECKPOINTS).glob("*/*.orbax-checkpoint-tmp*"):
                shutil.rmtree(leftover, ignore_errors=True)
            if manifest["status"] == "done":
                self.remove_checkpoints()
            self._results.repair(layout, manifest["study"])
            whole = self._has_lanes()
            if not whole:
                _logger.warning("note: %s was gone or not as written; it was made anew", LANES)
            if "lane_columns" not in manifest or not whole:
                self.write_manifest(manifest | self._write_lanes(lanes))
            if self._manifest.copy() is None:
                self._journal.copy(self.manifest())
            self._discard_altered()

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

    def _discard_altered(self) -> None:
        """Remove made files that are not as they were written, so that they are made anew."""
        made = MadeFiles(self.folder, self._study())
        if altered := made.altered():
            made.tell(altered)
            for name in (*altered, REPORT):
                (self.folder / name).unlink(missing_ok=True)
            made.forget(altered)

    def _repaired(self, layout: ArrayLayout) -> dict[str, Any]:
        """The manifest: made anew where it has to be, and of this format."""
        try:
            manifest = self.manifest()
        except StudyError as error:
            manifest = self._manifest.made_anew()
            if manifest is None:
                raise
            _logger.warning("note: %s", error)
            lost = ", but for the times of what was trained before" * ("times_lost" in manifest)
            _logger.warning("note: %s was made anew%s", MANIFEST, lost)
        if manifest["format"] == OLD:
            found = old.entries(self._journal, self._results, self._layout(manifest), manifest)
            manifest = manifest | {"study": uuid.uuid4().hex} | _described(layout)
            sound = {tile: entry for tile, entry in found.items() if entry.crcs}
            self._manifest.bring_up_to_date(manifest, sound)
        elif manifest["layout"] != layout.to_json():
            manifest |= _described(layout)
            self.write_manifest(manifest)
        self._id = manifest["study"]
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        with self._writing():
            self._manifest.write(manifest)

    def manifest(self) -> dict[str, Any]:
        """The manifest. Raises StudyError where the folder is no study or it cannot be trusted."""
        return self._manifest.read()

    def write_file(self, name: str, content: bytes) -> None:
        """Write one file of the study so that it is there whole or not at all."""
        with self._writing():
            write_whole(self.folder / name, content)

    def write_made(self, files: Mapping[str, bytes]) -> None:
        """Write files that are made of the rows, with their seals."""
        with self._writing():
            if made := self._made():
                made.write(files)
            else:
                for name, content in files.items():
                    write_whole(self.folder / name, content)

    def write_report(self, files: Mapping[str, bytes]) -> None:
        """Write all files of a report; those of earlier ones are forgotten."""
        if made := self._made():
            made.tell(set(made.altered()) - {LANDSCAPES, SURFACE})
            made.forget(set(made.names()) - {LANDSCAPES, SURFACE})
        self.write_made(files)

    def read_made(self, name: str) -> bytes | None:
        """The content of a file that is made of the rows; None where it was not made.

        Raises:
            StudyError: it is not as it was written.
        """
        if made := self._made():
            try:
                return made.read(name)
            except StudyError as error:
                raise StudyError(f"{error}; {self._manifest.again}, which makes it anew") from error
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def _made(self) -> MadeFiles | None:
        """The files with seals; None in a folder of before, which has none."""
        manifest = self.manifest()
        return None if manifest["format"] == OLD else MadeFiles(self.folder, manifest["study"])

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
            f"{LANES} in {str(self.folder)!r} {why}; {self._manifest.again}, which writes it anew"
        )

    def _lanes_file(self, checksum: int) -> bytes | None:
        path = self.folder / LANES
        content = path.read_bytes() if path.is_file() else b""
        return content if content and zlib.crc32(content) == checksum else None

    def dataset(self) -> xr.Dataset:
        """The results; what is looked at is what is read, and verified then.

        Looking raises StudyError where rows are not as they were written.
        """
        return lazy_dataset(self._rows(self.manifest()))

    def unverified(self) -> xr.Dataset:
        """The results as they lie on the disk, for who compares them with others.

        Raises:
            StudyError: an array is missing.
        """
        manifest = self.manifest()
        rows = self._rows(manifest)
        if missing := self._results.missing(rows.layout):
            raise StudyError(
                f"{str(self.folder / RESULTS)!r} lacks {', '.join(missing)}; "
                f"{self._manifest.again}, which redoes what is lost"
            )
        return lazy_dataset(rows, verified=False)

    def write_tiles(self, finished: Sequence[FinishedTile]) -> None:
        """Write finished tiles' rows, then their lines, with checksums, in the journal."""
        with self._writing():
            study = self._study()
            rows = [(tile.lanes, record) for tile, record, _ in finished]
            checksums = self._results.write(rows)
            for (tile, _, seconds), own in zip(finished, checksums, strict=True):
                self._journal.append(study, tile, own, seconds)
                shutil.rmtree(self._checkpoint_folder(tile), ignore_errors=True)

    def finished(self, tiles: Sequence[Tile], names: Sequence[str]) -> set[int]:
        """Numbers of the tiles whose rows are there and match their checksums."""
        manifest = self.known()
        entries = self._entries(manifest)
        there = {
            tile.index
            for tile in tiles
            if tile.index in entries and np.array_equal(entries[tile.index].lanes, tile.lanes)
        }
        return there - set(self._rows(manifest, entries).damaged(names, there))

    def damage(self, *, read: bool = True) -> Damage:
        """What the study lacks, by its journal; verifies every row, unless `read` is False."""
        manifest = self.manifest()
        total = manifest["tiles"]
        found = self._entries(manifest).items()
        entries = {tile: entry for tile, entry in found if 0 <= tile < total}
        rows = self._rows(manifest, entries)
        damaged = rows.damaged(manifest["variables"], entries) if read else {}
        return Damage(total, total - len(entries), damaged, rows.where(damaged))

    def refuse_damage(self, *, unfinished: bool = False, read: bool = True) -> None:
        """Raise StudyError where rows are damaged, or tiles missing unless `unfinished` is fine.

        Args:
            unfinished: whether missing tiles are fine, in a study that is not done.
            read: whether to verify every row; else only missing tiles are found.
        """
        tiles, missing, damaged, where = self.damage(read=read)
        unfinished = unfinished and self.manifest()["status"] != "done"
        counts = (0 if unfinished else missing, "missing", ""), (len(damaged), "damaged", where)
        lacks = [
            f"{count} of {tiles} tiles {'is' if count == 1 else 'are'} {what}"
            + (f" ({where})" if where else "")
            for count, what, where in counts
            if count
        ]
        if lacks:
            raise StudyError(
                f"{str(self.folder)!r}: {' and '.join(lacks)}; {self._manifest.again} to finish"
            )

    def _entries(self, manifest: Mapping[str, Any]) -> dict[int, JournalEntry]:
        """Finished tiles by the journal. Those of an old study are verified here."""
        if manifest["format"] == OLD:
            return old.entries(self._journal, self._results, self._layout(manifest), manifest)
        return self._journal.entries(manifest["study"], manifest["lanes"])

    def _rows(
        self, manifest: Mapping[str, Any], entries: Mapping[int, JournalEntry] | None = None
    ) -> Rows:
        known = self._entries(manifest) if entries is None else entries
        done = manifest["status"] == "done"
        return Rows(self._results, self._layout(manifest), known, self._manifest.again, done)

    def _layout(self, manifest: Mapping[str, Any]) -> ArrayLayout:
        """The arrays as they were made; an old study tells by its arrays alone."""
        if manifest["format"] != OLD:
            return ArrayLayout.from_json(manifest["layout"])
        try:
            return self._results.found(manifest["variables"])
        except Exception as error:
            place = str(self.folder / RESULTS)
            raise StudyError(
                f"{place!r} is damaged or missing ({error}); {self._manifest.again}"
            ) from error

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of tiles; a finished study needs none."""
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)

    def save_checkpoint(self, tile: Tile, checkpoint: Checkpoint) -> None:
        """Replace a tile's checkpoint; the old one goes once the new one is whole."""
        with self._writing():
            checkpoints.save(self._checkpoint_folder(tile), checkpoint, self._owner(tile))

    def load_checkpoint(self, tile: Tile) -> Checkpoint | None:
        """A tile's newest checkpoint that is whole, as host arrays, or None."""
        return checkpoints.load(self._checkpoint_folder(tile), self._owner(tile))

    def _owner(self, tile: Tile) -> dict[str, Any]:
        lanes = [[run.start, run.stop] for run, _ in runs(tile.lanes)]
        return {"study": self._study(), "tile": tile.index, "lanes": lanes}

    def _study(self) -> str:
        self._id = self._id or self.manifest()["study"]
        return self._id

    def _checkpoint_folder(self, tile: Tile) -> Path:
        return self.folder.resolve() / CHECKPOINTS / f"tile-{tile.index:06d}"


def _described(layout: ArrayLayout) -> dict[str, Any]:
    """What a manifest says of the arrays."""
    return {"variables": sorted(layout.variables), "layout": layout.to_json()}
