"""A study that was run, looked at again: its networks from stored states, and probes of them."""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from initopt_jax.config.entries import ProbeConfig
from initopt_jax.config.schema import Config, validate
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.flops import tile_shapes
from initopt_jax.engine.keep import KEPT, is_kept, kept_name, restored
from initopt_jax.engine.plan import Program, Tile, cut_tiles
from initopt_jax.engine.prober import Prober
from initopt_jax.engine.programs import Programs, Work
from initopt_jax.engine.segment import LaneState
from initopt_jax.errors import ConfigError, StudyError, unknown_name
from initopt_jax.lookup import user_files
from initopt_jax.lookup.names import own_code
from initopt_jax.lookup.trust import is_shipped, trusting
from initopt_jax.planning.probes import bind, dimension_labels
from initopt_jax.planning.resolve import Experiment, data_places
from initopt_jax.precision import MATMUL_PRECISION, in_precision
from initopt_jax.store import Store, maker
from initopt_jax.studies.manifest import data_folders
from initopt_jax.studies.preview import initial_weights, own_files, prepare
from initopt_jax.studies.trained_network import TrainedNetwork, as_network
from initopt_jax.studies.training import make_work
from initopt_jax.tree import named_leaves
from initopt_jax.types import Device, PyTree

TRUST = "--trust (in Python trust=True)"


def recorded_precision(manifest: Mapping[str, Any]) -> str:
    """As the config in the manifest has it; whether that is whole is found out later."""
    config = manifest.get("config")
    return config.get("precision", "") if isinstance(config, dict) else ""


