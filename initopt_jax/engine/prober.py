"""Probes of one device: their batches and compiled programs there, and what they timing."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from initopt_jax.engine.events import Probed
from initopt_jax.engine.measure import LaneView, Measurement, OptimizerView
from initopt_jax.engine.plan import Program
from initopt_jax.engine.probe_buffer import ProbeBuffer
from initopt_jax.engine.programs import Programs, Work
from initopt_jax.engine.segment import LaneInputs, LaneState
from initopt_jax.probes import Batch
from initopt_jax.types import Device, PyTree, Split

# So many calls are timed after the first, then one of so many.
TIMED, TIMED_AGAIN = 3, 32


class ProbeOutputs(NamedTuple):
    """What probes found in a buffer.

    evaluations: E numbers. lanes: [E, W], whether a lane counts. found: by variable, rows of all
    slots, those of the evaluations first.
    """

    evaluations: tuple[int, ...]
    lanes: np.ndarray
    found: dict[str, jax.Array]

    def write(self, record: Mapping[str, np.ndarray]) -> None:
        """Put what was found in its place in curves [W, evaluations, ...]."""
        slots, lanes = np.nonzero(self.lanes)
        rows, evaluations = slots * self.lanes.shape[1] + lanes, np.asarray(self.evaluations)[slots]
        for name, values in self.found.items():
            record[name][lanes, evaluations] = np.asarray(values)[rows]


class Prober:
    """Takes probes of tiles on one device, each timed by itself."""

    def __init__(self, work: Work, programs: Programs, device: Device):
        self._programs, self._all = programs, work.measurements
        self.light = [probe for probe in work.measurements if probe.light]
        self.light_shapes = {
            name: shape for probe in self.light for name, shape in probe.shapes.items()
        }
        self._timings: dict[tuple[Any, ...], _Timing] = {}
        self._before: Any = None
        self._count = 1
        self.asks_start = any("start" in probe.asks for probe in work.measurements)
        # Shared by all that look at as many examples; nothing where none are asked for.
        counts = {probe.examples for probe in work.measurements if looks_at_data(probe)}
        self._batches = {
            count: jax.device_put(probe_batch(work.workload.dataset.train, count), device)
            for count in counts
        }

    def buffer(self, program: Program, inputs: LaneInputs, start: PyTree) -> ProbeBuffer | None:
        """Room for what light probes look at of a tile; None where they look at once."""
        if not self.light or program.probe_slots == 1:
            return None
        return ProbeBuffer(program, self.light, inputs, start, program.probe_slots)

    def now(self, program: Program, evaluation: int, last: int) -> list[Measurement]:
        """The probes that look at a tile at an evaluation of 0 to `last`, without a buffer."""
        waits = self.light if program.probe_slots > 1 else ()
        due = (probe for probe in self._all if probe.due(evaluation, last))
        return [probe for probe in due if probe not in waits]

    def flush(self, buffer: ProbeBuffer, program: Program, before: Any = None) -> ProbeOutputs:
        """What light probes find in a buffer, which is empty then."""
        view, optimizer = buffer.views()
        evaluations, lanes = zip(*buffer.emptied(), strict=True)
        given = (self.light, program, view, optimizer, buffer.width, before)
        found = self.measure(*given, count=len(evaluations))
        return ProbeOutputs(evaluations, np.stack(lanes), found)

    def once(
        self,
        program: Program,
        params: PyTree,
        state: LaneState,
        inputs: LaneInputs,
        start: PyTree,
    ) -> dict[str, jax.Array]:
        """What all probes find of one state of a tile, [W, ...] by variable."""
        view, optimizer = views(params, state, inputs, start)
        found = self.measure(self.now(program, 0, 0), program, view, optimizer, program.width)
        if buffer := self.buffer(program, inputs, start):
            buffer.add(params, state, 0, np.ones(program.width, bool))
            outputs = self.flush(buffer, program)
            found |= {name: rows[: program.width] for name, rows in outputs.found.items()}
        return found

    def measure(
        self,
        due: Sequence[Measurement],
        program: Program,
        view: LaneView,
        optimizer: OptimizerView,
        width: int,
        before: Any = None,
        count: int = 1,
    ) -> dict[str, jax.Array]:
        """What these probes give of lanes, [width, ...] by variable.

        Args:
            due: the probes.
            program: that trains the lanes.
            view: of the lanes, with their first weights where one of the probes asks for them.
            optimizer: of the lanes.
            width: how many.
            before: what the device may still be busy with.
            count: of how many evaluations they are, for the timings.
        """
        self._before, self._count = before, count
        found: dict[str, jax.Array] = {}
        start = view.start
        view = view._replace(start=None)
        slopes: dict[int, Any] = {}  # by examples: losses and gradients, and what becomes of them
        steps: dict[int, Any] = {}
        for probe in due:
            size, batch = probe.examples, self._batches.get(probe.examples)
            outputs = view._replace(start=start) if "start" in probe.asks else view
            if probe.asks & {"grads", "updates"}:
                if size not in slopes:
                    jitted = self._programs.grads(width)
                    slopes[size] = self._booked("grads", (width, size), jitted, view, batch)
                outputs = outputs._replace(grads=slopes[size][1])
            if "updates" in probe.asks:
                if size not in steps:
                    jitted = self._programs.updates(program, width)
                    given = (outputs._replace(start=None), optimizer, slopes[size][0], batch)
                    place = (program.index, width, size)
                    steps[size] = self._booked("updates", place, jitted, *given)
                outputs = outputs._replace(updates=steps[size])
            if "grads" not in probe.asks:
                outputs = outputs._replace(grads=None)
            place = (program.index if probe.of_optimizer else -1, width)
            held = optimizer if probe.of_optimizer else None
            jitted = self._programs.measure(probe, program, width)
            found |= self._booked(probe.name, place, jitted, outputs, held, batch)
        return found

    def _booked(self, name: str, place: tuple[int, ...], jitted: Any, *given: Any) -> Any:
        """What a jitted function gives, on its way; some calls are timed alone, see `timings`."""
        timing = self._timings.setdefault((name, *place), _Timing())
        timed = timing.calls <= TIMED or timing.calls % TIMED_AGAIN == 0
        if timed:
            jax.block_until_ready((given, self._before))
        if timing.calls == 0:
            began = time.perf_counter()
            jitted.lower(*given).compile()  # which the call below finds
            timing.compiling = time.perf_counter() - began
        began = time.perf_counter()
        found = jitted(*given)
        if timed:
            jax.block_until_ready(found)
            timing.book(time.perf_counter() - began)
        timing.calls += 1
        timing.times += self._count
        return found

    def timings(self) -> Iterator[Probed]:
        """What every probe took since this was last asked: times, and seconds by the timed calls.

        Waiting for each result would cost as much as most probes: the first few calls and then one
        of many are timed alone, and stand for the others.
        """
        for name, group in itertools.groupby(sorted(self._timings), key=lambda place: place[0]):
            fresh = [self._timings[place].new() for place in group]
            times, seconds, compiling = map(sum, zip(*fresh, strict=True))
            yield Probed(name, int(times), seconds, compiling)


@dataclass
class _Timing:
    """What one program took.

    Attributes:
        calls: of it. times: evaluations of tiles in them.
        compiling: seconds of compilation. first: of the first call.
        timed: later calls that were timed alone. seconds: what these took.
        told: what `new` gave before, in all.
    """

    calls: int = 0
    times: int = 0
    compiling: float = 0.0
    first: float = 0.0
    timed: int = 0
    seconds: float = 0.0
    told: tuple[float, float, float] = (0, 0.0, 0.0)

    def book(self, seconds: float) -> None:
        """A call that was timed alone; the first, slower than others, stands for itself only."""
        if self.calls == 0:
            self.first = seconds
        else:
            self.timed, self.seconds = self.timed + 1, self.seconds + seconds

    def new(self) -> tuple[float, float, float]:
        """Times, seconds, seconds of compilation, less those told before."""
        each = self.seconds / self.timed if self.timed else 0.0
        total = (self.times, self.first + each * (self.calls - 1), self.compiling)
        (times, seconds, compiling), self.told = self.told, total
        return total[0] - times, total[1] - seconds, total[2] - compiling


def views(
    params: PyTree, state: LaneState, inputs: LaneInputs, start: PyTree
) -> tuple[LaneView, OptimizerView]:
    """What probes see of a tile: `params` are those that are evaluated, `start` the first ones."""
    weights, model_state = state.params, state.model_state
    view = LaneView(params, weights, model_state, inputs.noise_key, state.step, start)
    return view, OptimizerView(state.opt_state, inputs.hyperparameters)


def looks_at_data(probe: Measurement) -> bool:
    """Whether a probe sees examples; a network holds those of its batch."""
    return bool(probe.asks & {"batch", "network", "grads", "updates"})


def probe_batch(train: Split, examples: int) -> Batch:
    """Examples of the training split that probes look at: the same at random for every lane.

    A larger batch begins with the examples of a smaller one.
    """
    chosen = np.random.default_rng(0).permutation(len(train.inputs))[:examples]
    picked: Any = [array[chosen] for array in train]
    return Batch(*picked)
