"""Probes of one device: their batches and compiled programs there, and what they cost."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from initopt_jax.engine.events import Probed
from initopt_jax.engine.measure import LaneView, Measurement, OptimizerView
from initopt_jax.engine.plan import Program
from initopt_jax.engine.programs import Programs, Work
from initopt_jax.engine.segment import LaneInputs, LaneState
from initopt_jax.probes import Batch
from initopt_jax.types import Device, PyTree, Split

TIMED, TIMED_AGAIN = (
    3,
    32,
)  # so many calls are timed after the one that compiles, then one of so many


class Prober:
    """Takes probes of tiles on one device, each timed by itself."""

    def __init__(self, work: Work, programs: Programs, device: Device):
        self._programs = programs
        self._costs: dict[tuple[str, int, int], _Cost] = {}
        self._before: Any = None
        self.asks_start = any("start" in probe.asks for probe in work.measurements)
        # Shared by all that look at as many examples; nothing where none are asked for.
        counts = {probe.examples for probe in work.measurements if looks_at_data(probe)}
        self._batches = {
            count: jax.device_put(probe_batch(work.dataset.train, count), device)
            for count in counts
        }

    def measure(
        self,
        due: Sequence[Measurement],
        program: Program,
        params: PyTree,
        state: LaneState,
        inputs: LaneInputs,
        start: PyTree,
        metrics: Any = None,
    ) -> dict[str, jax.Array]:
        """What these probes give of a tile, [W, ...] by variable.

        Args:
            due: the probes.
            program: that trains the tile.
            params: those that are evaluated.
            state: of the tile.
            inputs: of the tile.
            start: its first weights, where one of the probes asks for them.
            metrics: what the device may still be busy with.
        """
        self._before = metrics
        found: dict[str, jax.Array] = {}
        view = LaneView(params, state.params, state.model_state, inputs.noise_key, state.step)
        optimizer = OptimizerView(state.opt_state, inputs.hyperparameters)
        slopes: dict[int, Any] = {}  # by examples: costs and gradients, and what becomes of them
        steps: dict[int, Any] = {}
        for probe in due:
            size, batch = probe.examples, self._batches.get(probe.examples)
            seen = view._replace(start=start) if "start" in probe.asks else view
            if probe.asks & {"grads", "updates"}:
                if size not in slopes:
                    jitted = self._programs.grads(program)
                    slopes[size] = self._booked("grads", (program.width, size), jitted, view, batch)
                seen = seen._replace(grads=slopes[size][1])
            if "updates" in probe.asks:
                if size not in steps:
                    jitted, place = self._programs.updates(program), (program.index, size)
                    given = (seen._replace(start=None), optimizer, slopes[size][0], batch)
                    steps[size] = self._booked("updates", place, jitted, *given)
                seen = seen._replace(updates=steps[size])
            if "grads" not in probe.asks:
                seen = seen._replace(grads=None)
            place = (program.index if probe.of_optimizer else -1, program.width)
            held = optimizer if probe.of_optimizer else None
            jitted = self._programs.measure(probe, program)
            found |= self._booked(probe.name, place, jitted, seen, held, batch)
        return found

    def _booked(self, name: str, place: tuple[int, int], jitted: Any, *given: Any) -> Any:
        """What a jitted function gives, on its way; some calls are timed alone, see `costs`."""
        cost = self._costs.setdefault((name, *place), _Cost())
        timed = cost.times <= TIMED or cost.times % TIMED_AGAIN == 0
        if timed:
            jax.block_until_ready((given, self._before))
        began = time.perf_counter()
        found = jitted(*given)
        if timed:
            jax.block_until_ready(found)
            cost.book(time.perf_counter() - began)
        cost.times += 1
        return found

    def costs(self) -> Iterator[Probed]:
        """What every probe took since this was last asked: times, and seconds by the timed calls.

        Waiting for each result would cost as much as most probes: the first call compiles, the next
        few and then one of many are timed alone, and stand for the others.
        """
        for name, group in itertools.groupby(sorted(self._costs), key=lambda place: place[0]):
            fresh = [self._costs[place].new() for place in group]
            times, seconds, compiling = map(sum, zip(*fresh, strict=True))
            yield Probed(name, int(times), seconds, compiling)


@dataclass
class _Cost:
    """What one program took: calls, seconds of compilation, calls timed alone and their seconds."""

    times: int = 0
    compiling: float = 0.0
    timed: int = 0
    seconds: float = 0.0
    told: tuple[float, float, float] = (0, 0.0, 0.0)

    def book(self, seconds: float) -> None:
        """A call that was timed alone; the first is one that compiles."""
        if self.times == 0:
            self.compiling = seconds
        else:
            self.timed, self.seconds = self.timed + 1, self.seconds + seconds

    def new(self) -> tuple[float, float, float]:
        """Times, seconds, seconds of compilation, less those told before."""
        each = self.seconds / self.timed if self.timed else 0.0
        total = (self.times, each * (self.times - 1), self.compiling)
        (times, seconds, compiling), self.told = self.told, total
        return total[0] - times, total[1] - seconds, total[2] - compiling


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
