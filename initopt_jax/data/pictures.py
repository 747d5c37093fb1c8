"""Pictures of a prepared set: checked, decoded once by all cores, kept in the cache."""

import contextlib
import io
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.data import cache, prepared
from initopt_jax.data.pixels import open_picture
from initopt_jax.errors import ConfigError
from initopt_jax.memory import require_memory
from initopt_jax.types import Split

_READ_AT_ONCE = 1000  # records; bounds the encoded pictures held in memory
_COLOUR_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels to Pillow's name
# Measured: a picture takes about 50 µs and 13 ns per byte to decode, a process a few seconds to
# start on busy cores. MNIST (4 s) is not worth sharing: two processes took 8 s.
_PER_PICTURE, _PER_BYTE = 50e-6, 13e-9  # seconds
_WORTH_A_PROCESS = 10.0  # seconds of decoding
_CHILD = (
    "import json, sys; from initopt_jax.data import pictures as p; p.work(json.loads(sys.argv[1]))"
)
_Shape = tuple[int, int, int]


@dataclass(frozen=True)
class PictureSet:
    """A prepared set of pictures.

    Attributes:
        name: how messages call it.
        folder: of the prepared version.
        builder: the TFDS builder of the folder.
        shape: of one picture, [H, W, C].
        classes: number of classes.
        content: digest of the files, and the versions that decode them.
    """

    name: str
    folder: Path
    builder: Any
    shape: _Shape
    classes: int
    content: str

    def examples(self, split: str, rows: np.ndarray, *, whole: bool) -> Split:
        """Chosen examples of a stored split, in the order of `rows`.

        Args:
            split: name of the stored split.
            rows: which of its examples.
            whole: decode all of the split and keep it; otherwise, unless it was kept before, only
                the rows.

        Returns:
            uint8 pictures [N, H, W, C] and int32 labels.

        Raises:
            ConfigError: the files cannot be read.
        """
        key = cache.make_key(content=self.content, decoded=split)
        if not whole and not cache.holds(key):
            return self.decoded(split, rows)
        found = cache.kept(key, lambda: ((self._everything(split),), {}))
        return Split(*(array[rows] for array in found.splits[0]))

    def decoded(self, split: str, rows: np.ndarray) -> Split:
        """As `examples`, in this process and without the cache."""
        size = len(rows) * math.prod(self.shape)
        require_memory(size, f"data set {self.name}", "set limit")
        pictures = np.empty((len(rows), *self.shape), np.uint8)
        labels = np.empty(len(rows), np.int32)
        order = np.argsort(rows)  # records are read fastest in the order in which they are stored
        try:
            source = prepared.open_records(self.name, self.builder, split)
            for start in range(0, len(rows), _READ_AT_ONCE):
                places = order[start : start + _READ_AT_ONCE]
                records = source.__getitems__(rows[places].tolist())
                # No threads: decoding holds the interpreter, and they made it no faster.
                for place, record in zip(places, records, strict=True):
                    pictures[place] = _decode(record["image"], self.shape)
                    labels[place] = record["label"]
        except Exception as error:  # noqa: BLE001 - whatever array_record, TFDS and Pillow raise
            raise prepared.unreadable(self.name, self.builder.data_path, error) from None
        return Split(pictures, labels)

    def _everything(self, split: str) -> Split:
        count = self.builder.info.splits[split].num_examples
        seconds = count * (_PER_PICTURE + _PER_BYTE * math.prod(self.shape))
        workers = min(_cores(), int(seconds / _WORTH_A_PROCESS))
        if workers > 1:
            bounds = np.linspace(0, count, workers + 1).astype(int).tolist()
            if (shared := _in_processes(self, split, bounds)) is not None:
                return shared
        return self.decoded(split, np.arange(count))


def open_pictures(name: str, folder: Path, builder: Any, content: str) -> PictureSet:
    """A prepared set of pictures of one size with a class label.

    Args:
        name: how messages call it.
        folder: of the prepared version.
        builder: the TFDS builder of the folder.
        content: digest of what its arrays follow from.

    Returns:
        The set; nothing is read yet.

    Raises:
        ConfigError: the set has other features; it says which.
    """
    shape, classes = check_features(name, dict(builder.info.features.items()))
    return PictureSet(name, folder, builder, shape, classes, content)


def check_features(name: str, features: Mapping[str, Any]) -> tuple[_Shape, int]:
    """Shape [H, W, C] and number of classes, or a ConfigError that names what the set has."""
    import tensorflow_datasets as tfds

    needed = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    if not all(isinstance(features.get(key), feature) for key, feature in needed.items()):
        listed = ", ".join(
            f"{key} ({type(value).__name__})" for key, value in sorted(features.items())
        )
        raise ConfigError(
            f"data set {name} is no image classification set and no table: it needs image (Image) "
            f"and label (ClassLabel), or columns of numbers and a label, and has {listed}"
        )
    image, label = features["image"], features["label"]
    if None in image.shape:
        raise ConfigError(
            f"data set {name} has pictures of varying size {image.shape}; one size is needed"
        )
    if image.np_dtype != np.uint8 or image.shape[-1] not in _COLOUR_MODES:
        raise ConfigError(
            f"data set {name} has pictures of dtype {np.dtype(image.np_dtype)} and shape "
            f"{image.shape}; uint8 with 1, 3 or 4 channels is needed"
        )
    return image.shape, label.num_classes


def _decode(encoded: bytes, shape: _Shape) -> np.ndarray:
    mode = _COLOUR_MODES[shape[-1]]
    with open_picture(io.BytesIO(encoded)) as picture:
        if picture.size != (shape[1], shape[0]):
            raise ValueError(f"a picture of {picture.size}, and the set's are {shape[1::-1]}")
        converted = picture if picture.mode == mode else picture.convert(mode)
        return np.asarray(converted).reshape(shape)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(pictures: PictureSet, split: str, bounds: list[int]) -> Split | None:
    """All examples, a range of them decoded by each process; None where one of them failed.

    Plain commands, not `multiprocessing`: they neither fork a process that runs JAX's threads nor
    import the user's script a second time.
    """
    with tempfile.TemporaryDirectory(prefix="initopt-decode-") as scratch:
        ranges = list(itertools.pairwise(bounds))
        tasks = [
            {
                "name": pictures.name,
                "folder": str(pictures.folder),
                "split": split,
                "rows": rows,
                "out": f"{scratch}/{number}.npz",
            }
            for number, rows in enumerate(ranges)
        ]
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(_started(task)) for task in tasks]
            codes = [process.wait() for process in running]
        if any(codes):
            return None
        inputs = np.empty((bounds[-1], *pictures.shape), np.uint8)
        targets = np.empty(bounds[-1], np.int32)
        for task, (start, stop) in zip(tasks, ranges, strict=True):
            with np.load(task["out"], allow_pickle=False) as part:
                inputs[start:stop], targets[start:stop] = part["inputs"], part["targets"]
        return Split(inputs, targets)


@contextlib.contextmanager
def _started(task: Mapping[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that decodes its range; ended with the block, whatever ends it."""
    command = [sys.executable, "-c", _CHILD, json.dumps(task)]
    paths = os.pathsep.join(path or os.curdir for path in sys.path)
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def work(task: Mapping[str, Any]) -> None:
    """Decode a range of examples to a file: what a process of its own is started for."""
    folder = Path(task["folder"])
    builder = prepared.open_prepared(task["name"], folder)
    pictures = open_pictures(task["name"], folder, builder, content="")
    part = pictures.decoded(task["split"], np.arange(*task["rows"]))
    np.savez(task["out"], inputs=part.inputs, targets=part.targets)
