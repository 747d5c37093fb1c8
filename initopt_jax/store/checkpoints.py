"""Checkpoints of tiles in mid-run: Orbax folders, sealed with whose they are and checksums."""

import errno
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from initopt_jax.engine.events import Checkpoint
from initopt_jax.store.files import write_whole
from initopt_jax.store.seals import is_sealed, sealed

SEAL = "checksums.json"  # written last: a checkpoint without it is not whole
OVERHEAD_BYTES = 2**18  # of a checkpoint's metadata and half-filled blocks

_logger = logging.getLogger(__name__)


def save(place: Path, checkpoint: Checkpoint, owner: Mapping[str, Any]) -> None:
    """Replace the checkpoint in a tile's folder; the old one goes once the new one is whole.

    Args:
        place: the tile's folder.
        checkpoint: what to save.
        owner: whose it is: study, tile and lanes.
    """
    import orbax.checkpoint as ocp

    _want_space(place, checkpoint)
    new = place / str(checkpoint.step)
    with _quiet(), ocp.StandardCheckpointer() as saver:
        saver.save(new, _padded(checkpoint), force=True)
    seal = sealed({**owner, "step": int(checkpoint.step), "files": _checksums(new)})
    write_whole(new / SEAL, json.dumps(seal).encode())
    for path in place.iterdir():  # older ones, and what kills left behind
        if path != new:
            shutil.rmtree(path, ignore_errors=True)


def load(place: Path, owner: Mapping[str, Any]) -> Checkpoint | None:
    """The newest checkpoint in a tile's folder that is whole and its own, as host arrays, or None.

    Args:
        place: the tile's folder.
        owner: whose it must be, as it was saved.
    """
    steps = sorted((int(p.name) for p in place.glob("[0-9]*") if p.name.isdecimal()), reverse=True)
    whole = [step for step in steps if _is_whole(place / str(step), {**owner, "step": step})]
    if not whole:
        return None
    import orbax.checkpoint as ocp

    for step in whole:
        try:
            with ocp.StandardCheckpointer() as loader:
                saved = jax.tree.map(np.asarray, loader.restore(place / str(step)))
            return _unpadded(saved)
        except Exception:  # noqa: BLE001 - of another version: the tile's beginning serves as well
            continue
    return None


def _padded(checkpoint: Checkpoint) -> dict[str, Any]:
    """What Orbax is given: it saves no array without entries, such as the state of plain SGD."""
    leaves, structure = jax.tree.flatten(checkpoint._asdict())
    empty = [place for place, leaf in enumerate(leaves) if np.size(leaf) == 0]
    for place in empty:
        leaves[place] = np.zeros(np.add(leaves[place].shape, 1), leaves[place].dtype)
    # Never empty itself: -1 is no place.
    return {"checkpoint": jax.tree.unflatten(structure, leaves), "empty": np.array([-1, *empty])}


def _unpadded(saved: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that was saved, arrays without entries included."""
    leaves, structure = jax.tree.flatten(saved["checkpoint"])
    for place in saved["empty"][1:]:
        leaves[place] = np.zeros(np.subtract(leaves[place].shape, 1), leaves[place].dtype)
    values = jax.tree.unflatten(structure, leaves)
    return Checkpoint(**values | {"step": int(values["step"])})


def _checksums(folder: Path) -> dict[str, int]:
    """File to checksum. Orbax is never given a damaged file: it would tell of it in many words."""
    return {
        path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SEAL
    }


def _is_whole(folder: Path, owner: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is as it was saved, and whose it must be. Damage is told, once."""
    if not (folder / SEAL).is_file():
        return False  # a kill came between Orbax's last word and ours
    try:
        seal = json.loads((folder / SEAL).read_bytes())
        whole = is_sealed(seal) and seal["files"] == _checksums(folder)
    except (OSError, ValueError, RecursionError):
        seal, whole = {}, False
    if whole and all(seal.get(name) == value for name, value in owner.items()):
        return True
    what = "is of another study, tile or step" if whole else "is damaged"
    _logger.warning("note: checkpoint %s %s; its tile goes on without it", folder, what)
    return False


def _want_space(place: Path, checkpoint: Checkpoint) -> None:
    """Raise OSError where a checkpoint will not fit; Orbax would flood standard error."""
    arrays = [*checkpoint.leaves, *checkpoint.record.values(), checkpoint.interval_loss]
    place.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place).free < OVERHEAD_BYTES + sum(array.nbytes for array in arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))


@contextmanager
def _quiet() -> Iterator[None]:
    """Orbax logs tracebacks of what it also raises; one message is enough. One thread saves."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
