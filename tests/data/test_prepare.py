import functools
import gzip
import hashlib
import http.server
import os
import signal
import struct
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from initopt_jax.cli import commands
from initopt_jax.data import SplitSpec, load, prepared
from initopt_jax.data import prepare as preparing
from initopt_jax.data.idx import read_idx
from initopt_jax.data.prepare import prepare, prepare_idx
from initopt_jax.errors import ConfigError

SIZES = {"train": 20, "t10k": 8}


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def contents():
    """The four files of a set of 5 x 4 pictures in 3 classes."""
    made, start = {}, 0
    for split, size in SIZES.items():
        pictures = np.random.default_rng(start).integers(0, 256, (size, 5, 4), dtype=np.uint8)
        pictures[:, 0, 0] = np.arange(start, start + size)  # which example it is
        made[f"{split}-images-idx3-ubyte.gz"] = idx(pictures)
        made[f"{split}-labels-idx1-ubyte.gz"] = idx(pictures[:, 0, 0] % 3)
        start += size
    return {name: gzip.compress(content, mtime=0) for name, content in made.items()}


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    return folder


def tiny(address="http://localhost:9"):
    """A set of the MNIST family whose recorded checksums are those of `contents`."""
    import tensorflow_datasets as tfds

    recorded = {
        f"{address}/{name}": tfds.download.checksums.UrlInfo(
            len(content),
            hashlib.sha256(content).hexdigest(),
            name,
        )
        for name, content in contents().items()
    }

    class TinyDigits(tfds.builder_cls("mnist"), skip_registration=True):
        VERSION = tfds.core.Version("2.0.0")
        url_infos = recorded

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(5, 4, 1)),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

    return TinyDigits


def leftovers(data_dir):
    return [path for path in data_dir.rglob("*") if path.is_file()] if data_dir.exists() else []


def assert_holds_the_pictures(data_dir):
    import tensorflow_datasets as tfds

    for split, size in (("train", 20), ("test", 8)):
        source = tfds.data_source("tiny_digits", split=split, data_dir=data_dir)
        assert len(source) == size
    spec = {"name": "tfds:tiny_digits", "normalize": False}
    data = load(spec, kind="classification", split=SplitSpec(), data_dir=str(data_dir))
    stored = contents()
    pictures = np.concatenate(
        [read_idx(stored[f"{split}-images-idx3-ubyte.gz"], name="", ndim=3) for split in SIZES]
    )
    found = []
    for part in (data.train, data.val, data.test):
        numbers = np.rint(part.inputs[:, 0, 0, 0] * 255).astype(int)
        expected = pictures[numbers][..., None] / np.float32(255)
        np.testing.assert_array_equal(part.inputs, expected)
        np.testing.assert_array_equal(part.targets, numbers % 3)
        found.append(sorted(numbers.tolist()))
    assert sorted(found[0] + found[1]) == list(range(20))
    assert found[2] == list(range(20, 28))


def test_four_files_become_a_set_that_tfds_reads(files, tmp_path):
    data_dir = tmp_path / "tfds"
    done = prepare_idx(tiny(), manual_dir=files, data_dir=data_dir)
    place = data_dir / "tiny_digits" / "2.0.0"
    assert done == ("tfds:tiny_digits", place, True, ())
    assert {path.name for path in data_dir.iterdir()} == {"tiny_digits"}
    assert_holds_the_pictures(data_dir)

    before = {path: path.stat().st_mtime_ns for path in leftovers(data_dir)}
    again = prepare_idx(tiny(), manual_dir=files, data_dir=data_dir)
    assert not again.new
    assert {path: path.stat().st_mtime_ns for path in leftovers(data_dir)} == before

    (listed,) = prepared.list_prepared(data_dir)
    assert listed.name == "tfds:tiny_digits"
    assert (listed.version, listed.splits, listed.example, listed.classes, listed.trouble) == (
        "2.0.0",
        {"train": 20, "test": 8},
        "5 x 4 x 1",
        3,
        "",
    )
    assert listed.bytes == sum(path.stat().st_size for path in before)


def test_unpacked_files_are_read_and_said_to_be_unchecked(files, tmp_path):
    name = "train-labels-idx1-ubyte"
    (files / name).write_bytes(gzip.decompress((files / f"{name}.gz").read_bytes()))
    (files / f"{name}.gz").unlink()
    done = prepare_idx(tiny(), manual_dir=files, data_dir=tmp_path / "tfds")
    assert done.unchecked == (name,)
    assert_holds_the_pictures(tmp_path / "tfds")


def test_files_are_downloaded_by_the_recorded_addresses(files, tmp_path, monkeypatch):
    for variable in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "localhost")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=files)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kind = tiny(f"http://localhost:{server.server_port}")
        (files / "t10k-labels-idx1-ubyte.gz").write_bytes(b"something else")
        data_dir = tmp_path / "tfds"
        with pytest.raises(ConfigError, match=r"t10k-labels-idx1-ubyte\.gz.*wrong checksum"):
            prepare_idx(kind, manual_dir=None, data_dir=data_dir)
        assert prepared.list_prepared(data_dir) == []
        (files / "t10k-labels-idx1-ubyte.gz").write_bytes(contents()["t10k-labels-idx1-ubyte.gz"])
        prepare_idx(kind, manual_dir=None, data_dir=data_dir)
        server.shutdown()
    assert_holds_the_pictures(data_dir)


