"""The jitted functions of a study, and what one of its training programs takes in memory."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from initopt_jax import memory
from initopt_jax.engine.batch_source import DataChunk, split_bytes
from initopt_jax.engine.devices import compiler_options
from initopt_jax.engine.divergence import make_finite, sound
from initopt_jax.engine.flops import tile_shapes
from initopt_jax.engine.initial import FirstWeights
from initopt_jax.engine.keep import Keep
from initopt_jax.engine.measure import Measurement, make_grads, make_measure, make_updates
from initopt_jax.engine.plan import LaneTable, Program
from initopt_jax.engine.segment import (
    EVALUATION_CHUNK,
    Chunks,
    LaneInputs,
    make_eval_params,
    make_evaluate,
    make_segment,
    make_start,
)
from initopt_jax.engine.workload import Workload
from initopt_jax.errors import OutOfMemory, byte_size
from initopt_jax.keys import stream_key
from initopt_jax.precision import param_dtype
from initopt_jax.tasks.metrics import Target
from initopt_jax.types import Device, Split


@dataclass(frozen=True)
class Work:
    """Everything that lanes need to train, resolved.

    Attributes:
        workload: model, task, data.
        initial: `stacked(weights [W], init_seeds [W], device) -> params [W, ...]` on the host.
        measurements: the probes. keep: which states are stored.
        eval_train: at most so many training examples measure `train_*`.
        checkpoint_every: seconds between checkpoints of a tile.
        device_data: bytes of training data on a device; a larger training split is streamed.
        stop_at: with early stop, the target at which a lane ends; it also ends where it diverged.
        early_stop: whether lanes end before their last step.
    """

    workload: Workload
    programs: Sequence[Program]
    lanes: LaneTable
    initial: FirstWeights
    eval_train: int
    checkpoint_every: float
    measurements: Sequence[Measurement] = ()
    keep: Keep = field(default_factory=Keep)
    device_data: float = math.inf
    early_stop: bool = False
    stop_at: Target | None = None


class Programs:
    """The jitted functions of a study: made once, shared by the threads, compiled per device.

    Args:
        work: what lanes need.
        devices: those that train; on CPU they share the machine's memory.
    """

    def __init__(self, work: Work, devices: Sequence[Device]):
        options = compiler_options(devices[0].platform)
        self._work, self.sharing = work, len(devices)
        model, task = work.workload.model, work.workload.task
        self.start = {p.index: jax.jit(make_start(p.make_transform)) for p in work.programs}
        self.segment = {
            p.index: jax.jit(
                make_segment(model, task, p.make_transform, full_batch=p.batch_size is None),
                donate_argnums=0,
                compiler_options=options,
            )
            for p in work.programs
        }
        self.eval_params = {
            p.index: jax.jit(make_eval_params(p.make_transform))
            for p in work.programs
            if p.evaluated
        }
        self.evaluate = jax.jit(make_evaluate(model, task), compiler_options=options)
        self.finite = jax.jit(make_finite(work.workload.model_state))
        self.sound = jax.jit(sound)
        self._options = options
        self._probes: dict[Any, Any] = {}
        self._lock = threading.Lock()
        self.keys = jax.jit(jax.vmap(lambda seed: stream_key(seed, "noise")))

    def inputs(self, program: Program, lanes: np.ndarray, device: Device) -> LaneInputs:
        """Hyperparameters and noise keys of a tile of lanes, on a device."""
        table = self._work.lanes
        hyper = {
            name: table.hyperparameters[name][lanes].astype(param_dtype())
            for name in program.hyperparameters
        }
        seeds = jax.device_put(table.noise_seed[lanes].astype(np.uint32), device)
        return LaneInputs(jax.device_put(hyper, device), self.keys(seeds))

    def compile_segment(
        self, program: Program, chunk: DataChunk, device: Device, *, spare: int = 0
    ) -> Any:
        """A training program compiled for a device, from shapes alone: nothing is allocated.

        Args:
            program: to compile.
            chunk: the data and batches that it takes, or their shapes.
            device: where.
            spare: bytes that the data take besides.

        Raises:
            OutOfMemory: XLA says that it takes more memory than the device has.
        """
        state, inputs = tile_shapes(program, self._work.workload, program.width)
        shapes = (state, inputs, jax.ShapeDtypeStruct((program.width,), param_dtype()), *chunk)
        placed = jax.sharding.SingleDeviceSharding(device)
        on_device = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed), shapes
        )
        compiled = self.segment[program.index].lower(*on_device).compile()
        needed = memory_needed(compiled) + spare
        if needed > (limit := memory_limit(device, self.sharing)):
            data = split_bytes(chunk.data) + spare  # the same at every width
            raise OutOfMemory(out_of_memory(program, device, needed, limit, data))
        return compiled

    def measure(self, measurement: Measurement, program: Program, width: int) -> Any:
        """A probe's program for so many lanes, jitted; one for all training programs where it asks
        for no optimizer. Traced once, however many devices compile it.
        """
        of = program if measurement.of_optimizer else None
        place = (measurement.name, of and of.index, width)
        return self._jitted(place, make_measure, measurement, self._work.workload, of, width)

    def grads(self, width: int) -> Any:
        """What gives the gradients that probes ask for, jitted."""
        return self._jitted(("grads", width), make_grads, self._work.workload, width)

    def updates(self, program: Program, width: int) -> Any:
        """What gives the updates that probes ask for, jitted."""
        place = ("updates", program.index, width)
        return self._jitted(place, make_updates, self._work.workload, program, width)

    def _jitted(self, place: Any, make: Callable[..., Any], *given: Any) -> Any:
        with self._lock:
            if place not in self._probes:
                self._probes[place] = jax.jit(make(*given), compiler_options=self._options)
            return self._probes[place]


def memory_needed(compiled: Any) -> int:
    """Bytes that a compiled program takes, its arguments included; 0 where XLA does not say."""
    known = compiled.memory_analysis()
    if known is None:
        return 0
    return (
        known.argument_size_in_bytes
        + known.output_size_in_bytes
        + known.temp_size_in_bytes
        - known.alias_size_in_bytes
    )


def memory_limit(device: Device, sharing: int) -> float:
    """Bytes that a program may take on a device: its own, or its share of the machine's on CPU."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return memory.memory_limit()[0] / sharing if device.platform == "cpu" else float("inf")


