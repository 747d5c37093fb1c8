import dataclasses
import hashlib
import json

import numpy as np
import pytest

from initopt_jax.data import (
    SplitSpec,
    as_dataset,
    describe,
    first_examples,
    from_arrays,
    from_splits,
)
from initopt_jax.errors import ConfigError
from initopt_jax.types import Split

SPEC = SplitSpec(val=0.25, test=0.25, seed=1)


def numbered(count=40, width=3):
    """Inputs whose first feature is the example's number, and alternating labels."""
    inputs = np.random.default_rng(0).normal(2.0, 3.0, size=(count, width))
    inputs[:, 0] = np.arange(count)
    return inputs, np.arange(count) % 2


def test_classification_normalization_is_by_training_statistics_alone():
    inputs, labels = numbered()
    raw = from_arrays("own", inputs, labels, kind="classification", split=SPEC, normalize=False)
    data = from_arrays("own", inputs, labels, kind="classification", split=SPEC)
    rows = raw.train.inputs[:, 0].astype(int)
    mean = inputs[rows].mean(axis=0)
    scale = np.sqrt(np.mean((inputs[rows] - mean) ** 2))
    for part, untouched in zip(
        (data.train, data.val, data.test), (raw.train, raw.val, raw.test), strict=True
    ):
        chosen = untouched.inputs[:, 0].astype(int)
        expected = (inputs[chosen] - mean) / scale
        # float32 rounding of values up to 40 before division by a scale of about 7
        np.testing.assert_allclose(part.inputs, expected, atol=2e-6)
        np.testing.assert_array_equal(part.targets, labels[chosen])
        assert part.inputs.dtype == np.float32
        assert part.targets.dtype == np.int32


def test_regression_standardizes_inputs_and_targets_by_dimension():
    inputs, _ = numbered()
    targets = np.stack([10 * inputs[:, 1] + 5, inputs[:, 2] ** 2], axis=1)
    raw = from_arrays("own", inputs, targets, kind="regression", split=SPEC, normalize=False)
    data = from_arrays("own", inputs, targets, kind="regression", split=SPEC)
    for field in Split._fields:
        train = getattr(raw.train, field).astype(np.float64)
        expected = (getattr(raw.test, field) - train.mean(axis=0)) / train.std(axis=0)
        np.testing.assert_allclose(getattr(data.test, field), expected, rtol=1e-5, atol=2e-6)
    assert data.outputs == 2
    assert data.train.targets.dtype == np.float32


def test_moments_of_many_rows_are_those_of_one_block():
    # more rows than are summed at a time
    inputs = np.random.default_rng(1).normal(5.0, 2.0, size=(9001, 2))
    data = from_arrays("own", inputs, inputs[:, 0], kind="regression", split=SPEC)
    np.testing.assert_allclose(data.train.inputs.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.inputs.std(axis=0, dtype=np.float64), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_constant_features_become_zero(kind):
    inputs, labels = numbered()
    inputs[:, 1] = 0.1
    data = from_arrays("own", inputs, labels, kind=kind, split=SPEC)
    np.testing.assert_array_equal(data.train.inputs[:, 1], 0)
    np.testing.assert_array_equal(data.test.inputs[:, 1], 0)


def test_all_constant_pictures_are_divided_by_one():
    data = from_arrays("own", np.full((40, 2), 7), numbered()[1], kind="classification", split=SPEC)
    np.testing.assert_array_equal(data.train.inputs, 0)


def test_splits_are_disjoint_and_reproducible():
    inputs, labels = numbered()
    first, again = (
        from_arrays("own", inputs, labels, kind="classification", split=SPEC, normalize=False)
        for _ in range(2)
    )
    numbers = [part.inputs[:, 0] for part in (first.train, first.val, first.test)]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(40))
    assert first.fingerprint == again.fingerprint
    other = dataclasses.replace(SPEC, seed=2)
    changed = from_arrays("own", inputs, labels, kind="classification", split=other)
    assert changed.fingerprint != first.fingerprint


