"""Columns of a table as numbers: categories, gaps, truth values, and columns that count rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from initopt_jax.data.csv_text import TextForm, as_written, numbers_of
from initopt_jax.data.notes import counts_rows, listed
from initopt_jax.data.source import Request
from initopt_jax.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

# What usual programs write where a number is absent; in labels and categories only an empty entry.
GAPS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None", ".")
FILLS = ("drop", "mean", "median")
ONE_HOT = "one_hot"
_MOST_LEVELS = 1000
_UNNAMED = re.compile(r"|Unnamed: \d+(\.\d+)*(_level_\d+)?")
_NUMBERING = re.compile(
    r"(?i:(.*[\W_])?(id|idx|index|row|rowid|rownum|key|nr|no|num|number|serial|uid))|\w*[a-z]I[dD]"
)
_TRUTH = {"true": 1.0, "false": 0.0}
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2})?")


@dataclass(frozen=True)
class Treatment:
    """What a config says about the columns of a table.

    Attributes:
        kept: columns that number the rows and are features all the same.
        categories: column to its levels in order, or None for one column of 0 and 1 per level.
        fill: `drop`, `mean` or `median`; None where gaps are an error.
        gaps: what stands for a gap in a column of numbers.
    """

    kept: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...] | None]
    fill: str | None
    gaps: tuple[str, ...]


def names_of(option: str, value: Any) -> list[str]:
    """The names that an option gives: one, or a list. Raises ConfigError for anything else."""
    names = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{option} must be a column's name or a list of names, got {value!r}")
    names = [as_written(name) for name in names]
    if len(set(names)) < len(names):
        raise ConfigError(f"{option} holds a name twice: {value!r}")
    return names


def treatment(keep: Any, categories: Any, missing: Any) -> Treatment:
    """The options `keep`, `categories` and `missing`, checked."""
    if isinstance(categories, Mapping):
        known = {
            as_written(str(name)): _levels(name, levels) for name, levels in categories.items()
        }
    else:
        known = dict.fromkeys(names_of("categories", categories))
    fill, more = missing, ()
    if isinstance(missing, Mapping):
        if not set(missing) <= {"values", "fill"}:
            raise ConfigError(f"missing takes values and fill, got {sorted(map(str, missing))}")
        fill, values = missing.get("fill"), missing.get("values", [])
        values = values if isinstance(values, list | tuple) else [values]
        more = tuple(str(value) for value in values)
    if fill is not None and fill not in FILLS:
        raise ConfigError(
            f"missing must be one of {', '.join(FILLS)}, or {{values: [...], fill: one of them}}, "
            f"got {missing!r}"
        )
    return Treatment(tuple(names_of("keep", keep)), known, fill, (*GAPS, *more))


def _levels(name: Any, levels: Any) -> tuple[str, ...] | None:
    if levels == ONE_HOT:
        return None
    if not isinstance(levels, list | tuple) or len(set(map(str, levels))) < max(2, len(levels)):
        raise ConfigError(
            f"categories: {name} must be {ONE_HOT}, or a list of its different values in their "
            f"order, got {levels!r}"
        )
    return tuple(as_written(str(level)) for level in levels)


# Columns that number the rows ---------------------------------------------------------------------


def without_index(
    name: str, table: "pd.DataFrame", features: Sequence[str], how: Treatment
) -> tuple[list[str], list[str]]:
    """The features without those that only number the rows, and words on what was left out.

    Raises:
        ConfigError: a column numbers the rows and has a name of its own, or has no name and does
            not number them.
    """
    left, notes = [], []
    for column in features:
        values = table[column]
        if column in how.kept:
            left.append(column)
        elif _UNNAMED.fullmatch(column):
            if not (values.isna().all() or values.is_unique):
                raise ConfigError(
                    f"data set {name}: {column!r} has no name in the heading; name it there, or "
                    f"write drop: [{column!r}] or keep: [{column!r}]"
                )
            what = "is empty" if values.isna().all() else "numbers the rows and has no name"
            notes.append(f"column {column!r} {what} and was left out (keep: [{column!r}] keeps it)")
        elif len(features) > 1 and _numbers_rows(column, values):
            shown = ", ".join(str(value) for value in values.iloc[:3])
            raise ConfigError(
                f"data set {name}: column {column!r} numbers the rows ({shown}, ...), so that it "
                f"gives away how the file is sorted; write drop: [{column}], or keep: [{column}] "
                "if it is a feature"
            )
        else:
            left.append(column)
    return left, notes


def _numbers_rows(column: str, values: "pd.Series") -> bool:
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    whole = np.isfinite(numbers) & (numbers == np.round(numbers))
    if len(numbers) < 3 or not whole.all():
        return False
    rising = np.diff(numbers)
    named = _NUMBERING.fullmatch(column) is not None
    return counts_rows(numbers) or (named and bool((rising > 0).all() or (rising < 0).all()))


# Numbers ------------------------------------------------------------------------------------------


def encode(
    request: Request,
    tables: Sequence["pd.DataFrame"],
    features: Sequence[str],
    how: Treatment,
    forms: Sequence[TextForm],
    role: str = "feature",
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Columns of several tables as float64 [N, K] each, gaps as NaN; and the names of the K.

    Where numbers are to be normalized, the first table's smallest is taken away from whole numbers
    that float64 cannot hold.

    Raises:
        ConfigError: a column is text and no category, holds infinite numbers, or whole numbers that
            float64 cannot hold and that are not to be normalized.
    """
    made: list[list[np.ndarray]] = [[] for _ in tables]
    names: list[str] = []
    for column in features:
        if column in how.categories:
            found = _categories(
                request.name, column, [t[column] for t in tables], how.categories[column]
            )
            names += found[1]
            blocks = found[0]
        else:
            pairs = zip(tables, forms, strict=True)
            series = [numbers(request.name, t[column], how.gaps, form, role) for t, form in pairs]
            names.append(column)
            exact = _exact(request.name, column, series, differences=request.normalize)
            blocks = [values[:, None] for values in exact]
        for parts, block in zip(made, blocks, strict=True):
            parts.append(block)
    return [np.concatenate(parts, axis=1) for parts in made], tuple(names)


