"""Where prepared TFDS sets lie: finding one by name, and listing all of a folder."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from initopt_jax.errors import ConfigError, nearest
from initopt_jax.opening import refuse_special

PREFIX = "tfds:"
FEATURES = "tensorflow_datasets."  # begins the names of all kinds of features that TFDS has
EXTRA = "pip install 'initopt-jax[prepare]'"
_NAME = re.compile(r"(?P<set>\w+)(/(?P<config>\w[\w\-.]*))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Name:
    """A name taken apart: `tfds:NAME`, `tfds:NAME/CONFIG`, either with `:VERSION`."""

    set: str
    config: str | None
    version: str | None


@dataclass(frozen=True)
class PreparedSet:
    """One prepared version of a set.

    Attributes:
        name: as a config names it, such as `tfds:mnist`.
        version: of the set.
        splits: examples of each stored split.
        example: shape and kind of one example, for people.
        classes: number of classes; None where it has no class label.
        bytes: size of its files.
        trouble: why it cannot be read here; empty if it can.
    """

    name: str
    version: str
    splits: dict[str, int]
    example: str
    classes: int | None
    bytes: int
    trouble: str = ""


def data_folder(given: str | Path | None) -> Path:
    """The folder of prepared sets: as given, else TFDS_DATA_DIR, else TFDS's default."""
    chosen = given or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def parse_name(name: str) -> Name:
    """The parts of a name, with or without `tfds:`. Raises ConfigError where it has no such form.

    >>> parse_name("tfds:emnist/letters:3.1.0")
    Name(set='emnist', config='letters', version='3.1.0')
    """
    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None:
        raise ConfigError(
            f"data set {name!r} must be written tfds:NAME, tfds:NAME/CONFIG, or either with "
            ":VERSION (such as tfds:mnist:3.0.1)"
        )
    return Name(match["set"], match["config"], match["version"])


def prepared_folder(name: str, data_dir: Path) -> Path:
    """The folder with the features of the set, or a ConfigError that says how to get one."""
    parts = parse_name(name)
    root = data_dir / parts.set
    place = root / parts.config if parts.config else root
    prepared = _versions(place)
    fitting = [folder for folder in prepared if parts.version in (None, folder.name)]
    if fitting:
        return fitting[-1]
    _refuse_ambiguous(name, root, config_given=bool(parts.config))
    if not root.is_dir():
        refuse_unknown(name, parts.set, data_dir)
    others = ", ".join(folder.name for folder in prepared)
    there = f" (there are: {others})" if others else ""
    raise ConfigError(
        f"data set {name} is not prepared: looked for {place / (parts.version or '<version>')}"
        f"{there}. Point TFDS_DATA_DIR to the folder that holds it, or prepare it (needs the "
        f"network, or files that you have): initopt data prepare {name.removeprefix(PREFIX)} "
        f"--data-dir {str(data_dir)!r}"
    )


def refuse_unknown(name: str, bare: str, data_dir: Path) -> None:
    """Raise a ConfigError unless TFDS knows a set of that name; the nearest name is told."""
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
    few = (
        ""
        if has_tensorflow()
        else f". Without TensorFlow, TFDS knows only some of its sets; all of them with {EXTRA}"
    )
    raise ConfigError(
        f"unknown data set {name!r}{hint} Neither TFDS knows it nor is it prepared in "
        f"{data_dir}{few}"
    )


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; it is not imported."""
    return util.find_spec("tensorflow") is not None


def list_prepared(data_dir: Path) -> list[PreparedSet]:
    """All prepared versions in a folder, by name, lowest version first."""
    return [_described(name, folder) for name, folder in _walk(data_dir)]


def open_prepared(name: str, folder: Path) -> Any:
    """The TFDS builder of a prepared folder. Raises ConfigError where its files are damaged."""
    import tensorflow_datasets as tfds

    for path in folder.iterdir():
        if not path.is_dir():
            refuse_special(f"data set {name}", path)
    try:
        _refuse_foreign_features(name, json.loads((folder / "features.json").read_bytes()))
        builder = tfds.builder_from_directory(folder)
        dict(builder.info.features.items())
    # what damaged JSON, absent files and classes that TFDS no longer has end in
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - of other packages, who tell in many ways
        raise unreadable(name, folder, error) from None
    return builder


def _refuse_foreign_features(name: str, value: Any) -> None:
    """Refuse kinds of features that are not TFDS's: it imports whatever module a set names."""
    if isinstance(value, dict):
        kind = value.get("pythonClassName", FEATURES)
        if not str(kind).startswith(FEATURES):
            raise ConfigError(
                f"data set {name} has features of the kind {kind!r}, which is not TFDS's own; it "
                "would import a module for them, and is not read"
            )
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _refuse_foreign_features(name, item)


def open_records(name: str, builder: Any, split: str) -> Any:
    """The records of a stored split by number; pictures are left encoded.

    Raises:
        ConfigError: the set is stored in a format that needs TensorFlow.
    """
    import tensorflow_datasets as tfds

    encoded = {
        key: tfds.decode.SkipDecoding()
        for key, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    try:
        # Pillow decodes later, so that the bytes do not depend on whether OpenCV is installed.
        return builder.as_data_source(split, decoders=encoded or None)
    except NotImplementedError:
        raise ConfigError(
            f"data set {name} is stored in {builder.data_path} as "
            f"{builder.info.file_format.value}, which needs TensorFlow; prepare it with "
            "file_format='array_record'"
        ) from None


def unreadable(name: str, place: Any, error: Exception) -> ConfigError:
    """The error of a set whose files are there and cannot be read."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return ConfigError(
        f"data set {name} cannot be read from {place} ({reason}); copy or prepare it again"
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


def _walk(data_dir: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of each prepared version, sets and their configs alike."""
    for root in _folders(data_dir):
        yield from ((f"{PREFIX}{root.name}", folder) for folder in _versions(root))
        for config in _folders(root):
            name = f"{PREFIX}{root.name}/{config.name}"
            yield from ((name, folder) for folder in _versions(config))


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _described(name: str, folder: Path) -> PreparedSet:
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    try:
        info = open_prepared(name, folder).info
    except ConfigError as error:
        return PreparedSet(name, folder.name, {}, "", None, size, str(error))
    file_format = getattr(info.file_format, "value", "an unknown format")
    trouble = "" if file_format == "array_record" else f"stored as {file_format}: needs TensorFlow"
    example, classes = _summary(dict(info.features.items()))
    splits = {key: split.num_examples for key, split in info.splits.items()}
    return PreparedSet(name, folder.name, splits, example, classes, size, trouble)


def _summary(features: Mapping[str, Any]) -> tuple[str, int | None]:
    """One example for people, and the number of classes of its first class label."""
    import tensorflow_datasets as tfds

    labels = [f.num_classes for f in features.values() if isinstance(f, tfds.features.ClassLabel)]
    if isinstance(features.get("image"), tfds.features.Image):
        sizes = features["image"].shape
        example = " x ".join("?" if size is None else str(size) for size in sizes)
    else:
        example = ", ".join(sorted(features))
    return example, labels[0] if labels else None
