"""`manifest.json`: sealed, and copied to the journal, from where it is made anew."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initopt_jax.config.schema import differences
from initopt_jax.errors import StudyError
from initopt_jax.store.files import write_whole
from initopt_jax.store.journal import Journal, JournalEntry
from initopt_jax.store.results import ArrayStore
from initopt_jax.store.seals import SEAL, is_sealed, sealed

FORMAT = 3  # of the study folder
OLD = 2  # without seals: it is read, and brought up to date when the study is run again
NEEDED = ("status", "variables", "lanes_crc", "lanes", "tiles", "config")
SHOWN = 3  # differences that a message names
TEXT = 80  # characters of each


class ManifestFile:
    """The manifest of one folder.

    Args:
        path: of the file.
        journal: holds the copies.
        results: tell whose they are where manifest and journal do not agree.
    """

    def __init__(self, path: Path, journal: Journal, results: ArrayStore):
        self._path, self._journal, self._results = path, journal, results

    @property
    def again(self) -> str:
        """The command that mends the folder."""
        return f"run the study again (initopt run CONFIG --out {self._path.parent})"

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest; that of a study which is done is copied to the journal."""
        content = sealed({**manifest, "format": FORMAT})
        write_whole(self._path, f"{json.dumps(content, indent=2)}\n".encode())
        if content["status"] == "done" or self.copy() is None:
            self._journal.copy(content)

    def bring_up_to_date(
        self, manifest: Mapping[str, Any], entries: Mapping[int, JournalEntry]
    ) -> None:
        """Replace manifest and journal of a study of format 2, without a moment between them."""
        content = sealed({**manifest, "format": FORMAT})
        write_whole(self._journal.path, self._journal.content(content, entries))
        self.write(content)  # after a kill before this, the journal's copy counts

    def copy(self) -> dict[str, Any] | None:
        """The last copy in the journal that is whole."""
        return self._journal.manifest()

    def made_anew(self) -> dict[str, Any] | None:
        """The copy, written in place of the manifest; None where there is none.

        One of a study that was not done yet is older than what it stands for.
        """
        copy = self.copy()
        if copy is not None:
            if copy["status"] != "done":
                copy |= {"status": "stopped", "times_lost": True}
            self.write(copy)
        return copy

    def read(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            StudyError: the folder is no study, or its manifest is gone, damaged, edited, of another
                study or of another version.
        """
        folder, copy = str(self._path.parent), self.copy()
        if not self._path.is_file():
            if copy is None:
                raise StudyError(f"{folder!r} is not a study folder: it holds no {self._path.name}")
            raise StudyError(f"{self._path.name} of {folder!r} is gone; {self._way_out(copy)}")
        manifest, reason = self._parsed(copy)
        if reason:
            raise StudyError(f"{self._path.name} in {folder!r} {reason}; {self._way_out(copy)}")
        if manifest["format"] not in (OLD, FORMAT):
            raise StudyError(
                f"{folder!r} has format {manifest['format']}; this version reads format {OLD} and "
                f"{FORMAT}"
            )
        return manifest

    def _way_out(self, copy: Mapping[str, Any] | None) -> str:
        if copy is not None:
            return f"{self.again}, which makes it anew from its copy in {self._journal.path.name}"
        return (
            f"its copy in {self._journal.path.name} is gone as well, so that nothing tells what "
            "the rows belong to: run the study in another folder with --out"
        )

    def _parsed(self, copy: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
        """The manifest, and what is wrong with it."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            return {}, f"is damaged ({error})"
        if not isinstance(found, dict):
            return {}, "is damaged (it holds no object)"
        # A flipped bit can make a 2 of a 3: an old one has no seal, and no copy.
        if SEAL not in found and copy is None and found.get("format") != FORMAT:
            missing = [name for name in ("format", *NEEDED) if name not in found]
            return found, f"is damaged ({', '.join(missing)} not there)" if missing else ""
        if not is_sealed(found):
            later = f", or has a later format than {FORMAT}: format {found.get('format')}"
            what = "" if found.get("format") == FORMAT else later
            return {}, f"is damaged or was edited by hand{what}{_what_differs(copy, found)}"
        if self._is_anothers(found, copy):
            return {}, f"is of another study ({found.get('name')!r})"
        return found, ""

    def _is_anothers(self, found: Mapping[str, Any], copy: Mapping[str, Any] | None) -> bool:
        """Whether two of manifest, journal and results agree against it; without a copy, one."""
        study = found.get("study")
        if copy is not None and copy.get("study") == study:
            return False
        rows = self._results.study()
        return rows not in (None, study) if copy is None else rows == copy.get("study")


def _what_differs(copy: Mapping[str, Any] | None, found: Mapping[str, Any]) -> str:
    """What an edit changed, as far as the copy tells."""
    if copy is None:
        return ""
    lines = [
        line if len(line) <= TEXT else f"{line[:TEXT]}..."
        for line in differences(dict(copy), dict(found))
        if not line.startswith(SEAL)
    ]
    # Of a study that is not done, the copy may be older than the manifest.
    if not lines or copy["status"] != "done":
        return ""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return f" (against its copy in the journal: {'; '.join(lines[:SHOWN] + more)})"
