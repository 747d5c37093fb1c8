"""Words on a data set that a reader of its numbers should know; each is one line."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from initopt_jax.data.scaling import ROWS, moments
from initopt_jax.types import Split

_LOOKED_AT = 10_000  # rows whose distinct values are counted
_COLUMNS = 256  # a wider array is not looked at column by column
_KEPT = 0.9  # normal draws share a float32 now and then: less than 1% of so many rows
_STEPS = 64  # a spread of fewer rounding steps is mostly rounding
_OTHER_UNITS = 10.0
_FEW = 20  # examples that tell a spread within a third or so
_NAMED = 5


@dataclass(frozen=True)
class About:
    """What a source knows of its arrays besides the numbers.

    Attributes:
        columns: names of the input features, in their order; empty where they have none.
        classes: names of the classes; empty where they have none.
        notes: what the source itself has to say.
        shuffled: whether the training examples stand in a random order, so that the first ones are
            a fair sample.
        pixel_unit: what whole numbers of pixels were divided by; None where inputs are none.
    """

    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shuffled: bool = False
    pixel_unit: float | None = None


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more.

    >>> listed(["a", "b"]), listed(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def column_notes(
    given: Mapping[str, Split], made: Mapping[str, Split], about: About, *, by_feature: bool
) -> Iterator[str]:
    """What rounding, constant columns and other units did to numbers.

    Args:
        given: the splits `train`, `val` and `test` as they came.
        made: the same as float32, as networks see them.
        about: names.
        by_feature: whether each input feature has a scale of its own.
    """
    for field in Split._fields:
        raw, cast = getattr(given["train"], field), getattr(made["train"], field)
        if cast.dtype == np.int32:
            continue  # labels
        names = _names(field, raw, about)
        if raw.ndim == 2 and raw.shape[1] <= _COLUMNS:
            yield from _constant(field, raw, names, by_feature=by_feature)
            yield from _rounded(raw, cast, names)
            yield from _narrow(raw, names)
        yield from _other_units(field, made)
    if not by_feature:
        yield from _unequal(given["train"].inputs, about)


def class_notes(parts: Mapping[str, Split], outputs: int, about: About) -> Iterator[str]:
    """Which splits lack which classes."""
    counts = {key: np.bincount(part.targets, minlength=outputs) for key, part in parts.items()}
    everywhere = sum(counts.values())
    if np.count_nonzero(everywhere) == 1:
        yield f"every example is of class {_class(about, int(np.argmax(everywhere)))}"
    for key, count in counts.items():
        absent = np.flatnonzero((count == 0) & (everywhere > 0))
        if len(absent):
            names = [_class(about, label) for label in absent.tolist()]
            yield (
                f"no {_WORDS[key]} example is of class {listed(names)} "
                f"({len(absent)} of {outputs} classes)"
            )


def copy_notes(parts: Mapping[str, Split]) -> Iterator[str]:
    """How many held-out examples have inputs that also occur in training."""
    known = _digests(parts["train"].inputs)
    for key in ("val", "test"):
        copies = int(np.isin(_digests(parts[key].inputs), known).sum())
        if copies:
            yield (
                f"{copies:,} of {len(parts[key].inputs):,} {_WORDS[key]} examples have inputs that "
                "also occur in training"
            )


def counting_notes(inputs: np.ndarray, columns: Sequence[str] = ()) -> Iterator[str]:
    """Columns that tell where among the others an example stood, and so how a file was sorted."""
    if inputs.ndim != 2 or not 1 < inputs.shape[1] <= _COLUMNS:
        return
    for number, values in enumerate(inputs.T):
        rising = len(values) >= _FEW and values.dtype.kind != "b"
        rising = rising and ((values[1:] > values[:-1]).all() or (values[1:] < values[:-1]).all())
        if rising or counts_rows(values):
            what = repr(columns[number]) if columns else str(number)
            how = "numbers the examples" if counts_rows(values) else "rises or falls throughout"
            yield (
                f"input column {what} {how}, in the order in which they came; if it is an index or "
                "a time, leave it out, for it gives away how the examples were sorted"
            )


def counts_rows(column: np.ndarray) -> bool:
    """Whether a column is 0, 1, 2, ... or 1, 2, 3, ... from the first row to the last."""
    count = len(column)
    if count < 3 or column[0] not in (0, 1):
        return False
    return bool((column == np.arange(count) + int(column[0])).all())


_WORDS = {"train": "training", "val": "validation", "test": "test"}


def _names(field: str, raw: np.ndarray, about: About) -> list[str]:
    width = raw.shape[1] if raw.ndim == 2 else 0
    if field == "inputs":
        if len(about.columns) == width:
            return [f"input column {name!r}" for name in about.columns]
        return [f"input column {number}" for number in range(width)]
    return ["the target"] if width == 1 else [f"target {number}" for number in range(width)]


def _class(about: About, label: int) -> str:
    return about.classes[label] if about.classes else str(label)


def _constant(
    field: str, raw: np.ndarray, names: Sequence[str], *, by_feature: bool
) -> Iterator[str]:
    constant = [name for name, column in zip(names, raw.T, strict=True) if not np.ptp(column * 1)]
    if constant and (by_feature or field == "targets"):
        yield f"constant in training: {listed(constant)}; nothing can be learnt from it"


def _rounded(raw: np.ndarray, cast: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Columns whose values float32 does not tell apart."""
    if np.can_cast(raw.dtype, np.float32):
        return
    rows = np.random.default_rng(0).permutation(len(raw))[:_LOOKED_AT]
    for name, before, after in zip(names, raw[rows].T, cast[rows].T, strict=True):
        many, left = len(np.unique(before)), len(np.unique(after))
        if many > 1 and left < _KEPT * many:
            yield (
                f"{name} has {many:,} distinct values, of which float32 tells {left:,} apart; "
                "subtract a constant (normalize: true does), take logarithms, look for an outlier"
            )


