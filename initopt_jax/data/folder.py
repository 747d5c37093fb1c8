"""A folder of pictures, a subfolder per class."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.data.arrays import from_splits
from initopt_jax.data.finish import cut
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
_HIDDEN = {"thumbs.db", "desktop.ini"}  # left by file managers, besides names with a leading dot
_GREY, _COLOUR, _CLEAR = "grey", "colour", "transparent"
_KINDS = {"1": _GREY, "L": _GREY, "LA": _CLEAR, "PA": _CLEAR, "RGBA": _CLEAR}
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L")
_NO_RANGE = ("I", "F")  # whole or real numbers of which no one knows the largest


def load_folder(
    request: Request,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Dataset:
    """`folder:PATH`: pictures of any format that Pillow reads; the subfolders are the classes.

    Below PATH lie the class folders, or folders `train`, `val` and `test` (also `training`, `valid`
    and `validation`, in any case) with the class folders in each; what is missing of the
    latter two is cut from the training pictures by the seeded permutation. Classes are sorted by
    name and labelled in that order. Pixels are in [0, 1] before normalization: 16-bit grey is cut
    to 8 bits, of a moving picture the first frame is taken, and rotations noted beside the picture
    (EXIF) are not applied.

    Args:
        request: name, kind, split and the common options; with `limit` only the chosen pictures
            are opened.
        size: `H` or `[H, W]` in pixels, at least 1; pictures are resized to it (bilinear, averaged
            where they shrink). By default their common size.
        channels: 1 (grey) or 3 (colour); pictures are converted, and transparency is dropped. By
            default as the pictures are.

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
    heads = _heads(request.name, root, [file for files, _ in chosen for file in files])
    if shape is None:
        shape = _common_size(request.name, root, heads)
    if channels is None:
        channels = _common_channels(request.name, root, heads)
    parts = [
        Split(_decode(request.name, root, files, shape, channels), np.array(labels, np.int32))
        for files, labels in chosen
    ]
    return from_splits(
        request.name, *parts, kind=request.kind, outputs=len(classes), normalize=request.normalize
    )


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
    folders = _class_folders(name, root, root)
    named = {split: SPLITS.get(split.lower()) for split in folders}
    if not any(named.values()):
        classes = sorted(folders)
        _refuse_few(name, root, classes)
        return {"train": _list(name, root, folders, classes)}, classes
    found: dict[str, Path] = {}
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
    _refuse_few(name, found["train"], classes)
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


def _visible(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _HIDDEN
    )


def _class_folders(name: str, root: Path, place: Path) -> dict[str, Path]:
    """Folders in a folder. Other files (a licence) may lie there, pictures without a class not."""
    entries = _visible(place)
    for path in entries:
        if not path.is_dir() and path.suffix.lower() in _endings():
            raise ConfigError(
                f"data set {name}: the picture {path.relative_to(root)} is in no class folder"
            )
    return {path.name: path for path in entries if path.is_dir()}


def _list(name: str, root: Path, folders: Mapping[str, Path], classes: Sequence[str]) -> _Listing:
    files: list[Path] = []
    labels: list[int] = []
    for label, class_name in enumerate(classes):
        inside = _visible(folders[class_name])
        for path in inside:
            if path.is_dir() or path.suffix.lower() not in _endings():
                what = "is a folder" if path.is_dir() else "has no ending of a picture"
                raise ConfigError(
                    f"data set {name}: {path.relative_to(root)} {what}; a class folder holds "
                    "pictures alone (a leading dot hides others)"
                )
        if not inside:
            place = folders[class_name].relative_to(root)
            raise ConfigError(f"data set {name}: the class folder {place} holds no picture")
        files += inside
        labels += [label] * len(inside)
    return files, labels


def _endings() -> set[str]:
    """Endings of files that Pillow can open."""
    from PIL import Image

    return {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}


_Head = tuple[Path, tuple[int, int], str]  # file, (H, W), kind


def _heads(name: str, root: Path, files: Sequence[Path]) -> list[_Head]:
    """Size and kind of each picture, without decoding it."""
    from PIL import Image

    heads: list[_Head] = []
    for file in files:
        try:
            with Image.open(file) as picture:
                width, height = picture.size
                mode = picture.mode
                clear = mode == "P" and "transparency" in picture.info
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(name, root, file, error) from None
        if mode in _NO_RANGE:
            raise ConfigError(
                f"data set {name}: {file.relative_to(root)} holds 32-bit numbers (mode {mode}), "
                "whose range no one knows; save it with 8 or 16 bits"
            )
        grey = _GREY if mode in _SIXTEEN_BITS else _COLOUR
        heads.append((file, (height, width), _CLEAR if clear else _KINDS.get(mode, grey)))
    return heads


def _unreadable(name: str, root: Path, file: Path, error: Exception) -> ConfigError:
    # Pillow's own words repeat the path; the first line is enough.
    reason = str(error).partition("\n")[0].replace(f" {os.fspath(file)!r}", "")
    return ConfigError(
        f"data set {name}: the picture {file.relative_to(root)} cannot be read ({reason}); "
        "mend or remove it"
    )


def _common_size(name: str, root: Path, heads: Sequence[_Head]) -> tuple[int, int]:
    sizes = Counter(size for _, size, _ in heads)
    if len(sizes) == 1:
        return heads[0][1]
    # The most frequent; of these the smallest.
    height, width = min(sizes, key=lambda size: (-sizes[size], size))
    shown = [next(head for head in heads if head[1] == size) for size in sorted(sizes)[:2]]
    examples = " and ".join(f"{file.relative_to(root)} ({h} x {w})" for file, (h, w), _ in shown)
    raise ConfigError(
        f"data set {name} has pictures of {len(sizes)} sizes, such as {examples}; give one to "
        f"resize them to, such as size: [{height}, {width}]"
    )


def _common_channels(name: str, root: Path, heads: Sequence[_Head]) -> int:
    first = {kind: file for file, _, kind in reversed(heads)}
    if len(first) == 1 and _CLEAR not in first:
        return 1 if _GREY in first else 3
    named = ", ".join(f"{kind} ({first[kind].relative_to(root)})" for kind in sorted(first))
    raise ConfigError(
        f"data set {name} has pictures that are {named}; give channels: 1 or channels: 3 to "
        "convert them (transparency is dropped)"
    )


def _decode(
    name: str, root: Path, files: Sequence[Path], shape: tuple[int, int], channels: int
) -> np.ndarray:
    """Float32 pictures [N, H, W, channels] in [0, 1]."""
    from PIL import Image

    pictures = np.empty((len(files), *shape, channels), np.uint8)
    mode = "L" if channels == 1 else "RGB"
    for place, file in enumerate(files):
        try:
            with Image.open(file) as opened:
                picture: Image.Image = opened
                if picture.mode in _SIXTEEN_BITS:  # converting would clip, not scale
                    picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
                if picture.mode == "P":
                    picture = picture.convert("RGBA")  # with its transparency, if it has any
                picture = picture.convert(mode)
                if picture.size != (shape[1], shape[0]):
                    picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
                pictures[place] = np.asarray(picture).reshape(*shape, channels)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(name, root, file, error) from None
    return np.divide(pictures, 255, dtype=np.float32)


ENTRY = DatasetSource(
    name="folder:PATH",
    load=load_folder,
    kinds=("classification",),
    description="pictures in a folder, a subfolder per class, with or without train / val / test "
    "above; `size`, `channels`",
    reference="your own",
)
