"""Data as arrays on the host: bundled sets, a synthetic teacher, TFDS, and arrays of one's own."""

from collections.abc import Mapping
from typing import Any

from initopt_jax.data import diabetes, digits, teacher, tfds
from initopt_jax.data.arrays import as_dataset, describe, fingerprint, from_arrays, from_splits
from initopt_jax.data.source import DatasetSource, Kind, Request
from initopt_jax.data.split import SplitSpec
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.types import Dataset, option_names

__all__ = [
    "REGISTRY",
    "DatasetSource",
    "Kind",
    "Request",
    "SplitSpec",
    "as_dataset",
    "check",
    "describe",
    "find_source",
    "fingerprint",
    "from_arrays",
    "from_splits",
    "load",
]

REGISTRY: dict[str, DatasetSource] = {
    entry.name: entry for entry in (diabetes.ENTRY, digits.ENTRY, teacher.ENTRY, tfds.ENTRY)
}


def load(
    spec: Mapping[str, Any], *, kind: Kind, split: SplitSpec, data_dir: str | None = None
) -> Dataset:
    """The data set that a config names, split and normalized; the same spec gives the same bytes.

    Args:
        spec: `{"name": ..., **options}`; names and options are those of `REGISTRY`.
        kind: what the task needs.
        split: how the examples are divided.
        data_dir: the folder of prepared TFDS sets; None for TFDS_DATA_DIR or TFDS's default.

    Returns:
        The data set.

    Raises:
        ConfigError: the name, an option or the kind does not fit, or the data cannot be had.

    >>> load({"name": "digits"}, kind="classification", split=SplitSpec()).val.inputs.shape
    (359, 64)
    """
    source = check(spec, kind=kind)
    options = {key: value for key, value in spec.items() if key != "name"}
    return source.load(Request(spec["name"], kind, split, data_dir), **options)


def check(spec: Mapping[str, Any], *, kind: Kind) -> DatasetSource:
    """The source of a spec whose name, kind and option names fit; nothing is read.

    Raises:
        ConfigError: the name or an option is unknown, or the source does not serve the kind.
    """
    name = spec.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"a data set needs a name, got {dict(spec)!r}")
    source = find_source(name)
    if kind not in source.kinds:
        raise ConfigError(
            f"data set {name} is for {' or '.join(source.kinds)}, and the task is {kind}"
        )
    options = option_names(source.load, skip=("request",))
    for option in spec:
        if option != "name" and option not in options:
            raise ConfigError(unknown_name(f"option of data set {name}", option, options))
    return source


def find_source(name: str) -> DatasetSource:
    """The registry entry that serves a name. Raises ConfigError with the nearest match.

    >>> find_source("tfds:mnist").name
    'tfds:NAME'
    """
    if name.startswith(tfds.PREFIX):
        return tfds.ENTRY
    if name not in REGISTRY:
        raise ConfigError(unknown_name("data set", name, REGISTRY))
    return REGISTRY[name]
