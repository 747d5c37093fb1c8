"""Pictures of a loss as plain arrays, and the files that hold those of a study.

A report reads them, and needs neither the networks nor the user's own function.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from initopt_jax.errors import StudyError

KIND = "kind"  # the array that tells what a picture shows
ENTRIES = "entries"  # the array that tells what was asked for


@dataclass(frozen=True)
class NetLandscape:
    """What one entry of `landscapes` found.

    Attributes:
        kind: `paths`, `slice`, `line` or `lanes`.
        arrays: by name. Of all kinds: `initializer`, `optimizer` and `lane` of the C networks that
            were chosen, and `examples`, how many of the training split measured the loss. Of maps:
            `x` [X], `y` [Y] and `loss` [Y, X] or, of slices, [C, Y, X]. See `landscapes`.
    """

    kind: str
    arrays: Mapping[str, np.ndarray]

    def labels(self, name: str) -> list[str]:
        """An array of names as a list."""
        return [str(label) for label in self.arrays[name]]


@dataclass(frozen=True)
class Mesh:
    """The values of a test function of two variables on a mesh: the contours of its maps.

    Attributes:
        x: [X] points. y: [Y] points.
        values: [Y, X] values.
    """

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray

    def to_bytes(self, function: Mapping[str, Any]) -> bytes:
        """A NumPy .npz file of the three arrays and of the function, in words, that they are of."""
        file = io.BytesIO()
        of = np.array(json.dumps(function, sort_keys=True))
        np.savez_compressed(file, allow_pickle=False, of=of, x=self.x, y=self.y, cost=self.values)
        return file.getvalue()


def read_mesh(content: bytes | None, function: Mapping[str, Any]) -> Mesh | None:
    """The mesh of this function in a file that `to_bytes` made.

    Returns:
        None where the file is not there, is damaged or holds another function's.

    >>> bowl = {"name": "bowl", "options": {}}
    >>> mesh = Mesh(np.arange(3.0), np.arange(2.0), np.ones((2, 3)))
    >>> read_mesh(mesh.to_bytes(bowl), bowl).values.shape
    (2, 3)
    >>> read_mesh(mesh.to_bytes(bowl), {"name": "ravine"}) is None
    True
    """
    try:
        with np.load(io.BytesIO(content or b""), allow_pickle=False) as file:
            known = json.loads(str(file["of"])) == json.loads(json.dumps(function))
            mesh = Mesh(*(np.asarray(file[name], np.float64) for name in ("x", "y", "cost")))
    except Exception:  # noqa: BLE001 - whatever a damaged file raises
        return None
    whole = mesh.values.shape == (*mesh.y.shape, *mesh.x.shape) and mesh.values.size > 0
    return mesh if known and whole else None


def to_bytes(pictures: Sequence[NetLandscape], entries: str = "") -> bytes:
    """A NumPy .npz file of plain arrays; equal pictures give equal bytes.

    Args:
        pictures: in order.
        entries: what was asked for, as text; see `entries_of`.
    """
    named = {
        f"{number}/{name}": array
        for number, picture in enumerate(pictures)
        for name, array in {KIND: np.array(picture.kind), **picture.arrays}.items()
    }
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **{ENTRIES: np.array(entries), **named})
    return file.getvalue()


def from_bytes(content: bytes) -> list[NetLandscape]:
    """The pictures of a file that `to_bytes` made.

    Raises:
        StudyError: it is damaged.

    >>> given = NetLandscape("slice", {"x": np.arange(3)})
    >>> found = from_bytes(to_bytes([given]))
    >>> found[0].kind, found[0].arrays["x"].tolist()
    ('slice', [0, 1, 2])
    """
    found: dict[int, dict[str, Any]] = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for key in (name for name in file.files if name != ENTRIES):
                number, name = key.split("/")
                found.setdefault(int(number), {})[name] = file[key]
        return [NetLandscape(str(arrays.pop(KIND)), arrays) for _, arrays in sorted(found.items())]
    except Exception as error:
        raise StudyError(f"the landscapes of the study are damaged ({error})") from error


def entries_of(content: bytes) -> str | None:
    """What the pictures of a file were asked for by; None where it is damaged.

    >>> entries_of(to_bytes([], "[]")), entries_of(b"no file")
    ('[]', None)
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return str(file[ENTRIES])
    except Exception:  # noqa: BLE001 - whatever a damaged file raises
        return None
