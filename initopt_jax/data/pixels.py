"""Picture files as numbers: what Pillow makes of each kind, and what has to be said of it."""

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from initopt_jax.errors import ConfigError
from initopt_jax.memory import require_memory
from initopt_jax.opening import refuse_special

_GREY, _COLOUR, _CLEAR = "grey", "colour", "transparent"
_KINDS = {"1": _GREY, "L": _GREY, "I": _GREY, "F": _GREY}
_TRANSPARENT = ("LA", "PA", "La", "RGBA", "RGBa")
_LARGEST = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits
_ORIENTATION = 0x0112
# Formats that are opened, whatever a file is called; none starts another program, as EPS does.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 100_000_000  # of a picture, by its head
_DARK = 64  # below it, 8 bits of 16 tell few steps apart
_FAINT = 16
_WORDS = {
    "rotated": "note a rotation beside the picture (EXIF), which is not applied",
    "moving": "hold several pictures; the first is taken",
    "cut": "have 16 bits per colour, of which Pillow reads the upper 8",
    "print": "have the colours of print (CMYK) and are converted without a colour profile",
    "clear": "are transparent in places; that is dropped, and what lies below is shown",
}


@dataclass(frozen=True)
class Head:
    """A picture before it is decoded.

    Attributes:
        file: where it lies.
        size: height and width.
        kind: grey, colour or transparent.
        deep: whether it holds numbers beyond 8 bits.
        remarks: keys of `_WORDS`.
    """

    file: Path
    size: tuple[int, int]
    kind: str
    deep: bool
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Reader:
    """How the pictures of a folder are read.

    Attributes:
        name: of the data set, for messages.
        root: of the folder.
        max_value: the number that is to become 1; None for what the pictures' bits say.
    """

    name: str
    root: Path
    max_value: float | None = None

    def place(self, file: Path) -> Path:
        """A file as messages call it."""
        return file.relative_to(self.root)

    def head(self, file: Path) -> Head:
        """Size and kind of a picture, without decoding it."""
        refuse_special(f"data set {self.name}", file)
        try:
            with open_picture(file) as picture:
                mode, (width, height) = picture.mode, picture.size
                clear = mode in _TRANSPARENT or "transparency" in picture.info
                remarks = tuple(_remarks(picture, clear=clear))
                known = mode not in ("I", "F") or picture.format == "PPM"
        except Exception as error:  # noqa: BLE001 - whatever Pillow raises on a damaged file
            raise self.unreadable(file, error) from None
        if not known and self.max_value is None:
            raise ConfigError(
                f"data set {self.name}: {self.place(file)} holds 32-bit numbers (mode {mode}), "
                "whose range no one knows; write max_value: and the number that is to become 1, or "
                "save it with 8 or 16 bits"
            )
        deep = mode[0] in "IF"
        kind = _GREY if deep else _CLEAR if clear else _KINDS.get(mode, _COLOUR)
        return Head(file, (height, width), kind, deep, remarks)

    def decode(self, heads: Sequence[Head], shape: tuple[int, int], channels: int) -> np.ndarray:
        """Pictures [N, H, W, channels] as they are stored: uint8, or float32 where any is deep."""
        dtype = np.dtype(np.float32 if any(head.deep for head in heads) else np.uint8)
        size = len(heads) * math.prod(shape) * channels * (dtype.itemsize + 4)  # and as float32
        require_memory(size, f"data set {self.name}", "set limit, or a smaller size")
        pictures = np.empty((len(heads), *shape, channels), dtype)
        for place, head in enumerate(heads):
            try:
                with open_picture(head.file) as opened:
                    values = _values(opened, head, shape, channels)
            except Exception as error:  # noqa: BLE001 - whatever Pillow raises on a damaged file
                raise self.unreadable(head.file, error) from None
            if not np.isfinite(values).all():
                raise ConfigError(
                    f"data set {self.name}: {self.place(head.file)} holds NaN or infinite values"
                )
            pictures[place] = values.reshape(*shape, -1)
        return pictures

    def unreadable(self, file: Path, error: Exception) -> ConfigError:
        """The error of a file that is no readable picture."""
        # Pillow's own words repeat the path; the first line is enough.
        reason = str(error).partition("\n")[0].replace(f" {os.fspath(file)!r}", "")
        unknown = reason == "cannot identify image file"
        known = f". Formats that are read: {', '.join(FORMATS)}" if unknown else ""
        return ConfigError(
            f"data set {self.name}: the picture {self.place(file)} cannot be read ({reason}); "
            f"mend or remove it{known}"
        )

    def scaled(
        self, heads: Sequence[Sequence[Head]], parts: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[str]]:
        """Pictures of all parts as float32, 1 for the largest number of their kind; and words.

        8-bit pictures are divided by 255. Numbers of 16 bits often hold fewer: they are divided by
        the largest number of 8, 10, 12, 14 or 16 bits that none of them exceeds.

        Raises:
            ConfigError: a number exceeds `max_value`, or 16-bit colours are too dark for 8 bits.
        """
        notes = list(self._remarks([head for part in heads for head in part]))
        plain, deep = (self._largest(heads, parts, deep=kind) for kind in (False, True))
        if self.max_value is not None:
            self._refuse_larger(heads, parts)
            return [np.divide(part, self.max_value, dtype=np.float32) for part in parts], notes
        self._refuse_dark(heads, parts)
        if deep is None:
            if plain is not None and plain < _FAINT:
                notes.append(
                    f"no pixel exceeds {plain:g}, and all are divided by 255; if {plain:g} is "
                    f"white, write max_value: {plain:g}"
                )
            return [np.divide(part, 255, dtype=np.float32) for part in parts], notes
        largest = next(value for value in _LARGEST if value >= min(deep, _LARGEST[-1]))
        every = [head.deep for part in heads for head in part]
        notes.append(
            f"{sum(every):,} of {len(every):,} pictures have 16 bits and no number above {deep:g}; "
            f"they are divided by {largest:,} (max_value: says otherwise)"
        )
        made = []
        for group, part in zip(heads, parts, strict=True):
            by = np.array([largest if head.deep else 255 for head in group], np.float32)
            made.append(np.divide(part, by[:, None, None, None], dtype=np.float32))
        return made, notes

    def _remarks(self, heads: Sequence[Head]) -> Iterator[str]:
        counts = Counter(remark for head in heads for remark in head.remarks)
        for remark, count in sorted(counts.items()):
            first = next(head.file for head in heads if remark in head.remarks)
            yield f"{count:,} of {len(heads):,} pictures {_WORDS[remark]} ({self.place(first)})"

    def _largest(
        self, heads: Sequence[Sequence[Head]], parts: Sequence[np.ndarray], *, deep: bool
    ) -> float | None:
        found = [
            float(part[chosen].max())
            for group, part in zip(heads, parts, strict=True)
            if (chosen := np.flatnonzero([head.deep == deep for head in group])).size
        ]
        return max(found, default=None)

    def _refuse_larger(self, heads: Sequence[Sequence[Head]], parts: Sequence[np.ndarray]) -> None:
        for group, part in zip(heads, parts, strict=True):
            tops = part.reshape(len(part), -1).max(axis=1)
            if (tops > self.max_value).any():
                worst = int(tops.argmax())
                raise ConfigError(
                    f"data set {self.name}: {self.place(group[worst].file)} holds {tops[worst]:g}, "
                    f"which exceeds max_value: {self.max_value:g}"
                )

    def _refuse_dark(self, heads: Sequence[Sequence[Head]], parts: Sequence[np.ndarray]) -> None:
        """Colours of 16 bits of which the upper 8 hold next to nothing."""
        tops, first = [], None
        for group, part in zip(heads, parts, strict=True):
            chosen = [number for number, head in enumerate(group) if "cut" in head.remarks]
            tops += [int(part[number].max()) for number in chosen]
            first = first or next((group[number].file for number in chosen), None)
        if first is not None and max(tops) < _DARK:
            raise ConfigError(
                f"data set {self.name}: {self.place(first)} has 16 bits per colour, of which "
                f"Pillow reads the upper 8, and they hold no number above {max(tops)}; save the "
                "pictures with 8 bits, or hand them over as npz:"
            )