def test_limit_takes_the_first_training_examples_and_leaves_the_others():
    inputs, labels = numbered()
    options = {"kind": "classification", "split": SPEC, "normalize": False}
    whole = from_arrays("own", inputs, labels, **options)
    few = from_arrays("own", inputs, labels, limit=7, **options)
    np.testing.assert_array_equal(few.train.inputs, whole.train.inputs[:7])
    np.testing.assert_array_equal(few.val.inputs, whole.val.inputs)
    np.testing.assert_array_equal(few.test.inputs, whole.test.inputs)


def test_fingerprint_is_sha256_of_dtype_shape_and_bytes():
    inputs, labels = numbered()
    data = from_arrays("own", inputs, labels, kind="classification", split=SPEC)
    text = b""
    for part in (data.train, data.val, data.test):
        for array, dtype in zip(part, ("<f4", "<i4"), strict=True):
            text += f"{dtype} {array.shape} ".encode() + array.tobytes()
    assert data.fingerprint == hashlib.sha256(text).hexdigest()[:16]


def test_description_is_json():
    inputs, labels = numbered()
    data = from_arrays("own", inputs, labels, kind="classification", split=SPEC)
    assert json.loads(json.dumps(describe(data))) == {
        "name": "own",
        "kind": "classification",
        "train": 20,
        "val": 10,
        "test": 10,
        "input_shape": [3],
        "outputs": 2,
        "fingerprint": data.fingerprint,
    }


X = np.arange(40.0).reshape(20, 2)
Y = np.arange(20) % 2


@pytest.mark.parametrize(
    ("inputs", "targets", "kind", "options", "message"),
    [
        (X, Y[:-1], "classification", {}, r"\(20, 2\) and targets \(19,\) must hold the same"),
        (X[:, 0], Y, "classification", {}, r"shape \[N, features, \.\.\.\], got \(20,\)"),
        (X[:0], Y[:0], "classification", {}, "holds no examples"),
        (
            np.where(X > 5, np.nan, X),
            Y,
            "classification",
            {},
            r"17 of 20 examples are not.*\[3, 0\]",
        ),
        (X * 1e300, Y, "classification", {}, "own: the variance of numbers as large as 3.7e"),
        (X * 1e-300, Y, "classification", {}, "own: the variance of numbers as large as 3.7e-299"),
        (X * 1e39, Y, "classification", {"normalize": False}, "must be finite in float32"),
        (X.astype(str), Y, "classification", {}, "inputs must be real numbers, got dtype <U"),
        (X, Y / 2, "classification", {}, "labels must be integers .* got dtype float64"),
        (X, Y[:, None], "classification", {}, r"labels must be integers .* shape \(20, 1\)"),
        (X, Y - 1, "classification", {}, r"labels must be 0\.\.K-1, got -1\.\.0"),
        (X, Y + 1, "classification", {}, "2 classes from 1 to 2; renumber"),
        (X, Y * 0, "classification", {}, "at least 2 classes, all labels are 0"),
        (X, Y, "classification", {"outputs": 1}, "integer of at least 2, got 1"),
        (X, Y * 3, "classification", {"outputs": 3}, r"labels must be 0\.\.2, got 0\.\.3"),
        (X, X[:, :, None], "regression", {}, r"shape \[N\] or \[N, K\], got \(20, 2, 1\)"),
        (X, np.full(20, np.inf), "regression", {}, "targets must be finite"),
        (X, Y, "classification", {"limit": 0}, "limit must be an integer of at least 1, got 0"),
        (X, Y, "classification", {"normalize": "no"}, "normalize must be true or false, got 'no'"),
        (X[:2], Y[:2], "classification", {}, "2 examples are too few"),
    ],
)
def test_wrong_arrays_are_refused(inputs, targets, kind, options, message):
    with pytest.raises(ConfigError, match=message):
        from_arrays("own", inputs, targets, kind=kind, split=SPEC, **options)


