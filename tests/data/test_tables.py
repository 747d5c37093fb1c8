"""CSV, Parquet and NumPy files: what is read, and every way in which they can be wrong."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from initopt_jax.data import SplitSpec, load
from initopt_jax.errors import ConfigError

SPEC = SplitSpec(val=0.2, test=0.2, seed=2)
ROWS = 20
ORDER = np.random.default_rng(2).permutation(ROWS)


def frame():
    draws = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "height": draws.normal(1.7, 0.1, ROWS),
            "weight": draws.normal(70, 10, ROWS),
            "smokes": np.arange(ROWS) % 3 == 0,
            "kind": np.array(["pear", "apple", "fig"])[np.arange(ROWS) % 3],
            "price": draws.normal(5, 2, ROWS),
        }
    )


def read(folder, table=None, kind="regression", **options):
    made = frame() if table is None else table
    if isinstance(made, str):
        (folder / "t.csv").write_text(made)
    else:
        made.to_csv(folder / "t.csv", index=False, sep=options.get("delimiter", ",")[0])
    spec = {"name": "csv:t.csv", **options}
    return load(spec, kind=kind, split=SPEC, folders=[folder])


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_each_feature_is_standardized_by_its_training_rows(tmp_path, kind):
    target, drop = ("price", ["kind"]) if kind == "regression" else ("kind", ["price"])
    data = read(tmp_path, kind=kind, target=target, drop=drop)
    features = frame()[["height", "weight", "smokes"]].to_numpy(np.float64)
    train = features[ORDER[:12]]
    expected = (features - train.mean(axis=0)) / train.std(axis=0)
    # float32 values up to 100 before the division by 10 or 0.1
    np.testing.assert_allclose(data.train.inputs, expected[ORDER[:12]], atol=1e-5)
    np.testing.assert_allclose(data.test.inputs, expected[ORDER[16:]], atol=1e-5)


def test_text_labels_are_sorted_and_numbers_too(tmp_path):
    data = read(tmp_path, kind="classification", target="kind", drop=["price"])
    assert data.outputs == 3
    names = np.array(["apple", "fig", "pear"])[data.val.targets]
    np.testing.assert_array_equal(names, frame()["kind"].to_numpy()[ORDER[12:16]])
    table = frame().assign(kind=np.array([7.0, 5.0])[np.arange(ROWS) % 2])
    data = read(tmp_path, table, kind="classification", target="kind")
    np.testing.assert_array_equal(data.val.targets, 1 - ORDER[12:16] % 2)
    data = read(tmp_path, kind="classification", target="smokes", drop=["kind"])
    np.testing.assert_array_equal(data.val.targets, ORDER[12:16] % 3 == 0)


def test_several_targets_another_delimiter_and_units(tmp_path):
    options = {"target": ["weight", "price"], "drop": ["kind"], "delimiter": ";"}
    data = read(tmp_path, normalize=False, limit=4, **options)
    assert data.outputs == 2
    expected = frame()[["weight", "price"]].to_numpy(np.float32)[ORDER[:4]]
    np.testing.assert_array_equal(data.train.targets, expected)
    assert len(data.val.inputs) == 4


def test_a_test_file_is_the_test_split(tmp_path):
    other = frame().iloc[:3].iloc[:, ::-1]  # the order of the columns does not matter
    other.to_csv(tmp_path / "other.csv", index=False)
    options = {"target": "price", "drop": "kind", "normalize": False, "test": "other.csv"}
    data = read(tmp_path, **options)
    assert [len(p.inputs) for p in (data.train, data.val, data.test)] == [16, 4, 3]
    np.testing.assert_array_equal(data.test.inputs[:, 1], other["weight"].to_numpy(np.float32))
    for changed, message in (
        (other.drop(columns="weight"), "must have the same columns, it lacks 'weight'"),
        (other.assign(more=1), "must have the same columns, it has 'more' besides"),
    ):
        changed.to_csv(tmp_path / "other.csv", index=False)
        with pytest.raises(ConfigError, match=message):
            read(tmp_path, **options)
    other.assign(kind="plum").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(
        ConfigError, match=r"has the class 'plum' \(row 1\), which the first has not"
    ):
        read(tmp_path, kind="classification", target="kind", test="other.csv")


GAPS = frame().assign(height=frame()["height"].where(np.arange(ROWS) > 2))
PLAIN = {"target": "price", "drop": ["kind"]}
LABEL = {"target": "kind"}


@pytest.mark.parametrize(
    ("table", "kind", "options", "message"),
    [
        (None, "regression", {"drop": ["kind"]}, "needs the option target"),
        (None, "regression", PLAIN | {"target": "prise"}, "target column 'prise'; did you mean 'p"),
        (None, "regression", PLAIN | {"drop": ["kin"]}, "drop column 'kin'; did you mean 'kind'"),
        (None, "regression", PLAIN | {"drop": ["price"]}, "'price' is both target and dropped"),
        (None, "regression", PLAIN | {"target": []}, "must name a column, got an empty list"),
        (None, "regression", PLAIN | {"target": 3}, "column's name or a list of names, got 3"),
        (None, "regression", PLAIN | {"drop": ["kind"] * 2}, "drop holds a name twice"),
        (None, "regression", PLAIN | {"test": 3}, "test must be the path of a file, got 3"),
        (None, "regression", PLAIN | {"delimiter": "::"}, "delimiter must be one character"),
        (
            None,
            "regression",
            {"target": "price"},
            r"'kind' is not numbers: row 1 is 'pear'; write cat",
        ),
        (None, "regression", LABEL, "target column 'kind' is not numbers: row 1 is"),
        (None, "classification", {"target": ["kind", "smokes"]}, "one column for classification"),
        (None, "classification", PLAIN, "target 'price' holds fractions such as .* regression"),
        (GAPS, "regression", PLAIN, "missing, of 20 rows: 'height' in 3 rows .*mean"),
        (GAPS, "classification", PLAIN | {"target": "height"}, "'height' is missing in 3"),
        (frame().assign(price=2), "regression", PLAIN, "target 'price' is 2 in every row"),
        (frame().assign(kind="fig"), "classification", LABEL, "2 classes, all are 'fig'"),
        (frame().assign(weight=np.inf), "regression", PLAIN, "'weight' holds infinite values"),
        (frame()[["price"]], "regression", {"target": "price"}, "no column left as a feature"),
        ("a,b\n", "regression", {"target": "a"}, "holds no rows"),
        ("", "regression", {"target": "a"}, "cannot be read: No columns to parse"),
        ("a,b\n1,2,3\n4,5,6\n", "regression", {"target": "a"}, "more entries than the heading"),
        ("a,b\n1,2\n1,2,3,4\n", "regression", {"target": "a"}, "cannot be read: .*Expected"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, table, kind, options, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, table, kind, **options)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    spec = {"name": "csv:t.csv", "target": "a"}
    with pytest.raises(ConfigError, match=r"no text in utf-8 \(line 2: .*encoding: latin-1"):
        load(spec, kind="regression", split=SPEC, folders=[tmp_path])


def test_parquet_is_read_as_csv_is(tmp_path):
    pytest.importorskip("pyarrow", reason="installed with the extra `parquet`")
    from_text = read(tmp_path, **PLAIN)
    frame().to_parquet(tmp_path / "t.parquet")
    spec = {"name": "parquet:t.parquet", **PLAIN}
    made = load(spec, kind="regression", split=SPEC, folders=[tmp_path])
    assert made.fingerprint == from_text.fingerprint
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ConfigError, match=r"t\.parquet cannot be read"):
        load(spec, kind="regression", split=SPEC, folders=[tmp_path])
    with pytest.raises(ConfigError, match="'delimiter'"):
        load(spec | {"delimiter": ";"}, kind="regression", split=SPEC, folders=[tmp_path])


def test_parquet_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    spec = {"name": "parquet:t.parquet", "target": "a"}
    with pytest.raises(ConfigError, match=r"pip install 'initopt-jax\[parquet\]'"):
        load(spec, kind="regression", split=SPEC)


X = np.arange(120.0).reshape(20, 3, 2)
Y = np.arange(20) % 2


def archive(folder, kind="classification", **arrays):
    np.savez(folder / "a.npz", **arrays)
    spec = {"name": "npz:a.npz", "normalize": False}
    return load(spec, kind=kind, split=SPEC, folders=[folder])


@pytest.mark.parametrize("names", [("inputs", "targets"), ("x", "y"), ("X", "Labels")])
def test_arrays_without_splits_are_split(tmp_path, names):
    data = archive(tmp_path, **dict(zip(names, (X, Y[:, None]), strict=True)))
    np.testing.assert_array_equal(data.train.inputs, X[ORDER[:12]])
    np.testing.assert_array_equal(data.test.targets, Y[ORDER[16:]])


def test_named_splits_are_kept_and_missing_ones_cut(tmp_path):
    data = archive(tmp_path, x_train=X, y_train=Y, test_images=X[:3] + 1, test_labels=Y[:3])
    np.testing.assert_array_equal(data.test.inputs, X[:3] + 1)
    assert (len(data.train.inputs), len(data.val.inputs)) == (16, 4)
    whole = {"x_train": X, "y_train": X[:, :, 0], "valid_x": X + 1, "valid_y": X[:, :, 1]}
    data = archive(tmp_path, kind="regression", **whole)
    assert data.outputs == 3
    np.testing.assert_array_equal(data.val.inputs, X + 1)


def test_two_axes_are_a_table_and_more_are_pictures(tmp_path):
    np.savez(tmp_path / "flat.npz", x=X.reshape(20, 6) * [1, 10, 1, 1, 1, 1], y=Y)
    np.savez(tmp_path / "deep.npz", x=X * [1, 10], y=Y)
    flat, deep = (
        load({"name": f"npz:{n}.npz"}, kind="classification", split=SPEC, folders=[tmp_path])
        for n in ("flat", "deep")
    )
    np.testing.assert_allclose(flat.train.inputs.std(axis=0), 1, rtol=1e-5)
    spreads = deep.train.inputs.std(axis=0).reshape(-1)
    np.testing.assert_allclose(spreads[1] / spreads[0], 10, rtol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "holds no array of targets"),
        ({"x_train": X, "y_train": Y, "y_test": Y}, "holds no array of inputs of test"),
        ({"x_test": X, "y_test": Y}, "has arrays of test, none of train"),
        ({"x": X, "y": Y, "x_test": X}, "with and without the name of a split"),
        ({"x": X, "inputs": X, "y": Y}, "holds inputs twice, once as 'inputs'"),
        ({"x": X, "y": Y, "x_tets": X}, r"an array 'x_tets'; did you mean 'x_test'\? Allowed"),
        ({}, "holds no arrays"),
        ({"x": X, "y": np.array([{}] * 20, object)}, "without Python objects"),
        ({"x": X, "y": Y[:3]}, "must hold the same number of examples"),
    ],
)
def test_wrong_archives_are_refused(tmp_path, arrays, message):
    with pytest.raises(ConfigError, match=message):
        archive(tmp_path, **arrays)


def test_files_that_are_no_archive_are_refused(tmp_path):
    spec = {"name": "npz:a.npz"}
    for content, message in (
        (b"no archive", r"a\.npz cannot be read as arrays of numbers"),
        (b"PK\x03\x04 broken", r"a\.npz cannot be read as arrays of numbers"),
        (b"", r"a\.npz cannot be read as arrays of numbers"),
    ):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load(spec, kind="classification", split=SPEC, folders=[tmp_path])
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, X)
    with pytest.raises(ConfigError, match="holds one array, not an archive of them"):
        load(spec, kind="classification", split=SPEC, folders=[tmp_path])
