"""Train what a study still lacks, and write each tile down as it comes."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from initopt_jax.engine import records
from initopt_jax.engine.events import Compiled, Event, Finished, Probed, Progress, Saved
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.initial import FirstWeights
from initopt_jax.engine.measure import Measurement
from initopt_jax.engine.plan import Tile
from initopt_jax.engine.programs import Work
from initopt_jax.errors import Interrupted
from initopt_jax.planning.resolve import Experiment
from initopt_jax.store import FinishedTile, Store
from initopt_jax.studies.forecast import Forecast
from initopt_jax.types import Device

PROBE_COST = ("times", "seconds", "compile_seconds")  # of a probe, over all devices
WRITE_EVERY = 1.0  # seconds that a finished tile may wait to be written with others


@dataclass
class StudyProgress:
    """Where a run is, for whoever shows it.

    Attributes:
        lanes: of the study. lane_steps: of all its lanes, less those that early stop spared.
        lanes_done: so far, those found finished included; lane_steps_done likewise.
        resumed_steps: lane-steps that were there when the run began.
        diverged: lanes finished in this run whose loss left the finite numbers.
        began: whether a training step was made yet; before, programs compile.
        ended: tiles that ended in this run.
        weights: work of the tiles to train, by number: whatever it is counted in.
        notes: what a person should know of the study, in words.
    """

    lanes: int
    lane_steps: int
    lanes_done: int
    lane_steps_done: int
    resumed_steps: int
    diverged: int = 0
    began: bool = False
    ended: int = 0
    weights: Mapping[int, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    _steps: dict[int, int] = field(default_factory=dict)  # lane-steps seen, by tile
    _left: float | None = None  # work
    _done: float = 0.0  # work since the first segment, which was compiled, came to its end
    _since: float = 0.0

    def advance(self, tile: Tile, lane_steps: int, now: float) -> None:
        """Count a segment of a tile that was done by now."""
        if self._left is None:
            self._left, self._since = sum(self.weights.values()), now
        else:
            self._done += self._work(tile, lane_steps)
        self._left -= self._work(tile, lane_steps)
        self._steps[tile.index] = self._steps.get(tile.index, 0) + lane_steps
        self.lane_steps_done += lane_steps
        self.began = True

    def end(self, tile: Tile, skipped: int) -> None:
        """Count a tile as finished; what it had done before this run is no speed of this one."""
        rest = len(tile.lanes) * tile.steps - self._steps.get(tile.index, 0)
        if self._left is not None:
            self._left -= self._work(tile, rest)
        self.lane_steps -= skipped
        self.lane_steps_done += rest - skipped
        self.resumed_steps += rest - skipped
        self.lanes_done += len(tile.lanes)
        self.ended += 1

    def seconds_left(self, now: float) -> float | None:
        """By the work that was done, program by program; None before there is anything to go by."""
        if self._left is None or not self._done:
            return None
        return max(0.0, self._left) * (now - self._since) / self._done

    def _work(self, tile: Tile, lane_steps: int) -> float:
        return self.weights.get(tile.index, 0.0) * lane_steps / (len(tile.lanes) * tile.steps)


def variables(experiment: Experiment) -> dict[str, records.Variable]:
    """The variables of a study's results."""
    wide = experiment.workload.precision.wide
    metrics = list(experiment.workload.task.metrics)
    probed = experiment.probing.dims
    kept = experiment.keep.variables
    return records.variables(metrics, probed, experiment.target, wide) | dict(kept)


def make_work(
    experiment: Experiment,
    initial: FirstWeights,
    measurements: Sequence[Measurement] | None = None,
) -> Work:
    """The engine's view of an experiment, with other probes than its own where they are given."""
    probes = experiment.probing.measurements if measurements is None else measurements
    return Work(
        workload=experiment.workload,
        programs=experiment.programs,
        lanes=experiment.lane_table(),
        initial=initial,
        measurements=probes,
        keep=experiment.keep,
        eval_train=experiment.config.eval_train,
        checkpoint_every=experiment.config.checkpoint_every,
        device_data=experiment.device_data,
        early_stop=experiment.config.early_stop,
        stop_at=experiment.target,
    )


class _TileWriter:
    """Finished tiles on their way to the store, at most a second late.

    A write takes tens of milliseconds of a core, however many rows it brings: short tiles share
    one. To let them wait for five seconds made the digits study with all light probes 5% faster:
    too little for the work that a kill would lose.
    """

    def __init__(self, store: Store, patience: float):
        self._store, self._patience = store, min(WRITE_EVERY, patience)
        self._waiting: list[FinishedTile] = []
        self._written = time.perf_counter()

    def add(self, finished: FinishedTile) -> None:
        self._waiting.append(finished)

    def flush(self, *, now: bool = False) -> None:
        """Write down what waits, where it has waited long enough or must not wait."""
        if self._waiting and (now or time.perf_counter() - self._written > self._patience):
            waiting, self._waiting = self._waiting, []
            self._store.write_tiles(waiting)
            self._written = time.perf_counter()