def numbers(
    name: str, values: "pd.Series", gaps: Sequence[str], form: TextForm, role: str
) -> np.ndarray:
    """A column of numbers or truth values: float64 with NaN, or its own whole numbers."""
    import pandas as pd

    if pd.api.types.is_integer_dtype(values) and not values.isna().any():
        made = values.to_numpy(np.uint64 if values.min() >= 0 else np.int64)
        marks = [float(gap) for gap in gaps if _is_number(gap)]
        return np.where(np.isin(made, marks), np.nan, made) if np.isin(made, marks).any() else made
    if pd.api.types.is_numeric_dtype(values):
        made = values.to_numpy(np.float64, na_value=np.nan).copy()
        made[np.isin(made, [float(gap) for gap in gaps if _is_number(gap)])] = np.nan
    else:
        made = _from_text(name, values, gaps, form, role)
    infinite = np.flatnonzero(np.isinf(made))
    if len(infinite):
        raise ConfigError(
            f"data set {name}: column {values.name!r} holds infinite values, the first in row "
            f"{infinite[0] + 1}"
        )
    return made


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _from_text(
    name: str, values: "pd.Series", gaps: Sequence[str], form: TextForm, role: str
) -> np.ndarray:
    """Numbers and truth values that were read as text, or as objects of Python."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        raise _no_number(name, values, 0, role)
    text = values.astype(object).where(values.notna(), "").map(str)
    absent = text.isin(gaps).to_numpy()
    truth = text.str.lower().map(_TRUTH)
    plain = pd.Series(list(numbers_of(text, form)), index=text.index, dtype=object)
    made = pd.to_numeric(plain, errors="coerce").fillna(truth).to_numpy(np.float64).copy()
    wrong = np.flatnonzero(np.isnan(made) & ~absent)
    if len(wrong):
        raise _no_number(name, values, int(wrong[0]), role, share=len(wrong) / len(made))
    made[absent] = np.nan
    return made


def _no_number(
    name: str, values: "pd.Series", row: int, role: str, share: float = 1.0
) -> ConfigError:
    """What a column that is no number holds, and what to write."""
    entry, column, number = str(values.iloc[row]), values.name, values.index[row] + 1
    place = f"data set {name}: {role} column {column!r} is not numbers: row {number} is {entry!r}"
    if _DATE.fullmatch(entry.strip()):
        advice = "dates and times are not read; write them as numbers (days, hours, month), or"
    elif share < 0.5:
        advice = (
            f"if that stands for a gap, write missing: {{values: [{entry!r}], fill: mean}} (or "
            "drop, median); if digits are grouped, thousands: and the sign; else"
        )
    else:
        advice = f"write categories: [{column}] for one column of 0 and 1 per value, or"
    if role != "feature":
        advice = advice if share < 0.5 else "a target of regression must be numbers;"
    return ConfigError(f"{place}; {advice} list it under drop")


def _exact(
    name: str, column: str, series: Sequence[np.ndarray], *, differences: bool
) -> list[np.ndarray]:
    """As float64; where that would lose digits of whole numbers, the smallest is taken away."""
    if all(values.dtype.kind in "iu" for values in series):
        low = min(int(values.min()) for values in series)
        high = max(int(values.max()) for values in series)
        if max(-low, high) > 2**53 and not differences:
            raise ConfigError(
                f"data set {name}: column {column!r} holds whole numbers beyond 2^53, which a "
                "float64 rounds; write normalize: true, or subtract a constant from them"
            )
        if max(-low, high) > 2**53 and high - low <= 2**53:
            least = int(series[0].min())
            # As Python's integers: differences of signed and unsigned ones stay exact.
            return [(values.astype(object) - least).astype(np.float64) for values in series]
    return [values.astype(np.float64) for values in series]


# Categories and labels ----------------------------------------------------------------------------


def as_text(values: "pd.Series") -> "pd.Series":
    """A column as it is written, in composed Unicode; gaps are empty."""
    kept = values.astype(object).where(values.notna(), "")
    distinct = {value: as_written(str(value)) for value in kept.unique()}
    return kept.map(distinct)


def _categories(
    name: str, column: str, series: Sequence["pd.Series"], levels: tuple[str, ...] | None
) -> tuple[list[np.ndarray], list[str]]:
    text = [as_text(values) for values in series]
    found = sorted(set(text[0]))
    if levels is None and len(found) > _MOST_LEVELS:
        raise ConfigError(
            f"data set {name}: column {column!r} has {len(found):,} different values, too many for "
            f"categories ({_MOST_LEVELS:,} at most); list it under drop"
        )
    allowed = list(levels or found)
    for number, values in enumerate(text):
        new = values[~values.isin(allowed)]
        if len(new):
            where = "" if number == 0 else "of the test file "
            known = listed([repr(level) for level in allowed])
            raise ConfigError(
                f"data set {name}: column {column!r} {where}holds {new.iloc[0]!r} in row "
                f"{new.index[0] + 1}, which is none of its categories ({known})"
            )
    place = {level: number for number, level in enumerate(allowed)}
    numbers = [values.map(place).to_numpy(np.int64) for values in text]
    if levels is not None:
        return [values[:, None].astype(np.float64) for values in numbers], [column]
    ones = np.eye(len(allowed))
    return [ones[values] for values in numbers], [f"{column}={level}" for level in allowed]


def label_classes(
    name: str, tables: Sequence["pd.DataFrame"], target: str
) -> tuple[list[np.ndarray], tuple[str, ...], list[str]]:
    """Labels 0..K-1 of each table, the names of the classes, and words on them.

    Classes are text as written, in the order of the numbers where all of them are numbers, else of
    the text.

    Raises:
        ConfigError: there are gaps, fractions, fewer than two classes, or a test file has others.
    """
    text = [as_text(table[target]) for table in tables]
    for number, values in enumerate(text):
        empty = np.flatnonzero((values == "").to_numpy())
        if len(empty):
            where = " of the test file" if number else ""
            raise ConfigError(
                f"data set {name}: target {target!r}{where} is missing in {len(empty)} of "
                f"{len(values)} rows, the first is row {empty[0] + 1}; remove them, or write "
                "missing: drop"
            )
    classes = _ordered(set(text[0]))
    numeric = [float(value) for value in classes if _is_number(value)]
    fractions = [value for value in numeric if value != round(value)]
    if fractions and len(numeric) == len(classes):
        raise ConfigError(
            f"data set {name}: target {target!r} holds fractions such as {fractions[0]:g}; classes "
            "are text or whole numbers (for numbers take task regression)"
        )
    if len(classes) < 2:
        raise ConfigError(
            f"data set {name}: target {target!r} must have at least 2 classes, all are "
            f"{classes[0]!r}"
        )
    place = {value: label for label, value in enumerate(classes)}
    for values in text[1:]:
        new = values[~values.isin(classes)]
        if len(new):
            raise ConfigError(
                f"data set {name}: the test file has the class {new.iloc[0]!r} (row "
                f"{new.index[0] + 1}), which the first has not; it has "
                f"{listed([repr(value) for value in classes])}"
            )
    labels = [values.map(place).to_numpy(np.int32) for values in text]
    return labels, tuple(classes), [*_joined(target, tables), *_alike(target, classes)]


def _ordered(classes: set[str]) -> list[str]:
    if all(_is_number(value) for value in classes):
        return sorted(classes, key=lambda value: (float(value), value))
    return sorted(classes)


def _joined(target: str, tables: Sequence["pd.DataFrame"]) -> list[str]:
    """Texts that are one class although their bytes differ."""
    raw = {str(value) for table in tables for value in table[target].dropna().unique()}
    joined = sorted(
        value for value in raw if as_written(value) != value and as_written(value) in raw
    )
    if not joined:
        return []
    shown = listed([repr(value) for value in joined])
    what = f"blanks around the classes of {target!r}, and how accents are stored, do not count"
    return [f"{what}: {shown}"]


def _alike(target: str, classes: Sequence[str]) -> list[str]:
    """Classes that differ in the way they are written alone."""
    groups: dict[str, list[str]] = {}
    for value in classes:
        key = repr(float(value)) if _is_number(value) else " ".join(value.casefold().split())
        groups.setdefault(key, []).append(repr(value))
    alike = [" and ".join(group) for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    return [f"classes of {target!r} that differ only in how they are written: {listed(alike)}"]
