"""Probes of one device: their batches and compiled programs there, and what they cost."""

import time
from collections.abc import Iterator, Sequence
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


class Prober:
    """Takes probes of tiles on one device, each timed by itself."""

    def __init__(self, work: Work, programs: Programs, device: Device):
        self._programs = programs
        self._called: set[tuple[str, int, int]] = set()
        self._costs: dict[str, tuple[int, float, float]] = {}
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
    ) -> dict[str, jax.Array]:
        """What these probes give of a tile, [W, ...] by variable.

        Args:
            due: the probes.
            program: that trains the tile.
            params: those that are evaluated.
            state: of the tile.
            inputs: of the tile.
            start: its first weights, where one of the probes asks for them.
        """
        found: dict[str, jax.Array] = {}
        view = LaneView(params, state.params, state.model_state, inputs.noise_key, state.step)
        optimizer = OptimizerView(state.opt_state, inputs.hyperparameters)
        if due:
            jax.block_until_ready((params, state.params))
        slopes: dict[int, Any] = {}  # by examples: costs and gradients, and what becomes of them
        steps: dict[int, Any] = {}
        for probe in due:
            size, batch = probe.examples, self._batches.get(probe.examples)
            seen = view._replace(start=start) if "start" in probe.asks else view
            if probe.asks & {"grads", "updates"}:
                if size not in slopes:
                    jitted = self._programs.grads(program)
                    slopes[size] = self._timed("grads", (program.width, size), jitted, view, batch)
                seen = seen._replace(grads=slopes[size][1])
            if "updates" in probe.asks:
                if size not in steps:
                    jitted, place = self._programs.updates(program), (program.index, size)
                    given = (seen._replace(start=None), optimizer, slopes[size][0], batch)
                    steps[size] = self._timed("updates", place, jitted, *given)
                seen = seen._replace(updates=steps[size])
            if "grads" not in probe.asks:
                seen = seen._replace(grads=None)
            place = (program.index if probe.of_optimizer else -1, program.width)
            held = optimizer if probe.of_optimizer else None
            jitted = self._programs.measure(probe, program)
            found |= self._timed(probe.name, place, jitted, seen, held, batch)
        return found

    def _timed(self, name: str, place: tuple[int, int], jitted: Any, *given: Any) -> Any:
        """What a jitted function gives, computed to the end; its cost is booked by this name.

        The first call at a place compiles, and is booked as compilation. Calls of jitted functions
        cost a tenth of those of compiled ones, which go through Python.
        """
        began = time.perf_counter()
        found = jax.block_until_ready(jitted(*given))
        took = time.perf_counter() - began
        first = (name, *place) not in self._called
        self._called.add((name, *place))
        times, seconds, compiling = self._costs.get(name, (0, 0.0, 0.0))
        spent = (0.0, took) if first else (took, 0.0)
        self._costs[name] = times + 1, seconds + spent[0], compiling + spent[1]
        return found

    def costs(self) -> Iterator[Probed]:
        """What every probe took since this was last asked."""
        costs, self._costs = self._costs, {}
        for name, cost in costs.items():
            yield Probed(name, *cost)


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
