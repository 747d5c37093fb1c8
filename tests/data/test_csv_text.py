"""CSV files as programs write them: what is guessed and told, and what is refused by name."""

import numpy as np
import pytest

from initopt_jax.data import SplitSpec, load
from initopt_jax.errors import ConfigError

ROWS = 40
X = np.round(np.random.default_rng(0).normal(3, 1, ROWS), 4)
LABELS = np.array(["A", "B"])[np.arange(ROWS) % 2]


def lines(*columns, heading="x,y", sep=","):
    """A file of these columns."""
    body = [sep.join(map(str, row)) for row in zip(*columns, strict=True)]
    return "\n".join([heading.replace(",", sep), *body]) + "\n"


def read(folder, content, kind="classification", test=None, **options):
    for name, text in (("t.csv", content), ("test.csv", test)):
        if text is not None:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    spec = {"name": "csv:t.csv", "target": "y", "normalize": False, **options}
    if test is not None:
        spec["test"] = "test.csv"
    return load(spec, kind=kind, split=SplitSpec(), folders=[folder])


def column(data, number=0):
    """All values of an input column, sorted."""
    return np.sort(np.concatenate([p.inputs[:, number] for p in (data.train, data.val, data.test)]))


COMMAS = [str(value).replace(".", ",") for value in X]


@pytest.mark.parametrize(
    ("content", "options", "notes"),
    [
        (lines(X, LABELS), {}, []),
        (lines(X, LABELS, sep=";"), {}, ["semicolon"]),
        (lines(COMMAS, LABELS, sep=";"), {}, ["semicolon", "decimal sign is ','"]),
        (lines(COMMAS, LABELS, sep=";"), {"delimiter": ";", "decimal": ","}, []),
        (lines([f'"{value}"' for value in COMMAS], LABELS), {}, ["decimal sign is ','"]),
        (lines(X, LABELS, sep="\t"), {}, ["tabulator"]),
        (lines(X, LABELS, sep="|"), {}, ["bar"]),
        (lines(X, LABELS, sep="   "), {}, ["whitespace"]),
        (lines(X, LABELS).replace("\n", "\r\n").encode("utf-8-sig"), {}, []),
        (lines(X, LABELS).encode("utf-16"), {}, []),
        (lines(X, LABELS).partition("\n")[2], {"header": False, "target": 2}, []),
        (lines(X, LABELS, [""] * ROWS, heading="x,y,"), {}, ["'Unnamed: 2' is empty"]),
        (lines(X, LABELS, [""] * ROWS), {}, ["'Unnamed: 2' is empty"]),
        (lines(X, [f'"{a}\n"' for a in LABELS]), {}, []),
        (lines(range(ROWS), X, LABELS, heading=",x,y"), {}, ["'Unnamed: 0' numbers the rows"]),
    ],
)
def test_usual_forms_give_the_same_numbers(tmp_path, content, options, notes):
    data = read(tmp_path, content, **options)
    np.testing.assert_array_equal(column(data), np.sort(X.astype(np.float32)))
    assert data.outputs == 2
    told = [note for note in data.notes if "also occur" not in note]
    assert len(told) == len(notes)
    for note, expected in zip(told, notes, strict=True):
        assert expected in note


def test_grouped_digits(tmp_path):
    english = lines(['"1,234.5"', '"12,345,678"'] * 20, LABELS)
    european = lines(["1.234,5", "12.345.678"] * 20, LABELS, sep=";")
    for content in (english, european):
        assert set(column(read(tmp_path, content))) == {1234.5, np.float32(12345678)}
    either = lines(['"1,234"', '"5,678"'] * 20, LABELS)
    with pytest.raises(ConfigError, match=r"'1,234', which is 1\.234 with decimal: ',' and 1234 w"):
        read(tmp_path, either)
    assert set(column(read(tmp_path, either, thousands=","))) == {1234, 5678}
    assert set(column(read(tmp_path, either, decimal=","))) == {
        np.float32(1.234),
        np.float32(5.678),
    }


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (lines(X, LABELS).partition("\n")[2], {}, "first line holds .*write header: false"),
        (lines(X, X, LABELS, heading="x,x,y"), {}, "the heading has 'x' twice"),
        (lines(X, LABELS, sep=";"), {"delimiter": ","}, "as one column: is the delimiter right"),
        ("# mine\n" + lines(X, LABELS), {}, "than the heading line, which is '# mine'"),
        (lines(X, LABELS)[:-2] + "\u00e9\n", {"encoding": "ascii"}, "no text in ascii .line 41"),
        (lines(X, LABELS), {"encoding": "utf-9"}, "encoding 'utf-9' is none that Python knows"),
        (lines(X, LABELS), {"encoding": "base64"}, "encoding 'base64' is none that Python knows"),
        (lines(X, LABELS), {"encoding": "undefined"}, "encoding 'undefined' is none that Python"),
        (lines(X, LABELS), {"decimal": ";"}, "decimal must be '.' or ',', got ';'"),
        (lines(X, LABELS), {"thousands": "."}, "thousands and decimal cannot both be '.'"),
        (lines(X, LABELS), {"header": "no"}, "header must be true or false, got 'no'"),
        (lines(["$5"] * ROWS, LABELS), {}, r"'x' is not numbers: row 1 is '\$5'; write categories"),
        (lines(["2020-01-02"] * ROWS, LABELS), {}, "dates and times are not read"),
        (lines(X, LABELS) + "?,A\n", {}, r"row 41 is '\?'; .*missing: {values: \['\?'\], fill"),
        (lines(X, X, LABELS, heading="Unnamed: 0,x,y") * 1, {"drop": "x", "keep": "x"}, "keep and"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, options, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, content, **options)


