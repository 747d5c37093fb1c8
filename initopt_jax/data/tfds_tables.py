"""Tables among the prepared TFDS sets: columns of numbers and classes, and a label."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from initopt_jax.data import prepared
from initopt_jax.data.arrays import from_splits
from initopt_jax.data.notes import About, counting_notes
from initopt_jax.data.source import Request
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Split

_READ_AT_ONCE = 10_000  # records


@dataclass(frozen=True)
class Columns:
    """How the features of a prepared set become a matrix and labels.

    Attributes:
        inputs: paths of the features that are columns, in their order, each with its number of
            classes, or 0 for numbers.
        label: name of the label.
        classes: number of classes; None where the label is a number or a vector of them.
    """

    inputs: tuple[tuple[tuple[str, ...], int], ...]
    label: str
    classes: int | None


def find_columns(features: Mapping[str, Any], supervised_keys: Any) -> Columns | None:
    """The columns of a table, or None where the features are no table.

    What the set itself calls input and label (its supervised keys) is taken; where it names none,
    the label is `label` and every other feature is a column. Inputs must be numbers, vectors of a
    fixed length, or classes, or a dictionary of these, whose columns come in the order of their
    names. The label is a class, a number or a vector.

    Args:
        features: the features of the set by name.
        supervised_keys: of the set's description.

    Returns:
        The columns, or None.
    """
    import tensorflow_datasets as tfds

    pair = supervised_keys if isinstance(supervised_keys, tuple) else ()
    if len(pair) == 2 and all(isinstance(key, str) and key in features for key in pair):
        inputs, label = {pair[0]: features[pair[0]]}, pair[1]
    else:
        inputs, label = {key: value for key, value in features.items() if key != "label"}, "label"
    if label not in features or not inputs:
        return None
    leaves = list(_leaves(inputs, ()))
    if not all(_is_numeric(leaf) for _, leaf in leaves) or not _is_numeric(features[label]):
        return None
    is_class = isinstance(features[label], tfds.features.ClassLabel)
    return Columns(
        tuple((path, getattr(leaf, "num_classes", None) or 0) for path, leaf in leaves),
        label,
        features[label].num_classes if is_class else None,
    )


def read_table(
    request: Request,
    columns: Columns,
    builder: Any,
    rows: Mapping[str, tuple[str, np.ndarray]],
) -> Dataset:
    """The rows of a table as a data set.

    A column of classes becomes one column of 0 and 1 per class, since the order of classes means
    nothing. Columns have units of their own: unlike pictures, each is normalized by its own mean
    and standard deviation, for classification too.

    Args:
        request: name, kind, and whether to normalize.
        columns: from `find_columns`.
        builder: the TFDS builder of the prepared folder.
        rows: for `train`, `val` and `test`, the stored split and which of its examples.

    Returns:
        The data set; inputs [N, D].

    Raises:
        ConfigError: the label does not fit the kind, or the files cannot be read.
    """
    _refuse_kind(request, columns)
    stored = {
        split: _matrix(request.name, columns, builder, split)
        for split in sorted({split for split, _ in rows.values()})
    }
    parts = [
        Split(*(array[chosen] for array in stored[split]))
        for split, chosen in (rows[name] for name in ("train", "val", "test"))
    ]
    names = _column_names(columns, builder.info.features)
    notes = tuple(counting_notes(stored[rows["train"][0]].inputs, names))
    return from_splits(
        request.name,
        *parts,
        kind=request.kind,
        outputs=columns.classes,
        normalize=request.normalize,
        table=True,
        about=About(names, _classes(columns, builder.info.features), notes, shuffled=True),
    )


def _classes(columns: Columns, features: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes; empty where the label is a number."""
    return () if columns.classes is None else tuple(features[columns.label].names)


def _refuse_kind(request: Request, columns: Columns) -> None:
    needed = "regression" if columns.classes is None else "classification"
    if request.kind != needed:
        what = "a number" if columns.classes is None else "a class"
        raise ConfigError(
            f"data set {request.name} is for {needed} (its label {columns.label} is {what}), "
            f"and the task is {request.kind}"
        )


def _leaves(features: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple, Any]]:
    """Features that hold no others, with their paths, by name."""
    import tensorflow_datasets as tfds

    for key, feature in sorted(features.items()):
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _leaves(dict(feature.items()), (*path, key))
        else:
            yield (*path, key), feature


def _is_numeric(feature: Any) -> bool:
    """A number, a class, or a vector of a fixed length; pictures, text and sequences are not."""
    import tensorflow_datasets as tfds

    allowed = (tfds.features.Scalar, tfds.features.Tensor, tfds.features.ClassLabel)
    # Exact types: pictures, audio and boxes derive from these and mean more than their numbers.
    if type(feature) not in allowed:
        return False
    shape = feature.shape
    return len(shape) <= 1 and None not in shape and np.dtype(feature.np_dtype).kind in "biuf"


def _matrix(name: str, columns: Columns, builder: Any, split: str) -> Split:
    """All examples of a stored split: float64 inputs [N, D], and their labels."""
    count = builder.info.splits[split].num_examples
    inputs, targets = [], []
    try:
        source = prepared.open_records(name, builder, split)
        for start in range(0, count, _READ_AT_ONCE):
            records = source.__getitems__(list(range(start, min(start + _READ_AT_ONCE, count))))
            inputs.append(_block(name, records, columns))
            targets.append(np.stack([record[columns.label] for record in records]))
    except (OSError, RuntimeError) as error:  # array_record reports all its troubles as the latter
        raise prepared.unreadable(name, builder.data_path, error) from None
    return Split(np.concatenate(inputs), np.concatenate(targets))


def _column_names(columns: Columns, features: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the inputs: of a class with its number, of an entry of a vector with its place."""
    names: list[str] = []
    for path, classes in columns.inputs:
        name, width = "/".join(path), math.prod(_at(features, path).shape)
        if classes:
            names += [f"{name}={number}" for number in range(classes)]
        else:
            vector = _at(features, path).shape != ()
            names += [f"{name}[{place}]" if vector else name for place in range(width)]
    return tuple(names)


def _block(name: str, records: Iterable[Mapping[str, Any]], columns: Columns) -> np.ndarray:
    """Inputs [N, D] of some records."""
    made = []
    for path, classes in columns.inputs:
        values = np.stack([_at(record, path) for record in records])
        if classes:
            made.append(np.equal.outer(values, np.arange(classes)).astype(np.float64))
            continue
        if values.dtype.kind in "iu" and max(int(values.max()), -int(values.min())) > 2**53:
            raise ConfigError(
                f"data set {name}: feature {'/'.join(path)} holds whole numbers beyond 2^53, which "
                "float64 rounds; write the table as csv:, npz: or parquet:, where their "
                "differences stay exact"
            )
        made.append(values.reshape(len(values), -1).astype(np.float64))
    return np.concatenate(made, axis=1)


def _at(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = record
    for key in path:
        value = value[key]
    return value
