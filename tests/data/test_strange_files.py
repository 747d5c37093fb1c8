"""Files of data from strangers: damaged, huge by their head, or no files at all."""

import gzip
import io
import json
import os
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from initopt_jax.config.schema import read_config
from initopt_jax.data import SplitSpec, load, pixels, prepared
from initopt_jax.data.idx import read_idx
from initopt_jax.errors import ConfigError

SPEC = SplitSpec()


def read(name, folder, **options):
    options = {"target": "y"} if name.startswith(("csv:", "parquet:")) else options
    named = {"name": name, **options}
    return load(named, kind="classification", split=SPEC, folders=[folder])


# --- no plain files -------------------------------------------------------------------------------


@pytest.fixture(params=["pipe", "socket", "device", "loop"])
def special(request, tmp_path):
    """A path, relative to the folder, that is no plain file, and what it is called."""
    place = tmp_path / "strange"
    if request.param == "pipe":
        os.mkfifo(place)
        yield place, "a pipe"
    elif request.param == "device":
        place.symlink_to("/dev/zero")
        yield place, "a device"
    elif request.param == "loop":
        place.symlink_to(place)
        yield place, "no path to a file|nothing is at|cannot be read"
    else:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket may have 100 letters
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("strange")
            os.chdir(here)
            yield place, "a socket"


@pytest.mark.parametrize("prefix", ["npz:", "csv:", "parquet:"])
def test_what_is_no_plain_file_is_not_opened(special, tmp_path, prefix):
    _, message = special
    with pytest.raises(ConfigError, match=message):
        read(f"{prefix}strange", tmp_path)


def test_no_plain_file_among_pictures(special, tmp_path):
    place, message = special
    write_pictures(tmp_path / "p")
    place.rename(tmp_path / "p" / "a" / "x.png")
    if "path" in message:
        (tmp_path / "p" / "a" / "x.png").unlink()
        (tmp_path / "p" / "a" / "x.png").symlink_to(tmp_path / "p" / "a" / "x.png")
    with pytest.raises(ConfigError, match=rf"x\.png.*({message})"):
        read("folder:p", tmp_path)


def test_a_pipe_is_no_config(tmp_path):
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match=r"c\.yaml is a pipe"):
        read_config(tmp_path / "c.yaml")


# --- archives of arrays ---------------------------------------------------------------------------


