"""Two records of the same lanes, held against each other bit by bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from initopt_jax.errors import StudyError

ORDER = {"batch_loss": 0, "train_": 1, "val_": 3, "test_": 4}  # beginnings of names; others are 2
DERIVED = {"step", "examples_seen", "flops_per_step", "diverged", "diverged_step"}


@dataclass(frozen=True)
class Mismatch:
    """Where a lane's re-run first differs from what is stored.

    Attributes:
        variable: by evaluation, and within one in the order of `rank`.
        entry: which of a probe's values, such as a leaf; empty where there is one alone.
        step: of that evaluation; None for a variable with one value per lane.
        absolute: `|stored - again|`. relative: that over the larger magnitude.
        ulp_distance: floating-point numbers from the one to the other; None for NaN and truth
            values.
    """

    lane: int
    variable: str
    entry: str
    step: float | None
    stored: float
    again: float
    absolute: float
    relative: float
    ulp_distance: int | None


@dataclass(frozen=True)
class Distance:
    """How far the lanes are from what is stored, in one variable.

    Attributes:
        relative: the largest relative distance at the lanes' last evaluation. lane: whose it is.
        lanes: how many differ anywhere.
        first_step: the earliest evaluation at which one does; None where there is none such.
    """

    variable: str
    relative: float
    lane: int
    lanes: int
    first_step: float | None


def rank(variable: str) -> int:
    """What comes first where several variables differ at one evaluation: what others follow from.

    Losses of training steps, the training split, probes of the weights, validation, test, the rest.

    >>> sorted(["test_loss", "val_loss", "weight_norm", "train_loss", "diverged"], key=rank)
    ['train_loss', 'weight_norm', 'val_loss', 'test_loss', 'diverged']
    """
    if variable in DERIVED or variable.endswith("_to_target"):
        return 5
    return next((place for start, place in ORDER.items() if variable.startswith(start)), 2)


def compare(
    stored: xr.Dataset,
    lanes: np.ndarray,
    values: Mapping[str, np.ndarray],
    again: Mapping[str, np.ndarray],
) -> tuple[list[Mismatch], list[Distance]]:
    """The first difference of every lane that has one, and the distance of every variable.

    Raises:
        StudyError: a variable is not stored, or not made any more.
    """
    if odd := sorted(values.keys() ^ again.keys()):
        raise StudyError(
            f"cannot compare: {', '.join(odd)} is not both stored and recorded by this version"
        )
    found: dict[int, tuple[tuple[float, int, str], Mismatch]] = {}
    distances: list[Distance] = []
    steps = again["step"]
    for name in sorted(again, key=lambda name: (rank(name), name)):
        old, new = values[name], again[name].astype(values[name].dtype)
        if old.shape != new.shape:
            raise StudyError(
                f"cannot compare: {name} is stored with shape {old.shape}, now {new.shape}"
            )
        differs = bits(old) != bits(new)
        curve = stored[name].dims[1:2] == ("eval",)
        rows = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1))
        for row in rows:
            place = tuple(int(index) for index in np.argwhere(differs[row])[0])
            step = float(steps[row, place[0]]) if curve else np.inf
            mismatch = _mismatch(
                stored[name], int(lanes[row]), place, step, old[(row, *place)], new[(row, *place)]
            )
            order = (np.inf if np.isnan(step) else step, rank(name), name)
            if mismatch.lane not in found or order < found[mismatch.lane][0]:
                found[mismatch.lane] = (order, mismatch)
        if len(rows):
            at = steps if curve else None
            distances.append(_distance(name, lanes, rows, old, new, differs, at))
    return [found[lane][1] for lane in sorted(found)], distances


def _mismatch(
    array: xr.DataArray,
    lane: int,
    place: tuple[int, ...],
    step: float,
    old: np.generic,
    new: np.generic,
) -> Mismatch:
    named = list(zip(array.dims[1:], place, strict=True))
    labels = [
        str(array[dim].to_numpy()[index]) if dim in array.coords else str(index)
        for dim, index in named
        if dim != "eval"
    ]
    if np.isnan(step):
        labels.append("behind its last evaluation")
    return Mismatch(
        lane=lane,
        variable=str(array.name),
        entry=", ".join(labels),
        step=step if np.isfinite(step) else None,
        stored=float(old),
        again=float(new),
        absolute=float(_absolute(old, new)),
        relative=float(_relative(old, new)),
        ulp_distance=ulp_distance(old, new),
    )


def _distance(
    name: str,
    lanes: np.ndarray,
    rows: np.ndarray,
    old: np.ndarray,
    new: np.ndarray,
    differs: np.ndarray,
    steps: np.ndarray | None,
) -> Distance:
    first = None
    if steps is not None:
        last = np.isfinite(steps).sum(axis=1) - 1
        every = np.arange(len(old))
        old, new = old[every, last], new[every, last]
        at = differs.reshape(*differs.shape[:2], -1).any(axis=2)
        first = min(steps[at & np.isfinite(steps)].tolist(), default=None)
    relative = _relative(old, new).reshape(len(old), -1).max(axis=1)
    worst = int(np.argmax(relative))
    return Distance(name, float(relative[worst]), int(lanes[worst]), len(rows), first)


def _absolute(old: Any, new: Any) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(np.asarray(old, float) - np.asarray(new, float))


def _relative(old: Any, new: Any) -> np.ndarray:
    """`|a - b| / max(|a|, |b|)`; infinite where only one is finite, 0 where both are alike."""
    old, new = np.asarray(old, float), np.asarray(new, float)
    alike = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.abs(old - new) / np.maximum(np.abs(old), np.abs(new))
    return np.where(alike, 0.0, np.where(np.isfinite(ratio), ratio, np.inf))


def ulp_distance(old: np.generic, new: np.generic) -> int | None:
    """How many floating-point numbers lie from one to the other: units in the last place.

    >>> ulp_distance(np.float32(1.0), np.nextafter(np.float32(1.0), np.float32(2.0)))
    1
    """
    if old.dtype.kind != "f" or np.isnan([old, new]).any():
        return None
    size = old.dtype.itemsize
    integers = [int(np.asarray(value).view(f"i{size}")) for value in (old, new)]
    below = 2 ** (8 * size - 1)  # the sign bit: -0.0 and what follows it downward
    first, second = (n if n >= 0 else -(n + below) for n in integers)
    return abs(first - second)


def bits(array: np.ndarray) -> np.ndarray:
    """An array's bytes as unsigned integers of its item size."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
