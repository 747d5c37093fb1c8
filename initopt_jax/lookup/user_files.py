"""The user's own files behind a study: which ones, with which text, and where to find them again.

A config that names `module:function` depends on that file and on what it imports. Their hashes are
part of a study's identity; their places let a later run find them from any folder.
"""

import ast
import hashlib
import importlib.util
import os
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from initopt_jax.errors import StudyError

PACKAGE = __name__.partition(".")[0]
DATA_PREFIXES = ("csv:", "folder:", "npz:", "parquet:", "tfds:")  # of data sets: no modules
INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class SourceFile:
    """One module's file: where it is, and the SHA-256 of its bytes. `installed`: by a package."""

    path: Path
    sha256: str
    installed: bool


def own_modules(config: Any, *, of_data: bool = False) -> list[str]:
    """The modules that a config, as plain values, names as `module:function`.

    Args:
        config: plain values.
        of_data: whether they describe a data set, where some beginnings of names are no modules.

    >>> own_modules({"model": {"name": "mine:net"}, "task": {"dataset": {"name": "tfds:mnist"}}})
    ['mine']
    """
    found: list[str] = []
    if isinstance(config, Mapping):
        name = config.get("name")
        is_file = of_data and str(name).startswith(DATA_PREFIXES)
        if isinstance(name, str) and ":" in name and not is_file:
            found.append(name.partition(":")[0])
        for key, value in config.items():
            found += own_modules(value, of_data=key == "dataset")
    elif isinstance(config, Iterable) and not isinstance(config, str):
        for value in config:
            found += own_modules(value)
    return list(dict.fromkeys(found))


def collect(modules: Iterable[str]) -> dict[str, SourceFile]:
    """The files of these modules and of all that they import, except what packages installed."""
    return {
        name: SourceFile(path, _sha256(path), is_installed(path))
        for name, path in sorted(_files(modules).items())
        if path.is_file()  # one that was imported may be gone since
    }


def forget(modules: Sequence[str]) -> None:
    """Have these modules, and the user's files that they import, imported anew.

    A long-lived process may hold an older text of a file, or another file of the same name; what
    runs must be what is recorded.
    """
    for _ in range(2):  # what is loaded, and what will be loaded in its place
        for name, path in _files(modules).items():
            if name == "__main__" or is_installed(path):
                continue
            for loaded in [n for n in sys.modules if n == name or n.startswith(name + ".")]:
                del sys.modules[loaded]


def to_json(sources: Mapping[str, SourceFile], study: Path) -> dict[str, dict[str, Any]]:
    """For a manifest: per module its file and hash.

    Files are written as `place` does. An installed module is found by its name: null.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, source in sources.items():
        file = None if source.installed else place(source.path, study)
        entries[name] = {"file": file, "sha256": source.sha256}
    return entries


def place(path: Path, study: Path) -> str:
    """A path for a manifest.

    It is relative to the study's folder where both lie under the current one, so that they may move
    together; else as it stands.
    """
    here, study = Path.cwd(), study.resolve()
    together = path.is_relative_to(here) and study.is_relative_to(here)
    return Path(os.path.relpath(path, study) if together else path).as_posix()


def roots(sources: Mapping[str, SourceFile]) -> list[Path]:
    """The folders from which the user's own modules were imported."""
    own = [(name, source.path) for name, source in sources.items() if not source.installed]
    return list(dict.fromkeys(_import_root(name, path) for name, path in own))