def reopened(store: Store, manifest: Mapping[str, Any], *, trust: bool = False) -> Experiment:
    """The study's experiment, with the user's own files where they were when it began.

    Args:
        store: the study's folder.
        manifest: of the study.
        trust: whether to run files that are not those that it began with, or somebody else's.

    Raises:
        StudyError: it needs files that must not be run, or cannot be set up here.
    """
    folder = store.folder
    try:
        raw = manifest["config"] | {"tile_width": manifest["tile_width"]}
        recorded = user_files.recorded_in(manifest)
        found = user_files.folders(recorded, folder)
        changed = user_files.changed_files(recorded, folder)
        data_first = data_folders(manifest, folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StudyError(f"the manifest of {str(folder)!r} is damaged: {error!r}") from None
    try:
        config = validate(raw)
        if not trust:
            now = own_files(config, first=found)
            _refuse_changed(folder, changed or user_files.changes(manifest.get("sources"), now))
            _refuse_strangers(manifest, folder, now, config, data_first)
        return prepare(config, first=found, data_first=data_first, trust=trust)
    except (ConfigError, OSError) as error:
        also = f"; what differs: {'; '.join(changed)}" if changed else ""
        raise StudyError(f"the study cannot be set up here: {error}{also}") from error


def _refuse_changed(folder: Path, changed: Sequence[str]) -> None:
    """Raise StudyError where other code would be run than the study's."""
    if changed:
        raise StudyError(
            f"{str(folder)!r} needs code that is not that of the study: {'; '.join(changed)}. "
            f"Nothing was run; put the files back, or run them as they are with {TRUST}"
        )


def _refuse_strangers(
    manifest: Mapping[str, Any],
    folder: Path,
    files: Mapping[str, user_files.SourceFile],
    config: Config,
    data_first: Sequence[Path],
) -> None:
    """Raise StudyError where a study of somebody else's would run code, or read files far away."""
    if maker.is_own(manifest):
        return
    own = [f"{name} ({file.path})" for name, file in files.items() if not is_shipped(name)]
    places = data_places(config, [*data_first, Path.cwd()])
    far = [str(place) for place in places if not place.is_relative_to(Path.cwd())]
    asked = [f"run {', '.join(own)}"] if own else []
    if far:
        asked.append(f"read {', '.join(far)}, outside of the current folder")
    if asked:
        raise StudyError(
            f"{str(folder)!r} was not made by you on this machine, and would "
            f"{' and '.join(asked)}. Look at that; if you trust whoever wrote it, add {TRUST}"
        )


def probe(
    store: Store,
    name: str,
    at: str | int = "final",
    lanes: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
) -> xr.Dataset:
    """A probe of stored states; see `Study.probe`."""
    manifest = store.manifest()
    devices = set_up_devices()
    with in_precision(recorded_precision(manifest)):
        experiment = reopened(store, manifest, trust=trust)
        with trusting(trust), own_code(experiment.sources):
            stored = store.dataset()
            place = _place(stored, at)
            chosen = _chosen(stored, lanes)
            # When it was taken decides what is looked at together, and with it the last bits.
            own = {probe.name: probe.at for probe in experiment.config.probes}
            given = {"at": own.get(name), **(options or {}), "name": name}
            entry = ProbeConfig.model_validate(given)
            return _measured(experiment, stored, entry, chosen, place, devices)


def params(store: Store, lane: int, at: str | int = "final", *, trust: bool = False) -> PyTree:
    """The weights of a stored state; see `Study.params`."""
    manifest = store.manifest()
    with in_precision(recorded_precision(manifest)):
        experiment = reopened(store, manifest, trust=trust)
        stored = store.dataset()
        place = _place(stored, at)
        row = _chosen(stored, [lane])
        leaves = [
            stored[kept_name(path)].isel(lane=row[0], kept=place).to_numpy()
            for path, _ in named_leaves(experiment.workload.params)
        ]
        return jax.tree.unflatten(jax.tree.structure(experiment.workload.params), leaves)


def network(
    store: Store, lane: int, at: str | int = "final", *, trust: bool = False
) -> TrainedNetwork:
    """A trained network with all that its use needs; see `Study.network`."""
    manifest = store.manifest()
    devices = set_up_devices()
    with in_precision(recorded_precision(manifest)):
        experiment = reopened(store, manifest, trust=trust)
        if experiment.test_function:
            raise StudyError("the study is of a test function, and has no networks")
        stored = store.dataset()
        place = _place(stored, at)
        chosen = _chosen(stored, [lane])
        with own_code(experiment.sources):
            work = make_work(experiment, initial_weights(experiment), [])
            program = work.programs[int(work.lanes.program[lane])]
            lanes = np.repeat(chosen, program.width)  # of the width that it was trained in
            state = _state(work, program, stored, lanes, place)
            params = state.params
            if program.evaluated:
                programs = Programs(work, devices)
                state = jax.device_put(state, devices[0])
                inputs = programs.inputs(program, lanes, devices[0])
                params = programs.eval_params[program.index](state, inputs)
        one, model_state = jax.tree.map(
            lambda leaf: np.asarray(leaf)[0], (params, state.model_state)
        )
        return as_network(experiment, lane, int(np.asarray(state.step)[0]), one, model_state)


def _place(stored: xr.Dataset, at: str | int) -> int:
    """The number of a stored state. Raises StudyError where there is none such."""
    if KEPT not in stored.dims:
        raise StudyError(
            "the study stored no states; run it with keep: final (or every, or a list of steps)"
        )
    known = [str(label) for label in stored[KEPT].to_numpy()]
    if at == "final" and "final" not in known:
        at = known[-1]
    if str(at) not in known:
        raise StudyError(unknown_name("stored state", str(at), known))
    return known.index(str(at))


def _chosen(stored: xr.Dataset, lanes: Sequence[int] | None) -> np.ndarray:
    """Lane numbers, ascending: those asked for, which must be there, or all that are.

    Raises:
        StudyError: a lane that does not exist or is not finished, or none that is.
    """
    total = stored.sizes["lane"]
    if lanes is None:
        there = ~np.isnan(stored["step"].to_numpy()[:, 0])
        if not there.any():
            raise StudyError("no lane is there yet; run the study first")
        return np.flatnonzero(there)
    for lane in lanes:
        if not 0 <= lane < total:
            raise StudyError(f"lane {lane} does not exist; lanes are 0 to {total - 1}")
        if not np.isfinite(stored["step"].isel(lane=lane, eval=0).to_numpy()):
            raise StudyError(f"lane {lane} is not there yet; run the study again to finish it")
    return np.unique(lanes)


def _measured(
    experiment: Experiment,
    stored: xr.Dataset,
    entry: ProbeConfig,
    chosen: np.ndarray,
    place: int,
    devices: Sequence[Device],
) -> xr.Dataset:
    """A probe of the chosen lanes, tile by tile, on all devices."""
    probing = bind([entry], experiment.workload, experiment.programs, experiment.target)
    work = make_work(experiment, initial_weights(experiment), probing.measurements)
    programs = Programs(work, devices)
    tiles = iter(cut_tiles(experiment.programs, work.lanes, chosen))
    rows: dict[int, dict[str, np.ndarray]] = {}

    def drive(device: Device) -> None:
        with jax.default_matmul_precision(MATMUL_PRECISION):  # a setting of each thread
            prober = Prober(work, programs, device)
            for tile in tiles:
                rows.update(_of_tile(work, programs, prober, stored, tile, place, device))

    with ThreadPoolExecutor(len(devices)) as pool:
        list(pool.map(drive, devices))
    found = {
        name: (("lane", *dims), np.stack([rows[int(lane)][name] for lane in chosen]))
        for name, dims in probing.dims.items()
    }
    used = set(itertools.chain(*probing.dims.values()))
    labels = {d: known for d, known in dimension_labels(experiment.workload).items() if d in used}
    return xr.Dataset(found, coords={"lane": chosen, **labels})


def _of_tile(
    work: Work,
    programs: Programs,
    prober: Prober,
    stored: xr.Dataset,
    tile: Tile,
    place: int,
    device: Device,
) -> dict[int, dict[str, np.ndarray]]:
    """What the probe gives of a tile's lanes, by lane and variable."""
    program = work.programs[tile.program]
    lanes = tile.padded(program.width)
    state = jax.device_put(_state(work, program, stored, lanes, place), device)
    inputs = programs.inputs(program, lanes, device)
    start = None
    if prober.asks_start:
        seeds = work.lanes.init_seed[lanes]
        start = jax.device_put(
            work.initial.stacked(work.lanes.initializer_cell[lanes], seeds), device
        )
    params = state.params
    if program.evaluated:
        params = programs.eval_params[program.index](state, inputs)
    found = prober.once(program, params, state, inputs, start)
    arrays = {name: np.asarray(value) for name, value in found.items()}
    return {
        int(lane): {name: value[slot] for name, value in arrays.items()}
        for slot, lane in enumerate(lanes[: len(tile.lanes)])
    }


def _state(
    work: Work, program: Program, stored: xr.Dataset, lanes: np.ndarray, place: int
) -> LaneState:
    """The state of these lanes of one program, as it was stored."""
    like, _ = tile_shapes(program, work.workload, len(lanes))
    order, back = np.unique(lanes, return_inverse=True)  # a row is read once
    kept = stored.isel(lane=order, kept=place)
    names = [str(name) for name in stored.data_vars if is_kept(str(name))]
    rows = {name: kept[name].to_numpy()[back] for name in names}
    weights, model_state, opt_state = restored(rows, like)
    label = str(stored[KEPT].to_numpy()[place])
    last = np.nanmax(stored["step"].isel(lane=order).to_numpy(), axis=1)[back]
    step = last if label == "final" else np.full(len(lanes), _step(work, program, label))
    counts: Any = step.astype(np.int32), np.full(len(lanes), -1, np.int32)
    return LaneState(weights, model_state, opt_state, *counts)


def _step(work: Work, program: Program, label: str) -> int:
    """The step of a stored state by its label."""
    return int(label) * (program.eval_every if work.keep.at == "every" else 1)