def without_network(host, *_):
    import socket

    raise socket.gaierror(-2, "Name or service not known")


def test_without_a_network_it_says_so_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing.socket, "getaddrinfo", without_network)
    monkeypatch.setattr(preparing.urllib.request, "getproxies", dict)
    with pytest.raises(ConfigError, match=r"localhost is not found .* --manual-dir"):
        prepare_idx(tiny(), manual_dir=None, data_dir=tmp_path)


def repacked(array):
    return gzip.compress(idx(array), mtime=0)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", None, "lacks the file train-images-idx3-ubyte.gz (or train"),
        ("train-images-idx3-ubyte.gz", b"\x1f\x8bx", "is not the published train-images-idx3"),
        ("train-images-idx3-ubyte", idx(np.zeros((3, 5, 4), np.uint8)), "3 pictures, and"),
        ("train-images-idx3-ubyte", idx(np.zeros((20, 5, 5), np.uint8)), "(5, 5), expected (5, 4)"),
        ("t10k-images-idx3-ubyte", b"PNG", "begins with 50 4e 47, expected 00 00 08 03"),
        ("t10k-labels-idx1-ubyte", idx(np.zeros(8, np.uint8))[:-1], "promises 8 values of shape"),
        ("t10k-labels-idx1-ubyte", idx(np.full(8, 3, np.uint8)), "label 3, expected 0..2"),
        ("t10k-labels-idx1-ubyte", b"\x1f\x8bx", "it cannot be unpacked"),
    ],
)
def test_wrong_files_are_named_and_nothing_is_written(files, tmp_path, file, content, message):
    (files / f"{file.removesuffix('.gz')}.gz").unlink()
    if content is not None:
        (files / file).write_bytes(content)
    data_dir = tmp_path / "tfds"
    with pytest.raises(ConfigError) as caught:
        prepare_idx(tiny(), manual_dir=files, data_dir=data_dir)
    assert message in str(caught.value)
    assert file.removesuffix(".gz") in str(caught.value)
    assert leftovers(data_dir) == []


