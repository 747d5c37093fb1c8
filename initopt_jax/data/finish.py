"""The last steps, the same for every source: cut, normalize, spoil labels, turn into a target."""

import dataclasses
import logging
import math
from typing import Any

import numpy as np

from initopt_jax.data.arrays import fingerprint, from_arrays, from_splits, limited
from initopt_jax.data.notes import About, counting_notes
from initopt_jax.data.source import Kind, Request, TaskKind
from initopt_jax.data.split import SplitSpec, drawn, require_integer, require_number, split_indices
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Split

_logger = logging.getLogger(__name__)
_NOISE_STREAM = 1000  # of the split's seed; no source has so many streams


def finish(
    request: Request,
    inputs: Any,
    targets: Any,
    *,
    outputs: int | None = None,
    table: bool = False,
    about: About = About(),  # noqa: B008  (frozen)
) -> Dataset:
    """All examples of a source as the data set that was asked for.

    Args:
        request: name, kind, split and the common options.
        inputs: [N, ...]; see `arrays.from_arrays`, also for the others.
        targets: [N] or [N, K].
        outputs: number of classes where not every class occurs.
        table: whether each input feature is normalized by its own scale.
        about: names, and what else is to be told.

    Returns:
        The data set.
    """
    return from_arrays(
        request.name,
        inputs,
        targets,
        kind=request.kind,
        split=request.split,
        normalize=request.normalize,
        limit=request.limit,
        outputs=outputs,
        table=table,
        about=about,
    )


def finish_parts(
    request: Request,
    train: Split,
    val: Split | None,
    test: Split | None,
    *,
    outputs: int | None = None,
    table: bool = False,
    about: About = About(),  # noqa: B008  (frozen)
) -> Dataset:
    """As `finish`, where some splits are published: what is None is cut from the training part."""
    rows = cut(request, len(train.inputs), with_val=val is None, with_test=test is None)
    parts = [Split(train.inputs[chosen], train.targets[chosen]) for chosen in rows]
    notes = (*about.notes, *counting_notes(np.asarray(train.inputs), about.columns))
    return from_splits(
        request.name,
        parts[0],
        val or parts[1],
        test or parts[2],
        kind=request.kind,
        outputs=outputs,
        normalize=request.normalize,
        table=table,
        about=dataclasses.replace(about, notes=notes, shuffled=True),
    )


