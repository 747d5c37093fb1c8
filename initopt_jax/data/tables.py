"""Tables of one's own: CSV and Parquet files, a column per feature."""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from initopt_jax.data.finish import finish, finish_parts
from initopt_jax.data.places import locate
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.types import Dataset, Split

if TYPE_CHECKING:
    import pandas as pd


def load_csv(
    request: Request,
    *,
    target: str | Sequence[str],
    drop: Sequence[str] = (),
    delimiter: str = ",",
    test: str | None = None,
) -> Dataset:
    r"""`csv:PATH`: a text file with a heading line; every column but the targets is a feature.

    Features are numbers (true and false count as 1 and 0), each normalized by its own mean and
    standard deviation. For classification the target's distinct values, sorted, are the classes:
    text, whole numbers, or true and false. For regression the targets are numbers.

    Args:
        request: name, kind, split and the common options.
        target: name of the target's column; for regression also a list of names.
        drop: names of columns that are no features.
        delimiter: one character between the columns; a tabulator is `"\t"` in YAML.
        test: path of a second file with the same columns, the test split.

    Returns:
        The data set; inputs [N, features].

    Raises:
        ConfigError: the file cannot be read, a column is unknown, holds text or lacks values, or
            the target is constant or does not fit the kind.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ConfigError(f"delimiter must be one character, got {delimiter!r}")

    def read(path: Path) -> "pd.DataFrame":
        import pandas as pd

        # By default, rows with an entry too many would make the first column an index in silence.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                return pd.read_csv(path, sep=delimiter, index_col=False)
            except pd.errors.ParserWarning:
                raise ValueError("its rows have more entries than the heading line") from None

    return _load(request, read, target, drop, test)


def load_parquet(
    request: Request,
    *,
    target: str | Sequence[str],
    drop: Sequence[str] = (),
    test: str | None = None,
) -> Dataset:
    """`parquet:PATH`: as `csv:PATH`, from a Parquet file; pyarrow reads it.

    Args:
        request: name, kind, split and the common options.
        target: name of the target's column; for regression also a list of names.
        drop: names of columns that are no features.
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

    def read(path: Path) -> "pd.DataFrame":
        import pandas as pd

        table = pd.read_parquet(path, engine="pyarrow")
        return table.set_axis([str(column) for column in table.columns], axis=1)

    return _load(request, read, target, drop, test)


def _load(request: Request, read: Any, target: Any, drop: Any, test: str | None) -> Dataset:
    targets = _names("target", target)
    dropped = _names("drop", drop)
    if not targets:
        raise ConfigError("target must name a column, got an empty list")
    if request.kind == "classification" and len(targets) > 1:
        raise ConfigError(f"target must be one column for classification, got {target!r}")
    if both := set(targets) & set(dropped):
        raise ConfigError(f"{min(both)!r} is both target and dropped")
    whole = _read(request, request.path, read)
    for option, names in (("target", targets), ("drop", dropped)):
        for column in names:
            if column not in whole.columns:
                reason = unknown_name(f"{option} column", column, whole.columns)
                raise ConfigError(f"data set {request.name}: {reason}")
    features = [column for column in whole.columns if column not in (*targets, *dropped)]
    if not features:
        raise ConfigError(f"data set {request.name} has no column left as a feature")
    tables = [whole]
    if test is not None:
        if not isinstance(test, str):
            raise ConfigError(f"test must be the path of a file, got {test!r}")
        other = _read(request, test, read)
        _refuse_other_columns(request.name, whole, other, [*features, *targets])
        tables.append(other)
    inputs = [_numbers(request.name, table, features, "feature") for table in tables]
    if request.kind == "classification":
        answers, classes = _labels(request.name, tables, targets[0])
    else:
        answers, classes = [_numbers(request.name, t, targets, "target") for t in tables], None
        _refuse_constant(request.name, answers[0], targets)
    if test is None:
        return finish(request, inputs[0], answers[0], outputs=classes, table=True)
    parts = [Split(*pair) for pair in zip(inputs, answers, strict=True)]
    return finish_parts(request, parts[0], None, parts[1], outputs=classes, table=True)


def _names(option: str, value: Any) -> list[str]:
    names = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{option} must be a column's name or a list of names, got {value!r}")
    if len(set(names)) < len(names):
        raise ConfigError(f"{option} holds a name twice: {value!r}")
    return names


