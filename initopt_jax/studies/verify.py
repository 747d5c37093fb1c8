"""Re-run lanes from their seeds and compare bits."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from initopt_jax.config.schema import differences
from initopt_jax.data import describe
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.events import Finished
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.plan import cut_tiles
from initopt_jax.errors import StudyError
from initopt_jax.lookup import user_files
from initopt_jax.lookup.names import own_code
from initopt_jax.planning.resolve import Experiment
from initopt_jax.precision import in_precision
from initopt_jax.store import Store
from initopt_jax.store.links import refuse_strange_files
from initopt_jax.studies.compare_bits import Distance, Mismatch, compare
from initopt_jax.studies.manifest import obstacles
from initopt_jax.studies.preview import all_tiles, initial_weights
from initopt_jax.studies.stored_states import recorded_precision, reopened
from initopt_jax.studies.training import Recorder, make_work, variables
from initopt_jax.tree import named_leaves
from initopt_jax.types import Device

SAMPLE_SEED = 0
LISTED = 12  # lane numbers that a message names


@dataclass(frozen=True)
class Gap:
    """Lanes that were asked for and cannot be compared, and why."""

    reason: str
    lanes: tuple[int, ...]


@dataclass(frozen=True)
class Verification:
    """The outcome.

    Attributes:
        lanes: that were compared. mismatches: one for each of them that differs.
        distances: of every variable that differs.
        gaps: what was asked for and is not there.
        altered: compared lanes whose stored rows are not those that were once written.
        obstacles: differences in platform, versions, files; where there are none, bits must agree.
    """

    lanes: tuple[int, ...]
    mismatches: tuple[Mismatch, ...]
    distances: tuple[Distance, ...]
    gaps: tuple[Gap, ...]
    altered: tuple[int, ...]
    obstacles: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 same bits, 1 differs, 2 cannot be checked, here or for lack of lanes."""
        if self.mismatches:
            return 2 if self.obstacles else 1
        return 2 if self.gaps else 0


def verify(
    folder: str | Path,
    *,
    sample: int | None = None,
    lanes: Sequence[int] = (),
    devices: int | None = None,
    trust: bool = False,
) -> Verification:
    """Re-run lanes of a study from its manifest alone, and compare every variable.

    Args:
        folder: of the study; of one that is not finished, the lanes that are there are compared.
        sample: how many lanes, spread over those that are there by a fixed draw.
        lanes: or exactly these lane numbers; with neither, all lanes.
        devices: how many to use; by default all.
        trust: whether to run code that is not the study's any more, or was not written by you.

    Raises:
        StudyError: no study, code that is not to be run, data or a model that are not its own, or a
            lane that it lacks.
    """
    store = Store(Path(folder))
    refuse_strange_files(store.folder)
    manifest = store.manifest()
    used = set_up_devices(devices)
    with in_precision(recorded_precision(manifest)):
        experiment = reopened(store, manifest, trust=trust)
        return _verify(store, manifest, experiment, used, sample, lanes)


def _verify(
    store: Store,
    manifest: Mapping[str, Any],
    experiment: Experiment,
    used: Sequence[Device],
    sample: int | None,
    lanes: Sequence[int],
) -> Verification:
    stored = store.unverified()
    _refuse_other(store, manifest, experiment, stored)
    sound = _sound_lanes(store, experiment, stored)
    finished = manifest["status"] == "done"
    there = np.arange(len(experiment.lanes)) if finished else np.flatnonzero(sound)
    chosen = choose(len(experiment.lanes), there, sample, lanes)
    values, unreadable = _read(stored, chosen, sound)
    enough = lanes or (sample is not None and sample <= len(there))
    gaps = [] if enough or finished else _unfinished(manifest, sound)
    gaps += [Gap(why, tuple(of)) for why, of in unreadable.items()]
    damaged = {lane for of in unreadable.values() for lane in of}
    if lanes and damaged:
        why = "; ".join(f"lanes {shorten(gap.lanes)}: {gap.reason}" for gap in gaps)
        raise StudyError(f"{why}. Run the study again to redo its damaged tiles")
    kept = ~np.isin(chosen, sorted(damaged))
    chosen, values = chosen[kept], {name: value[kept] for name, value in values.items()}
    mismatches, distances = [], []
    if len(chosen):
        with own_code(experiment.sources):
            again = rerun(experiment, chosen, used, stored.sizes["eval"])
        mismatches, distances = compare(stored, chosen, values, again)
    return Verification(
        lanes=tuple(chosen.tolist()),
        mismatches=tuple(mismatches),
        distances=tuple(distances),
        gaps=tuple(gaps),
        altered=tuple(chosen[~sound[chosen]].tolist()),
        obstacles=tuple(obstacles(manifest, experiment, used)),
    )


def _refuse_other(
    store: Store, manifest: Mapping[str, Any], experiment: Experiment, stored: xr.Dataset
) -> None:
    """Raise StudyError where lanes trained again would not be those of the folder."""
    what = f"{str(store.folder)!r} cannot be checked: "
    moved = differences(manifest.get("dataset"), describe(experiment.workload.dataset), "dataset")
    if moved:
        moved += user_files.changes(manifest.get("sources"), experiment.sources)
        raise StudyError(f"{what}the data are not those of the study: {'; '.join(moved)}")
    leaves = [name for name, _ in named_leaves(experiment.workload.params)]
    if (old := stored["leaf"].to_numpy().tolist()) != leaves:
        moved = user_files.changes(manifest.get("sources"), experiment.sources)
        why = "; ".join([f"its parameters were {old}, now {leaves}", *moved])
        raise StudyError(f"{what}the model is not that of the study: {why}")
    lanes, total = store.lanes(), len(experiment.lanes)
    if len(lanes) != total or stored.sizes["lane"] != total:
        raise StudyError(
            f"{what}the config in the manifest has {total} lanes, lanes.csv {len(lanes)} and the "
            f"results {stored.sizes['lane']}. Earlier versions trained tuning networks also for "
            "optimizers with one setting: verify with the version that ran it"
        )
    for name in experiment.lanes.columns.intersection(lanes.columns):
        if not experiment.lanes[name].equals(lanes[name]):
            raise StudyError(f"{what}column {name!r} of lanes.csv does not fit the manifest")


