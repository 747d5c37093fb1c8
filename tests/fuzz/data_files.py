"""Files of data: odd, damaged, with headers that promise too much; and a study that reads them."""

import base64
import contextlib
import io
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from PIL import Image

from initopt_jax.studies import preview
from tests.fuzz.hostile import NAMES
from tests.fuzz.outcome import Outcome, attempt

SECONDS = 20.0
CELLS = (
    "1", "2", "0.5", "-1e5", "1e400", "", " ", "NA", "nan", "inf", "-inf", "True", "01", "0x1",
    "1,5", "1.234,5", "a", "b", "c", '"', '"a', "'", "é", "\x00", "2024-01-31", "1_000", "٣",
    "9" * 400, "9" * 5000, "1e-400", "#", "=1+1", "None", "null", "?", "-999",
)  # fmt: skip
HEADS = ("x", "y", "z", "target", "target", "id", "", "index", "a b", "é", "1", "Unnamed: 0", "x.1")
KINDS = ("csv", "csv", "csv", "npz", "npz", "folder", "folder", "parquet", "special")


def _table(draw: Any) -> list[list[str]]:
    """Rows of a table: mostly numbers, with cells that do not belong there."""
    width, height = draw(st.integers(1, 4)), draw(st.integers(0, 24))
    head = [draw(st.sampled_from(HEADS)) for _ in range(width - 1)] + ["target"]
    rows = [head]
    for number in range(height):
        row = [str((number * 7 + column * 3) % 11 / 2) for column in range(width - 1)]
        rows.append([*row, str(number % 2)])
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.integers(0, len(rows) - 1))
        how = draw(st.integers(0, 5))
        cells = rows[row]
        if how <= 3 and cells:
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(CELLS))
        elif how == 4:
            cells.append(draw(st.sampled_from(CELLS)))
        elif cells:
            cells.pop()
    return rows