def header(shape, descr="'<f4'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npy(array, **how):
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


X, Y = npy(np.zeros((20, 2), np.float32)), npy(np.arange(20) % 2)


def damaged(content):
    """An archive in which the first member's bytes are not those of its checksum."""
    place = content.index(b"\x93NUMPY") + 130
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def encrypted(content):
    """An archive that says of its first member that it has a password."""
    head, entry = content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8
    for place in (head, entry):
        content = content[:place] + bytes([content[place] | 1]) + content[place + 1 :]
    return content


@pytest.mark.parametrize(
    ("members", "change", "message"),
    [
        ([("x.npy", X), ("y.npy", Y)], damaged, r"x\.npy is damaged \(.*CRC"),
        ([("x.npy", X), ("y.npy", Y)], encrypted, r"x\.npy is encrypted"),
        ([("x.npy", X), ("x.npy", Y)], None, r"holds 'x\.npy' twice"),
        ([("x.npy", X), ("notes.txt", b"hello")], None, r"notes\.txt is no array"),
        ([("x.npy", b"hello")], None, r"x\.npy is damaged"),
        ([("x.npy", X[:-4]), ("y.npy", Y)], None, r"x\.npy is damaged: its header tells of 160 b"),
        ([("x.npy", X + b"more")], None, r"x\.npy is damaged: .* and 164 follow"),
        ([("x.npy", header("(1000000000000,)"))], None, r"tells of 4,000,000,000,000 .* and 0 fol"),
        ([("x.npy", header("(-1,)"))], None, r"x\.npy is damaged"),
        ([("x.npy", header("(3,", "'<f4'"))], None, r"x\.npy is damaged"),
        ([("x.npy", header("(3,)", "'|O'"))], None, r"x\.npy holds Python objects"),
        ([("x.npy", npy(np.array([{}], object), allow_pickle=True))], None, "Python objects"),
        ([("x.npy", b"\x93NUMPY\x09\x00")], None, r"x\.npy is damaged"),
        ([(f"{n}.npy", b"") for n in range(1001)], None, "1,001 members, and 1,000 are allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_archives(tmp_path, members, change, message):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    content = packed.getvalue()
    (tmp_path / "a.npz").write_bytes(change(content) if change else content)
    with pytest.raises(ConfigError, match=rf"npz:a\.npz.*{message}"):
        read("npz:a.npz", tmp_path)


def test_arrays_that_do_not_fit_are_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((2000, 200)), y=np.arange(2000) % 2)
    monkeypatch.setenv("INITOPT_MEMORY", "1MiB")
    with pytest.raises(ConfigError, match=r"a\.npz needs about 3\.1 MiB .*INITOPT_MEMORY"):
        read("npz:a.npz", tmp_path)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head"),
    [("t.csv", b"\x1f\x8b\x08"), ("t.csv.gz", b"\x1f\x8b\x08"), ("t.zip", b"PK\x03\x04")],
)
def test_compressed_tables_are_not_unpacked(tmp_path, name, head):
    (tmp_path / name).write_bytes(head + b"whatever")
    with pytest.raises(ConfigError, match=rf"{name} cannot be read: it is compressed .*unpack"):
        read(f"csv:{name}", tmp_path)


def test_an_ending_alone_unpacks_nothing(tmp_path):
    rows = "".join(f"{n % 5},{n % 2}\n" for n in range(40))
    (tmp_path / "t.gz").write_text("x,y\n" + rows)
    assert read("csv:t.gz", tmp_path).train.inputs.shape == (24, 1)


def test_a_table_longer_than_the_memory(tmp_path, monkeypatch):
    with (tmp_path / "t.csv").open("wb") as file:
        file.write(b"x,y\n")
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(ConfigError, match=r"t\.csv needs about 1,024\.0 GiB"):
        read("csv:t.csv", tmp_path)


def test_damaged_parquet_is_told_in_words(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"x": [float(n % 5) for n in range(4000)], "y": [0, 1] * 2000})
    parquet.write_table(table, tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    monkeypatch.setenv("INITOPT_MEMORY", "32KiB")  # of a file of 2 KiB whose rows are alike
    with pytest.raises(ConfigError, match=r"t\.parquet needs about 62\.5 KiB"):
        read("parquet:t.parquet", tmp_path)
    monkeypatch.delenv("INITOPT_MEMORY")
    for content in (whole[: len(whole) // 2], whole[:-8] + b"\xff\xff\xff\x7fPAR1", b"PAR1" * 3):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(ConfigError, match=r"t\.parquet cannot be read"):
            read("parquet:t.parquet", tmp_path)


# --- pictures -------------------------------------------------------------------------------------


def write_pictures(folder, ending="png"):
    for name, shade in (("a", 0), ("b", 255)):
        (folder / name).mkdir(parents=True)
        for number in range(5):
            picture = Image.new("L", (4, 4), shade)
            picture.save(folder / name / f"{number}.{ending}", "PNG" if ending == "png" else None)


def png(width, height):
    """A picture by its head alone."""

    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(30_000, 30_000), r"900000000 pixels|30000 x 30000 pixels"),
        (png(11_000, 11_000), r"11000 x 11000 pixels, and 100,000,000 are allowed"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n", "Formats that are"),
        (b"8BPS\x00\x01" + bytes(20), "Formats that are read: BMP, GIF, JPEG"),
        (png(4, 4), r"x\.png cannot be read"),
        (b"\x89PNG\r\n\x1a\n", r"x\.png cannot be read"),
        (b"", r"x\.png cannot be read"),
    ],
)
def test_pictures_of_strangers(tmp_path, content, message):
    write_pictures(tmp_path / "p")
    (tmp_path / "p" / "a" / "x.png").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read("folder:p", tmp_path)


def test_files_of_other_formats_are_named_before_they_are_opened(tmp_path):
    write_pictures(tmp_path / "p")
    (tmp_path / "p" / "a" / "x.eps").write_bytes(b"%!PS")
    with pytest.raises(ConfigError, match=r"x\.eps has no ending of a picture.*: BMP, GIF"):
        read("folder:p", tmp_path)


def test_every_format_is_read(tmp_path):
    for number, name in enumerate(pixels.FORMATS):
        folder = tmp_path / str(number)
        write_pictures(folder)
        Image.new("RGB" if name == "WEBP" else "L", (4, 4), 0).save(folder / "a" / "x.png", name)
        made = read(f"folder:{number}", tmp_path, channels=1)
        assert made.train.inputs.shape[1:] == (4, 4, 1)


def test_pictures_that_would_not_fit(tmp_path, monkeypatch):
    write_pictures(tmp_path / "p")
    monkeypatch.setenv("INITOPT_MEMORY", "64MiB")
    with pytest.raises(ConfigError, match=r"folder:p needs about .*INITOPT_MEMORY"):
        read("folder:p", tmp_path, size=4000)


# --- sets that are prepared -----------------------------------------------------------------------


def test_idx_files_unpack_no_more_than_their_head_tells(monkeypatch):
    bomb = gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes(10**7))
    with pytest.raises(ConfigError, match=r"promises 3 values of shape \(3,\), and it holds more"):
        read_idx(bomb, name="labels", ndim=1)
    huge = bytes([0, 0, 8, 3]) + bytes([255] * 12)
    with pytest.raises(ConfigError, match=r"pictures needs about .*INITOPT_MEMORY"):
        read_idx(huge, name="pictures", ndim=3)


def test_prepared_sets_import_no_module(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise RuntimeError('code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "set" / "1.0.0"
    folder.mkdir(parents=True)
    features = {"pythonClassName": "evil.Feature", "custom": {}}
    kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    text = {"pythonClassName": kind, "featuresDict": {"features": {"x": features}}}
    (folder / "features.json").write_text(json.dumps(text))
    (folder / "dataset_info.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"features of the kind 'evil\.Feature'"):
        prepared.open_prepared("tfds:set", folder)
    (folder / "features.json").unlink()
    os.mkfifo(folder / "features.json")
    with pytest.raises(ConfigError, match=r"features\.json is a pipe"):
        prepared.open_prepared("tfds:set", folder)
