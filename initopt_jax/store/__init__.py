"""The study folder: the only place that reads and writes files.

Every write is all or nothing. A small file is written beside its place and renamed; a tile's rows
count only once its line, with checksums of the rows, stands in the journal. The manifest, lines of
the journal, checkpoints and made files are sealed with whose they are. Whatever a kill, a bad disk,
an edit or a mix-up of folders leaves behind is redone or refused, never read as a result.
"""

from initopt_jax.store.folder import (
    JOURNAL,
    LANES,
    LOCK,
    MANIFEST,
    RESULTS,
    Damage,
    FinishedTile,
    Store,
)
from initopt_jax.store.made import LANDSCAPES, REPORT, SURFACE
from initopt_jax.store.manifest_file import FORMAT
from initopt_jax.store.results import ArrayLayout

__all__ = [
    "FORMAT",
    "JOURNAL",
    "LANDSCAPES",
    "LANES",
    "LOCK",
    "MANIFEST",
    "REPORT",
    "RESULTS",
    "SURFACE",
    "ArrayLayout",
    "Damage",
    "FinishedTile",
    "Store",
]