def test_outputs_allow_for_classes_that_do_not_occur():
    data = from_arrays("own", X, Y * 2, kind="classification", split=SPEC, outputs=5)
    assert data.outputs == 5


def test_splits_of_different_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"val inputs has shape \(1,\), of train inputs \(2,\)"):
        from_splits("own", Split(X, Y), Split(X[:, :1], Y), Split(X, Y), kind="classification")


def test_a_users_tuple_and_dataset_are_the_same_data():
    made = from_arrays("own", X, Y, kind="classification", split=SPEC)
    from_tuple = as_dataset("own", (X, Y), kind="classification", split=SPEC)
    assert from_tuple.fingerprint == made.fingerprint
    mislabelled = dataclasses.replace(made, fingerprint="0" * 16)
    passed = as_dataset("mine:load", mislabelled, kind="classification", split=SPEC)
    assert passed.fingerprint == made.fingerprint
    np.testing.assert_array_equal(passed.train.inputs, made.train.inputs)


def test_what_is_no_data_set_is_refused():
    with pytest.raises(ConfigError, match=r"tuple \(inputs, targets\), got list"):
        as_dataset("mine:load", [X, Y], kind="classification", split=SPEC)
    made = from_arrays("own", X, Y, kind="classification", split=SPEC)
    with pytest.raises(ConfigError, match="is for classification, and the task is regression"):
        as_dataset("mine:load", made, kind="regression", split=SPEC)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize(
    "column",
    [
        1.7e9 + np.arange(200),
        (1.7e9 + np.arange(200)).astype(np.int64),
        2**63 + np.arange(200, dtype=np.uint64),
        -(2**62) - np.arange(200),
        np.iinfo(np.int32).max - np.arange(200, dtype=np.int32),
        1e9 + np.random.default_rng(0).permutation(200) / 2**20,
        np.float32(0.5) + np.arange(200, dtype=np.float32) / 2**23,
    ],
)
def test_large_numbers_with_small_differences_are_standardized_exactly(kind, column):
    """Cast to float32 first, three distinct values would be left."""
    options = {"kind": kind, "split": SPEC, "table": True}
    labels = np.arange(200) % 2 if kind == "classification" else column
    data = from_arrays("own", column[:, None], labels, **options)
    order = np.random.default_rng(1).permutation(200)
    exact = np.array([float(value - column.tolist()[0]) for value in column.tolist()])
    train = exact[order[:100]]
    expected = (exact - train.mean()) / train.std()
    for part, rows in ((data.train, order[:100]), (data.val, order[100:150])):
        np.testing.assert_allclose(part.inputs[:, 0], expected[rows], rtol=1e-6, atol=1e-7)
        if kind == "regression":
            np.testing.assert_allclose(part.targets[:, 0], expected[rows], rtol=1e-6, atol=1e-7)
    assert data.notes == ()


def test_one_scale_is_computed_in_float64_too():
    pictures = 1.7e9 + np.random.default_rng(0).uniform(0, 255, (60, 4, 4, 1))
    data = from_arrays("own", pictures, np.arange(60) % 2, kind="classification", split=SPEC)
    rows = np.random.default_rng(1).permutation(60)
    mean = pictures[rows[:30]].mean(axis=0)
    scale = np.sqrt(np.square(pictures[rows[:30]] - mean).mean())
    # float64 holds these numbers to 2.4e-7, a billionth of the scale
    expected = (pictures[rows[45:]] - mean) / scale
    np.testing.assert_allclose(data.test.inputs, expected, rtol=1e-6, atol=1e-8)


def test_a_feature_that_is_constant_in_training_is_zero_in_all_parts():
    inputs, labels = numbered()
    order = np.random.default_rng(1).permutation(40)
    inputs[order[:20], 1] = 1.7e9
    data = from_arrays("own", inputs, labels, kind="classification", split=SPEC, table=True)
    assert not data.test.inputs[:, 1].any()
    assert any("constant in training: input column 1" in note for note in data.notes)


