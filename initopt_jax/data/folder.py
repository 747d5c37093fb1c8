"""A folder of pictures, a subfolder per class."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.data.arrays import from_splits
from initopt_jax.data.finish import cut
from initopt_jax.data.notes import About
from initopt_jax.data.pixels import FORMATS, Head, Reader, check_max_value, endings
from initopt_jax.data.places import locate
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.data.split import require_integer
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Split

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
# Left by file managers and archives, besides names with a leading dot.
_HIDDEN = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}


def load_folder(
    request: Request,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    max_value: float | None = None,
) -> Dataset:
    """`folder:PATH`: pictures; the subfolders are the classes.

    Below PATH lie the class folders, or folders `train`, `val` and `test` (also `training`, `valid`
    and `validation`, in any case) with the class folders in each; what is missing of the
    latter two is cut from the training pictures by the seeded permutation. Classes are sorted by
    name, in the composed form of Unicode (NFC), and labelled in that order; folders whose names are
    equal in that form are one class. Formats are those of `pixels.FORMATS`. Pixels are in [0, 1]
    before normalization (see `Reader.scaled`), of a moving picture the first frame is taken,
    and rotations noted beside the picture (EXIF) are not applied; notes tell where that is so.

    Args:
        request: name, kind, split and the common options; with `limit` only the chosen pictures
            are opened.
        size: `H` or `[H, W]` in pixels, at least 1; pictures are resized to it (bilinear, averaged
            where they shrink). By default their common size.
        channels: 1 (grey) or 3 (colour); pictures are converted, and transparency is dropped. By
            default as the pictures are.
        max_value: the number in the files that becomes 1, above 0. By default 255, and for 16-bit
            grey the largest number of the fewest bits that hold all of them.

    Returns:
        The data set; inputs [N, H, W, channels].

    Raises:
        ConfigError: the folder is not laid out so, a file is no readable picture, or the pictures
            differ in size or channels and the option does not say what to do.
    """
    shape = _shape(size)
    if channels is not None and (isinstance(channels, bool) or channels not in (1, 3)):
        raise ConfigError(f"channels must be 1 or 3, got {channels!r}")
    root = locate(request.name, request.path, request.folders, folder=True)
    splits, classes = _survey(request.name, root)
    rows = cut(
        request,
        len(splits["train"][0]),
        with_val="val" not in splits,
        with_test="test" not in splits,
    )
    chosen = [_pick(splits["train"], part) for part in rows]
    for place, split in ((1, "val"), (2, "test")):
        chosen[place] = splits.get(split, chosen[place])
    reader = Reader(request.name, root, check_max_value(max_value))
    heads = [[reader.head(file) for file in files] for files, _ in chosen]
    every = [head for group in heads for head in group]
    shape = shape or _common_size(reader, every)
    channels = channels or _common_channels(reader, every)
    stored = [reader.decode(group, shape, channels) for group in heads]
    pictures, notes = reader.scaled(heads, stored)
    parts = [
        Split(inputs, np.array(labels, np.int32))
        for inputs, (_, labels) in zip(pictures, chosen, strict=True)
    ]
    unit = reader.max_value or _unit(every, stored, pictures)
    about = About((), tuple(classes), tuple(notes), shuffled=True, pixel_unit=unit)
    options = {"outputs": len(classes), "normalize": request.normalize, "about": about}
    return from_splits(request.name, *parts, kind=request.kind, **options)


def _unit(
    heads: Sequence[Head], stored: Sequence[np.ndarray], pictures: Sequence[np.ndarray]
) -> float | None:
    """What pixels were divided by; None where some have 8 bits and others 16."""
    deep = {head.deep for head in heads}
    if deep == {False}:
        return 255.0
    largest = max((float(part.max()) for part in pictures), default=0.0)
    if len(deep) > 1 or largest == 0:
        return None
    return float(round(max(float(part.max()) for part in stored) / largest))


_Listing = tuple[list[Path], list[int]]  # files and their labels


def _pick(listing: _Listing, rows: np.ndarray) -> _Listing:
    files, labels = listing
    return [files[row] for row in rows], [labels[row] for row in rows]


def _shape(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(pair) != 2:
        raise ConfigError(f"size must be one number or [height, width], got {size!r}")
    for value in pair:
        require_integer("size", value, least=1)
    return int(pair[0]), int(pair[1])


def _survey(name: str, root: Path) -> tuple[dict[str, _Listing], list[str]]:
    """The pictures of each split with their labels, and the sorted names of the classes."""
    folders = _class_folders(name, root, [root])
    named = {split: SPLITS.get(split.lower()) for split in folders}
    if not any(named.values()):
        classes = sorted(folders)
        _refuse_few(name, root, classes)
        return {"train": _list(name, root, folders, classes)}, classes
    found: dict[str, list[Path]] = {}
    for folder, split in named.items():
        if split is None or split in found:
            why = "is none of them" if split is None else f"is a second {split}"
            raise ConfigError(
                f"data set {name}: {root} has folders named as splits ({', '.join(SPLITS)}), and "
                f"{folder!r} {why}; put classes below train"
            )
        found[split] = folders[folder]
    if "train" not in found:
        raise ConfigError(
            f"data set {name}: {root} has {' and '.join(sorted(folders))}, but no folder train"
        )
    inside = {split: _class_folders(name, root, folder) for split, folder in found.items()}
    classes = sorted(inside["train"])
    _refuse_few(name, found["train"][0], classes)
    for split, folders in inside.items():
        missing, extra = set(classes) - set(folders), set(folders) - set(classes)
        if missing or extra:
            what = f"lacks the class {min(missing)!r}" if missing else f"has {min(extra)!r}"
            other = "which train has" if missing else "which train has not"
            raise ConfigError(f"data set {name}: {split} {what}, {other}")
    return {split: _list(name, root, inside[split], classes) for split in found}, classes


def _refuse_few(name: str, place: Path, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        there = f"only {classes[0]!r}" if classes else "none"
        raise ConfigError(
            f"data set {name} needs at least 2 class folders, and {place} has {there}"
        )


def _visible(folders: Sequence[Path]) -> list[Path]:
    """What lies in folders, sorted by composed names: the same on every file system."""
    entries = (path for folder in folders for path in folder.iterdir())
    shown = [p for p in entries if not p.name.startswith(".") and p.name.lower() not in _HIDDEN]
    return sorted(shown, key=lambda path: (_composed(path.name), path.name))


def _composed(name: str) -> str:
    """A name in the form NFC: file systems of macOS give letters and their accents apart."""
    return unicodedata.normalize("NFC", name)


def _class_folders(name: str, root: Path, places: Sequence[Path]) -> dict[str, list[Path]]:
    """Folders in folders. Other files (a licence) may lie there, pictures without a class not."""
    found: dict[str, list[Path]] = {}
    for path in _visible(places):
        if path.is_dir():
            found.setdefault(_composed(path.name), []).append(path)
        elif path.suffix.lower() in endings():
            raise ConfigError(
                f"data set {name}: the picture {path.relative_to(root)} is in no class folder"
            )
    return found


def _list(
    name: str, root: Path, folders: Mapping[str, Sequence[Path]], classes: Sequence[str]
) -> _Listing:
    files: list[Path] = []
    labels: list[int] = []
    for label, class_name in enumerate(classes):
        inside = _visible(folders[class_name])
        for path in inside:
            if path.is_dir() or path.suffix.lower() not in endings():
                what = "is a folder" if path.is_dir() else "has no ending of a picture"
                raise ConfigError(
                    f"data set {name}: {path.relative_to(root)} {what}; a class folder holds "
                    f"pictures alone (a leading dot hides others): {', '.join(FORMATS)}"
                )
        if not inside:
            place = folders[class_name][0].relative_to(root)
            raise ConfigError(f"data set {name}: the class folder {place} holds no picture")
        files += inside
        labels += [label] * len(inside)
    return files, labels


def _common_size(reader: Reader, heads: Sequence[Head]) -> tuple[int, int]:
    sizes = Counter(head.size for head in heads)
    if len(sizes) == 1:
        return heads[0].size
    # The most frequent; of these the smallest.
    height, width = min(sizes, key=lambda size: (-sizes[size], size))
    shown = [next(head for head in heads if head.size == size) for size in sorted(sizes)[:2]]
    examples = " and ".join(
        f"{reader.place(head.file)} ({head.size[0]} x {head.size[1]})" for head in shown
    )
    raise ConfigError(
        f"data set {reader.name} has pictures of {len(sizes)} sizes, such as {examples}; give one "
        f"to resize them to, such as size: [{height}, {width}]"
    )


def _common_channels(reader: Reader, heads: Sequence[Head]) -> int:
    first = {head.kind: head.file for head in reversed(heads)}
    if len(first) == 1 and "transparent" not in first:
        return 1 if "grey" in first else 3
    named = ", ".join(f"{kind} ({reader.place(first[kind])})" for kind in sorted(first))
    raise ConfigError(
        f"data set {reader.name} has pictures that are {named}; give channels: 1 or channels: 3 "
        "to convert them (transparency is dropped)"
    )


ENTRY = DatasetSource(
    name="folder:PATH",
    load=load_folder,
    kinds=("classification",),
    description="pictures in a folder, a subfolder per class, with or without train / val / test "
    "above; `size`, `channels`, `max_value`",
    reference="your own",
)
