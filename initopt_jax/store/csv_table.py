"""Tables of a study as CSV: a text stays a text, and a number the number that it was.

Texts stand in quotes, numbers do not. A spreadsheet takes a text that begins with `=` or its like
for a formula, and runs it: such a text stands behind an apostrophe, which reading takes away.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.api import types

APOSTROPHE = "'"
# What begins a formula, full-width forms included, and what a spreadsheet skips before one.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
CELL = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",\n]*))(,|\n)')
# Columns of lane tables before their kinds were recorded; all others held floats.
TEXTS = ("role", "initializer", "optimizer")
COUNTS = (
    *("lane", "cell", "init_seed", "data_seed", "noise_seed", "program", "weights", "steps"),
    *("optimizer.batch_size", "optimizer.steps"),
)
EARLIER = {**dict.fromkeys(TEXTS, "text"), **dict.fromkeys(COUNTS, "int")}
INT64 = np.iinfo(np.int64)


def csv_text(text: str) -> str:
    """For a cell of a CSV table: never a formula.

    >>> csv_text("=SUM(A1)"), csv_text("adam"), csv_text("'quoted'")
    ("'=SUM(A1)", 'adam', "''quoted'")
    """
    return APOSTROPHE + text if text.startswith((*FORMULA, APOSTROPHE)) else text


def column_kinds(frame: pd.DataFrame) -> dict[str, str]:
    """What each column holds, `text`, `int`, `float` or `bool`: what reading it again takes.

    Raises:
        ValueError: a column holds something else, or several of these.

    >>> column_kinds(pd.DataFrame({"name": ["NA", "1"], "rate": [0.1, 0.2], "seed": [0, 1]}))
    {'name': 'text', 'rate': 'float', 'seed': 'int'}
    """
    return {str(name): _kind(str(name), column) for name, column in frame.items()}


def _kind(name: str, column: pd.Series) -> str:
    for kind, known in (
        ("bool", types.is_bool_dtype),
        ("int", types.is_integer_dtype),
        ("float", types.is_float_dtype),
    ):
        if known(column.dtype):
            return kind
    kinds = {type(value) for value in column.tolist()}
    if kinds <= {str}:
        return "text"
    if kinds == {int}:  # beyond 64 bits
        return "int"
    held = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(f"column {name!r} must hold texts alone or numbers alone, got {held}")


def to_csv(frame: pd.DataFrame, number: Callable[[float], str] = repr) -> bytes:
    r"""A table as CSV, its index left out.

    Args:
        frame: columns of texts, whole numbers, floats or booleans.
        number: writes a float; by default with the digits that tell it from every other. NaN is an
            empty cell: what does not apply.

    >>> to_csv(pd.DataFrame({"name": ["NA", "a,b"], "rate": [0.1, float("nan")]})).decode()
    '"name","rate"\n"NA",0.1\n"a,b",\n'
    """

    def cell(value: object) -> str:
        if isinstance(value, str):
            return _quoted(value)
        if isinstance(value, float):
            return "" if math.isnan(value) else number(value)
        return str(value)

    column_kinds(frame)  # refuses what could not be read again
    columns = [map(cell, column.tolist()) for _, column in frame.items()]
    lines = [[_quoted(str(name)) for name in frame.columns], *zip(*columns, strict=True)]
    return "".join(",".join(line) + "\n" for line in lines).encode()


def _quoted(text: str) -> str:
    return '"' + csv_text(text).replace('"', '""') + '"'


def from_csv(content: bytes, kinds: Mapping[str, str] | None) -> pd.DataFrame:
    r"""The table that `to_csv` wrote, with the types that it had.

    Args:
        content: of the file.
        kinds: of its columns, as `column_kinds` gave them; None for the lanes of a study that does
            not say, as earlier versions wrote them: texts were not guarded, and names tell.

    Returns:
        The table; an empty cell of floats is NaN.

    Raises:
        ValueError: it is no such table, or has other columns.

    >>> table = pd.DataFrame({"name": ["NA", "01", "a\r", "-1"], "rate": [0.1, 1e-320, -0.0, 5e9]})
    >>> from_csv(to_csv(table), column_kinds(table)).equals(table)
    True
    """
    try:
        heading, *rows = _rows(content.decode())
        guard = APOSTROPHE if kinds is not None else ""
        names = [name.removeprefix(guard) for name in heading]
        kinds = {name: EARLIER.get(name, "float") for name in names} if kinds is None else kinds
        if names != list(kinds):
            raise ValueError(f"its columns are {names}, not {list(kinds)}")
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        return pd.DataFrame(
            {
                name: _column(kinds[name], cells, guard)
                for name, cells in zip(names, columns, strict=True)
            }
        )
    except KeyError as error:
        raise ValueError(f"a cell or column cannot hold {error}") from error


def _rows(text: str) -> list[list[str]]:
    """The cells of every line. Python's own reader refuses those of more than 131,072 letters."""
    rows: list[list[str]] = [[]]
    place = 0
    for found in CELL.finditer(text):
        if found.start() != place:
            break
        quoted, plain, end = found.groups()
        rows[-1].append(plain if quoted is None else quoted.replace('""', '"'))
        place = found.end()
        if end == "\n":
            rows.append([])
    if place != len(text) or rows.pop():
        raise ValueError(f"it is no table from letter {place} on")
    return rows


def _column(kind: str, cells: Sequence[str], guard: str) -> pd.Series:
    if kind == "text":
        return pd.Series([cell.removeprefix(guard) for cell in cells], dtype="str")
    if kind == "float":
        return pd.Series([float(cell or "nan") for cell in cells], dtype=np.float64)
    if kind == "bool":
        return pd.Series([{"True": True, "False": False}[cell] for cell in cells], dtype=bool)
    if kind != "int":
        raise ValueError(f"a column cannot hold {kind!r}")
    numbers = [int(cell) for cell in cells]
    small = all(INT64.min <= number <= INT64.max for number in numbers)
    return pd.Series(numbers, dtype=np.int64 if small else object)