def many(count=80):
    """Three columns without a pattern, and labels that alternate."""
    return np.random.default_rng(0).normal(size=(count, 3)), np.arange(count) % 2


def lose_digits(inputs):
    inputs[:, 1] = 1.7e9 + np.arange(len(inputs))


def outlier(inputs):
    inputs[:, 1] = np.arange(len(inputs)) % 40
    inputs[np.random.default_rng(1).permutation(len(inputs))[0], 1] = 1e12


def rounding(inputs):
    inputs[:, 1] = 0.1 + 1e-17 * (np.arange(len(inputs)) % 5)


def number(inputs):
    inputs[:, 1] = np.arange(len(inputs))


def sorted_times(inputs):
    inputs[:, 1] = np.sort(inputs[:, 1])[::-1]


def other_units(inputs):
    inputs[np.random.default_rng(1).permutation(len(inputs))[60:]] *= 255


def copies(inputs):
    inputs[:] = inputs[0]
    inputs[:, 0] = np.arange(len(inputs)) % 4


@pytest.mark.parametrize(
    ("spoil", "normalize", "note"),
    [
        (lambda inputs: None, True, None),
        (lose_digits, False, "input column 1 has 40 distinct values, of which float32 tells"),
        (outlier, True, "of which float32 tells"),
        (rounding, True, "much of it is rounding"),
        (number, True, "input column 1 numbers the examples, in the order in which they came"),
        (sorted_times, True, "input column 1 rises or falls throughout"),
        (other_units, True, "inputs of test are spread 2"),
        (copies, True, "20 of 20 test examples have inputs that also occur in training"),
    ],
)
def test_what_a_reader_should_know_of_numbers_is_noted(spoil, normalize, note, caplog):
    inputs, labels = many()
    spoil(inputs)
    options = {"kind": "classification", "split": SPEC, "table": True, "normalize": normalize}
    made = from_arrays("own", inputs, labels, **options)
    assert any(note in each for each in made.notes) if note else made.notes == ()
    as_dataset("own", made, kind="classification", split=SPEC)
    told = [record.message for record in caplog.records]
    assert told[: len(made.notes)] == [f"data set own: {note}" for note in made.notes]


def test_columns_that_one_scale_wipes_out_are_noted():
    inputs, labels = many()
    inputs[:, 0] *= 1e6
    made = from_arrays("own", inputs, labels, kind="classification", split=SPEC)
    assert "one scale for all columns leaves less than a thousandth" in made.notes[0]
    assert "input column 1, input column 2" in made.notes[0]


def test_classes_that_a_part_lacks_are_noted():
    inputs, labels = many()
    labels[3] = 2
    made = from_arrays("own", inputs, labels, kind="classification", split=SPEC)
    lacking = [note for note in made.notes if "is of class 2 (1 of 3 classes)" in note]
    assert len(lacking) == 2  # one example, in one of the three parts
    whole = from_arrays("own", inputs, labels * 0, kind="classification", split=SPEC, outputs=2)
    assert "every example is of class 0" in whole.notes


def test_examples_of_sorted_data_are_drawn():
    """A user's own splits may be sorted by class; those of a source stand in a random order."""
    inputs, labels = many(200)
    part = Split(inputs[np.argsort(labels)], np.sort(labels))
    own = from_splits("mine", part, part, part, kind="classification")
    few = as_dataset("mine", own, kind="classification", split=SPEC, limit=20)
    # 20 of 200 examples drawn: a share of 0 or 1 has a chance below 2e-6
    assert 0 < few.train.targets.mean() < 1
    again = first_examples(own, 20)
    np.testing.assert_array_equal(again.targets, few.train.targets)
    made = from_arrays("mine", inputs, labels, kind="classification", split=SPEC)
    np.testing.assert_array_equal(first_examples(made, 7).inputs, made.train.inputs[:7])