def _narrow(raw: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Columns that vary by a few steps of the dtype that they came in."""
    if raw.dtype.kind != "f":
        return
    step = np.finfo(raw.dtype).eps
    mean, variance = moments(raw)
    narrow = (variance > 0) & (np.sqrt(variance) < _STEPS * step * np.abs(mean))
    for number in np.flatnonzero(narrow & (np.ptp(raw, axis=0) > 0)).tolist():
        yield (
            f"{names[number]} varies by {math.sqrt(variance[number]):.2g} about "
            f"{mean[number]:.6g}, and {raw.dtype} has steps of {step * abs(mean[number]):.1g} "
            "there: much of it is rounding"
        )


def _other_units(field: str, made: Mapping[str, Split]) -> Iterator[str]:
    """Held-out numbers that are spread quite otherwise than those of training."""
    own = _spread(getattr(made["train"], field))
    for key in ("val", "test"):
        other = getattr(made[key], field)
        if len(other) < _FEW or own == 0:
            continue
        ratio = _spread(other) / own
        if not 1 / _OTHER_UNITS < ratio < _OTHER_UNITS:
            yield (
                f"{field} of {key} are spread {ratio:.2g} times as widely as those of training: "
                "are they in the same units?"
            )


def _unequal(inputs: np.ndarray, about: About) -> Iterator[str]:
    """Columns under one scale that are as good as 0 beside the widest."""
    if inputs.ndim != 2 or inputs.shape[1] > _COLUMNS:
        return
    spread = np.sqrt(moments(inputs)[1])
    small = np.flatnonzero((spread > 0) & (spread < 1e-3 * spread.max())).tolist()
    if small:
        names = [_names("inputs", inputs, about)[number] for number in small]
        yield (
            f"one scale for all columns leaves less than a thousandth of the widest for "
            f"{listed(names)}; scale the columns, or hand them over as npz:, csv: or parquet:"
        )


def _spread(array: np.ndarray) -> float:
    return float(np.sqrt(moments(array)[1].mean()))


def _digests(array: np.ndarray) -> np.ndarray:
    """A 64-bit number for each example: equal for equal ones, as good as never for others."""
    width = math.prod(array.shape[1:])
    odd = np.random.default_rng(0).integers(0, 2**63, width, np.uint64) * np.uint64(2) + 1
    made = np.empty(len(array), np.uint64)
    for start in range(0, len(array), ROWS):
        block = array[start : start + ROWS].reshape(-1, width).astype(np.float32) + np.float32(0)
        made[start : start + ROWS] = (block.view(np.uint32) * odd).sum(axis=1, dtype=np.uint64)
    return made
