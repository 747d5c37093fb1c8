import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets

from initopt_jax.data import REGISTRY, SplitSpec, find_source, load
from initopt_jax.errors import ConfigError

SPECS = [
    ({"name": "digits"}, "classification"),
    ({"name": "diabetes"}, "regression"),
    ({"name": "teacher", "samples": 60}, "regression"),
    ({"name": "teacher", "samples": 60, "classes": 3}, "classification"),
]


@pytest.mark.parametrize(("spec", "kind"), SPECS)
def test_the_same_spec_gives_the_same_bytes_and_another_seed_others(spec, kind):
    first, again = (load(spec, kind=kind, split=SplitSpec()) for _ in range(2))
    for part in ("train", "val", "test"):
        for array, repeated in zip(getattr(first, part), getattr(again, part), strict=True):
            assert array.tobytes() == repeated.tobytes()
    assert first.fingerprint == again.fingerprint
    other = load(spec, kind=kind, split=SplitSpec(seed=1))
    assert other.fingerprint != first.fingerprint


def test_digits_are_every_bundled_picture_once():
    data = load({"name": "digits", "normalize": False}, kind="classification", split=SplitSpec())
    parts = (data.train, data.val, data.test)
    assert [len(part.inputs) for part in parts] == [1078, 359, 360]
    assert data.outputs == 10
    bundled = sklearn.datasets.load_digits()
    rows = np.concatenate([np.column_stack([16 * p.inputs, p.targets]) for p in parts])
    expected = np.column_stack([bundled.data, bundled.target])
    np.testing.assert_array_equal(
        rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)].astype(np.float32)
    )


def test_diabetes_targets_keep_their_units_without_normalization():
    spec = {"name": "diabetes", "normalize": False}
    data = load(spec, kind="regression", split=SplitSpec())
    targets = np.concatenate([p.targets[:, 0] for p in (data.train, data.val, data.test)])
    np.testing.assert_array_equal(
        np.sort(targets), np.sort(sklearn.datasets.load_diabetes().target)
    )


def test_a_teacher_without_noise_is_a_function_and_more_samples_keep_it():
    spec = {"name": "teacher", "noise": 0.0, "normalize": False, "features": 3}
    few = load(spec | {"samples": 100}, kind="regression", split=SplitSpec())
    many = load(spec | {"samples": 200}, kind="regression", split=SplitSpec())

    def pairs(data):
        parts = (data.train, data.val, data.test)
        return {
            (*p.inputs[i].tolist(), *p.targets[i].tolist())
            for p in parts
            for i in range(len(p.inputs))
        }

    assert pairs(few) < pairs(many)


def test_teacher_noise_has_the_stated_size():
    spec = {"name": "teacher", "samples": 4000, "normalize": False}
    clean, noisy = (
        load(spec | {"noise": noise}, kind="regression", split=SplitSpec()) for noise in (0.0, 0.5)
    )
    difference = noisy.train.targets - clean.train.targets  # 2,400 draws
    np.testing.assert_array_equal(noisy.train.inputs, clean.train.inputs)
    # the standard error of a standard deviation of n normal draws is sigma / sqrt(2 n); 5 of them
    assert abs(difference.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * 2400)


def test_teacher_classes_are_the_largest_output_of_the_stated_network():
    spec = {"name": "teacher", "classes": 4, "samples": 400, "noise": 0.0, "seed": 7}
    data = load(spec | {"normalize": False}, kind="classification", split=SplitSpec(seed=5))
    weights, examples = (np.random.default_rng([7, stream]) for stream in (0, 1))
    first = weights.normal(size=(8, 16)) / np.sqrt(8)
    bias = weights.normal(size=16)
    second = weights.normal(size=(16, 4)) / np.sqrt(16)
    inputs = examples.normal(size=(400, 8))
    labels = np.argmax(np.tanh(inputs @ first + bias) @ second, axis=1)
    rows = np.random.default_rng(5).permutation(400)[:240]
    np.testing.assert_array_equal(data.train.inputs, inputs[rows].astype(np.float32))
    np.testing.assert_array_equal(data.train.targets, labels[rows])
    assert data.outputs == 4


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ({"name": "digist"}, "classification", "unknown data set 'digist'; did you mean 'digits'"),
        ({}, "classification", "needs a name"),
        ({"name": "digits"}, "regression", "digits is for classification, and the task is regres"),
        ({"name": "digits", "limt": 3}, "classification", "'limt'; did you mean 'limit'"),
        ({"name": "digits", "limit": 2.5}, "classification", "limit must be an integer"),
        ({"name": "teacher"}, "classification", "needs the option classes"),
        ({"name": "teacher", "classes": 3}, "regression", "classes is only for classification"),
        ({"name": "teacher", "classes": 1}, "classification", "classes must be .* least 2, got 1"),
        ({"name": "teacher", "samples": 0}, "regression", "samples must be .* least 1, got 0"),
        ({"name": "teacher", "hidden": True}, "regression", "hidden must be .* got True"),
        ({"name": "teacher", "noise": -1}, "regression", "noise must be .* got -1"),
        ({"name": "teacher", "seed": -1}, "regression", "seed must be .* got -1"),
    ],
)
def test_wrong_specs_are_refused(spec, kind, message):
    with pytest.raises(ConfigError, match=message):
        load(spec, kind=kind, split=SplitSpec())


def test_registry_entries_say_what_they_are():
    for name, entry in REGISTRY.items():
        assert name == entry.name
        assert entry.kinds
        assert entry.description
        assert entry.reference
    assert find_source("tfds:anything") is REGISTRY["tfds:NAME"]


def test_importing_the_package_loads_no_data_library(subprocess_environment):
    code = (
        "import sys, initopt_jax.data; "
        "print([m for m in ('sklearn', 'tensorflow_datasets', 'PIL') if m in sys.modules])"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(
        command, env=subprocess_environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""
