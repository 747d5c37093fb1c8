"""Arrays of one's own in a NumPy archive."""

from collections.abc import Mapping

import numpy as np

from initopt_jax.data.archive import read_npz
from initopt_jax.data.finish import finish, finish_parts
from initopt_jax.data.places import locate
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.errors import ConfigError, nearest
from initopt_jax.types import Dataset, Split

FIELDS = {
    "inputs": "inputs",
    "x": "inputs",
    "images": "inputs",
    "targets": "targets",
    "y": "targets",
    "labels": "targets",
}
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def load_npz(request: Request) -> Dataset:
    """`npz:PATH`: arrays by name in a file that `numpy.savez` wrote.

    Names are `inputs` (or `x`, `images`) and `targets` (or `y`, `labels`), in any case. Splits are
    told by `train`, `val` (`valid`, `validation`) and `test` before or behind: `x_train`,
    `test_labels`. Validation and test examples that are not there are cut from the training part
    (or from all, where no array names a split). Inputs [N, features] of classification are
    normalized feature by feature, as a table; those with more axes by one scale, as pictures.
    Labels may have the shape [N] or [N, 1].

    Args:
        request: name, kind, split and the common options.

    Returns:
        The data set; inputs as they are stored, as float32.

    Raises:
        ConfigError: the file is no such archive, holds Python objects (which are never loaded), or
            lacks or misnames an array.
    """
    path = locate(request.name, request.path, request.folders)
    arrays = _sorted(request.name, read_npz(f"data set {request.name}", path))
    parts = {split: _pair(request, split, found) for split, found in arrays.items()}
    table = parts[min(parts)].inputs.ndim == 2
    if "" in parts:
        return finish(request, *parts[""], table=table)
    if "train" not in parts:
        raise ConfigError(
            f"data set {request.name} has arrays of {', '.join(parts)}, none of train"
        )
    train, val, test = parts["train"], parts.get("val"), parts.get("test")
    return finish_parts(request, train, val, test, table=table)


def _sorted(name: str, archive: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Split (empty where none is named) to field to array."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, array in archive.items():
        split, field = _meaning(key)
        if field is None:
            names = [*FIELDS, *(f"{f}_{s}" for f in FIELDS for s in SPLITS)]
            close = nearest(key, names)
            hint = f"; did you mean {close!r}?" if close else "."
            raise ConfigError(
                f"data set {name} holds an array {key!r}{hint} Allowed: {', '.join(FIELDS)}, with "
                "train, val or test before or behind (x_train)"
            )
        if field in found.setdefault(split, {}):
            what = f"{field} of {split}" if split else field
            raise ConfigError(f"data set {name} holds {what} twice, once as {key!r}")
        found[split][field] = array
    if not found:
        raise ConfigError(f"data set {name} holds no arrays")
    if "" in found and len(found) > 1:
        raise ConfigError(f"data set {name} holds arrays with and without the name of a split")
    return found


def _meaning(key: str) -> tuple[str, str | None]:
    """Split and field of an array's name; no field where it has no meaning."""
    words = key.lower().split("_")
    split = ""
    for place in (-1, 0):
        if len(words) == 2 and words[place] in SPLITS:
            split = SPLITS[words.pop(place)]
            break
    return split, FIELDS.get(words[0]) if len(words) == 1 else None


def _pair(request: Request, split: str, found: Mapping[str, np.ndarray]) -> Split:
    for field in Split._fields:
        if field not in found:
            there = "" if not split else f" of {split}"
            raise ConfigError(f"data set {request.name} holds no array of {field}{there}")
    inputs, targets = found["inputs"], found["targets"]
    if request.kind == "classification" and targets.shape[1:] == (1,):
        targets = targets[:, 0]
    return Split(inputs, targets)


ENTRY = DatasetSource(
    name="npz:PATH",
    load=load_npz,
    kinds=("classification", "regression"),
    description="arrays inputs / targets (x / y, x_train, y_test, ...) of a NumPy archive",
    reference="your own",
)
