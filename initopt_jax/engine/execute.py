"""Running tiles: one worker thread per device, results and checkpoints handed to one consumer.

Workers never touch files. They put events in a bounded queue; whoever iterates over `run_tiles`
(the study) writes them down.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.engine.batches import tile_indices
from initopt_jax.engine.devices import MATMUL_PRECISION
from initopt_jax.engine.plan import LaneTable, Program, Tile
from initopt_jax.engine.schedule import Schedule
from initopt_jax.engine.segment import (
    EVALUATION_CHUNK,
    Chunks,
    LaneInputs,
    LaneState,
    make_evaluate,
    make_segment,
    make_start,
)
from initopt_jax.keys import stream_key
from initopt_jax.types import Dataset, Device, Model, PyTree, Split, Task

SAVE_ON_STOP = 1.0  # seconds of unsaved work from which a stopped tile is checkpointed
Probe = Callable[[PyTree], jax.Array]


@dataclass(frozen=True)
class Work:
    """Everything that lanes need to train, resolved.

    Attributes:
        initial: `(weights, init_seed) -> params` on the host, for one lane.
        model_state: the model's first mutable state, the same for every lane.
        probes: name to `(params of one lane) -> array`.
        eval_train: at most so many training examples measure `train_*`.
        checkpoint_every: seconds between checkpoints of a tile.
    """

    model: Model
    task: Task
    dataset: Dataset
    programs: Sequence[Program]
    lanes: LaneTable
    initial: Callable[[int, int], PyTree]
    model_state: PyTree
    probes: Mapping[str, Probe]
    eval_train: int
    checkpoint_every: float


class Checkpoint(NamedTuple):
    """A tile in mid-run on the host: arrays only, so that it can be stored and taken up again.

    leaves: of the LaneState, in order, without empty ones. curves: per variable [W, E, ...], filled
    up to the last evaluation. interval_loss: [W], the sum of step losses since then.
    """

    step: int
    leaves: list[np.ndarray]
    curves: dict[str, np.ndarray]
    interval_loss: np.ndarray


class Compiled(NamedTuple):
    """A training program was compiled on a device."""

    program: int
    device: str
    seconds: float


class Progress(NamedTuple):
    """A segment of a tile was dispatched: lane-steps done by its real lanes."""

    tile: int
    lane_steps: int


class Saved(NamedTuple):
    """A tile's checkpoint, to be stored."""

    tile: Tile
    checkpoint: Checkpoint


class Finished(NamedTuple):
    """A tile's raw record (see `records.complete`), its real lanes only, and its seconds."""

    tile: Tile
    record: dict[str, np.ndarray]
    seconds: float


Event = Compiled | Progress | Saved | Finished


