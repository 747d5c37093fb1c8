"""From arrays to a `Dataset`: checks, split, normalization, fingerprint."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from initopt_jax.data.notes import About, class_notes, column_notes, copy_notes, counting_notes
from initopt_jax.data.scaling import ROWS, normalized
from initopt_jax.data.source import Kind
from initopt_jax.data.split import SplitSpec, require_integer, split_indices
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Split


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
    about: About = About(),  # noqa: B008  (frozen)
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
        about: names of columns and classes, and what else is to be told.

    Returns:
        The data set; inputs float32, labels int32 [N], regression targets float32 [N, K].

    Raises:
        ConfigError: the arrays do not fit each other or the kind, or an option is out of range.

    >>> inputs, labels = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    >>> mine = from_arrays("mine", inputs, labels, kind="classification", split=SplitSpec())
    >>> mine.train.inputs.shape, mine.val.targets.shape, mine.outputs
    ((6, 2), (2,), 2)
    """
    given = Split(np.asarray(inputs), np.asarray(targets))
    whole = _checked(name, given, kind, about.columns)
    if kind == "classification":
        outputs = _class_count(name, whole.targets, outputs)
    train, val, test = split_indices(len(whole.inputs), split)
    parts = (
        Split(whole.inputs[rows], whole.targets[rows])
        for rows in (limited(train, limit), val, test)
    )
    notes = (*about.notes, *counting_notes(whole.inputs, about.columns))
    about = dataclasses.replace(about, notes=notes, shuffled=True)
    options = {"outputs": outputs, "normalize": normalize, "table": table, "about": about}
    return from_splits(name, *parts, kind=kind, **options)


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
    about: About = About(),  # noqa: B008  (frozen)
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
        about: names of columns and classes, what else is to be told, and whether the training
            examples stand in a random order.

    Returns:
        The data set.

    Raises:
        ConfigError: a split is empty, its arrays do not fit each other, the others or the kind, or
            numbers are not finite.
    """
    if not isinstance(normalize, bool):
        raise ConfigError(f"normalize must be true or false, got {normalize!r}")
    named = {"train": train, "val": val, "test": test}
    parts = {
        key: _checked(f"{name} ({key})", part, kind, about.columns) for key, part in named.items()
    }
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
    splits, scales = tuple(parts.values()), (None, None)
    if normalize:
        try:
            splits, *scales = normalized(*splits, kind=kind, table=table)
        except ConfigError as error:
            raise ConfigError(f"data set {name}: {error}") from None
    made = {
        key: _as_float32(f"{name} ({key})", part, kind)
        for key, part in zip(parts, splits, strict=True)
    }
    return Dataset(
        name,
        kind,
        *made.values(),
        outputs=width,
        fingerprint=fingerprint(made.values()),
        notes=_notes(parts, made, kind, width, about, by_feature=table or kind == "regression"),
        shuffled=about.shuffled,
        input_scale=scales[0],
        target_scale=scales[1],
        pixel_unit=about.pixel_unit,
        columns=about.columns,
        classes=about.classes,
    )


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


def _checked(name: str, part: Split, kind: Kind, columns: Sequence[str] = ()) -> Split:
    """The split as numbers [N, ...] of their own dtype, and int32 labels or numbers [N, K]."""
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
    _refuse_infinite(f"data set {name}: inputs", inputs, columns)
    if kind == "classification":
        return Split(inputs, _labels(name, targets))
    if targets.ndim > 2 or 0 in targets.shape:
        raise ConfigError(
            f"data set {name}: targets must have shape [N] or [N, K], got {targets.shape}"
        )
    _refuse_infinite(f"data set {name}: targets", targets)
    return Split(inputs, targets.reshape(len(targets), -1))


def _refuse_infinite(what: str, array: np.ndarray, columns: Sequence[str] = ()) -> None:
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{what} must be real numbers, got dtype {array.dtype}")
    if array.dtype.kind != "f":
        return
    bad, first = 0, None
    for start in range(0, len(array), ROWS):
        wrong = np.argwhere(~np.isfinite(array[start : start + ROWS]))
        if len(wrong):
            bad += len(np.unique(wrong[:, 0]))
            first = (wrong[0] + [start] + [0] * (array.ndim - 1)) if first is None else first
    if first is not None:
        value, place = array[tuple(first)], ", ".join(map(str, first.tolist()))
        column = f", column {columns[first[1]]!r}" if columns else ""
        raise ConfigError(
            f"{what} must be finite, and {bad:,} of {len(array):,} examples are not; the first is "
            f"{value} at [{place}]{column}"
        )


def _as_float32(name: str, part: Split, kind: Kind) -> Split:
    """Inputs and targets of regression as float32; refuses what float32 cannot hold."""
    made = []
    for field, array in part._asdict().items():
        if kind == "classification" and field == "targets":
            made.append(array)
            continue
        with np.errstate(over="ignore"):  # what float32 cannot hold is reported below
            cast = np.asarray(array, np.float32)
        starts = range(0, len(cast), ROWS)
        if not all(np.isfinite(cast[start : start + ROWS]).all() for start in starts):
            raise ConfigError(
                f"data set {name}: {field} must be finite in float32, got larger values (or values "
                "far outside those of training)"
            )
        made.append(cast)
    return Split(*made)


def _notes(
    given: Mapping[str, Split],
    made: Mapping[str, Split],
    kind: Kind,
    outputs: int,
    about: About,
    *,
    by_feature: bool,
) -> tuple[str, ...]:
    found = [*about.notes, *column_notes(given, made, about, by_feature=by_feature)]
    if kind == "classification":
        found += class_notes(made, outputs, about)
    return (*found, *copy_notes(made))


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
