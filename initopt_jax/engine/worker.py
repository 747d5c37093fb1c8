"""One device at work: its copy of the data, its compiled programs, and the loop over a tile."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.data import first_examples
from initopt_jax.engine import divergence
from initopt_jax.engine.batch_source import BatchSource, DataChunk, DeviceData
from initopt_jax.engine.events import Checkpoint, Compiled, Event, Finished, Progress, Saved
from initopt_jax.engine.plan import Program, Tile
from initopt_jax.engine.probe_buffer import ProbeBuffer
from initopt_jax.engine.prober import ProbeOutputs, Prober, views
from initopt_jax.engine.programs import Programs, Work, memory_limit, out_of_memory, to_chunks
from initopt_jax.engine.segment import LaneInputs, LaneState
from initopt_jax.engine.streaming import Streamed, is_streamed
from initopt_jax.errors import OutOfMemory
from initopt_jax.precision import param_dtype
from initopt_jax.types import Device, PyTree

SAVE_ON_STOP = 1.0  # seconds of unsaved work from which a stopped tile is checkpointed
OPEN = -1  # in place of the evaluation at which a lane ended: it has not

# Puts an event before the consumer; the Event that it returns is set once that was dealt with.
Emit = Callable[[Event], threading.Event]


@dataclass
class TileRun:
    """A tile under way.

    Attributes:
        start: the first weights, where a probe asks for them.
        step: steps done, or dispatched to the device.
        interval_loss: [W], sum of step losses since the last evaluation.
        record: on the host, per variable: curves [W, E, ...], NaN behind the last evaluation; and
            [W], test metrics, `diverged_step` and `last_eval`, the evaluation at which the lane
            ended, OPEN before that.
        chunks: the training examples of the steps to come.
        measured: evaluated on the device, not yet fetched; with it `finite`, see `divergence`.
        bounded: leaves of the optimizer's state that were finite at step 0, where it is watched.
        buffer: what light probes have not yet looked at; None where nothing waits for them.
        seen: what they found, not yet fetched.
        evaluating: seconds that the first evaluation took, None where it was compiled.
    """

    tile: Tile
    program: Program
    state: LaneState
    inputs: LaneInputs
    start: PyTree
    step: int
    interval_loss: jax.Array
    record: dict[str, np.ndarray]
    chunks: Iterator[DataChunk] = field(default_factory=lambda: iter(()))
    measured: dict[str, jax.Array] = field(default_factory=dict)
    finite: Any = None
    bounded: Any = None
    buffer: ProbeBuffer | None = None
    outputs: list[ProbeOutputs] = field(default_factory=list)
    evaluating: float | None = None

    @property
    def evaluation(self) -> int:
        """Number of the last evaluation, from 0 before the first step."""
        return self.step // self.program.eval_every

    @property
    def over(self) -> bool:
        """Whether no step is left, or no lane that still wants one."""
        return self.step >= self.tile.steps or not (self.record["last_eval"] == OPEN).any()


class Worker:
    """One device. `run` trains a tile; events go to `emit`; `stop` ends at the next segment.

    `seeds` is how many data seeds a tile holds at most, per program (`streaming.seeds_at_once`).
    """

    def __init__(
        self,
        work: Work,
        programs: Programs,
        device: Device,
        emit: Emit,
        stop: threading.Event,
        seeds: Mapping[int, int],
    ):
        self.work, self.programs, self.device = work, programs, device
        self.emit, self.stop = emit, stop
        self._evaluated: set[int] = set()  # widths of tiles that were measured before
        self.compiled: dict[int, dict[int, Any]] = {}  # by program, by steps
        self.prober = Prober(work, programs, device)
        self._written = threading.Event()  # whether the last finished tile was written down
        self._written.set()
        data = work.workload.dataset
        self.source: BatchSource = (
            Streamed(data.train, work.lanes, seeds, work.device_data, device)
            if is_streamed(data, work.device_data)
            else DeviceData(data.train, work.lanes, device)
        )
        measured = {"train": first_examples(data, work.eval_train), "val": data.val}
        chunks = {name: to_chunks(split) for name, split in measured.items()}
        self.curve_splits = jax.device_put(chunks, device)
        self.test_split = jax.device_put({"test": to_chunks(data.test)}, device)

    def run(self, tile: Tile, checkpoint: Checkpoint | None) -> None:
        """Train a tile to its end, or to the next segment after a stop.

        Raises:
            OutOfMemory: the tile does not fit on the device.
        """
        program = self.work.programs[tile.program]
        try:
            self._run(tile, program, checkpoint)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            limit = memory_limit(self.device, self.programs.sharing)
            raise OutOfMemory(out_of_memory(program, self.device, 0, limit)) from error

    def _run(self, tile: Tile, program: Program, checkpoint: Checkpoint | None) -> None:
        began = time.perf_counter()
        segment = self._compiled(program)
        step = checkpoint.step if checkpoint else 0
        with closing(self.source.chunks(tile, program, step)) as chunks:
            run = self._begin(tile, program)
            run.chunks = chunks
            if checkpoint:
                self._restore(run, checkpoint)
            if not self._train(run, segment):
                return
        self._flush_probes(run)
        self._fetch(run)
        self._close(run, run.record["last_eval"] == OPEN)
        record = {name: value[: len(tile.lanes)] for name, value in run.record.items()}
        for probed in self.prober.timings():
            self.emit(probed)
        skipped = (tile.steps - run.step) * len(tile.lanes)
        seconds = time.perf_counter() - began
        evaluating = self._evaluating(run)
        self._written = self.emit(Finished(tile, record, seconds, skipped, evaluating))

    def _train(self, run: TileRun, segment: Callable[..., Any]) -> bool:
        """All segments, with checkpoints when they are due; False where it was stopped before."""
        saved = time.perf_counter()
        while not run.over:
            self._advance(run, segment)
            stopping = self.stop.is_set() and not run.over
            patience = SAVE_ON_STOP if stopping else self.work.checkpoint_every
            if not run.over and time.perf_counter() - saved > patience:
                self._flush_probes(run)
                self._fetch(run)
                # Waiting for it to be written costs milliseconds every `checkpoint_every` seconds,
                # and means that a kill loses no segment before the one under way.
                self.emit(Saved(run.tile, _checkpoint(run))).wait()
                saved = time.perf_counter()
            if stopping:
                return False
        return True

    def _advance(self, run: TileRun, segment: Callable[..., Any]) -> None:
        """One segment, and the evaluation where one is due.

        The host stays one segment ahead: what a segment measured is fetched after the next one was
        dispatched, so that the device need not wait for it. With early stop it is fetched at once.
        """
        program, done = run.program, 0
        while done < program.segment_steps:
            previous, chunk = run.interval_loss, next(run.chunks)
            run.state, run.interval_loss = segment(run.state, run.inputs, previous, *chunk)
            self._fetch(run)
            previous.block_until_ready()
            done += len(chunk.batches)
        self._written.wait()  # one finished tile at most is on its way to the disk
        self.emit(Progress(run.tile, program.segment_steps * len(run.tile.lanes)))
        run.step += program.segment_steps
        if run.step % program.eval_every == 0:
            params = self._eval_params(program, run.state, run.inputs)
            run.measured = self._measure(run, params)
            run.measured["batch_loss"] = run.interval_loss / program.eval_every
            run.interval_loss = jnp.zeros_like(run.interval_loss)
            self._buffer_state(run, params)
            self._keep(run)
            if self.work.early_stop:
                self._fetch(run)
                self._close(run, self._done(run))

    def _fetch(self, run: TileRun) -> None:
        """Write what was measured into the record, for lanes that have not ended before."""
        for outputs in run.outputs:
            outputs.write(run.record)
        run.outputs = []
        if not run.measured:
            return
        fetched = {name: np.asarray(value) for name, value in run.measured.items()}
        lanes = run.record["last_eval"] == OPEN
        for name, value in fetched.items():
            run.record[name][lanes, run.evaluation] = value[lanes]
        step = run.evaluation * run.program.eval_every
        _diverged(run, lanes, divergence.found(step, fetched, np.asarray(run.finite)))
        run.measured, run.finite = {}, None

    def _begin(self, tile: Tile, program: Program) -> TileRun:
        """A tile at step 0, evaluated once."""
        state, inputs, start = self._start(tile, program)
        loss = jnp.zeros(program.width, param_dtype(), device=self.device)
        run = TileRun(tile, program, state, inputs, start, 0, loss, {})
        params = self._eval_params(program, state, inputs)
        first = {name: np.asarray(value) for name, value in self._measure(run, params).items()}
        first["batch_loss"] = np.full_like(first["val_loss"], np.nan)
        evals = tile.steps // program.eval_every + 1
        record: dict[str, np.ndarray] = {
            name: np.full((len(value), evals, *value.shape[1:]), np.nan, value.dtype)
            for name, value in first.items()
        }
        for name, value in first.items():
            record[name][:, 0] = value
        record |= {
            f"test_{metric}": np.full_like(first[f"val_{metric}"], np.nan)
            for metric in self.work.workload.task.metrics
        }
        if buffer := self.prober.buffer(program, inputs, start):
            run.buffer = buffer
            record |= {
                name: np.full((program.width, evals, *shape), np.nan, param_dtype())
                for name, shape in self.prober.light_shapes.items()
            }
        record["diverged_step"] = np.full(program.width, divergence.NEVER, np.int32)
        record["last_eval"] = np.full(program.width, OPEN, np.int32)
        run.record = record | self.work.keep.empty(program.width)
        every = np.full(program.width, True)
        _diverged(run, every, divergence.found(0, first, np.asarray(run.finite)))
        self._buffer_state(run, params)
        self._keep(run)
        if self.work.early_stop:
            self._close(run, self._done(run))
        return run

    def _restore(self, run: TileRun, checkpoint: Checkpoint) -> None:
        """Set a run to where its checkpoint stands."""
        run.step, leaves, run.record, loss = checkpoint
        run.state = jax.device_put(_filled(run.state, leaves), self.device)
        run.interval_loss = jax.device_put(loss, self.device)
        if run.buffer:
            run.buffer.emptied()

    def _done(self, run: TileRun) -> np.ndarray:
        """Which lanes need no further step: diverged, or at the target; [W]."""
        steps = np.asarray(run.state.diverged_step), run.record["diverged_step"]
        done = divergence.earlier(*steps) != divergence.NEVER
        if target := self.work.stop_at:
            done |= target.reached(run.record[target.metric][:, run.evaluation])
        return done

    def _close(self, run: TileRun, lanes: np.ndarray) -> None:
        """End those of the lanes that are open here: their test metrics are those of now."""
        lanes = lanes & (run.record["last_eval"] == OPEN)
        if not lanes.any():
            return
        params = self._eval_params(run.program, run.state, run.inputs)
        measured = self.programs.evaluate(params, run.state.model_state, self.test_split)
        test = {name: np.asarray(value) for name, value in measured.items()}
        for name, value in test.items():
            run.record[name][lanes] = value[lanes]
        _diverged(run, lanes, np.asarray(run.state.diverged_step))
        _diverged(run, lanes, divergence.found(run.step, test, np.full(len(lanes), True)))
        run.record["last_eval"][lanes] = run.evaluation
        if self.work.keep.at == "final":
            self._keep_rows(run, lanes, 0)

    def _keep(self, run: TileRun) -> None:
        """Write the state of the lanes that have not ended before, where it is to be stored."""
        place = self.work.keep.place(run.step, run.evaluation)
        if place is not None:
            self._keep_rows(run, run.record["last_eval"] == OPEN, place)

    def _keep_rows(self, run: TileRun, lanes: np.ndarray, place: int) -> None:
        """Write the state of these lanes into the record, as the stored state of this number."""
        for name, rows in self.work.keep.rows(run.state).items():
            run.record[name][lanes, place] = rows[lanes]

    def _start(self, tile: Tile, program: Program) -> tuple[LaneState, LaneInputs, PyTree]:
        """A tile's state at step 0, its inputs, and its first weights, where a probe asks."""
        lanes = tile.padded(program.width)
        table = self.work.lanes
        initial = self.work.initial
        params = initial.stacked(table.initializer_cell[lanes], table.init_seed[lanes], self.device)
        state = self.work.workload.states.stacked(table.init_seed[lanes])
        stacked = jax.device_put((params, state), self.device)
        inputs = self.programs.inputs(program, lanes, self.device)
        # Placed anew: the state, with the weights in it, is given away to the first segment.
        start = jax.device_put(params, self.device) if self.prober.asks_start else None
        return self.programs.start[program.index](*stacked, inputs), inputs, start

    def _compiled(self, program: Program) -> Callable[..., Any]:
        """The segment program, compiled for every shape of its data and batches."""
        if program.index not in self.compiled:
            began = time.perf_counter()
            made = {
                len(chunk.batches): self.programs.compile_segment(
                    program, chunk, self.device, spare=self.source.spare(program)
                )
                for chunk in self.source.shapes(program)
            }
            self.compiled[program.index] = made
            seconds = time.perf_counter() - began
            self.emit(Compiled(program.index, str(self.device), seconds))
        made = self.compiled[program.index]
        return lambda *arguments: made[len(arguments[-1])](*arguments)

    def _measure(self, run: TileRun, params: PyTree) -> dict[str, jax.Array]:
        """Metrics of these weights, and what those probes find that look at once."""
        metrics = self._evaluate(run, params)
        weights = (params, run.state.params) if run.program.evaluated else params
        run.finite = self.programs.finite(weights, run.state.model_state)
        if run.program.watched:
            sound = self.programs.sound(run.state.opt_state)
            run.bounded = sound if run.bounded is None else run.bounded
            run.finite &= (sound | ~run.bounded).all(axis=0)
        last = run.tile.steps // run.program.eval_every
        due = self.prober.now(run.program, run.evaluation, last)
        outputs, optimizer = views(params, run.state, run.inputs, run.start)
        given = (run.program, outputs, optimizer, run.program.width, metrics)
        return metrics | self.prober.measure(due, *given)

    def _evaluate(self, run: TileRun, params: PyTree) -> dict[str, jax.Array]:
        """Metrics of these weights; of a tile's first ones it is measured how long they take."""
        first = not run.record
        if first:
            jax.block_until_ready(params)
        began = time.perf_counter()
        metrics = self.programs.evaluate(params, run.state.model_state, self.curve_splits)
        if first:
            jax.block_until_ready(metrics)
            if run.program.width in self._evaluated:
                run.evaluating = time.perf_counter() - began
            self._evaluated.add(run.program.width)
        return metrics

    def _evaluating(self, run: TileRun) -> float | None:
        """Seconds that a finished tile spent on evaluations, the test among them."""
        if run.evaluating is None:
            return None
        curve = sum(chunks.mask.size for chunks in self.curve_splits.values())
        test = self.test_split["test"].mask.size
        return run.evaluating * (run.evaluation + 1 + test / curve)

    def _buffer_state(self, run: TileRun, params: PyTree) -> None:
        """Put the state and the weights that are evaluated before the light probes.

        They look where their buffer is full.
        """
        if run.buffer is None:
            return
        run.buffer.add(params, run.state, run.evaluation, run.record["last_eval"] == OPEN)
        if run.buffer.full:
            self._flush_probes(run)

    def _flush_probes(self, run: TileRun) -> None:
        """Let the light probes look at what is in their buffer."""
        if run.buffer is not None and run.buffer.taken:
            run.outputs.append(self.prober.flush(run.buffer, run.program, run.measured))

    def _eval_params(self, program: Program, state: LaneState, inputs: LaneInputs) -> PyTree:
        """The weights to measure: those of training, unless the transform has `eval_params`."""
        if not program.evaluated:
            return state.params
        return self.programs.eval_params[program.index](state, inputs)


def _diverged(run: TileRun, lanes: np.ndarray, steps: np.ndarray) -> None:
    """Note after how many updates these lanes were seen to have diverged, where none were fewer."""
    known = run.record["diverged_step"]
    known[lanes] = divergence.earlier(known, steps)[lanes]


def _checkpoint(run: TileRun) -> Checkpoint:
    """Copies on the host: training goes on while they are written."""
    leaves = [np.array(leaf) for leaf in jax.tree.leaves(run.state) if leaf.size]
    copies = {name: value.copy() for name, value in run.record.items()}
    return Checkpoint(run.step, leaves, copies, np.array(run.interval_loss))


def _filled(template: LaneState, leaves: Sequence[np.ndarray]) -> LaneState:
    """The state whose leaves that are not empty are these, in order."""
    stored = iter(leaves)
    return jax.tree.map(lambda leaf: next(stored) if leaf.size else leaf, template)
