"""Tables as CSV: what is read is what was written, and no spreadsheet finds a formula in it."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from initopt_jax.store.csv_table import column_kinds, from_csv, to_csv

NAMES = [
    "1", "01", "NA", "None", "null", "nan", "True", "inf", "a", "a\r", "a\n", "a\r\nb", "", '""',
    '"', " a", "a ", "'", "'=1", "=SUM(A1)", "+1", "-1", "@x", "\tx", "\r=1", "＝1", "x,y",
    "e\u0301", "\u00e9", "\x00z", "2020-01-01", "x" * 200_000,
]  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(NAMES)
ROWS = st.lists(
    st.tuples(TEXTS, st.floats(width=64), st.integers(-(2**63), 2**63 - 1), st.booleans())
)


@example([(name, 0.1, 1, True) for name in NAMES])
@example([("a", number, 0, False) for number in (5e-324, -0.0, np.nan, np.inf, 0.1 + 0.2)])
@given(ROWS)
def test_what_is_read_is_what_was_written(rows):
    kinds = {"=name": "str", "rate, 2": np.float64, "seed": np.int64, "done": bool}
    columns = list(zip(*rows, strict=True)) if rows else [()] * 4
    table = pd.DataFrame(
        {
            name: pd.Series(list(column), dtype=kind)
            for (name, kind), column in zip(kinds.items(), columns, strict=True)
        }
    )
    content = to_csv(table)
    read = from_csv(content, column_kinds(table))
    pd.testing.assert_frame_equal(read, table, check_exact=True)
    signs = [np.signbit(each["rate, 2"].dropna()).tolist() for each in (read, table)]
    assert signs[0] == signs[1]
    if all(len(name) < 1000 for name, *_ in rows):  # as any other reader sees it
        cells = [row[0] for row in csv.reader(io.StringIO(content.decode(), newline=""))]
        assert [cell.removeprefix("'") for cell in cells] == ["=name", *table["=name"]]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n＝"))]


def test_whole_numbers_of_any_size_stay_whole():
    table = pd.DataFrame({"seed": [2**64, -1]})
    assert column_kinds(table) == {"seed": "int"}
    assert from_csv(to_csv(table), {"seed": "int"})["seed"].tolist() == [2**64, -1]


@pytest.mark.parametrize("values", [["a", 1], ["a", None], [1.5, "a"], [[1], [2]]])
def test_a_column_of_several_kinds_is_refused(values):
    with pytest.raises(ValueError, match="'mixed' must hold texts alone or numbers alone"):
        to_csv(pd.DataFrame({"mixed": values}))


@pytest.mark.parametrize(
    ("content", "kinds", "message"),
    [
        ('"a"\n1\n', {"b": "int"}, "its columns are"),
        ('"a","b"\n1\n', {"a": "int", "b": "int"}, "zip"),
        ('"a"\n"x\n', {"a": "text"}, "no table from letter 4"),
        ('"a"\n1', {"a": "int"}, "no table from letter 4"),
        ('"a"\nyes\n', {"a": "bool"}, "yes"),
        ('"a"\n1.5\n', {"a": "int"}, "1.5"),
        ('"a"\n1\n', {"a": "date"}, "date"),
    ],
)
def test_a_table_that_is_none_is_refused(content, kinds, message):
    with pytest.raises(ValueError, match=message):
        from_csv(content.encode(), kinds)


def test_lanes_of_earlier_versions_are_typed_by_name():
    """They were written by pandas: texts in quotes only where they had to be, and unguarded."""
    text = "lane,role,initializer,optimizer,optimizer.rho,steps\n0,report,01,'NA,,5\n1,report,a\r,"
    read = from_csv((text + '"x,""y""",0.95,5\n').encode(), None)
    assert read["initializer"].tolist() == ["01", "a\r"]
    assert read["optimizer"].tolist() == ["'NA", 'x,"y"']
    np.testing.assert_array_equal(read["optimizer.rho"], [np.nan, 0.95])
    assert read["steps"].dtype == np.int64