def test_class_labels_are_text_as_written(tmp_path):
    names = ["NA", "None", "null", "nan", "True", "1", "01", "1.0"]
    data = read(tmp_path, lines(X, [names[i % 8] for i in range(ROWS)]))
    assert data.outputs == 8
    assert any("'01' and '1' and '1.0'" in note for note in data.notes)
    order = np.argsort(names)
    expected = np.argsort(order)[np.arange(ROWS) % 8]
    by_value = dict(zip(X.astype(np.float32), expected, strict=True))
    assert [by_value[value] for value in data.train.inputs[:, 0]] == data.train.targets.tolist()
    # whole numbers keep the order of numbers
    data = read(tmp_path, lines(X, [(2, 10, 9)[i % 3] for i in range(ROWS)]))
    by_value = dict(
        zip(X.astype(np.float32), np.array([0, 2, 1])[np.arange(ROWS) % 3], strict=True)
    )
    assert [by_value[value] for value in data.train.inputs[:, 0]] == data.train.targets.tolist()


def test_blanks_around_labels_do_not_count(tmp_path):
    data = read(tmp_path, lines(X, np.array(["A", "A ", "B"])[np.arange(ROWS) % 3]))
    assert data.outputs == 2
    assert "blanks around the classes of 'y'" in data.notes[0]


def test_a_late_text_label_is_no_mixture(tmp_path):
    """Types guessed in pieces of a file made numbers of the first labels and text of the last."""
    count = 300_000
    labels = np.arange(count) % 2
    body = "".join(f"{i % 97},{label}\n" for i, label in enumerate(labels.tolist()))
    assert read(tmp_path, f"x,y\n{body}3,A\n").outputs == 3


def test_an_unknown_class_and_composed_letters_in_a_test_file(tmp_path):
    content = lines(X, np.array(["caf\u00e9", "7"])[np.arange(ROWS) % 2])
    data = read(tmp_path, content, test="x,y\n1,cafe\u0301\n2,7\n")
    np.testing.assert_array_equal(data.test.targets, [1, 0])
    with pytest.raises(ConfigError, match=r"the class '0' \(row 2\), .* has '7', 'caf\u00e9'"):
        read(tmp_path, content, test="x,y\n1,7\n2,0\n")


INDEXES = [
    ("row", np.arange(ROWS), "numbers the rows (0, 1, 2, ...)"),
    ("n", np.arange(1, ROWS + 1), "numbers the rows (1, 2, 3, ...)"),
    ("PassengerId", 3 * np.arange(ROWS) + 7, "numbers the rows (7, 10, 13, ...)"),
    ("time", 3 * np.arange(ROWS) + 7, ""),
    ("id", np.arange(ROWS)[::-1] % 7, ""),
]


@pytest.mark.parametrize(("name", "values", "message"), INDEXES)
def test_a_column_that_numbers_the_rows_is_refused_or_kept_on_request(
    tmp_path, name, values, message
):
    content = lines(values, X, LABELS, heading=f"{name},x,y")
    if message:
        with pytest.raises(ConfigError) as caught:
            read(tmp_path, content)
        assert message in str(caught.value)
        assert f"drop: [{name}]" in str(caught.value)
        assert read(tmp_path, content, drop=name).train.inputs.shape[1] == 1
    assert read(tmp_path, content, keep=name).train.inputs.shape[1] == 2


COLOURS = np.array(["red", "NA", ""])[np.arange(ROWS) % 3]


