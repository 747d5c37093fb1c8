"""Image classification sets prepared by TensorFlow Datasets, read without TensorFlow."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.data.arrays import from_splits
from initopt_jax.data.finish import cut
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.errors import ConfigError, nearest
from initopt_jax.types import Dataset, Split

PREFIX = "tfds:"
_NAME = re.compile(r"(?P<set>\w+)(/(?P<config>\w[\w\-.]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_READ_AT_ONCE = 1000  # records; bounds the encoded pictures held in memory
_COLOUR_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels to Pillow's name


def load_tfds(request: Request) -> Dataset:
    """A prepared image classification set: `tfds:NAME`, `tfds:NAME/CONFIG` or `tfds:NAME:VERSION`.

    The set lies in `<data_dir>/<name>[/<config>]/<version>`; without a version the highest one
    there is read, and any prepared folder will do, whether or not TFDS knows its name. The
    published test split is kept, and validation is the end of a seeded permutation of the training
    split; where no test split was published, it is cut from the training split too. Other splits
    are not read. Pixels are divided by 255 before normalization.

    Args:
        request: name, kind, split, data_dir and the common options. By default the folder is the
            environment variable TFDS_DATA_DIR, or else `~/tensorflow_datasets`. No more training
            pictures than `limit` are decoded.

    Returns:
        The data set; inputs [N, H, W, C].

    Raises:
        ConfigError: the name is unknown, the set is not prepared, is stored in a format that needs
            TensorFlow, or is no image classification set of one picture size.

    Reference: TensorFlow Datasets, https://www.tensorflow.org/datasets.
    """
    import tensorflow_datasets as tfds  # half a second to import

    folder = _prepared_folder(request.name, _data_dir(request.data_dir))
    builder = tfds.builder_from_directory(folder)
    shape, classes = _picture_features(request.name, builder.info.features)
    counts = {name: info.num_examples for name, info in builder.info.splits.items()}
    if "train" not in counts:
        raise ConfigError(
            f"data set {request.name} has no split named train, only: {', '.join(sorted(counts))}"
        )
    published_test = "test" in counts
    train, val, test = cut(request, counts["train"], with_test=not published_test)
    held_out = np.concatenate([train, val, test])
    pictures = _read(request.name, builder, "train", held_out, shape)
    parts = _cut(pictures, [len(train), len(train) + len(val)])
    if published_test:
        parts[2] = _read(request.name, builder, "test", np.arange(counts["test"]), shape)
    scaled = (Split(np.divide(x, 255, dtype=np.float32), labels) for x, labels in parts)
    return from_splits(
        request.name, *scaled, kind=request.kind, outputs=classes, normalize=request.normalize
    )


def _data_dir(given: str | None) -> Path:
    chosen = given or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def _prepared_folder(name: str, data_dir: Path) -> Path:
    """The folder with the features of the set, or a ConfigError that says how to get one."""
    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None:
        raise ConfigError(
            f"data set {name!r} must be written tfds:NAME, tfds:NAME/CONFIG, or either with "
            ":VERSION (such as tfds:mnist:3.0.1)"
        )
    root = data_dir / match["set"]
    place = root / match["config"] if match["config"] else root
    prepared = _versions(place)
    fitting = [folder for folder in prepared if match["version"] in (None, folder.name)]
    if fitting:
        return fitting[-1]
    _refuse_ambiguous(name, root, config_given=bool(match["config"]))
    if not root.is_dir():
        _refuse_unknown(name, match["set"], data_dir)
    others = ", ".join(folder.name for folder in prepared)
    there = f" (there are: {others})" if others else ""
    raise ConfigError(
        f"data set {name} is not prepared: looked for {place / (match['version'] or '<version>')}"
        f"{there}. Point TFDS_DATA_DIR to the folder that holds it, or prepare it (needs the "
        f"network; some sets need TensorFlow): tfds.builder({name.removeprefix(PREFIX)!r}, "
        f"data_dir={str(data_dir)!r}, file_format='array_record').download_and_prepare()"
    )


def _versions(place: Path) -> list[Path]:
    """Prepared versions in a folder, lowest first."""
    if not place.is_dir():
        return []
    found = [
        path
        for path in place.iterdir()
        if _VERSION.fullmatch(path.name) and (path / "features.json").is_file()
    ]
    return sorted(found, key=lambda path: tuple(int(part) for part in path.name.split(".")))


def _refuse_ambiguous(name: str, root: Path, *, config_given: bool) -> None:
    """The set is there, but in configs of which one must be named."""
    inside = sorted(root.iterdir()) if root.is_dir() else []
    configs = [path.name for path in inside if path.is_dir() and _versions(path)]
    if configs and not config_given:
        raise ConfigError(
            f"data set {name} is prepared in {root} with configs; name one of them: "
            + ", ".join(f"{PREFIX}{root.name}/{config}" for config in configs)
        )


def _refuse_unknown(name: str, bare: str, data_dir: Path) -> None:
    """TFDS has no set of that name, and there is no folder of it either."""
    import tensorflow_datasets as tfds

    # The community list is left out: it is fetched from the network.
    known = set(tfds.list_builders(with_community_datasets=False))
    if bare in known:
        return
    there = (
        {path.name for path in data_dir.iterdir() if path.is_dir()} if data_dir.is_dir() else set()
    )
    close = nearest(bare, sorted(known | there))
    hint = f"; did you mean '{PREFIX}{close}'?" if close else "."
    raise ConfigError(
        f"unknown data set {name!r}{hint} Neither TFDS knows it nor is it prepared in {data_dir}"
    )


def _picture_features(name: str, features: Any) -> tuple[tuple[int, int, int], int]:
    """Shape [H, W, C] and number of classes, or a ConfigError that names what the set has."""
    import tensorflow_datasets as tfds

    by_name: dict[str, Any] = dict(features.items())
    needed = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    if not all(isinstance(by_name.get(key), feature) for key, feature in needed.items()):
        listed = ", ".join(
            f"{key} ({type(value).__name__})" for key, value in sorted(by_name.items())
        )
        raise ConfigError(
            f"data set {name} is no image classification set: it needs image (Image) and "
            f"label (ClassLabel), and has {listed}"
        )
    image, label = by_name["image"], by_name["label"]
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


def _read(
    name: str, builder: Any, split: str, rows: np.ndarray, shape: tuple[int, int, int]
) -> Split:
    """Chosen examples of a stored split, in the order of `rows`: uint8 pictures, int32 labels."""
    pictures = np.empty((len(rows), *shape), np.uint8)
    labels = np.empty(len(rows), np.int32)
    order = np.argsort(rows)  # records are read fastest in the order in which they are stored
    try:
        source = _open(name, builder, split)
        for start in range(0, len(rows), _READ_AT_ONCE):
            places = order[start : start + _READ_AT_ONCE]
            records = source.__getitems__(rows[places].tolist())
            # No threads: decoding a small picture is mostly Python, and they made it slower.
            for place, record in zip(places, records, strict=True):
                pictures[place] = _decode(record["image"], shape)
                labels[place] = record["label"]
    except (OSError, RuntimeError) as error:  # array_record reports all its troubles as the latter
        raise ConfigError(
            f"data set {name} cannot be read from {builder.data_path} ({error}); "
            "copy or prepare it again"
        ) from None
    return Split(pictures, labels)


def _open(name: str, builder: Any, split: str) -> Any:
    """The records of a stored split by number, pictures still encoded."""
    import tensorflow_datasets as tfds

    try:
        # Pillow decodes later, so that the bytes do not depend on whether OpenCV is installed.
        return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except NotImplementedError:
        raise ConfigError(
            f"data set {name} is stored in {builder.data_path} as "
            f"{builder.info.file_format.value}, which needs TensorFlow; prepare it with "
            "file_format='array_record'"
        ) from None


def _decode(encoded: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    mode = _COLOUR_MODES[shape[-1]]
    with Image.open(io.BytesIO(encoded)) as picture:
        converted = picture if picture.mode == mode else picture.convert(mode)
        return np.asarray(converted).reshape(shape)


def _cut(pictures: Split, bounds: list[int]) -> list[Split]:
    inputs, targets = (np.split(array, bounds) for array in pictures)
    return [Split(*pair) for pair in zip(inputs, targets, strict=True)]


ENTRY = DatasetSource(
    name=f"{PREFIX}NAME",
    load=load_tfds,
    kinds=("classification",),
    description="any prepared image classification set of TFDS, such as tfds:mnist; pictures "
    "[H, W, C], published test split",
    reference="TensorFlow Datasets, https://www.tensorflow.org/datasets",
)
