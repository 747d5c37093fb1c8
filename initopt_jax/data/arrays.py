"""From arrays to a `Dataset`: checks, split, normalization, fingerprint."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from initopt_jax.data.source import Kind
from initopt_jax.data.split import SplitSpec, require_integer, split_indices
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Split

_ROWS = 4096  # rows summed at a time: bounds the float64 copies of large picture sets


def from_arrays(
    name: str,
    inputs: Any,
    targets: Any,
    *,
    kind: Kind,
    split: SplitSpec,
    normalize: bool = True,
    limit: int | None = None,
    outputs: int | None = None,
    table: bool = False,
) -> Dataset:
    """A data set of one's own arrays: checked, split by a seeded permutation, normalized, hashed.

    Args:
        name: how messages and manifests call it.
        inputs: [N, ...] numbers, at least two axes.
        targets: [N] integer labels 0..K-1 (classification), or [N] or [N, K] numbers (regression).
        kind: which task the targets are for.
        split: shares and seed; the permutation is not stratified.
        normalize: see `normalized`.
        limit: keep at most so many training examples, the first after the permutation.
        outputs: number of classes K where not every class occurs; by default the labels tell.
        table: see `normalized`.

    Returns:
        The data set; inputs float32, labels int32 [N], regression targets float32 [N, K].

    Raises:
        ConfigError: the arrays do not fit each other or the kind, or an option is out of range.

    >>> inputs, labels = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    >>> mine = from_arrays("mine", inputs, labels, kind="classification", split=SplitSpec())
    >>> mine.train.inputs.shape, mine.val.targets.shape, mine.outputs
    ((6, 2), (2,), 2)
    """
    whole = Split(*_checked(name, Split(np.asarray(inputs), np.asarray(targets)), kind))
    if kind == "classification":
        outputs = _class_count(name, whole.targets, outputs)
    train, val, test = split_indices(len(whole.inputs), split)
    parts = (
        Split(whole.inputs[rows], whole.targets[rows])
        for rows in (limited(train, limit), val, test)
    )
    return from_splits(name, *parts, kind=kind, outputs=outputs, normalize=normalize, table=table)


def from_splits(
    name: str,
    train: Split,
    val: Split,
    test: Split,
    *,
    kind: Kind,
    outputs: int | None = None,
    normalize: bool = True,
    table: bool = False,
) -> Dataset:
    """A data set whose splits are given: checked, normalized by training statistics, hashed.

    Args:
        name: how messages and manifests call it.
        train: inputs [N, ...] and targets as for `from_arrays`.
        val: likewise.
        test: likewise.
        kind: which task the targets are for.
        outputs: number of classes; by default the labels of all splits tell. Regression counts
            the target dimensions itself.
        normalize: see `normalized`.
        table: see `normalized`.

    Returns:
        The data set.

    Raises:
        ConfigError: a split is empty or its arrays do not fit each other, the others or the kind.
    """
    if not isinstance(normalize, bool):
        raise ConfigError(f"normalize must be true or false, got {normalize!r}")
    named = {"train": train, "val": val, "test": test}
    parts = {key: _checked(f"{name} ({key})", part, kind) for key, part in named.items()}
    for key, part in parts.items():
        for field in Split._fields:
            shape = getattr(part, field).shape[1:]
            expected = getattr(parts["train"], field).shape[1:]
            if shape != expected:
                raise ConfigError(
                    f"data set {name}: one example of {key} {field} has shape {shape}, "
                    f"of train {field} {expected}; they must agree"
                )
    if kind == "classification":
        labels = np.concatenate([part.targets for part in parts.values()])
        width = _class_count(name, labels, outputs)
    else:
        width = parts["train"].targets.shape[1]
    splits = tuple(parts.values())
    train, val, test = normalized(*splits, kind=kind, table=table) if normalize else splits
    return Dataset(name, kind, train, val, test, width, fingerprint((train, val, test)))


def normalized(
    train: Split, val: Split, test: Split, *, kind: Kind, table: bool = False
) -> tuple[Split, Split, Split]:
    """Centre and scale all splits by statistics of the training split alone.

    Classification (pictures): `(x - mean) / s` with the mean per feature and one scale
    `s = sqrt(mean((x - mean)^2))` over all features, so that relative contrast is kept.
    Regression: each input feature and each target dimension is standardized by its own mean and
    standard deviation; so are the inputs of tables, whose columns have units of their own, for
    classification too. Where a scale is 0 (constant in training) it is replaced by 1.

    Args:
        train: float32 inputs [N, ...]; regression targets float32 [N, K].
        val: likewise.
        test: likewise.
        kind: which of the two forms.
        table: whether each input feature has its own scale for classification too.

    Returns:
        The three splits, float32 inputs.

    >>> part = Split(np.array([[0, 1], [8, 1]], np.float32), np.array([[3.0], [5.0]], np.float32))
    >>> train, _, _ = normalized(part, part, part, kind="regression")
    >>> train.inputs.tolist(), train.targets.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[-1.0], [1.0]])
    """
    mean, variance = _moments(train.inputs)
    if kind == "classification" and not table:
        variance = np.asarray(variance.mean())
    parts = [
        Split(_standardize(part.inputs, mean, variance), part.targets)
        for part in (train, val, test)
    ]
    if kind == "regression":
        mean, variance = _moments(train.targets)
        parts = [
            part._replace(targets=_standardize(part.targets, mean, variance)) for part in parts
        ]
    return parts[0], parts[1], parts[2]


def fingerprint(splits: Iterable[Split]) -> str:
    """SHA-256 over dtype, shape and bytes of every array in order, its first 16 hex digits.

    >>> fingerprint([Split(np.zeros((1, 2), np.float32), np.zeros(1, np.int32))])
    'cf0ada98605450b0'
    """
    digest = hashlib.sha256()
    for part in splits:
        for array in part:
            digest.update(f"{array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def describe(dataset: Dataset) -> dict[str, Any]:
    """Sizes, shapes and fingerprint of a data set as plain JSON values, for a manifest."""
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "train": len(dataset.train.inputs),
        "val": len(dataset.val.inputs),
        "test": len(dataset.test.inputs),
        "input_shape": list(dataset.train.inputs.shape[1:]),
        "outputs": dataset.outputs,
        "fingerprint": dataset.fingerprint,
    }


def limited(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """The first `limit` rows, or all where it is None. Raises ConfigError for less than 1."""
    if limit is None:
        return rows
    require_integer("limit", limit, least=1)
    return rows[: int(limit)]


def _checked(name: str, part: Split, kind: Kind) -> Split:
    """The split as float32 inputs and int32 labels or float32 [N, K] targets."""
    inputs, targets = part
    if inputs.ndim < 2 or 0 in inputs.shape[1:]:
        raise ConfigError(
            f"data set {name}: inputs must have shape [N, features, ...], got {inputs.shape}"
        )
    if targets.ndim < 1 or len(inputs) != len(targets):
        raise ConfigError(
            f"data set {name}: inputs {inputs.shape} and targets {targets.shape} "
            "must hold the same number of examples"
        )
    if len(inputs) == 0:
        raise ConfigError(f"data set {name} holds no examples; at least 1 is needed")
    inputs = _finite_float32(f"data set {name}: inputs", inputs)
    if kind == "classification":
        return Split(inputs, _labels(name, targets))
    if targets.ndim > 2 or 0 in targets.shape:
        raise ConfigError(
            f"data set {name}: targets must have shape [N] or [N, K], got {targets.shape}"
        )
    targets = _finite_float32(f"data set {name}: targets", targets)
    return Split(inputs, targets.reshape(len(targets), -1))


def _finite_float32(what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{what} must be real numbers, got dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported below
        converted = np.asarray(array, np.float32)
    starts = range(0, len(converted), _ROWS)
    if not all(np.isfinite(converted[start : start + _ROWS]).all() for start in starts):
        raise ConfigError(f"{what} must be finite in float32, got NaN, infinite or larger values")
    return converted


def _labels(name: str, targets: np.ndarray) -> np.ndarray:
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise ConfigError(
            f"data set {name}: labels must be integers of shape [N], "
            f"got dtype {targets.dtype} and shape {targets.shape}"
        )
    if targets.min() < 0 or targets.max() > np.iinfo(np.int32).max:
        raise ConfigError(
            f"data set {name}: labels must be 0..K-1, got {targets.min()}..{targets.max()}"
        )
    return targets.astype(np.int32)


def _class_count(name: str, labels: np.ndarray, outputs: int | None) -> int:
    """K: as given, or as counted where every class of 0..K-1 occurs."""
    found = np.unique(labels)
    if outputs is not None:
        require_integer(f"data set {name}: outputs (classes)", outputs, least=2)
        if found[-1] >= outputs:
            raise ConfigError(
                f"data set {name}: labels must be 0..{outputs - 1}, got {found[0]}..{found[-1]}"
            )
        return int(outputs)
    if len(found) < 2:
        raise ConfigError(
            f"data set {name} must have at least 2 classes, all labels are {found[0]}"
        )
    if found[-1] != len(found) - 1:
        raise ConfigError(
            f"data set {name}: labels must be 0..K-1 with every class present, got {len(found)} "
            f"classes from {found[0]} to {found[-1]}; renumber them, or give outputs=K"
        )
    return len(found)


def _moments(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per feature in float64, in two passes over blocks of rows."""
    blocks = [array[start : start + _ROWS] for start in range(0, len(array), _ROWS)]
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(array)
    variance = sum(np.square(block - mean).sum(axis=0) for block in blocks) / len(array)
    return np.asarray(mean), np.asarray(variance)


def _standardize(array: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.where(variance == 0, 1.0, variance)).astype(np.float32)
    result = array - mean.astype(np.float32)
    result /= scale
    return result
