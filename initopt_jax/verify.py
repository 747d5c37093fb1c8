"""Re-run lanes from their seeds and compare bits."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from initopt_jax.config import differences, validate
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.events import Finished
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.plan import cut_tiles
from initopt_jax.errors import StudyError
from initopt_jax.manifest import identity
from initopt_jax.preview import initial_weights, prepare
from initopt_jax.resolve import Experiment
from initopt_jax.store import Store
from initopt_jax.training import Recorder, make_work

SAMPLE_SEED = 0


@dataclass(frozen=True)
class Mismatch:
    """Where a lane's re-run first differs from what is stored.

    Attributes:
        step: of the first evaluation that differs; None for a variable with one value per lane.
        distance: largest absolute difference in this variable; NaN where only one side is NaN.
    """

    lane: int
    variable: str
    step: float | None
    stored: float
    again: float
    distance: float


@dataclass(frozen=True)
class Verification:
    """The outcome: `same` lanes, mismatches of the others, and why bits could not be expected.

    Attributes:
        obstacles: differences in platform, versions or data; empty where bits must agree.
    """

    lanes: tuple[int, ...]
    mismatches: tuple[Mismatch, ...]
    obstacles: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 same bits, 1 differs, 2 cannot be checked here."""
        if not self.mismatches:
            return 0
        return 2 if self.obstacles else 1


def verify(
    folder: str | Path,
    *,
    sample: int | None = None,
    lanes: Sequence[int] = (),
    devices: int | None = None,
) -> Verification:
    """Re-run lanes of a finished study from its manifest alone, and compare every variable.

    Args:
        folder: of the study.
        sample: how many lanes, spread over the whole study by a fixed draw.
        lanes: or exactly these lane numbers; with neither, all lanes.
        devices: how many to use; by default all.

    Raises:
        StudyError: no study, an unfinished one, or a lane that it does not have.
    """
    store = Store(Path(folder))
    manifest = store.manifest()
    if manifest["status"] != "done":
        raise StudyError(f"{str(folder)!r} is not finished; run it to its end first")
    used = set_up_devices(devices)
    config = validate(manifest["config"] | {"tile_width": manifest["tile_width"]})
    experiment = prepare(config)
    chosen = choose(len(experiment.lanes), sample, lanes)
    if len(store.lanes()) != len(experiment.lanes):
        raise StudyError(f"{str(folder)!r}: lanes.csv does not fit the config in the manifest")
    wanted = identity(experiment, used)
    obstacles = differences({key: manifest.get(key) for key in wanted}, wanted)
    again = rerun(experiment, chosen, used)
    stored = store.dataset().isel(lane=chosen).load()
    return Verification(tuple(chosen.tolist()), tuple(compare(stored, again)), tuple(obstacles))


def choose(total: int, sample: int | None, lanes: Sequence[int]) -> np.ndarray:
    """Sorted lane numbers to verify."""
    for lane in lanes:
        if not 0 <= lane < total:
            raise StudyError(f"lane {lane} does not exist; lanes are 0 to {total - 1}")
    if lanes:
        return np.unique(lanes)
    if sample is None or sample >= total:
        return np.arange(total)
    if sample < 1:
        raise StudyError(f"sample must be at least 1, got {sample}")
    return np.sort(np.random.default_rng(SAMPLE_SEED).choice(total, sample, replace=False))


def rerun(
    experiment: Experiment, chosen: np.ndarray, devices: Sequence[Any]
) -> dict[str, np.ndarray]:
    """Train the chosen lanes again: variable to rows in the order of `chosen`."""
    work, recorder = (
        make_work(experiment, initial_weights(experiment, devices)),
        Recorder(experiment),
    )
    tiles = cut_tiles(experiment.programs, work.lanes, chosen)
    rows: dict[int, dict[str, np.ndarray]] = {}
    for event in run_tiles(work, tiles, devices, threading.Event()):
        if isinstance(event, Finished):
            record = recorder.complete(event.tile, event.record)
            for slot, lane in enumerate(event.tile.lanes):
                rows[int(lane)] = {name: value[slot] for name, value in record.items()}
    names = rows[int(chosen[0])]
    evals = max(len(row["step"]) for row in rows.values())
    return {
        name: np.stack([_longest(rows[int(lane)][name], evals) for lane in chosen])
        for name in names
    }


def _longest(value: np.ndarray, evals: int) -> np.ndarray:
    if np.ndim(value) == 0 or len(value) == evals:
        return np.asarray(value)
    padding = [(0, evals - len(value))] + [(0, 0)] * (value.ndim - 1)
    return np.pad(value, padding, constant_values=np.nan)


def compare(stored: xr.Dataset, again: Mapping[str, np.ndarray]) -> list[Mismatch]:
    """The first difference of every lane that has one, in the order of evaluations."""
    found: dict[int, Mismatch] = {}
    numbers = stored["lane"].to_numpy()
    for name in sorted(again):
        old = stored[name].to_numpy()
        new = again[name].astype(old.dtype)
        if new.ndim > 1:
            old = old[:, : new.shape[1]]
        bits = _bits(old) != _bits(new)
        for row in np.flatnonzero(bits.reshape(len(bits), -1).any(axis=1)):
            place = tuple(np.argwhere(bits[row])[0]) if old.ndim > 1 else ()
            step = float(stored["step"].to_numpy()[row, place[0]]) if place else None
            with np.errstate(invalid="ignore"):
                distance = np.abs(old[row].astype(float) - new[row].astype(float))[bits[row]].max()
            mismatch = Mismatch(
                int(numbers[row]), name, step, float(old[row][place]), float(new[row][place]),
                float(distance),
            )  # fmt: skip
            known = found.get(mismatch.lane)
            if known is None or _order(mismatch) < _order(known):
                found[mismatch.lane] = mismatch
    return [found[lane] for lane in sorted(found)]


def _order(mismatch: Mismatch) -> float:
    return np.inf if mismatch.step is None else mismatch.step


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
