import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from initopt_jax.data import SplitSpec, load
from initopt_jax.errors import ConfigError

SPEC = SplitSpec(val=0.2, test=0.1, seed=4)
CLASSES = 3


def picture(number):
    """A 4 x 5 colour picture whose first pixel says which example it is."""
    pixels = np.random.default_rng(number).integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    pixels[0, 0, 0] = number
    return pixels


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    buffer.seek(0)
    return buffer


def prepare(folder, *, sizes, shape=(4, 5, 3), label="label", config=None):
    """Prepare a set named `tiny_pictures` in array_record; encoded pictures need no TensorFlow."""
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.2.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=shape),
                label: tfds.features.ClassLabel(num_classes=CLASSES),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            starts = np.cumsum([0, *sizes.values()])
            return {
                split: self._generate_examples(start, size)
                for (split, size), start in zip(sizes.items(), starts, strict=False)
            }

        def _generate_examples(self, start, size):
            for number in range(start, start + size):
                yield int(number), {"image": encoded(picture(number)), label: int(number % CLASSES)}

    builder = TinyPictures(data_dir=folder, file_format="array_record")
    options = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=options)
    return Path(builder.data_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder, sizes={"train": 30, "test": 12})
    return folder


def numbers(part):
    """Which examples an unnormalized split holds, checked pixel by pixel."""
    found = np.rint(part.inputs[:, 0, 0, 0] * 255).astype(int)
    expected = np.stack([picture(number) for number in found]).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(part.inputs, expected)
    np.testing.assert_array_equal(part.targets, found % CLASSES)
    return found.tolist()


def read(folder, name="tfds:tiny_pictures", **options):
    spec = {"name": name, "normalize": False} | options
    return load(spec, kind="classification", split=SPEC, data_dir=str(folder))


def test_published_test_split_is_kept_and_validation_comes_from_training(prepared):
    data = read(prepared)
    train, val, test = (numbers(part) for part in (data.train, data.val, data.test))
    assert [len(train), len(val), len(test)] == [24, 6, 12]
    assert sorted(train + val) == list(range(30))
    assert sorted(test) == list(range(30, 42))
    assert data.outputs == CLASSES
    assert data.fingerprint == read(prepared).fingerprint


def test_limit_takes_the_first_training_examples(prepared):
    whole, few = read(prepared), read(prepared, limit=5)
    assert numbers(few.train) == numbers(whole.train)[:5]
    assert numbers(few.val) == numbers(whole.val)
    assert numbers(few.test) == numbers(whole.test)


def test_pictures_are_normalized_by_training_statistics(prepared):
    raw, data = read(prepared), read(prepared, normalize=True)
    mean = raw.train.inputs.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.mean((raw.train.inputs - mean) ** 2))
    # float32 rounding of numbers of order 1
    np.testing.assert_allclose(data.val.inputs, (raw.val.inputs - mean) / scale, atol=1e-6)


def test_without_a_published_test_split_all_three_come_from_training(tmp_path):
    prepare(tmp_path, sizes={"train": 20})
    data = read(tmp_path)
    parts = [numbers(part) for part in (data.train, data.val, data.test)]
    assert [len(part) for part in parts] == [14, 4, 2]
    assert sorted(np.concatenate(parts).tolist()) == list(range(20))


def test_the_folder_may_come_from_the_environment(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    spec = {"name": "tfds:tiny_pictures", "normalize": False}
    data = load(spec, kind="classification", split=SPEC)
    assert data.fingerprint == read(prepared).fingerprint


def test_highest_version_is_read_unless_one_is_named(prepared, tmp_path):
    source = prepared / "tiny_pictures" / "1.2.0"
    for version in ("1.2.0", "1.10.0"):
        copy = tmp_path / "tiny_pictures" / version
        shutil.copytree(source, copy)
        info = copy / "dataset_info.json"
        info.write_text(info.read_text().replace("1.2.0", version))
    (
        tmp_path / "tiny_pictures" / "1.10.0" / "tiny_pictures-train.array_record-00000-of-00001"
    ).unlink()
    assert read(tmp_path, "tfds:tiny_pictures:1.2.0").fingerprint == read(prepared).fingerprint
    with pytest.raises(ConfigError, match=r"cannot be read from .*1\.10\.0.*prepare it again"):
        read(tmp_path)
    with pytest.raises(
        ConfigError, match=r"tiny_pictures/3\.0\.0 \(there are: 1\.2\.0, 1\.10\.0\)"
    ):
        read(tmp_path, "tfds:tiny_pictures:3.0.0")


def test_a_format_that_needs_tensorflow_is_refused(prepared, tmp_path):
    copy = tmp_path / "tiny_pictures" / "1.2.0"
    shutil.copytree(prepared / "tiny_pictures" / "1.2.0", copy)
    info = copy / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ConfigError, match=r"as tfrecord, which needs TensorFlow; prepare it with"):
        read(tmp_path)


def test_a_config_must_be_named(tmp_path):
    prepare(tmp_path, sizes={"train": 20}, config="plain")
    with pytest.raises(ConfigError, match="with configs; name one of them: tfds:tiny_pictures/pla"):
        read(tmp_path)
    assert len(read(tmp_path, "tfds:tiny_pictures/plain").train.inputs) == 14


def test_what_is_no_picture_classification_is_refused(tmp_path):
    prepare(tmp_path, sizes={"train": 20}, label="kind")
    with pytest.raises(ConfigError, match=r"has image \(Image\), kind \(ClassLabel\)$"):
        read(tmp_path)


def test_pictures_of_varying_size_are_refused(tmp_path):
    prepare(tmp_path, sizes={"train": 20}, shape=(None, None, 3))
    with pytest.raises(ConfigError, match="pictures of varying size"):
        read(tmp_path)


def test_a_set_without_training_split_is_refused(tmp_path):
    prepare(tmp_path, sizes={"everything": 20})
    with pytest.raises(ConfigError, match="no split named train, only: everything"):
        read(tmp_path)


def test_a_set_that_is_not_prepared_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "tfds:cifar10")
    message = str(caught.value)
    assert f"looked for {tmp_path / 'cifar10'}" in message
    assert "TFDS_DATA_DIR" in message
    assert "needs the network" in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:cifar_10", "unknown data set 'tfds:cifar_10'; did you mean 'tfds:cifar10'"),
        ("tfds:tiny_picture", "did you mean 'tfds:tiny_pictures'"),
        ("tfds:", "must be written tfds:NAME"),
        ("tfds:../mnist", "must be written tfds:NAME"),
    ],
)
def test_wrong_names_are_refused(prepared, name, message):
    with pytest.raises(ConfigError, match=message):
        read(prepared, name)


def test_mnist_as_published():
    folder = Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    if not (folder / "mnist").is_dir():
        pytest.skip(f"MNIST is not prepared in {folder}; set TFDS_DATA_DIR")
    spec = {"name": "tfds:mnist", "normalize": False, "limit": 500}
    data = load(spec, kind="classification", split=SplitSpec(val=0.01))
    assert [len(part.inputs) for part in (data.train, data.val, data.test)] == [500, 600, 10_000]
    assert data.train.inputs.shape[1:] == (28, 28, 1)
    # the published test labels: LeCun, Cortes & Burges, The MNIST database, counted per digit
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(data.test.targets), counts)
    # mean and standard deviation of the training pixels, known as 0.1307 and 0.3081, from 500
    # pictures: the mean per picture varies by about 0.04, so 5 standard errors are 0.009
    assert abs(data.train.inputs.mean() - 0.1307) < 0.009