def open_picture(file: Any) -> Any:
    """A picture of one of `FORMATS`, not decoded yet, from a path or a stream of bytes.

    Raises:
        ValueError: it has more than `MOST_PIXELS` by its head.
        OSError: it is no picture of these formats; a damaged one may raise anything.
    """
    from PIL import Image

    with warnings.catch_warnings():  # of Pillow, below whose limit ours lies
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(file, formats=FORMATS)
    width, height = opened.size
    if width * height > MOST_PIXELS:
        opened.close()
        raise ValueError(
            f"{width} x {height} pixels, and {MOST_PIXELS:,} are allowed; save it smaller"
        )
    return opened


def endings() -> set[str]:
    """Endings of the names of files in these formats."""
    from PIL import Image

    return {end for end, kind in Image.registered_extensions().items() if kind in FORMATS}


def check_max_value(value: Any) -> float | None:
    """The option, a number above 0 or None. Raises ConfigError for anything else."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value < float("inf")):
        raise ConfigError(f"max_value must be a number above 0, got {value!r}")
    return value


def _remarks(picture: Any, *, clear: bool) -> Iterator[str]:
    if clear:
        yield "clear"
    if picture.mode == "CMYK":
        yield "print"
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        yield "moving"
    # Of others Pillow turns the picture itself, or has to decode it to know.
    noted = picture.format in ("JPEG", "MPO", "WEBP")
    if noted and picture.getexif().get(_ORIENTATION, 1) not in (0, 1):
        yield "rotated"
    stored = str(picture.tile[0][-1]) if picture.tile else ""
    if picture.mode in ("RGB", "RGBA") and ";16" in stored:
        yield "cut"


def _values(opened: Any, head: Head, shape: tuple[int, int], channels: int) -> np.ndarray:
    """The numbers of a picture, [H, W, channels] or, of one channel, [H, W]."""
    from PIL import Image

    picture: Any = opened
    size = (shape[1], shape[0])
    if head.deep:  # converting would clip, not scale
        picture = Image.fromarray(np.asarray(picture).astype(np.float32))
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        values = np.asarray(picture)
        return np.repeat(values[:, :, None], channels, axis=2)
    if picture.mode == "P":
        picture = picture.convert("RGBA")  # with its transparency, if it has any
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture)
