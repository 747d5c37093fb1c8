"""Reading a table from text: how it is encoded, what separates columns, how numbers are written.

What a config does not say is guessed from the beginning of the file, and told; where two readings
are possible, the file is refused with the option that decides.
"""

import codecs
import csv
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from initopt_jax.data.notes import listed
from initopt_jax.errors import ConfigError
from initopt_jax.memory import require_memory

if TYPE_CHECKING:
    import pandas as pd

WHITESPACE = "whitespace"
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tabulator", "|": "a bar"}
_SAMPLE = 1 << 18  # characters that guesses are made from
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # 1.5
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?([eE][+-]?\d+)?")  # 1,5 or 1.234,5
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")  # 1,234.5


@dataclass(frozen=True)
class TextForm:
    """How a file is written; what is None is guessed.

    Attributes:
        delimiter: one character between columns, or `whitespace` for any run of blanks.
        decimal: `.` or `,`.
        thousands: one character that groups digits, or None for none.
        encoding: of the text, such as `latin-1`.
        header: whether the first line names the columns; else they are called 1, 2, 3, ...
    """

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: bool | None = None

    def __post_init__(self) -> None:
        if self.delimiter not in (None, WHITESPACE) and not _is_character(self.delimiter):
            raise ConfigError(
                f"delimiter must be one character, or {WHITESPACE}, got {self.delimiter!r}"
            )
        if self.decimal not in (None, ".", ","):
            raise ConfigError(f"decimal must be '.' or ',', got {self.decimal!r}")
        if self.thousands is not None and not _is_character(self.thousands):
            raise ConfigError(f"thousands must be one character, got {self.thousands!r}")
        if self.thousands is not None and self.thousands == (self.decimal or "."):
            raise ConfigError(f"thousands and decimal cannot both be {self.thousands!r}")
        if self.header not in (None, True, False):
            raise ConfigError(f"header must be true or false, got {self.header!r}")
        try:
            # Python's `base64`, `zlib` and the like are codecs, but of no text.
            "".encode(self.encoding or "utf-8")
        except (LookupError, TypeError, ValueError):
            raise ConfigError(
                f"encoding {self.encoding!r} is none that Python knows; such as utf-8, latin-1, "
                "cp1252, utf-16"
            ) from None


@dataclass(frozen=True)
class TextTable:
    """A table as it was read.

    Attributes:
        frame: its rows; numbers where all of a column are, else text.
        form: how it is written, with what was guessed.
        notes: what was guessed.
    """

    frame: "pd.DataFrame"
    form: TextForm
    notes: tuple[str, ...]