def recorded_in(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The files that a manifest records, by module; empty where it records none.

    Raises:
        StudyError: it is no such record.
    """
    found = manifest.get("sources") or {}
    whole = isinstance(found, Mapping) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("file", 0), str | None)
        for entry in found.values()
    )
    if not whole:
        raise StudyError("the manifest is damaged: its sources are no files with their hashes")
    return dict(found)


def folders(recorded: Mapping[str, Mapping[str, Any]], study: Path) -> list[Path]:
    """The folders from which the recorded modules can be imported, as far as they are there."""
    found = []
    for name, entry in recorded.items():
        path = _recorded_file(entry, study)
        if path is not None and path.stem in (name.rpartition(".")[2], "__init__"):
            found.append(_import_root(name, path))
    return list(dict.fromkeys(found))


def changes(
    recorded: Mapping[str, Mapping[str, Any]] | None, now: Mapping[str, SourceFile]
) -> list[str]:
    """What differs between the files a study began with and those found now, in words."""
    if recorded is None:
        if not now:
            return []
        return [f"sources: the study did not record the files that it used ({', '.join(now)})"]
    lines = []
    for name in dict.fromkeys([*recorded, *now]):
        if name not in now:
            lines.append(f"sources.{name}: it was used when the study began, and is not any more")
        elif name not in recorded:
            lines.append(f"sources.{name}: it was not used when the study began, and is now")
        elif recorded[name]["sha256"] != now[name].sha256:
            lines.append(f"sources.{name}: the file has changed since ({now[name].path})")
    return lines


def changed_files(recorded: Mapping[str, Mapping[str, Any]], study: Path) -> list[str]:
    """Recorded files that are gone or have another text, without importing anything."""
    lines = []
    for name, entry in recorded.items():
        if entry["file"] is None:
            continue
        path = _recorded_file(entry, study)
        if path is None:
            lines.append(f"sources.{name}: {entry['file']} is not there any more")
        elif _sha256(path) != entry["sha256"]:
            lines.append(f"sources.{name}: the file has changed since ({path})")
    return lines


def _recorded_file(entry: Mapping[str, Any], study: Path) -> Path | None:
    """The plain file that an entry of a manifest means; None where it is not there."""
    if entry["file"] is None:
        return None
    path = Path(os.path.realpath(study.resolve() / entry["file"].replace("\0", "")))
    try:
        return path if path.is_file() else None
    except OSError:  # such as a name that is too long
        return None


def _files(modules: Iterable[str]) -> dict[str, Path]:
    """Modules to files, starting with those named; of what these import, the user's own."""
    named = list(modules)
    found: dict[str, Path] = {}
    waiting = list(named)
    while waiting:
        name = waiting.pop()
        path = None if name in found or name.partition(".")[0] == PACKAGE else _file_of(name)
        if path is None or (is_installed(path) and name not in named):
            continue
        found[name] = path
        if not is_installed(path):
            waiting += _imports(name, path)
    return found


def _file_of(name: str) -> Path | None:
    """A module's file, found as an import would find it, with nothing imported; None without."""
    module = sys.modules.get(name)
    if module is not None:
        origin = getattr(module, "__file__", None)
        return Path(origin).resolve() if origin else None
    spec = _spec_of(name)
    path = Path(spec.origin).resolve() if spec and spec.origin else None
    return path if path and path.is_file() else None


def _spec_of(name: str) -> ModuleSpec | None:
    """Where an import would find a module. Importing `a.b` runs `a`, and so does Python's way."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
        for count in range(1, len(rest) + 1):
            if spec is None or spec.submodule_search_locations is None:
                return None
            inner = ".".join([top, *rest[:count]])
            spec = PathFinder.find_spec(inner, list(spec.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return None
    return spec


def is_standard(name: str) -> bool:
    """Whether a module's file is one of Python's own."""
    path = _file_of(name)
    return path is not None and not INSTALLED & set(path.parts) and _in_python(path)


def installed_file(name: str) -> Path | None:
    """A module's file, or that of the package it is in, where a package installed it."""
    parents = _parents(name)
    return next((path for path in map(_file_of, (name, *parents)) if is_installed(path)), None)


def is_installed(path: Path | None) -> bool:
    """Whether a file belongs to Python or to an installed package, not to the user."""
    return path is not None and (bool(INSTALLED & set(path.parts)) or _in_python(path))


def _in_python(path: Path) -> bool:
    roots = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    roots.append(Path(site.getusersitepackages()).resolve())
    # A program that starts this package, such as `initopt`, is `__main__`.
    roots.append(Path(sysconfig.get_path("scripts")).resolve())
    return any(path.is_relative_to(root) for root in roots)


def _imports(name: str, path: Path) -> Iterator[str]:
    """Dotted names that a module may import, its own packages included; too many do no harm."""
    yield from _parents(name)
    if path.suffix != ".py":
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # importing the file shows them
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # importing it says what is wrong
        return
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
                yield from _parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, *filter(None, [node.module])])
            yield base
            yield from _parents(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))


def _import_root(name: str, path: Path) -> Path:
    levels = name.count(".") + (path.name == "__init__.py")
    return path.parents[levels]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