def cut(
    request: Request, count: int, *, with_val: bool = True, with_test: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of `count` training examples train, validate and test; the first obey the limit."""
    train, val, test = split_indices(count, request.split, with_val=with_val, with_test=with_test)
    return limited(train, request.limit), val, test


def as_dataset(
    name: str,
    value: Any,
    *,
    kind: TaskKind,
    split: SplitSpec,
    limit: int | None = None,
    label_noise: float = 0.0,
) -> Dataset:
    """What a user's own function returned, as a checked data set with a fingerprint of its arrays.

    Args:
        name: how messages and manifests call it.
        value: a `Dataset`, taken as split and normalized already, or a tuple (inputs, targets),
            which goes through `from_arrays`.
        kind: what the task needs.
        split: how a tuple is divided.
        limit: keep at most so many training examples.
        label_noise: see `with_label_noise`.

    Returns:
        The data set.

    Raises:
        ConfigError: `value` is neither, is of another kind, or its arrays do not fit.
    """
    if isinstance(value, Dataset):
        if kind not in (value.kind, "reconstruction"):
            raise ConfigError(f"data set {name} is for {value.kind}, and the task is {kind}")
        given: Kind = "classification" if value.kind == "classification" else "regression"
        outputs = value.outputs if given == "classification" else None
        if limit is not None:
            require_integer("limit", limit, least=1)
        train = first_examples(value, limit)
        about = About(value.columns, value.classes, value.notes, value.shuffled, value.pixel_unit)
        options = {"outputs": outputs, "normalize": False, "about": about}
        checked = from_splits(name, train, value.val, value.test, kind=given, **options)
        notes = tuple(dict.fromkeys(checked.notes))  # those of a set that was checked before
        scales = {"input_scale": value.input_scale, "target_scale": value.target_scale}
        made = dataclasses.replace(checked, name=value.name, notes=notes, **scales)
    elif isinstance(value, tuple) and len(value) == 2:
        of_labels = np.asarray(value[1]).ndim == 1 and np.asarray(value[1]).dtype.kind in "iu"
        natural: Kind = "classification" if of_labels else "regression"
        used = natural if kind == "reconstruction" else kind
        made = from_arrays(name, *value, kind=used, split=split, limit=limit)
    else:
        raise ConfigError(
            f"data set {name} must return a Dataset or a tuple (inputs, targets), "
            f"got {type(value).__name__}"
        )
    return adapt(made, kind=kind, label_noise=label_noise, seed=split.seed)


def first_examples(dataset: Dataset, count: int | None) -> Split:
    """At most so many training examples, a fair sample of them; all where `count` is None.

    The first ones of a set whose examples stand in a random order; of others, which may be sorted,
    those that a fixed seed draws, in the order in which they stand.

    >>> from initopt_jax.data.arrays import from_splits
    >>> part = Split(np.arange(100.0).reshape(50, 2), np.arange(50) // 25)
    >>> sorted_by_class = from_splits("mine", part, part, part, kind="classification")
    >>> first_examples(sorted_by_class, 8).targets.tolist()
    [0, 0, 0, 0, 0, 0, 1, 1]
    """
    train = dataset.train
    if count is None or count >= len(train.inputs):
        return Split(*(np.asarray(array) for array in train))  # a map stays one
    chosen: Any = slice(count)
    if not dataset.shuffled:
        chosen = np.sort(drawn(len(train.inputs), count))
    return Split(*(np.asarray(array)[chosen] for array in train))


def adapt(dataset: Dataset, *, kind: TaskKind, label_noise: float, seed: int) -> Dataset:
    """A data set as the task needs it, with the wrong labels that were asked for.

    Its notes are told through the log, which prints them unless the user's program says otherwise.

    Raises:
        ConfigError: the label noise is out of range, or there are no labels.
    """
    require_number("label_noise", label_noise, least=0, most=1)
    if label_noise and kind != "classification":
        raise ConfigError(f"label_noise is only for classification, and the task is {kind}")
    for note in dataset.notes:
        _logger.warning("data set %s: %s", dataset.name, note)
    if kind == "reconstruction":
        return as_reconstruction(dataset)
    return with_label_noise(dataset, label_noise, seed) if label_noise else dataset


def with_label_noise(dataset: Dataset, share: float, seed: int) -> Dataset:
    """A share of the training labels, each replaced by another class; all others stay.

    `round(share N)` training examples are drawn without replacement, and each gets one of the other
    K - 1 classes, all equally likely. Validation and test labels stay right.

    Args:
        dataset: of classification.
        share: of wrong training labels, in [0, 1].
        seed: of the draw.

    Returns:
        The data set with its fingerprint.

    Reference: Zhang, Bengio, Hardt, Recht & Vinyals 2017, Understanding deep learning requires
        rethinking generalization, section 2 (partially corrupted labels). Deviation: a label is
        never replaced by itself, so that `share` is the share of wrong ones.

    >>> from initopt_jax.data.arrays import from_arrays
    >>> inputs, labels = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    >>> clean = from_arrays("mine", inputs, labels, kind="classification", split=SplitSpec())
    >>> noisy = with_label_noise(clean, 0.25, seed=0)
    >>> int((noisy.train.targets != clean.train.targets).sum()), len(clean.train.targets)
    (3, 12)
    """
    labels = dataset.train.targets.copy()
    stream = np.random.default_rng([seed, _NOISE_STREAM])
    rows = stream.permutation(len(labels))[: round(share * len(labels))]
    shift = stream.integers(1, dataset.outputs, size=len(rows))
    labels[rows] = (labels[rows] + shift) % dataset.outputs
    train = dataset.train._replace(targets=labels)
    mark = fingerprint((train, dataset.val, dataset.test))
    return dataclasses.replace(dataset, train=train, fingerprint=mark)


def as_reconstruction(dataset: Dataset) -> Dataset:
    """The same inputs with themselves, flattened to [N, D], as targets."""
    train, val, test = (
        Split(part.inputs, part.inputs.reshape(len(part.inputs), -1))
        for part in (dataset.train, dataset.val, dataset.test)
    )
    width = math.prod(dataset.train.inputs.shape[1:])
    mark = fingerprint((train, val, test))
    return dataclasses.replace(
        dataset,
        kind="reconstruction",
        target_scale=None,
        classes=(),
        train=train,
        val=val,
        test=test,
        outputs=width,
        fingerprint=mark,
    )