def _read(request: Request, path: str, read: Any) -> "pd.DataFrame":
    file = locate(request.name, path, request.folders)
    try:
        table = read(file)
    except (OSError, ValueError) as error:  # pandas and pyarrow report damage as the latter
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"data set {request.name}: {file} cannot be read: {reason}") from None
    if table.empty:
        raise ConfigError(f"data set {request.name}: {file} holds no rows")
    return table


def _refuse_other_columns(
    name: str, train: "pd.DataFrame", test: "pd.DataFrame", used: Sequence[str]
) -> None:
    missing = [column for column in used if column not in test.columns]
    extra = [column for column in test.columns if column not in train.columns]
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} besides"
        raise ConfigError(f"data set {name}: the test file must have the same columns, it {what}")


def _numbers(name: str, table: "pd.DataFrame", columns: Sequence[str], role: str) -> np.ndarray:
    """Columns as float64 [N, K]."""
    import pandas as pd

    text = [column for column in columns if not pd.api.types.is_numeric_dtype(table[column])]
    if text:
        named = ", ".join(map(repr, text))
        example = table[text[0]].dropna()
        shown = f" (such as {str(example.iloc[0])!r})" if len(example) else ""
        advice = (
            "encode as numbers or list under drop"
            if role == "feature"
            else "a target of regression must be numbers"
        )
        raise ConfigError(
            f"data set {name}: {role} columns that are not numbers: {named}{shown}; {advice}"
        )
    _refuse_missing(name, table, columns)
    values = table[list(columns)].to_numpy(np.float64)
    infinite = ~np.isfinite(values).all(axis=0)
    if infinite.any():
        raise ConfigError(
            f"data set {name}: column {columns[int(infinite.argmax())]!r} holds infinite values"
        )
    return values


def _refuse_missing(name: str, table: "pd.DataFrame", columns: Sequence[str]) -> None:
    counts = {column: int(table[column].isna().sum()) for column in columns}
    lacking = [f"{column!r} in {count} rows" for column, count in counts.items() if count]
    if lacking:
        raise ConfigError(
            f"data set {name}: values are missing, of {len(table)} rows: {', '.join(lacking)}; "
            "fill them in, remove the rows, or list the column under drop"
        )


def _labels(
    name: str, tables: Sequence["pd.DataFrame"], target: str
) -> tuple[list[np.ndarray], int]:
    """Labels 0..K-1 of each table, in the order of the sorted distinct values of the first."""
    import pandas as pd

    for table in tables:
        _refuse_missing(name, table, [target])
        column = table[target]
        if pd.api.types.is_float_dtype(column) and not (column == column.round()).all():
            example = column[column != column.round()].iloc[0]
            raise ConfigError(
                f"data set {name}: target {target!r} holds fractions such as {example}; classes "
                "are text or whole numbers (for numbers take task regression)"
            )
    try:
        classes = sorted(tables[0][target].unique().tolist())
    except TypeError:
        raise ConfigError(
            f"data set {name}: target {target!r} mixes text and numbers; make it one of them"
        ) from None
    if len(classes) < 2:
        raise ConfigError(
            f"data set {name}: target {target!r} must have at least 2 classes, all are "
            f"{classes[0]!r}"
        )
    number = {value: label for label, value in enumerate(classes)}
    labels = []
    for table in tables:
        values = table[target].tolist()
        if new := [value for value in values if value not in number]:
            raise ConfigError(
                f"data set {name}: the test file has the class {new[0]!r}, which the first has not"
            )
        labels.append(np.array([number[value] for value in values], np.int32))
    return labels, len(classes)


def _refuse_constant(name: str, values: np.ndarray, targets: Sequence[str]) -> None:
    for column, target in zip(values.T, targets, strict=True):
        if (column == column[0]).all():
            raise ConfigError(
                f"data set {name}: target {target!r} is {column[0]:g} in every row; there is "
                "nothing to learn"
            )


_DESCRIPTION = (
    "a {} file, a column per feature, each standardized; `target` (a list for several), `drop`, {}"
)
CSV = DatasetSource(
    name="csv:PATH",
    load=load_csv,
    kinds=("regression", "classification"),
    description=_DESCRIPTION.format("CSV", "`delimiter`, `test`"),
    reference="your own",
)
PARQUET = DatasetSource(
    name="parquet:PATH",
    load=load_parquet,
    kinds=("regression", "classification"),
    description=_DESCRIPTION.format("Parquet", "`test`"),
    reference="your own; read by pyarrow",
)
