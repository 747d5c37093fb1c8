"""Files that are made of the rows and can be made again: report, figures, landscapes; sealed."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from initopt_jax.errors import StudyError
from initopt_jax.store.files import write_whole
from initopt_jax.store.seals import digest, is_sealed, sealed

SEALS, REPORT, SUMMARY = "seals.json", "report.html", "summary.csv"
LANDSCAPES, SURFACE = "landscapes.npz", "surface.npz"

SHOWN = 3  # names that a message has

_logger = logging.getLogger(__name__)


class MadeFiles:
    """The files of one folder, and the seals of them beside.

    Args:
        folder: of the study.
        study: its id, of which the seals are.
    """

    def __init__(self, folder: Path, study: str):
        self._folder, self._study = folder, study

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, each whole or not at all, then their seals."""
        for name, content in files.items():
            write_whole(self._folder / name, content)
        self._seal(self._seals() | {name: digest(content) for name, content in files.items()})

    def forget(self, names: Iterable[str]) -> None:
        """Remove the seals of files."""
        gone = set(names)
        self._seal({name: seal for name, seal in self._seals().items() if name not in gone})

    def _seal(self, seals: Mapping[str, str]) -> None:
        content = sealed({"study": self._study, "files": seals})
        write_whole(self._folder / SEALS, f"{json.dumps(content, indent=1)}\n".encode())

    def tell(self, altered: Iterable[str]) -> None:
        """Say which files are made anew, if any; not those that a kill left without their seals."""
        if not (self._folder / SEALS).is_file() or self._read():
            altered = set(altered) & set(self.names())
        if names := sorted(altered):
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            what = "gone, damaged, edited, without a seal or of another study; made anew"
            _logger.warning("note: %s%s: %s", ", ".join(names[:SHOWN]), more, what)

    def names(self) -> list[str]:
        """Files that were written."""
        return list(self._seals())

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none.

        Raises:
            StudyError: it is not as it was written, or is of another study.
        """
        path, seal = self._folder / name, self._seals().get(name)
        content = path.read_bytes() if path.is_file() else None
        if content is None and seal is None:
            return None
        if content is None or seal != digest(content):
            what = "is gone" if content is None else "is damaged, was edited or is of another study"
            raise StudyError(f"{name} of {str(self._folder)!r} {what}")
        return content

    def altered(self) -> list[str]:
        """Files that are not as they were written, or gone, or there without a seal."""
        known = dict.fromkeys([*self.names(), LANDSCAPES, SURFACE, SUMMARY, REPORT])
        return [name for name in known if not self._holds(name)]

    def _holds(self, name: str) -> bool:
        try:
            self.read(name)
        except (StudyError, OSError):
            return False
        return True

    def _seals(self) -> dict[str, str]:
        return self._read().get("files", {})

    def _read(self) -> dict[str, Any]:
        """What stands in the file of seals; nothing where it is gone, damaged or of another."""
        try:
            found = json.loads((self._folder / SEALS).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return found if is_sealed(found) and found["study"] == self._study else {}