class Recorder:
    """Completes the raw records of tiles: examples seen, flops per step, steps to target."""

    def __init__(self, experiment: Experiment):
        self._experiment = experiment
        self.forecast = Forecast(experiment)

    def complete(self, tile: Tile, raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All variables of a tile's lanes."""
        program = self._experiment.programs[tile.program]
        return records.complete(
            raw,
            steps_between=program.eval_every,
            batch=program.batch_size or self._experiment.workload.examples,
            flops_per_step=float(self.forecast.step(tile.program).count),
            target=self._experiment.target,
        )


def train(
    store: Store,
    experiment: Experiment,
    initial: FirstWeights,
    tiles: Sequence[Tile],
    devices: Sequence[Device],
    progress: Callable[[StudyProgress], None] | None,
    stop: threading.Event,
) -> bool:
    """Train the tiles that the store lacks. Returns whether there were any.

    Raises:
        Interrupted: `stop` was set, or the disk is full; what is finished is kept.
    """
    done = store.finished(tiles, list(variables(experiment)))
    pending = [tile for tile in tiles if tile.index not in done]
    manifest = store.manifest()
    if not pending and manifest["status"] == "done":
        return False
    began = time.perf_counter()
    recorder = Recorder(experiment)
    counts = _progress_of(tiles, done, recorder.forecast)
    training, evaluating = recorder.forecast.operations(tiles)
    manifest["operations"] = {"training": training, "evaluation": evaluating}
    manifest.setdefault("probes", {})
    manifest["streamed"] = experiment.streamed  # as of this run: it changes no numbers
    store.write_manifest(manifest | {"status": "running"})
    work = make_work(experiment, initial)
    writer = _TileWriter(store, experiment.config.checkpoint_every)
    finished = 0
    if progress:
        progress(counts)
    try:
        with closing(run_tiles(work, pending, devices, stop, store.load_checkpoint)) as events:
            for event in events:
                _write_down(event, store, writer, recorder, manifest, counts)
                writer.flush()
                finished += isinstance(event, Finished)
                if progress:
                    progress(counts)
    finally:
        writer.flush(now=True)
        seconds = round(manifest["seconds"] + time.perf_counter() - began, 3)
        status = "done" if finished == len(pending) else "stopped"
        store.write_manifest(manifest | {"status": status, "seconds": seconds})
    if finished < len(pending):
        left = len(pending) - finished
        raise Interrupted(
            f"{left} of {len(tiles)} tiles are left; run the same command again to resume"
        )
    store.remove_checkpoints()
    return True


def _progress_of(tiles: Sequence[Tile], done: set[int], forecast: Forecast) -> StudyProgress:
    pending = [tile for tile in tiles if tile.index not in done]
    resumed = sum(len(tile.lanes) * tile.steps for tile in tiles if tile.index in done)
    return StudyProgress(
        lanes=sum(len(tile.lanes) for tile in tiles),
        lane_steps=sum(len(tile.lanes) * tile.steps for tile in tiles),
        lanes_done=sum(len(tile.lanes) for tile in tiles if tile.index in done),
        lane_steps_done=resumed,
        resumed_steps=resumed,
        weights={tile.index: forecast.seconds(tile) for tile in pending},
        notes=tuple(forecast.notes(tiles)),
    )


def _write_down(
    event: Event,
    store: Store,
    writer: _TileWriter,
    recorder: Recorder,
    manifest: dict[str, Any],
    counts: StudyProgress,
) -> None:
    """Store what an event brings, and count it."""
    if isinstance(event, Finished):
        record = recorder.complete(event.tile, event.record)
        writer.add(FinishedTile(event.tile, record, event.seconds))
        counts.end(event.tile, event.skipped)
        counts.diverged += int(record["diverged"].sum())
        entry = manifest["programs"][event.tile.program]
        entry["run_seconds"] = round(entry["run_seconds"] + event.seconds, 3)
        if event.evaluating is not None:
            for name, seconds in (("timed", event.seconds), ("evaluation", event.evaluating)):
                entry[f"{name}_seconds"] = round(entry.get(f"{name}_seconds", 0.0) + seconds, 4)
        counted = recorder.forecast.step(event.tile.program)
        entry["flops_per_step"], entry["open_loops"] = float(counted.count), counted.open_loops
    elif isinstance(event, Saved):
        store.save_checkpoint(event.tile, event.checkpoint)
    elif isinstance(event, Compiled):
        entry = manifest["programs"][event.program]
        entry["compiled"] += 1
        entry["compile_seconds"] = round(entry["compile_seconds"] + event.seconds, 3)
    elif isinstance(event, Probed):
        timing = manifest["probes"].setdefault(event.probe, dict.fromkeys(PROBE_COST, 0))
        timing["times"] += event.times
        timing["seconds"] = round(timing["seconds"] + event.seconds, 4)
        timing["compile_seconds"] = round(timing["compile_seconds"] + event.compile_seconds, 4)
    elif isinstance(event, Progress):
        counts.advance(event.tile, event.lane_steps, time.perf_counter())