def test_categories_are_columns_of_their_own_or_numbers_in_order(tmp_path):
    content = lines(COLOURS, X, LABELS, heading="c,x,y")
    data = read(tmp_path, content, categories="c")
    assert data.train.inputs.shape[1] == 4
    np.testing.assert_array_equal(data.train.inputs[:, :3].sum(axis=1), 1)
    assert [column(data, n).sum() for n in range(3)] == [13, 13, 14]  # "", NA, red
    data = read(tmp_path, content, categories={"c": ["red", "NA", ""]})
    assert [np.sum(column(data) == n) for n in range(3)] == [14, 13, 13]
    with pytest.raises(ConfigError, match=r"'c' holds '' in row 3, .* \('red', 'NA'\)"):
        read(tmp_path, content, categories={"c": ["red", "NA"]})
    with pytest.raises(ConfigError, match="of the test file holds 'blue' in row 1"):
        read(tmp_path, content, categories="c", test="c,x,y\nblue,1,A\n")
    for wrong in ({"c": "hot"}, {"c": ["red", "red"]}, {"c": 3}):
        with pytest.raises(ConfigError, match="categories: c must be one_hot, or a list"):
            read(tmp_path, content, categories=wrong)
    with pytest.raises(ConfigError, match="'y' stands under categories and is target"):
        read(tmp_path, content, categories="y")


def test_gaps_are_filled_or_left_out_on_request(tmp_path):
    gaps = np.array(["1", "NA", "5", "?"])[np.arange(ROWS) % 4]
    labels = np.array(["A", "B"])[np.arange(ROWS) // 4 % 2]
    content = lines(gaps, X, labels, heading="g,x,y")
    options = {"missing": {"values": ["?"], "fill": "mean"}}
    data = read(tmp_path, content, **options)
    train = data.train.inputs[:, 0]
    known = train[np.isin(train, [1, 5])]
    np.testing.assert_allclose(np.unique(train[~np.isin(train, [1, 5])]), known.mean(), rtol=1e-6)
    assert "gaps filled by the mean of the training rows: 'g' in 20 rows" in data.notes
    data = read(tmp_path, content, missing={"values": "?", "fill": "drop"})
    assert set(column(data)) == {1, 5}
    assert "20 of 40 rows lack a value and were left out" in data.notes
    for marked in ("-999", "-999.0"):
        numbers = lines(np.where(gaps == "?", marked, gaps), X, labels, heading="g,x,y")
        data = read(tmp_path, numbers, missing={"values": [-999], "fill": "drop"})
        assert set(column(data)) == {1, 5}
    with pytest.raises(ConfigError, match=r"'g' in 20 rows \(the first in row 2\); write missing:"):
        read(tmp_path, content, missing={"values": ["?"]})
    for wrong in ("mode", ["?"], {"value": 1}):
        with pytest.raises(ConfigError, match="missing"):
            read(tmp_path, content, missing=wrong)
    # labels are never filled
    content = lines(X, np.where(np.arange(ROWS) < 3, "", LABELS))
    with pytest.raises(ConfigError, match="'y' is missing in 3 of 40 rows, the first is row 1"):
        read(tmp_path, content, missing="mean")
    assert len(column(read(tmp_path, content, missing="drop"))) == 37
    content = lines(X, np.where(np.arange(ROWS) < 3, "", X))
    with pytest.raises(ConfigError, match="'y' is missing in 3 of 40 rows, the first is row 1"):
        read(tmp_path, content, kind="regression", missing="mean")


def test_truth_values_with_gaps_are_numbers(tmp_path):
    content = lines(
        np.array(["True", "false", ""])[np.arange(ROWS) % 3], X, LABELS, heading="b,x,y"
    )
    assert set(column(read(tmp_path, content, missing="drop"))) == {0, 1}


@pytest.mark.parametrize(
    "values",
    [
        1_700_000_000 + np.arange(200),  # seconds
        10**18 + 7 * np.random.default_rng(0).permutation(200),  # beyond 2^53
        2**63 + np.random.default_rng(0).permutation(200).astype(np.uint64),
        1.7e9 + np.arange(200) / 128,
    ],
)
def test_large_numbers_are_told_apart(tmp_path, values):
    labels = np.array(["A", "B"])[np.arange(200) % 2]
    content = lines(values.tolist(), labels)
    data = read(tmp_path, content, normalize=True)
    raw = values - values.min()
    rows = np.random.default_rng(0).permutation(200)
    expected = (raw - raw[rows[:120]].mean()) / raw[rows[:120]].std()
    np.testing.assert_allclose(data.train.inputs[:, 0], expected[rows[:120]], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(data.test.inputs[:, 0], expected[rows[160:]], rtol=1e-6, atol=1e-7)
    if values.max() > 2**53:
        with pytest.raises(ConfigError, match=r"whole numbers beyond 2\^53, .* normalize: true"):
            read(tmp_path, content)
    else:
        lost = read(tmp_path, content)
        assert any("of which float32 tells" in note for note in lost.notes)
