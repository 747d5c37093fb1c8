"""Tables of one's own: CSV and Parquet files, a column per feature."""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from initopt_jax.data.columns import (
    Treatment,
    as_text,
    encode,
    label_classes,
    names_of,
    numbers,
    treatment,
    without_index,
)
from initopt_jax.data.csv_text import TextForm, TextTable, as_written, read_text
from initopt_jax.data.finish import cut, finish, finish_parts
from initopt_jax.data.notes import About, listed
from initopt_jax.data.places import locate
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.memory import require_memory
from initopt_jax.types import Dataset, Split

if TYPE_CHECKING:
    import pandas as pd

_Read = Callable[[Path], TextTable]
_Names = str | Sequence[str]


def load_csv(
    request: Request,
    *,
    target: _Names | int,
    drop: _Names = (),
    keep: _Names = (),
    categories: _Names | Mapping[str, Any] = (),
    missing: str | Mapping[str, Any] | None = None,
    test: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
) -> Dataset:
    """`csv:PATH`: a text file with a heading line; every column but the targets is a feature.

    Features are numbers (true and false count as 1 and 0), each normalized by its own mean and
    standard deviation. For classification the target's distinct values, text as it is written, are
    the classes. For regression the targets are numbers. What the options leave open about the form
    of the file is guessed from its beginning, and told.

    Args:
        request: name, kind, split and the common options.
        target: name of the target's column; for regression also a list of names.
        drop: names of columns that are no features.
        keep: names of columns that are features although they number the rows.
        categories: names of text columns: each value becomes a column of 0 and 1. Or a mapping from
            names to `one_hot`, or to the list of values in their order, which count 0, 1, 2, ...
        missing: what becomes of gaps: `drop` (the row is left out), `mean` or `median` (of the
            training rows); or a mapping of `values`, which are gaps besides the usual, and `fill`,
            one of these words. By default a gap is an error.
        test: path of a second file with the same columns, the test split.
        delimiter: one character between the columns, or `whitespace`.
        decimal: `.` or `,`.
        thousands: a character that groups digits.
        encoding: of the text; by default UTF-8, or what the file's first bytes say.
        header: whether the first line names the columns; without, they are called 1, 2, 3, ...

    Returns:
        The data set; inputs [N, features].

    Raises:
        ConfigError: the file cannot be read, a column is unknown, is text, numbers the rows or has
            gaps, and no option says what to do; or the target is constant or does not fit the kind.
    """
    form = TextForm(delimiter, decimal, thousands, encoding, header)
    how = treatment(keep, categories, missing)
    if header is False:
        target = [str(name) for name in target] if isinstance(target, list) else str(target)
    targets = names_of("target", target)
    text = (*how.categories, *(targets if request.kind == "classification" else ()))

    def read(path: Path) -> TextTable:
        return read_text(path, form, targets=targets, text=text, gaps=how.gaps)

    return _load(request, read, targets, names_of("drop", drop), how, test)


