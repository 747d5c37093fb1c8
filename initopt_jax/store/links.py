"""What a study folder may hold: plain files and folders, and no way out of it."""

import os
import stat
from pathlib import Path

from initopt_jax.errors import StudyError

OLD_ZARR = (".zarray", ".zgroup", ".zmetadata")  # of format 2, whose filters may hold code


def refuse_strange_files(folder: Path) -> None:
    """Refuse a folder that would be read, or written to, somewhere else, or never end.

    Raises:
        StudyError: it holds a link that leads out of it, a pipe, a socket or a device, or arrays of
            Zarr's format 2.
    """
    root = folder.resolve()
    waiting = [str(root)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # who reads or writes there says so
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif why := _trouble(entry, root):
                place = Path(entry.path).relative_to(root)
                raise StudyError(f"{str(folder)!r} is not read: {str(place)!r} {why}")


def _trouble(entry: "os.DirEntry[str]", root: Path) -> str:
    """Why an entry is not to be opened; empty where it is a plain file."""
    if entry.name in OLD_ZARR:
        return "is an array of Zarr's format 2, and studies have format 3"
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))  # of a loop, some link of it
        if not target.is_relative_to(root):
            return (
                f"is a link to {target}, outside of the folder; copy the file, or keep the whole "
                "folder elsewhere and link to that"
            )
        return ""
    if not entry.is_file(follow_symlinks=False):
        mode = entry.stat(follow_symlinks=False).st_mode
        return f"is {'a pipe' if stat.S_ISFIFO(mode) else 'no plain file'}"
    return ""