def test_another_number_of_examples_is_refused(files, tmp_path):
    with pytest.raises(ConfigError, match="holds 8 pictures, expected 9"):
        prepare_idx(tiny(), manual_dir=files, data_dir=tmp_path, counts={"train": 20, "test": 9})


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_nothing_half_written_stays(files, tmp_path, monkeypatch, error):
    calls = []
    original = Image.Image.save

    def save(*args, **kwargs):
        calls.append(1)
        if len(calls) == 25:  # the training split is written, the test split begun
            raise error
        original(*args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", save)
    data_dir = tmp_path / "tfds"
    with pytest.raises((KeyboardInterrupt, ConfigError)) as caught:
        prepare_idx(tiny(), manual_dir=files, data_dir=data_dir)
    assert caught.type is KeyboardInterrupt or "No space left on device" in str(caught.value)
    assert len(calls) == 25
    assert list(data_dir.iterdir()) == []


def test_a_termination_leaves_nothing_half_written(files, tmp_path, monkeypatch, capsys):
    calls, data_dir = [], tmp_path / "tfds"

    def save(*_, **__):
        calls.append(1)
        signal.raise_signal(signal.SIGTERM)

    def prepare_tiny(name, *, manual_dir, data_dir):
        return prepare_idx(tiny(), manual_dir=manual_dir, data_dir=data_dir)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Image.Image, "save", save)
    monkeypatch.setattr(preparing, "prepare", prepare_tiny)
    arguments = ["prepare", "tiny_digits", "--manual-dir", files, "--data-dir", data_dir]
    assert command(monkeypatch, capsys, *arguments)[0] == 3
    assert calls == [1]
    assert list(data_dir.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_files_in_an_archive(files, tmp_path):
    import tensorflow_datasets as tfds

    with zipfile.ZipFile(files / "gzip.zip", "w") as archive:
        for name, content in contents().items():
            archive.writestr(f"gzip/emnist-tiny-{name.replace('t10k', 'test')}", content)
    content = (files / "gzip.zip").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    kind = tiny()
    kind.url_infos = {
        "http://localhost:9/gzip.zip": tfds.download.checksums.UrlInfo(
            len(content), digest, "gzip.zip"
        )
    }
    options = {"manual_dir": files, "data_dir": tmp_path / "tfds"}
    with pytest.raises(ConfigError, match=r"gzip\.zip cannot be read as an archive: .*letters"):
        prepare_idx(kind, archive=preparing.archive_member("letters"), **options)
    prepare_idx(kind, archive=preparing.archive_member("tiny"), **options)
    assert_holds_the_pictures(tmp_path / "tfds")


def test_a_folder_that_is_no_prepared_set_is_left_alone(files, tmp_path):
    (tmp_path / "tiny_digits" / "2.0.0").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"2\.0\.0 is there and holds no prepared set"):
        prepare_idx(tiny(), manual_dir=files, data_dir=tmp_path)


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["initopt", "data", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "mnits"], "unknown data set 'mnits'; did you mean 'tfds:mnist'?"),
        (["prepare", "../mnist"], "must be written tfds:NAME"),
        (["prepare", "emnist"], "name one of them: tfds:emnist/balanced"),
        (["prepare", "emnist/leters"], "'leters'; did you mean 'letters'?"),
        (["prepare", "mnist/x"], "has no configs, got 'x'"),
        (["prepare", "mnist:1.0.0"], "cannot be loaded at version 1.0.0, only: 3.0.1"),
        (["prepare", "imdb_reviews/plain_text"], "no image classification set and no table"),
        (["prepare", "mnist", "--manual-dir", "."], "lacks the file train-images-idx3-ubyte.gz"),
        (["prepare", "emnist/mnist", "--manual-dir", "."], "lacks the file gzip.zip"),
        (["prepare", "mnist", "--manual-dir", "absent"], "manual folder absent does not exist"),
        (["list", "--data-dir", "absent"], "data folder absent does not exist"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    working_dir, monkeypatch, capsys, arguments, message
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(working_dir / "tfds"))
    code, out, err = command(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(working_dir.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(files, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"could not be prepared in .*file: .*Not a directory"):
        prepare_idx(tiny(), manual_dir=files, data_dir=tmp_path / "file")


@pytest.mark.parametrize("installed", [False, True])
def test_absent_tensorflow_names_the_extra(tmp_path, monkeypatch, installed):
    import tensorflow_datasets as tfds

    def fails(self, **_):
        raise RuntimeError("while unpacking") from ModuleNotFoundError("No module 'tensorflow'")

    monkeypatch.setattr(tfds.builder_cls("cifar10"), "download_and_prepare", fails)
    monkeypatch.setattr(prepared, "has_tensorflow", lambda: installed)
    message = "while unpacking" if installed else r"pip install 'initopt-jax\[prepare\]'"
    with pytest.raises(ConfigError, match=message):
        prepare("cifar10", manual_dir=tmp_path, data_dir=tmp_path / "tfds")


def test_the_list_shows_what_is_prepared_and_what_is_damaged(files, tmp_path, monkeypatch, capsys):
    data_dir = tmp_path / "tfds"
    code, out, _ = command(monkeypatch, capsys, "list", "--data-dir", tmp_path)
    assert code == 0
    assert f"nothing is prepared in {tmp_path}" in out
    prepare_idx(tiny(), manual_dir=files, data_dir=data_dir)
    for name in ("1.0.0", "3.0.0"):
        other = data_dir / "tiny_digits" / name
        other.mkdir()
        (other / "features.json").write_text("{")
    code, out, _ = command(monkeypatch, capsys, "list", "--data-dir", data_dir)
    rows = [line for line in out.splitlines() if "tfds:tiny_digits" in line]
    assert code == 0
    assert len(rows) == 3
    assert "train 20, test 8" in rows[1]
    assert all("cannot be read" in row for row in (rows[0], rows[2]))
    assert "digits" in out
    assert "teacher" in out


def test_the_cache_is_shown_and_cleared(tmp_path, monkeypatch, capsys):
    from initopt_jax.data import cache
    from initopt_jax.types import Split

    monkeypatch.setenv("INITOPT_CACHE_DIR", str(tmp_path))
    part = Split(np.zeros((1024, 4), np.float32), np.zeros(1, np.int32))
    cache.kept(cache.make_key(a=1), lambda: ((part,), {}))
    code, out, _ = command(monkeypatch, capsys, "cache")
    assert code == 0
    assert "1 entry, 16." in out
    assert "KiB of 4.0 GiB allowed" in out
    assert "1 entry" in command(monkeypatch, capsys, "cache", "--clear")[1]
    assert "0 entries, 0.0 KiB of" in command(monkeypatch, capsys, "cache")[1]


def test_mnist_from_its_four_files_is_the_prepared_one(tmp_path):
    place = os.environ.get("TFDS_DATA_DIR")
    manual = Path(place or "absent").parent / "mnist"
    if not (place and (Path(place) / "mnist").is_dir() and manual.is_dir()):
        pytest.skip("needs TFDS_DATA_DIR with MNIST, and the four files in `mnist` beside it")
    assert prepare("mnist", manual_dir=manual, data_dir=tmp_path).unchecked == ()
    spec = {"name": "tfds:mnist"}
    ours, theirs = (
        load(spec, kind="classification", split=SplitSpec(), data_dir=str(folder))
        for folder in (tmp_path, place)
    )
    assert ours.fingerprint == theirs.fingerprint
    for part in ("train", "val", "test"):
        for one, other in zip(getattr(ours, part), getattr(theirs, part), strict=True):
            np.testing.assert_array_equal(one, other)