def load_parquet(
    request: Request,
    *,
    target: _Names,
    drop: _Names = (),
    keep: _Names = (),
    categories: _Names | Mapping[str, Any] = (),
    missing: str | Mapping[str, Any] | None = None,
    test: str | None = None,
) -> Dataset:
    """`parquet:PATH`: as `csv:PATH`, from a Parquet file; pyarrow reads it.

    Args:
        request: name, kind, split and the common options.
        target: name of the target's column; for regression also a list of names.
        drop: names of columns that are no features.
        keep: as for `load_csv`, and so the others.
        categories: text columns, or a mapping to their values.
        missing: what becomes of gaps.
        test: path of a second file with the same columns, the test split.

    Returns:
        The data set; inputs [N, features].

    Raises:
        ConfigError: pyarrow is not installed; else as for `load_csv`.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(
            f"data set {request.name} needs pyarrow: pip install 'initopt-jax[parquet]'"
        )

    def read(path: Path) -> TextTable:
        import pandas as pd

        try:
            _refuse_large(path)
            table = pd.read_parquet(path, engine="pyarrow")
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever pyarrow raises on a damaged file
            raise ValueError(str(error) or type(error).__name__) from None
        if any(name is not None for name in table.index.names):
            table = table.reset_index()  # a column that pandas took for names of the rows
        table = table.reset_index(drop=True)
        names = [as_written(str(column)) for column in table.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"{path}: the columns {listed(list(map(repr, twice)))} are there twice"
            )
        return TextTable(table.set_axis(names, axis=1), TextForm(decimal="."), ())

    how = treatment(keep, categories, missing)
    return _load(request, read, names_of("target", target), names_of("drop", drop), how, test)


def _refuse_large(path: Path) -> None:
    """Refuse a Parquet file that would not fit, by what its footer tells; equal rows take no room.

    Raises:
        ConfigError: there is less memory than that.
    """
    import pyarrow.parquet as pq

    footer = pq.read_metadata(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    stored = sum(group.total_byte_size for group in groups)
    columns = max(footer.num_columns, 1)
    size = max(stored, 8 * columns * max(footer.num_rows, sum(group.num_rows for group in groups)))
    require_memory(size, f"the table {path}", "take fewer rows of it")


@dataclasses.dataclass(frozen=True)
class _Tables:
    """The file, and that of the test split if there is one, with what the config says of them."""

    request: Request
    parts: list[TextTable]
    targets: list[str]
    how: Treatment

    @property
    def frames(self) -> list["pd.DataFrame"]:
        return [part.frame for part in self.parts]


def _load(
    request: Request,
    read: _Read,
    targets: list[str],
    dropped: list[str],
    how: Treatment,
    test: Any,
) -> Dataset:
    _refuse_roles(request, targets, dropped, how)
    whole = _read(request, request.path, read)
    for option, names in (
        ("target", targets),
        ("drop", dropped),
        ("keep", how.kept),
        ("categories", how.categories),
    ):
        for column in names:
            if column not in whole.frame.columns:
                reason = unknown_name(f"{option} column", column, whole.frame.columns)
                single = "; the heading reads as one column: is the delimiter right?"
                hint = single if len(whole.frame.columns) == 1 else ""
                raise ConfigError(f"data set {request.name}: {reason}{hint}")
    features = [column for column in whole.frame.columns if column not in (*targets, *dropped)]
    features, notes = without_index(request.name, whole.frame, features, how)
    if not features:
        raise ConfigError(f"data set {request.name} has no column left as a feature")
    parts = [whole]
    if test is not None:
        if not isinstance(test, str):
            raise ConfigError(f"test must be the path of a file, got {test!r}")
        parts.append(_read(request, test, read))
        _refuse_other_columns(request.name, whole, parts[1], [*features, *targets])
    tables = _Tables(request, parts, targets, how)
    if how.fill == "drop":
        tables, found = _without_gaps(tables, features)
        notes += found
    return _numbered(tables, features, notes)


def _numbered(tables: _Tables, features: list[str], notes: list[str]) -> Dataset:
    """The data set of tables whose columns are known."""
    request, how, frames = tables.request, tables.how, tables.frames
    inputs, names = encode(request, frames, features, how, [p.form for p in tables.parts])
    inputs, found = _filled(tables, inputs, names)
    classes: tuple[str, ...] = ()
    if request.kind == "classification":
        answers, classes, alike = label_classes(request.name, frames, tables.targets[0])
        found += alike
    else:
        answers = _targets(tables)
        _refuse_constant(request.name, answers[0], tables.targets)
    notes = [*(note for part in tables.parts for note in part.notes), *notes, *found]
    about = About(columns=names, classes=classes, notes=tuple(dict.fromkeys(notes)))
    options: Any = {"outputs": len(classes) or None, "table": True, "about": about}
    if len(frames) == 1:
        return finish(request, inputs[0], answers[0], **options)
    parts = [Split(*pair) for pair in zip(inputs, answers, strict=True)]
    return finish_parts(request, parts[0], None, parts[1], **options)


def _refuse_roles(
    request: Request, targets: Sequence[str], dropped: Sequence[str], how: Treatment
) -> None:
    if not targets:
        raise ConfigError("target must name a column, got an empty list")
    if request.kind == "classification" and len(targets) > 1:
        raise ConfigError(f"target must be one column for classification, got {list(targets)!r}")
    if both := set(targets) & set(dropped):
        raise ConfigError(f"{min(both)!r} is both target and dropped")
    for option, names in (("keep", how.kept), ("categories", how.categories)):
        if both := set(names) & {*targets, *dropped}:
            what = "target" if min(both) in targets else "dropped"
            raise ConfigError(f"{min(both)!r} stands under {option} and is {what}")


def _read(request: Request, path: str, read: _Read) -> TextTable:
    file = locate(request.name, path, request.folders)
    try:
        table = read(file)
    except ConfigError as error:
        raise ConfigError(f"data set {request.name}: {error}") from None
    except (OSError, ValueError) as error:  # pandas and pyarrow report damage as the latter
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"data set {request.name}: {file} cannot be read: {reason}") from None
    if table.frame.empty:
        raise ConfigError(f"data set {request.name}: {file} holds no rows")
    return table


def _refuse_other_columns(
    name: str, first: TextTable, second: TextTable, used: Sequence[str]
) -> None:
    train, test = first.frame, second.frame
    missing = [column for column in used if column not in test.columns]
    extra = [column for column in test.columns if column not in train.columns]
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} besides"
        raise ConfigError(f"data set {name}: the test file must have the same columns, it {what}")


# Gaps ---------------------------------------------------------------------------------------------


def _without_gaps(tables: _Tables, features: Sequence[str]) -> tuple[_Tables, list[str]]:
    """The tables without the rows that lack a value, and how many these are."""
    how = tables.how
    kept, notes = [], []
    of_text = tables.targets if tables.request.kind == "classification" else ()
    for number, part in enumerate(tables.parts):
        frame = part.frame
        lacking = np.zeros(len(frame), bool)
        for column in [*features, *tables.targets]:
            if column in how.categories or column in of_text:
                lacking |= (as_text(frame[column]) == "").to_numpy()
                continue
            role = "target" if column in tables.targets else "feature"
            values = numbers(tables.request.name, frame[column], how.gaps, part.form, role)
            lacking |= np.isnan(values)
        if lacking.all():
            raise ConfigError(
                f"data set {tables.request.name}: every row lacks a value; list the columns that "
                "are empty under drop"
            )
        if lacking.any():
            where = " of the test file" if number else ""
            notes.append(
                f"{lacking.sum():,} of {len(frame):,} rows{where} lack a value and were left out"
            )
        frame = frame[~lacking].infer_objects()
        kept.append(dataclasses.replace(part, frame=frame))
    return dataclasses.replace(tables, parts=kept), notes


def _filled(
    tables: _Tables, inputs: list[np.ndarray], names: Sequence[str]
) -> tuple[list[np.ndarray], list[str]]:
    """Gaps filled by a statistic of the training rows, and words on it."""
    request, how = tables.request, tables.how
    counts = np.sum([np.isnan(part).sum(axis=0) for part in inputs], axis=0)
    if not counts.any():
        return inputs, []
    many = sum(map(len, inputs))
    lacking = [f"{names[n]!r} in {counts[n]:,} rows" for n in np.flatnonzero(counts).tolist()]
    if how.fill is None:
        row = int(np.flatnonzero(np.isnan(inputs[0]).any(axis=1))[:1].sum()) + 1
        raise ConfigError(
            f"data set {request.name}: values are missing, of {many:,} rows: {listed(lacking)} "
            f"(the first in row {row}); write missing: mean, median or drop (the rows), or list "
            "the column under drop"
        )
    rows, _, _ = cut(request, len(inputs[0]), with_test=len(inputs) == 1)
    train = inputs[0][rows]
    empty = np.isnan(train).all(axis=0)
    if empty.any():
        raise ConfigError(
            f"data set {request.name}: column {names[int(empty.argmax())]!r} has no value in the "
            "training rows; list it under drop"
        )
    by = np.nanmean(train, axis=0) if how.fill == "mean" else np.nanmedian(train, axis=0)
    note = f"gaps filled by the {how.fill} of the training rows: {listed(lacking)}"
    return [np.where(np.isnan(part), by, part) for part in inputs], [note]


# Targets ------------------------------------------------------------------------------------------


def _targets(tables: _Tables) -> list[np.ndarray]:
    """Targets of regression, float64 [N, K] each."""
    how = dataclasses.replace(tables.how, categories={})
    name, forms = tables.request.name, [part.form for part in tables.parts]
    made, _ = encode(tables.request, tables.frames, tables.targets, how, forms, role="target")
    for number, values in enumerate(made):
        gaps = np.argwhere(np.isnan(values))
        if len(gaps):
            where = " of the test file" if number else ""
            row, column = gaps[0]
            raise ConfigError(
                f"data set {name}: target {tables.targets[column]!r}{where} is missing in "
                f"{len(gaps)} of {len(values)} rows, the first is row {row + 1}; a target is not "
                "filled: remove the rows, or write missing: drop"
            )
    return made


def _refuse_constant(name: str, values: np.ndarray, targets: Sequence[str]) -> None:
    for column, target in zip(values.T, targets, strict=True):
        if (column == column[0]).all():
            raise ConfigError(
                f"data set {name}: target {target!r} is {column[0]:g} in every row; there is "
                "nothing to learn"
            )


_DESCRIPTION = (
    "a {} file, a column per feature, each standardized; `target` (a list for several), `drop`, "
    "`keep`, `categories`, `missing`, `test`{}"
)
CSV = DatasetSource(
    name="csv:PATH",
    load=load_csv,
    kinds=("regression", "classification"),
    description=_DESCRIPTION.format(
        "CSV", ", `delimiter`, `decimal`, `thousands`, `encoding`, `header`"
    ),
    reference="your own",
)
PARQUET = DatasetSource(
    name="parquet:PATH",
    load=load_parquet,
    kinds=("regression", "classification"),
    description=_DESCRIPTION.format("Parquet", ""),
    reference="your own; read by pyarrow",
)