def read_text(
    path: Path, form: TextForm, *, targets: Sequence[str], text: Sequence[str], gaps: Sequence[str]
) -> TextTable:
    """Read a table from a text file.

    Args:
        path: of the file.
        form: how it is written, as far as it is known.
        targets: columns that must be there; they tell delimiters apart.
        text: columns that are read as they are written: labels and categories.
        gaps: what stands for no value in the other columns.

    Raises:
        ConfigError: two readings are possible, or the heading is none.
        ValueError, OSError: the file cannot be read so; for the caller to name it.
    """
    import pandas as pd

    _refuse_packed(path)
    require_memory(path.stat().st_size, f"the table {path}", "take fewer rows of it")
    encoding = form.encoding or _marked(path) or "utf-8"
    sample = _sample(path, encoding)
    notes = []
    delimiter = form.delimiter
    if delimiter is None:
        delimiter = _guess_delimiter(sample, targets, header=form.header is not False)
        if delimiter != ",":
            shown = _DELIMITERS.get(delimiter, delimiter)
            notes.append(f"{path.name}: columns are separated by {shown} (delimiter), as it seems")
    rows = _split(sample, delimiter)
    names = _heading(path, rows, form, targets)
    decimal, thousands = form.decimal, form.thousands
    if decimal is None:
        used = [number for number, name in enumerate(names) if name not in text]
        body = rows[form.header is not False :]
        decimal, found = _guess_decimal(path, body, names, used, gaps, thousands)
        thousands = thousands or found
        if (decimal, thousands) != (".", form.thousands):
            grouped = f", digits grouped by {thousands!r} (thousands)" if thousands else ""
            notes.append(f"{path.name}: the decimal sign is {decimal!r} (decimal){grouped}")
    with warnings.catch_warnings():
        # By default, rows with an entry too many would make the first column an index in silence.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(
                path,
                sep=r"\s+" if delimiter == WHITESPACE else delimiter,
                header=None if form.header is False else 0,
                names=names,
                index_col=False,
                encoding=encoding,
                compression=None,  # by default a name that ends in .gz, .zip ... is unpacked
                decimal=decimal,
                dtype=dict.fromkeys(set(text) & set(names), str),
                na_values={name: list(gaps) for name in names if name not in text},
                keep_default_na=False,
                skipinitialspace=True,
                low_memory=False,  # else a column's type is guessed in pieces
            )
        except pd.errors.ParserWarning:
            heading = listed([repr(name) for name in names])
            raise ValueError(
                f"its rows have more entries than the heading line, which is {heading}"
            ) from None
        except UnicodeDecodeError as error:
            raise _undecodable(path, encoding, error) from None
    guessed = TextForm(delimiter, decimal, thousands, encoding, form.header is not False)
    return TextTable(frame, guessed, tuple(notes))


def as_written(text: str) -> str:
    """A name without blanks around it, in the composed form of Unicode (NFC).

    >>> as_written(" cafe\u0301 ") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", text).strip()


def _is_character(value: object) -> bool:
    return isinstance(value, str) and len(value) == 1


def _marked(path: Path) -> str | None:
    """The encoding that a byte order mark at the beginning tells."""
    with path.open("rb") as file:
        head = file.read(4)
    # The mark of UTF-32 begins with that of UTF-16.
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)


def _refuse_packed(path: Path) -> None:
    """Refuse a compressed file: what it holds may be a thousand times as long."""
    with path.open("rb") as file:
        head = file.read(8)
    kind = next((kind for mark, kind in _PACKED.items() if head.startswith(mark)), None)
    if kind:
        raise ValueError(f"it is compressed ({kind}); unpack it first")


def _sample(path: Path, encoding: str) -> str:
    """The beginning of the file, whole lines."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            text = file.read(_SAMPLE)
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, error) from None
    except UnicodeError as error:
        raise ValueError(f"it is no text in {encoding} ({error}); give its encoding") from None
    if len(text) == _SAMPLE:
        text = text[: text.rfind("\n") + 1] or text
    return text


def _undecodable(path: Path, encoding: str, error: UnicodeDecodeError) -> ValueError:
    """Which line is no text in that encoding."""
    where = str(error)
    if "16" not in encoding and "32" not in encoding:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as found:
                at = found.start
                where = f"line {number}: {line[max(0, at - 20) : at + 20]!r}"
                break
    return ValueError(
        f"it is no text in {encoding} ({where}); give its encoding, such as encoding: latin-1"
    )


def _split(text: str, delimiter: str) -> list[list[str]]:
    """The rows of a text that are not blank."""
    if delimiter == WHITESPACE:
        return [line.split() for line in text.splitlines() if line.strip()]
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
        return [[entry.strip() for entry in row] for row in reader if row]
    except csv.Error:
        return []


def _guess_delimiter(text: str, targets: Sequence[str], *, header: bool) -> str:
    """The sign that gives the heading the targets' names and every row as many entries."""

    def fit(delimiter: str) -> tuple[bool, float, int]:
        rows = _split(text, delimiter)
        if not rows or len(rows[0]) < 2:
            return False, 0.0, 0
        width = len(rows[0])
        alike = sum(len(row) == width or row[width:] == [""] for row in rows) / len(rows)
        named = header and set(targets) <= {as_written(name) for name in rows[0]}
        return named, alike if alike > 0.9 else 0.0, width if not header else 0

    candidates = [*_DELIMITERS, WHITESPACE]
    best = max(candidates, key=fit)  # of equal ones the first
    return best if fit(best) > (False, 0.0, 0) else ","


