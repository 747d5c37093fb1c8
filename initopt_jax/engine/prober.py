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
        self._compiled: dict[tuple[str, int, int], Any] = {}
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
        if due:
            jax.block_until_ready((params, state.params))
        for probe in due:
            given = self._given(probe, params, state, inputs, start)
            place = (probe.name, program.index if probe.of_optimizer else -1, program.width)
            began = time.perf_counter()
            if place not in self._compiled:
                made = self._programs.compile_measure(probe, program, *given)
                self._compiled[place] = made
            ready = time.perf_counter()
            found |= jax.block_until_ready(self._compiled[place](*given))
            times, seconds, compiling = self._costs.get(probe.name, (0, 0.0, 0.0))
            took = time.perf_counter() - ready
            self._costs[probe.name] = times + 1, seconds + took, compiling + ready - began
        return found

    def costs(self) -> Iterator[Probed]:
        """What every probe took since this was last asked."""
        costs, self._costs = self._costs, {}
        for name, cost in costs.items():
            yield Probed(name, *cost)

    def _given(
        self,
        probe: Measurement,
        params: PyTree,
        state: LaneState,
        inputs: LaneInputs,
        start: PyTree,
    ) -> tuple[LaneView, OptimizerView | None, Batch | None]:
        view = LaneView(
            params=params,
            model_state=state.model_state,
            start=start if "start" in probe.asks else None,
            noise_key=inputs.noise_key,
            step=state.step,
        )
        optimizer = None
        if probe.of_optimizer:
            optimizer = OptimizerView(state.params, state.opt_state, inputs.hyperparameters)
        return view, optimizer, self._batches.get(probe.examples)


def looks_at_data(probe: Measurement) -> bool:
    """Whether a probe sees examples; a network holds those of its batch."""
    return bool(probe.asks & {"batch", "network"})


def probe_batch(train: Split, examples: int) -> Batch:
    """Examples of the training split that probes look at: the same at random for every lane.

    A larger batch begins with the examples of a smaller one.
    """
    chosen = np.random.default_rng(0).permutation(len(train.inputs))[:examples]
    picked: Any = [array[chosen] for array in train]
    return Batch(*picked)
