import dataclasses
import hashlib
import json

import numpy as np
import pytest

from initopt_jax.data import SplitSpec, as_dataset, describe, from_arrays, from_splits
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
        (np.where(X > 5, np.nan, X), Y, "classification", {}, "inputs must be finite"),
        (X * 1e300, Y, "classification", {}, "inputs must be finite in float32"),
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
