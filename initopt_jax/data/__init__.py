"""Data as arrays on the host: bundled and generated sets, TFDS, one's own pictures and tables."""

import os
from collections.abc import Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any

from initopt_jax.data import (
    bundled,
    curves,
    diabetes,
    digits,
    folder,
    npz,
    parity,
    plane,
    sequences,
    tables,
    teacher,
    tfds,
)
from initopt_jax.data.arrays import describe, fingerprint, from_arrays, from_splits
from initopt_jax.data.finish import adapt, as_dataset, first_examples
from initopt_jax.data.places import root_of
from initopt_jax.data.source import COMMON, DatasetSource, Kind, Request, TaskKind
from initopt_jax.data.split import SplitSpec
from initopt_jax.errors import ConfigError, nearest, unknown_name
from initopt_jax.types import Dataset, option_names

__all__ = [
    "COMMON",
    "REGISTRY",
    "DatasetSource",
    "Kind",
    "Request",
    "SplitSpec",
    "TaskKind",
    "as_dataset",
    "check",
    "data_files",
    "data_root",
    "describe",
    "find_source",
    "fingerprint",
    "first_examples",
    "from_arrays",
    "from_splits",
    "likely_prefix",
    "load",
]

REGISTRY: dict[str, DatasetSource] = {
    entry.name: entry
    for entry in (
        *bundled.ENTRIES,
        diabetes.ENTRY,
        digits.ENTRY,
        *plane.ENTRIES,
        parity.ENTRY,
        *sequences.ENTRIES,
        *curves.ENTRIES,
        teacher.ENTRY,
        folder.ENTRY,
        tables.CSV,
        tables.PARQUET,
        npz.ENTRY,
        tfds.ENTRY,
    )
}
_PREFIXES = {entry.prefix: entry for entry in REGISTRY.values() if entry.prefix}
_OF_FILES = tuple(prefix for prefix in _PREFIXES if prefix != tfds.PREFIX)


def load(
    spec: Mapping[str, Any],
    *,
    kind: TaskKind,
    split: SplitSpec,
    data_dir: str | None = None,
    folders: Sequence[Path] = (),
) -> Dataset:
    """The data set that a config names, split and normalized; the same spec gives the same bytes.

    Args:
        spec: `{"name": ..., **options}`; names and options are those of `REGISTRY`, and all sources
            take `normalize`, `limit` and `label_noise`.
        kind: what the task needs.
        split: how the examples are divided.
        data_dir: the folder of prepared TFDS sets; None for TFDS_DATA_DIR or TFDS's default.
        folders: where relative paths are looked for, in order; empty for the current folder.

    Returns:
        The data set.

    Raises:
        ConfigError: the name, an option or the kind does not fit, or the data cannot be had.

    >>> load({"name": "digits"}, kind="classification", split=SplitSpec()).val.inputs.shape
    (359, 64)
    """
    source = check(spec, kind=kind)
    own = {key: value for key, value in spec.items() if key not in ("name", *COMMON)}
    request = Request(
        name=spec["name"],
        kind=source.kinds[0] if kind == "reconstruction" else kind,
        split=split,
        data_dir=data_dir,
        folders=tuple(folders),
        normalize=spec.get("normalize", source.normalize),
        limit=spec.get("limit"),
    )
    made = source.load(request, **own)
    return adapt(made, kind=kind, label_noise=spec.get("label_noise", 0.0), seed=split.seed)


def check(spec: Mapping[str, Any], *, kind: TaskKind) -> DatasetSource:
    """The source of a spec whose name, kind and option names fit; nothing is read.

    Raises:
        ConfigError: the name or an option is unknown, an option is missing, or the source does not
            serve the kind.
    """
    name = spec.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"a data set needs a name, got {dict(spec)!r}")
    source = find_source(name)
    if kind not in (*source.kinds, "reconstruction"):
        raise ConfigError(
            f"data set {name} is for {' or '.join(source.kinds)}, and the task is {kind}"
        )
    options = option_names(source.load, skip=("request",))
    for option in spec:
        if option not in ("name", *options, *COMMON):
            allowed = [*options, *COMMON]
            raise ConfigError(unknown_name(f"option of data set {name}", option, allowed))
    for option, default in options.items():
        if default is Parameter.empty and option not in spec:
            raise ConfigError(f"data set {name} needs the option {option}")
    return source


def find_source(name: str) -> DatasetSource:
    """The registry entry that serves a name. Raises ConfigError with the nearest match.

    >>> find_source("tfds:mnist").name
    'tfds:NAME'
    >>> find_source("fodler:pictures")
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: unknown data set 'fodler:pictures'; did you mean
    'folder:pictures'? Allowed: ...
    """
    head, colon, _ = name.partition(":")
    if head + colon in _PREFIXES:
        return _PREFIXES[head + colon]
    if name in REGISTRY and not colon:
        return REGISTRY[name]
    close = likely_prefix(name)
    if close:
        raise ConfigError(
            f"unknown data set {name!r}; did you mean {close!r}? Allowed: {', '.join(REGISTRY)}"
        )
    raise ConfigError(unknown_name("data set", name, REGISTRY))


def likely_prefix(name: str) -> str | None:
    """A name whose beginning is nearly that of a source, with its right beginning; else None.

    >>> likely_prefix("cvs:table.csv"), likely_prefix("mine:load")
    ('csv:table.csv', None)
    """
    head, colon, rest = name.partition(":")
    close = nearest(head + colon, _PREFIXES) if colon else None
    return close + rest if close else None


def data_root(name: str, folders: Sequence[Path]) -> Path | None:
    """The one of these folders from which a config's relative path is found; None for others."""
    head, colon, path = name.partition(":")
    return root_of(path, folders) if head + colon in _OF_FILES else None


def data_files(named: Mapping[str, Any], folders: Sequence[Path]) -> list[Path]:
    """The files and folders that a data set is read from, links followed; of its options too.

    Args:
        named: the data set's name and options, as in a config.
        folders: where relative paths are looked for.
    """
    head, colon, path = str(named.get("name", "")).partition(":")
    paths = [path] if head + colon in _OF_FILES else []
    paths += [str(named[option]) for option in ("test", "data_dir") if named.get(option)]
    found = []
    for text in paths:
        wanted = os.path.expanduser(text)  # noqa: PTH111 - unlike Path's, it never raises
        # A loop of links has an end for this function alone.
        places = [Path(os.path.realpath(base / wanted)) for base in folders or [Path.cwd()]]
        found.append(next((place for place in places if place.exists()), places[0]))
    return found