def _sound_lanes(store: Store, experiment: Experiment, stored: xr.Dataset) -> np.ndarray:
    """Per lane, whether its tile is finished and its rows match their checksum."""
    tiles = all_tiles(experiment)
    finished = store.finished(tiles, [str(name) for name in stored.data_vars])
    sound = np.zeros(len(experiment.lanes), bool)
    for tile in tiles:
        sound[tile.lanes] = tile.index in finished
    return sound


def _unfinished(manifest: Mapping[str, Any], sound: np.ndarray) -> list[Gap]:
    absent = tuple(np.flatnonzero(~sound).tolist())
    why = f"not there: the study is not finished, its status is {manifest['status']!r}"
    return [Gap(why, absent)] if absent else []


def choose(total: int, there: np.ndarray, sample: int | None, lanes: Sequence[int]) -> np.ndarray:
    """Sorted lane numbers to verify, of those that are there."""
    for lane in lanes:
        if not 0 <= lane < total:
            raise StudyError(f"lane {lane} does not exist; lanes are 0 to {total - 1}")
    if sample is not None and sample < 1:
        raise StudyError(f"sample must be at least 1, got {sample}")
    if not len(there):
        raise StudyError("the study is not finished and no lane is there yet; run it first")
    if absent := sorted(set(lanes) - set(there.tolist())):
        raise StudyError(
            f"lanes {shorten(absent)}: not there, the study is not finished; run it to its end, or "
            f"choose from the {len(there)} that are: {shorten(there.tolist())}"
        )
    if lanes:
        return np.unique(lanes)
    if sample is None or sample >= len(there):
        return there
    return np.sort(np.random.default_rng(SAMPLE_SEED).choice(there, sample, replace=False))


def shorten(lanes: Sequence[int]) -> str:
    """Lane numbers as text, the first dozen of many.

    >>> shorten([0, 2, 4]), shorten(range(100))[-18:]
    ('0, 2, 4', '10, 11 and 88 more')
    """
    text = ", ".join(map(str, lanes[:LISTED]))
    return text + (f" and {len(lanes) - LISTED} more" if len(lanes) > LISTED else "")


def _read(
    stored: xr.Dataset, lanes: np.ndarray, sound: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """The stored rows of lanes, and by reason those that cannot be read or are lost."""
    values: dict[str, np.ndarray] = {}
    lost: dict[int, str] = {}
    for name in sorted(map(str, stored.data_vars)):
        values[name], bad = _rows(stored[name], lanes)
        for row in np.flatnonzero(bad):
            lost.setdefault(int(lanes[row]), f"damaged: {name} cannot be read")
        if values[name].dtype.kind == "f":
            axes = tuple(range(1, values[name].ndim))
            # A lane that diverged at once has such rows too, but they match their checksum.
            for row in np.flatnonzero(np.isnan(values[name]).all(axis=axes) & ~sound[lanes]):
                if name != "diverged_step" and not name.endswith("_to_target"):
                    lost.setdefault(int(lanes[row]), f"damaged: {name} is empty")
    reasons: dict[str, list[int]] = {}
    for lane in sorted(lost):
        reasons.setdefault(lost[lane], []).append(lane)
    return values, reasons


def _rows(array: xr.DataArray, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of lanes, and which of them could not be read, found by halving."""
    try:
        return array.isel(lane=lanes).to_numpy(), np.zeros(len(lanes), bool)
    except Exception:  # noqa: BLE001 - whatever a damaged chunk raises
        if len(lanes) == 1:
            return np.zeros((1, *array.shape[1:]), array.dtype), np.ones(1, bool)
    half = len(lanes) // 2
    parts = [_rows(array, part) for part in (lanes[:half], lanes[half:])]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def rerun(
    experiment: Experiment, chosen: np.ndarray, devices: Sequence[Any], evals: int
) -> dict[str, np.ndarray]:
    """Train the chosen lanes again: variable to rows in the order of `chosen`, as they are stored.

    Args:
        experiment: what to run.
        chosen: lane numbers.
        devices: to run on.
        evals: to fill rows up to, with NaN.
    """
    work = make_work(experiment, initial_weights(experiment))
    recorder = Recorder(experiment)
    tiles = cut_tiles(experiment.programs, work.lanes, chosen)
    rows: dict[int, dict[str, np.ndarray]] = {}
    for event in run_tiles(work, tiles, devices, threading.Event()):
        if isinstance(event, Finished):
            record = recorder.complete(event.tile, event.record)
            for slot, lane in enumerate(event.tile.lanes):
                rows[int(lane)] = {name: value[slot] for name, value in record.items()}
    known = variables(experiment)
    lengths = {name: evals if "eval" in variable.dims else 0 for name, variable in known.items()}
    return {
        name: np.stack([_longest(rows[int(lane)][name], lengths[name]) for lane in chosen])
        for name in rows[int(chosen[0])]
    }


def _longest(value: np.ndarray, evals: int) -> np.ndarray:
    if np.ndim(value) == 0 or len(value) >= evals:
        return np.asarray(value)
    padding = [(0, evals - len(value))] + [(0, 0)] * (value.ndim - 1)
    return np.pad(value, padding, constant_values=np.nan)