def _csv(draw: Any) -> bytes:
    comma = draw(st.sampled_from([",", ",", ",", ";", "\t", "|", " "]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
    text = end.join(comma.join(row) for row in _table(draw))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-16", "utf-8-sig", "latin-1", "utf-32"]))
    return text.encode(encoding, "replace")


def _npz(draw: Any) -> bytes:
    """Arrays as NumPy writes them, or members that say they are."""
    labels = np.arange(24) % 2
    arrays: dict[str, Any] = {"x": np.arange(48.0).reshape(24, 2), "y": labels}
    odd: tuple[Any, ...] = (
        np.zeros((0, 2)), np.zeros(24), np.float32(1), np.array(["a"] * 24),
        np.array([None] * 24), np.zeros((24, 2), complex), np.full((24, 2), np.nan),
        np.full((24, 2), np.inf), labels - 1, np.zeros((24, 2), "datetime64[s]"),
        np.zeros((24, 2), "float16"), np.zeros((24, 0)), np.zeros(24, [("a", "f4")]),
        np.zeros((24, 2), ">f8"), labels * 10**9, labels + 0.5, np.zeros((24, 1, 1, 1, 1, 1)),
        np.zeros((24, 2), bool), np.zeros((25, 2)), labels.astype("u8"), np.full((24, 2), 1e308),
        np.zeros((24, 2), "longdouble"), np.full((24, 2), 2**63, "u8"),
    )  # fmt: skip
    names = st.sampled_from(
        ["x", "y", "x_train", "y_test", "x_tets", "labels", "X", "", "a/b", "../x"]
    )
    for _ in range(draw(st.integers(0, 2))):
        arrays[draw(names)] = draw(st.sampled_from(odd))
    made = io.BytesIO()
    packed = draw(st.sampled_from([0, 8, 12, 14]))
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", packed) as archive:
        warnings.simplefilter("ignore")  # a name may stand there twice
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", member.getvalue())
        if draw(st.integers(0, 2)) == 0:
            shape = draw(st.sampled_from(["(10**12,)", "(1000000000000,)", "(-1,)", "(24, 2", "x"]))
            archive.writestr(draw(st.sampled_from(["x_val.npy", "x.npy", "z"])), _header(shape))
    return made.getvalue()


def _header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _picture(draw: Any) -> bytes:
    mode = draw(st.sampled_from(["L"] * 6 + ["RGB", "RGBA", "P", "1", "I;16", "CMYK", "F"]))
    size = draw(st.sampled_from([(4, 4)] * 6 + [(1, 1), (4, 5), (1, 4000)]))
    form = {"CMYK": "TIFF", "F": "TIFF"}.get(mode, "PNG")
    if mode in ("L", "RGB"):
        form = draw(
            st.sampled_from(["PNG"] * 4 + ["JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "EPS"])
        )
    made = io.BytesIO()
    with contextlib.suppress(OSError, ValueError):
        Image.new(mode, size).save(made, form)
    return made.getvalue()


def _huge_picture() -> bytes:
    """A PNG whose header says 100,000 x 100,000."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


OTHER = (
    b"", b"x", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",
    b"%PDF-1.4\n", b"RIFF\x00\x00\x00\x00WEBP", b"\x00" * 50, b"<svg/>", _huge_picture(),
    b"P5\n9999999 9999999\n255\n", b"P6 4 4 255\n", b"BM" + b"\xff" * 60,
    b"\xd7\xcd\xc6\x9a" + bytes(40), b"PK\x03\x04" + bytes(30),
)  # fmt: skip


def _folder(draw: Any) -> dict[str, bytes]:
    files = {f"pictures/{kind}/{n}.png": _png() for kind in "ab" for n in range(6)}
    for _ in range(draw(st.integers(0, 3))):
        names = [name for name in NAMES if 0 < len(name) < 200 and not {"/", "\0"} & set(name)]
        part = draw(st.sampled_from(["a", "b", "train", "test", "val", "c", *names]))
        file = draw(
            st.sampled_from(["1.png", "2.PNG", "x.jpg", "y.txt", ".hidden", "z.eps", *names])
        )
        deeper = draw(st.sampled_from(["", "", "a/"]))
        content = st.sampled_from(OTHER) | st.builds(_png) | st.just(_picture(draw))
        files[f"pictures/{part}/{deeper}{file}"] = draw(content)
    return files


def _png() -> bytes:
    made = io.BytesIO()
    Image.new("L", (4, 4), 7).save(made, "PNG")
    return made.getvalue()


def _parquet(draw: Any) -> bytes:
    made = io.BytesIO()
    column: Any = draw(
        st.sampled_from(
            [list(range(24)), ["a"] * 24, [None] * 24, [[1]] * 24, [b"x"] * 24, [{}] * 24]
        )
    )
    table = pd.DataFrame({"x": np.sin(np.arange(24.0)), "z": column, "target": np.arange(24) % 2})
    with contextlib.suppress(Exception):
        table.to_parquet(made)
    return made.getvalue()


def _damaged(draw: Any, content: bytes) -> bytes:
    """Bits flipped, cut, or followed by something, less than every second time."""
    changed = bytearray(content)
    how = draw(st.integers(0, 9))
    at = draw(st.integers(0, max(0, len(changed) - 1)))
    if how == 0 and changed:
        changed[at] ^= 1 << draw(st.integers(0, 7))
    elif how == 1:
        changed = changed[:at]
    elif how == 2:
        changed += draw(st.sampled_from([b"\x00", b"\xff\xfe", b"PK\x05\x06" + bytes(18), content]))
    elif how == 3:
        changed[at : at + 4] = draw(
            st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f"])
        )
    return bytes(changed)


@st.composite
def tries(draw: Any) -> dict[str, Any]:
    """Files as base64, the data set's entry, and the task."""
    kind = draw(st.sampled_from(KINDS))
    entry: dict[str, Any] = {"name": f"{kind}:data.{kind}"}
    if kind in ("csv", "parquet"):
        content = _csv(draw) if kind == "csv" else _parquet(draw)
        files = {f"data.{kind}": _damaged(draw, content)}
        entry["target"] = draw(
            st.sampled_from(["target"] * 5 + ["", "x", ["target"], ["x", "x"], 1])
        )
        known = [key for key in OPTIONS if kind == "csv" or key not in OF_TEXT]
        for key in draw(st.lists(st.sampled_from(known), max_size=2)):
            entry[key] = draw(st.sampled_from(OPTIONS[key]))
    elif kind == "npz":
        files = {"data.npz": _damaged(draw, _npz(draw))}
    elif kind == "folder":
        entry = {"name": "folder:pictures"}
        files = {name: _damaged(draw, content) for name, content in _folder(draw).items()}
        entry |= draw(
            st.sampled_from([{"size": 4, "channels": 1}] * 4 + [{}, {"size": [4, 4]}, {"size": 0}])
        )
    else:
        files = {}
        entry = {"name": draw(st.sampled_from(["csv:", "npz:", "parquet:", "folder:"]))}
        entry["name"] += draw(
            st.sampled_from(["pipe", "loop", "zero", "void", "odd", "odd/a/x.png"])
        )
        if entry["name"].startswith(("csv", "parquet")):
            entry["target"] = "target"
    return {
        "files": {name: base64.b64encode(content).decode() for name, content in files.items()},
        "entry": entry,
        "task": draw(st.sampled_from(["classification", "classification", "regression"])),
    }


OF_TEXT = ("delimiter", "decimal", "thousands", "encoding", "header")
OPTIONS: dict[str, tuple[Any, ...]] = {
    "drop": (["x"], ["none"], "x", [], [1]),
    "categories": (["x"], {"x": "one_hot"}, {"x": ["1", "2"]}, {"x": []}, "x", ["none"]),
    "missing": ("drop", "mean", "median", {"values": ["?", -999], "fill": "median"}, "none", {}),
    "delimiter": (",", ";", "whitespace", "", ",,", "\n", "a", "\x00"),
    "decimal": (".", ",", "", "x"),
    "thousands": (",", ".", "", "1"),
    "encoding": ("latin-1", "utf-8", "nothing", "idna", "punycode", "base64", "", "utf-7", "\x00"),
    "header": (False, True, 3),
    "keep": (["x"], ["id"], []),
    "limit": (1, 5, 0, -1, 10**12),
    "test": ("data.csv", "none.csv", "pipe", "", "."),
    "normalize": (True, False, "x"),
    "label_noise": (0.5, 1.0, 2.0, -1),
}


def try_data(given: Mapping[str, Any], folder: Path) -> Outcome:
    """A study of the files is planned, in their folder."""
    _write(given["files"], folder)
    config = {
        "name": "fuzz",
        "task": {"name": given["task"], "dataset": given["entry"], "batch_size": "full"},
        "model": "linear",
        "initializers": ["lecun_normal"],
        "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
        "seeds": 1,
        "steps": 2,
    }
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attempt(lambda: preview.plan(config, devices=1) and None, SECONDS)


def _write(files: Mapping[str, str], folder: Path) -> None:
    """The files, and beside them what is no plain file."""
    for name, content in files.items():
        path = folder / name
        with contextlib.suppress(OSError, ValueError):  # no such name can be
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(content))
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "void").symlink_to("/dev/null")
    (folder / "odd" / "a").mkdir(parents=True)
    (folder / "odd" / "b").mkdir()
    os.mkfifo(folder / "odd" / "a" / "x.png")
    (folder / "odd" / "b" / "x.png").symlink_to("/dev/zero")
