"""Sets prepared by TensorFlow Datasets, read without TensorFlow: pictures and tables."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.data import cache, prepared, tfds_tables
from initopt_jax.data.arrays import from_splits
from initopt_jax.data.finish import cut
from initopt_jax.data.notes import About
from initopt_jax.data.pictures import PictureSet, open_pictures
from initopt_jax.data.scaling import Scale
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Split

PREFIX = prepared.PREFIX
_PACKAGES = ("numpy", "pillow", "tensorflow-datasets")  # other versions may read other numbers
_FACTS = ("outputs", "notes", "columns", "classes", "pixel_unit")  # kept beside the arrays
_SCALES = ("input_scale", "target_scale")
_Rows = Mapping[str, tuple[str, np.ndarray]]  # for each part, the stored split and its examples


def load_tfds(request: Request) -> Dataset:
    """A prepared set of pictures or a table: `tfds:NAME`, `tfds:NAME/CONFIG`, `tfds:NAME:VERSION`.

    The set lies in `<data_dir>/<name>[/<config>]/<version>`; without a version the highest one
    there is read, and any prepared folder will do, whether or not TFDS knows its name. The
    published test split is kept, and validation is the end of a seeded permutation of the training
    split; where no test split was published, it is cut from the training split too. Other splits
    are not read. Pixels are divided by 255 before normalization; for tables see
    `tfds_tables.read_table`. The arrays are kept (see `cache`) and mapped from there the next time.

    Args:
        request: name, kind, split, data_dir and the common options. By default the folder is the
            environment variable TFDS_DATA_DIR, or else `~/tensorflow_datasets`. No more training
            pictures than `limit` are decoded.

    Returns:
        The data set; inputs [N, H, W, C] for pictures, [N, D] for tables.

    Raises:
        ConfigError: the name is unknown, the set is not prepared, is stored in a format that needs
            TensorFlow, or is neither an image classification set of one picture size nor a table.

    Reference: TensorFlow Datasets, https://www.tensorflow.org/datasets.
    """
    folder = prepared.prepared_folder(request.name, prepared.data_folder(request.data_dir))
    content = _content(request.name, folder)
    options = {"normalize": request.normalize, "limit": request.limit}
    key = cache.make_key(
        content=content,
        kind=request.kind,
        split=vars(request.split),
        options=options,
        facts=[*_FACTS, *_SCALES],
    )

    def make() -> tuple[tuple[Split, ...], dict[str, Any]]:
        data = _load(request, folder, content)
        facts = {name: getattr(data, name) for name in _FACTS}
        facts |= {name: scale and scale.to_json() for name, scale in _scales(data).items()}
        return (data.train, data.val, data.test), facts

    splits, facts, fingerprint = cache.kept(key, make)
    return Dataset(
        request.name,
        request.kind,
        *splits,
        outputs=facts["outputs"],
        fingerprint=fingerprint,
        shuffled=True,
        pixel_unit=facts["pixel_unit"],
        **{name: tuple(facts[name]) for name in ("notes", "columns", "classes")},
        **{name: facts[name] and Scale.from_json(facts[name]) for name in _SCALES},
    )


def _scales(data: Dataset) -> dict[str, Scale | None]:
    return {name: getattr(data, name) for name in _SCALES}


def _content(name: str, folder: Path) -> str:
    """What stored arrays follow from: the files, and the packages that read them."""
    try:
        digest = cache.digest_files(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise prepared.unreadable(name, folder, error) from None
    return " ".join([digest, *(f"{package} {version(package)}" for package in _PACKAGES)])


def _load(request: Request, folder: Path, content: str) -> Dataset:
    """The data set, made from its files."""
    builder = prepared.open_prepared(request.name, folder)
    features = dict(builder.info.features.items())
    columns = tfds_tables.find_columns(features, builder.info.supervised_keys)
    if columns is not None:
        return tfds_tables.read_table(request, columns, builder, _rows(request, builder))
    pictures = open_pictures(request.name, folder, builder, content)
    if request.kind != "classification":
        raise ConfigError(
            f"data set {request.name} is for classification, and the task is {request.kind}"
        )
    parts = _examples(pictures, _rows(request, builder), whole=request.limit is None)
    scaled = (Split(np.divide(x, 255, dtype=np.float32), labels) for x, labels in parts)
    return from_splits(
        request.name,
        *scaled,
        kind=request.kind,
        outputs=pictures.classes,
        normalize=request.normalize,
        about=About(shuffled=True, pixel_unit=255.0, classes=tuple(features["label"].names)),
    )


def _rows(request: Request, builder: Any) -> _Rows:
    """Which examples of which stored split make up train, val and test."""
    counts = {name: info.num_examples for name, info in builder.info.splits.items()}
    if "train" not in counts:
        raise ConfigError(
            f"data set {request.name} has no split named train, only: {', '.join(sorted(counts))}"
        )
    published = "test" in counts
    train, val, test = cut(request, counts["train"], with_test=not published)
    return {
        "train": ("train", train),
        "val": ("train", val),
        "test": ("test", np.arange(counts["test"])) if published else ("train", test),
    }


def _examples(pictures: PictureSet, rows: _Rows, *, whole: bool) -> list[Split]:
    """Train, val and test, each stored split opened once."""
    made: dict[str, Split] = {}
    for split in dict.fromkeys(split for split, _ in rows.values()):
        wanted = {part: chosen for part, (of, chosen) in rows.items() if of == split}
        everything = Split(
            *pictures.examples(split, np.concatenate(list(wanted.values())), whole=whole)
        )
        bounds = np.cumsum([len(chosen) for chosen in wanted.values()])[:-1]
        inputs, targets = (np.split(array, bounds) for array in everything)
        made |= dict(zip(wanted, map(Split, inputs, targets), strict=True))
    return [made[part] for part in ("train", "val", "test")]


ENTRY = DatasetSource(
    name=f"{PREFIX}NAME",
    load=load_tfds,
    kinds=("classification", "regression"),
    description="any prepared set of TFDS: pictures of one size with a class, such as tfds:mnist, "
    "or a table of numbers; published test split",
    reference="TensorFlow Datasets, https://www.tensorflow.org/datasets",
)
