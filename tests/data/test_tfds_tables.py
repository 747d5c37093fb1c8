"""Prepared sets that are tables, written here without TensorFlow."""

import numpy as np
import pytest

from initopt_jax.data import SplitSpec, load
from initopt_jax.errors import ConfigError

SPEC = SplitSpec(val=0.2, test=0.2, seed=1)
ROWS = 40


def row(number):
    return {
        "weight": 1000.0 * number,
        "counts": [number, -number],
        "colour": number % 3,
    }


def prepare(folder, *, label="class", keys=True, extra=False):
    """Prepare a set named `tiny_table`: a number, a vector and a class, and a label."""
    import tensorflow_datasets as tfds

    columns = {
        "weight": tfds.features.Scalar(np.float32),
        "counts": tfds.features.Tensor(shape=(2,), dtype=np.int64),
        "colour": tfds.features.ClassLabel(num_classes=3),
    }
    if extra:
        columns["comment"] = tfds.features.Text()
    target = tfds.features.ClassLabel(num_classes=2) if label == "class" else np.float32

    class TinyTable(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = (
                {"features": columns, "quality": target} if keys else {**columns, "label": target}
            )
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("features", "quality") if keys else None,
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(ROWS):
                example = row(number) | ({"comment": "fine"} if extra else {})
                value = number % 2 if label == "class" else 0.5 * number
                yield (
                    number,
                    {"features": example, "quality": value}
                    if keys
                    else {**example, "label": value},
                )

    builder = TinyTable(data_dir=folder, file_format="array_record")
    options = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=options)
    return folder


def read(folder, kind="classification", **options):
    spec = {"name": "tfds:tiny_table"} | options
    return load(spec, kind=kind, split=SPEC, data_dir=str(folder))


def numbers(part):
    """Which rows an unnormalized split holds, checked column by column."""
    # columns by name: colour (one per class), counts, weight
    found = np.rint(part.inputs[:, 3]).astype(int)
    expected = [[*np.eye(3)[n % 3], n, -n, 1000.0 * n] for n in found]
    np.testing.assert_array_equal(part.inputs, np.array(expected, np.float32))
    return found


@pytest.mark.parametrize("keys", [True, False])
def test_a_table_with_classes(tmp_path, keys):
    data = read(prepare(tmp_path, keys=keys), normalize=False)
    rows = [numbers(part) for part in (data.train, data.val, data.test)]
    assert [len(found) for found in rows] == [24, 8, 8]
    assert sorted(np.concatenate(rows).tolist()) == list(range(ROWS))
    np.testing.assert_array_equal(data.train.targets, rows[0] % 2)
    assert data.train.targets.dtype == np.int32
    assert data.outputs == 2

    # each column by its own mean and standard deviation, whatever its unit
    scaled = read(tmp_path)
    columns = data.train.inputs.astype(np.float64)
    expected = (data.val.inputs - columns.mean(axis=0)) / columns.std(axis=0)
    # float32 rounding of numbers of order 1
    np.testing.assert_allclose(scaled.val.inputs, expected, atol=1e-6)
    np.testing.assert_array_equal(scaled.val.targets, data.val.targets)
    assert scaled.fingerprint == read(tmp_path).fingerprint != data.fingerprint

    few = read(tmp_path, normalize=False, limit=5)
    np.testing.assert_array_equal(few.train.inputs, data.train.inputs[:5])


def test_a_table_with_numbers_to_predict(tmp_path):
    prepare(tmp_path, label="number")
    data = read(tmp_path, kind="regression", normalize=False)
    np.testing.assert_array_equal(data.test.targets, 0.5 * numbers(data.test)[:, None])
    scaled = read(tmp_path, kind="regression").train
    for array in scaled:
        np.testing.assert_allclose(array.mean(axis=0), 0, atol=1e-6)  # float32 rounding
        np.testing.assert_allclose(array.std(axis=0), 1, atol=1e-6)
    with pytest.raises(ConfigError, match=r"is for regression \(its label quality is a number\)"):
        read(tmp_path)


def test_a_table_of_another_kind_than_the_task_is_refused(tmp_path):
    prepare(tmp_path)
    with pytest.raises(ConfigError, match=r"is for classification \(its label quality is a class"):
        read(tmp_path, kind="regression")


def test_text_among_the_columns_is_refused(tmp_path):
    prepare(tmp_path, extra=True)
    with pytest.raises(ConfigError, match=r"no table: .* has features \(FeaturesDict\), quality"):
        read(tmp_path)