def _heading(
    path: Path, rows: Sequence[Sequence[str]], form: TextForm, targets: Sequence[str]
) -> list[str]:
    """The names of the columns."""
    if not rows:
        raise ValueError("No columns to parse from file")
    width = len(rows[0])
    if rows[1:] and all(row[width:] == [""] for row in rows[1:]):
        width += 1  # a delimiter behind every row
    if form.header is False:
        return [str(number) for number in range(1, width + 1)]
    names = [as_written(name) for name in rows[0]] + [""] * (width - len(rows[0]))
    numbers = [name for name in names if _POINT.fullmatch(name)]
    absent = not set(targets) <= set(names)
    if form.header is None and numbers and (absent or len(numbers) == len(names)):
        raise ConfigError(
            f"{path}: the first line holds {listed([repr(number) for number in numbers])}; if it "
            "is no heading, write header: false, and the columns are called '1', '2', '3', ...; "
            "if it is one, header: true"
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}: the heading has {listed(list(map(repr, twice)))} twice")
    return [name or f"Unnamed: {number}" for number, name in enumerate(names)]


def _guess_decimal(
    path: Path,
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    used: Sequence[int],
    gaps: Sequence[str],
    thousands: str | None,
) -> tuple[str, str | None]:
    """Decimal sign and grouping sign, as the numbers with commas tell."""
    if thousands in (".", ","):
        return ("," if thousands == "." else "."), thousands
    sure: set[str] = set()
    unsure: tuple[str, str] | None = None
    for number in used:
        entries = [row[number] for row in rows if number < len(row) and row[number] not in gaps]
        with_comma = [entry for entry in entries if "," in entry]
        if not with_comma or all(map(_POINT.fullmatch, entries)):
            continue
        comma = all(map(_COMMA.fullmatch, entries))
        grouped = all(_GROUPED.fullmatch(e) or _POINT.fullmatch(e) for e in entries)
        if comma and grouped:
            unsure = unsure or (names[number], with_comma[0])
        elif comma or grouped:
            sure.add("," if comma else ".")
    if not sure and unsure and thousands is None:
        name, entry = unsure
        raise ConfigError(
            f"{path}: column {name!r} holds {entry!r}, which is {entry.replace(',', '.')} with "
            f"decimal: ',' and {entry.replace(',', '')} with thousands: ','; write one of them"
        )
    if sure == {","} or (unsure and thousands is not None):
        dotted = (row[number] for row in rows for number in used if number < len(row))
        return ",", "." if thousands is None and any(_both(entry) for entry in dotted) else None
    return ".", "," if sure == {"."} else None


def _both(entry: str) -> bool:
    return "." in entry and "," in entry and _COMMA.fullmatch(entry) is not None


def numbers_of(entries: Iterator[str], form: TextForm) -> Iterator[str]:
    """Numbers as Python writes them; what is none stays as it is."""
    sign, point = re.escape(form.thousands or ""), re.escape(form.decimal or ".")
    grouped = re.compile(rf"[+-]?\d{{1,3}}({sign}\d{{3}})+({point}\d*)?([eE][+-]?\d+)?")
    plain = re.compile(rf"[+-]?(\d+{point}?\d*|{point}\d+)([eE][+-]?\d+)?")
    for entry in entries:
        text = entry.strip()
        if form.thousands and grouped.fullmatch(text):
            text = text.replace(form.thousands, "")
        elif not plain.fullmatch(text):
            yield entry
            continue
        yield text.replace(form.decimal or ".", ".")