def out_of_memory(
    program: Program, device: Device, needed: float, limit: float, data: float = 0
) -> str:
    """What to tell when a tile does not fit: its width, what it takes, and what to set.

    Args:
        program: that does not fit.
        device: where.
        needed: bytes, data included; 0 where it is not known.
        limit: bytes that there are.
        data: bytes that do not depend on the width.
    """
    have = f"{device} has {byte_size(limit)}" if np.isfinite(limit) else f"{device} has less"
    takes = f"takes about {byte_size(needed)}" if needed else "does not fit"
    advice = "use a smaller model, batch or data set"
    if program.width > 1:
        share = (limit - data) / (needed - data) if needed > data else 1.0
        fitting = program.width * min(0.5, max(share, 0.0))
        width = 2 ** int(np.log2(max(1.0, fitting)))
        advice = f"set tile_width: {width} or less"
    return (
        f"out of memory: a tile of {program.width} lanes of '{program.label}' {takes}, and {have}; "
        f"{advice} (another width is another study: choose another folder with --out)"
    )


def to_chunks(split: Split) -> Chunks:
    """A split as equal chunks of at most EVALUATION_CHUNK examples, the last one padded."""
    examples = len(split.inputs)
    count = -(-examples // EVALUATION_CHUNK)
    size = -(-examples // count)

    def cut(array: np.ndarray) -> np.ndarray:
        padding = [(0, count * size - examples)] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, padding).reshape(count, size, *array.shape[1:])

    return Chunks(*map(cut, (split.inputs, split.targets, np.ones(examples, param_dtype()))))