def to_chunks(split: Split, at_most: int | None = None) -> Chunks:
    """A split as equal chunks of at most EVALUATION_CHUNK examples, the last one padded."""
    examples = min(len(split.inputs), at_most or len(split.inputs))
    count = -(-examples // EVALUATION_CHUNK)
    size = -(-examples // count)

    def cut(array: np.ndarray) -> np.ndarray:
        array = array[:examples]
        padding = [(0, count * size - examples)] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, padding).reshape(count, size, *array.shape[1:])

    return Chunks(*map(cut, (split.inputs, split.targets, np.ones(examples, np.float32))))


class Programs:
    """The jitted functions of a study: made once, shared by the threads, compiled per device."""

    def __init__(self, work: Work):
        self.start = {p.index: jax.jit(make_start(p.make_transform)) for p in work.programs}
        self.segment = {
            p.index: jax.jit(
                make_segment(
                    work.model, work.task, p.make_transform, full_batch=p.batch_size is None
                ),
                donate_argnums=0,
            )
            for p in work.programs
        }
        self.evaluate = jax.jit(make_evaluate(work.model, work.task))
        self.probe = jax.jit(
            lambda params: {name: jax.vmap(probe)(params) for name, probe in work.probes.items()}
        )
        self.keys = jax.jit(jax.vmap(lambda seed: stream_key(seed, "noise")))


class Worker:
    """One device: its copy of the data, its compiled programs, and the loop over a tile."""

    def __init__(
        self,
        work: Work,
        programs: Programs,
        device: Device,
        emit: Callable[[Event], None],
        stop: threading.Event,
    ):
        self.work, self.programs, self.device = work, programs, device
        self.emit, self.stop = emit, stop
        self.compiled: dict[int, Any] = {}
        data = work.dataset
        self.train = jax.device_put(data.train, device)
        self.curve_splits = jax.device_put(
            {"train": to_chunks(data.train, work.eval_train), "val": to_chunks(data.val)}, device
        )
        self.test_split = jax.device_put({"test": to_chunks(data.test)}, device)

    def run(self, tile: Tile, checkpoint: Checkpoint | None) -> None:
        """Train a tile to its end, or to the next segment after a stop.

        The host stays one segment ahead: what a segment measured is fetched after the next one was
        dispatched, so that the device need not wait for it.
        """
        began = saved = time.perf_counter()
        program = self.work.programs[tile.program]
        state, inputs = self._begin(tile, program)
        if checkpoint is None:
            step = 0
            curves = self._empty_curves(state, tile.steps // program.eval_every + 1)
            interval_loss = jnp.zeros(program.width, jnp.float32, device=self.device)
        else:
            step, leaves, curves, loss = checkpoint
            state = jax.device_put(_filled(state, leaves), self.device)
            interval_loss = jax.device_put(loss, self.device)
        measured: dict[str, jax.Array] = {}
        while step < tile.steps:
            batches = jax.device_put(self._batches(tile, program, step), self.device)
            segment = self._compiled(program, state, inputs, interval_loss, batches)
            previous = interval_loss
            state, interval_loss = segment(state, inputs, interval_loss, self.train, batches)
            self._fill(curves, measured, step // program.eval_every)
            measured = {}
            previous.block_until_ready()
            self.emit(Progress(tile.index, program.segment_steps * len(tile.lanes)))
            step += program.segment_steps
            if step % program.eval_every == 0:
                measured = self._measure(state)
                measured["batch_loss"] = interval_loss / program.eval_every
                interval_loss = jnp.zeros_like(interval_loss)
            stopping = self.stop.is_set() and step < tile.steps
            patience = SAVE_ON_STOP if stopping else self.work.checkpoint_every
            if step < tile.steps and time.perf_counter() - saved > patience:
                self._fill(curves, measured, step // program.eval_every)
                self.emit(Saved(tile, _checkpoint(step, state, curves, interval_loss)))
                saved = time.perf_counter()
            if stopping:
                return
        self._fill(curves, measured, step // program.eval_every)
        self.emit(Finished(tile, self._finish(tile, state, curves), time.perf_counter() - began))

    @staticmethod
    def _fill(curves: dict[str, np.ndarray], measured: dict[str, jax.Array], at: int) -> None:
        """Fetch what was measured and write it into the curves."""
        for name, value in measured.items():
            curves[name][:, at] = np.asarray(value)

    def _finish(
        self, tile: Tile, state: LaneState, curves: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The raw record of a trained tile, without the lanes that only filled it up."""
        test = self.programs.evaluate(state.params, state.model_state, self.test_split)
        record = curves | {"diverged_step": state.diverged_step} | test
        return {name: np.asarray(value)[: len(tile.lanes)] for name, value in record.items()}

    def _begin(self, tile: Tile, program: Program) -> tuple[LaneState, LaneInputs]:
        lanes = tile.padded(program.width)
        table = self.work.lanes
        params = [
            self.work.initial(int(weights), int(seed))
            for weights, seed in zip(table.weights[lanes], table.init_seed[lanes], strict=True)
        ]
        state = [self.work.model_state] * program.width
        stacked = jax.device_put(
            (_stack(params), _stack(state), table.noise_seed[lanes].astype(np.uint32)), self.device
        )
        hyper = {
            name: table.hyperparameters[name][lanes].astype(np.float32)
            for name in program.hyperparameters
        }
        inputs = LaneInputs(jax.device_put(hyper, self.device), self.programs.keys(stacked[2]))
        return self.programs.start[program.index](*stacked[:2], inputs), inputs

    def _batches(self, tile: Tile, program: Program, step: int) -> np.ndarray:
        if program.batch_size is None:
            return np.arange(step, step + program.segment_steps, dtype=np.int32)
        return tile_indices(
            self.work.lanes.data_seed[tile.padded(program.width)],
            step,
            program.segment_steps,
            len(self.work.dataset.train.inputs),
            program.batch_size,
        )

    def _compiled(self, program: Program, *arguments: Any) -> Any:
        if program.index not in self.compiled:
            began = time.perf_counter()
            state, inputs, interval_loss, batches = arguments
            lowered = self.programs.segment[program.index].lower(
                state, inputs, interval_loss, self.train, batches
            )
            self.compiled[program.index] = lowered.compile()
            seconds = time.perf_counter() - began
            self.emit(Compiled(program.index, str(self.device), seconds))
        return self.compiled[program.index]

    def _measure(self, state: LaneState) -> dict[str, jax.Array]:
        metrics = self.programs.evaluate(state.params, state.model_state, self.curve_splits)
        return metrics | self.programs.probe(state.params)

    def _empty_curves(self, state: LaneState, evals: int) -> dict[str, np.ndarray]:
        """Curves [W, E, ...] that hold the evaluation at step 0, and NaN behind it."""
        first = {name: np.asarray(value) for name, value in self._measure(state).items()}
        first["batch_loss"] = np.full_like(first["val_loss"], np.nan)
        curves = {
            name: np.full((len(value), evals, *value.shape[1:]), np.nan, value.dtype)
            for name, value in first.items()
        }
        for name, value in first.items():
            curves[name][:, 0] = value
        return curves


def run_tiles(
    work: Work,
    tiles: Sequence[Tile],
    devices: Sequence[Device],
    stop: threading.Event,
    checkpoints: Callable[[Tile], Checkpoint | None] = lambda tile: None,
) -> Generator[Event, None, None]:
    """Train tiles on devices; events as they come, until all tiles are done or `stop` is set.

    Args:
        work: what lanes need.
        tiles: to train; their order changes when results come, never what they are.
        devices: a worker thread each.
        stop: set it to end at the next segment.
        checkpoints: where a tile was stored in mid-run, its checkpoint; called from worker threads.

    Raises:
        Whatever a worker raised, after all workers have stopped.
    """
    events: queue.Queue[Event | BaseException | None] = queue.Queue(maxsize=64)
    schedule = Schedule(work.programs, tiles, examples=len(work.dataset.train.inputs))
    programs = Programs(work)

    def drive(device: Device) -> None:
        try:
            with jax.default_matmul_precision(MATMUL_PRECISION):  # a setting of each thread
                worker = Worker(work, programs, device, events.put, stop)
                while not stop.is_set() and (tile := schedule.next_tile(set(worker.compiled))):
                    began = time.perf_counter()
                    fresh = tile.program not in worker.compiled
                    worker.run(tile, checkpoints(tile))
                    seconds = time.perf_counter() - began
                    schedule.report(tile.program, seconds, compiled=fresh)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            stop.set()
            events.put(error)
        finally:
            events.put(None)

    threads = [
        threading.Thread(target=drive, args=(device,), name=f"lanes on {device}", daemon=True)
        for device in devices
    ]
    for thread in threads:
        thread.start()
    failure: BaseException | None = None
    running = len(threads)
    try:
        while running:
            event = events.get()
            if event is None:
                running -= 1
            elif isinstance(event, BaseException):
                failure = failure or event
            else:
                yield event
    finally:  # also where the consumer gave up: let no worker wait for room in the queue
        stop.set()
        while running:
            running -= events.get() is None
        for thread in threads:
            thread.join()
    if failure:
        raise failure


def _stack(trees: Sequence[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def _checkpoint(
    step: int, state: LaneState, curves: dict[str, np.ndarray], interval_loss: jax.Array
) -> Checkpoint:
    """Copies on the host: training goes on while they are written."""
    leaves = [np.array(leaf) for leaf in jax.tree.leaves(state) if leaf.size]
    copies = {name: curve.copy() for name, curve in curves.items()}
    return Checkpoint(step, leaves, copies, np.array(interval_loss))


def _filled(template: LaneState, leaves: Sequence[np.ndarray]) -> LaneState:
    """The state whose leaves that are not empty are these, in order."""
    stored = iter(leaves)
    return jax.tree.map(lambda leaf: next(stored) if leaf.size else leaf, template)
