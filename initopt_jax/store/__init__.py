"""The study folder: the only place that reads and writes files.

Every write is all or nothing. A small file is written beside its place and renamed; a tile's rows
count only once its line, with a checksum of the rows, stands in the journal; a checkpoint carries a
checksum of its own. Whatever a kill or a bad disk leaves behind is redone or refused, never read as
a result.
"""

from initopt_jax.store.folder import (
    FORMAT,
    JOURNAL,
    LANDSCAPES,
    LANES,
    LOCK,
    MANIFEST,
    REPORT,
    RESULTS,
    SURFACE,
    Damage,
    FinishedTile,
    Store,
)
from initopt_jax.store.results import Layout

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
    "Damage",
    "FinishedTile",
    "Layout",
    "Store",
]
