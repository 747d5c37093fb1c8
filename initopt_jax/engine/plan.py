"""Lanes, programs and tiles: what is compiled, what runs together, and how wide."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initopt_jax.engine.model_size import ModelSize
from initopt_jax.engine.segment import MakeTransform

CPU_WIDTH = 16
ACCELERATOR_WIDTH = 512
FEW_PARAMETERS = 4  # of such models a step costs less than to ask for it: lanes are what fills it
CPU_WIDTH_OF_FEW = 2048
# Chosen from the curves of benchmarks/scaling.py: of a tile's weights and of a step's activations
# about so much stays in cache.
CPU_WEIGHT_BYTES, CPU_ACTIVATION_BYTES = 8 * 2**20, 4 * 2**20
ACCELERATOR_BYTES = 2**30
# States that probes look at together: of 32, 64 and 128, the digits study was fastest with 128.
CPU_BUFFER = 128
CPU_BUFFER_WEIGHT_BYTES, CPU_BUFFER_ACTIVATION_BYTES = 32 * 2**20, 16 * 2**20
SEGMENT_INDEX_BYTES = 8 * 2**20  # example numbers sent to a device at once
SEGMENT_FLOPS = (
    10**11
)  # a segment stays within seconds, so that little is lost when it is cut short


@dataclass(frozen=True)
class Program:
    """One compiled training program: every lane of it differs in arrays only.

    Attributes:
        label: optimizer and batch size, for people.
        make_transform: hyperparameters (traced scalars) to an Optax transform.
        hyperparameters: the names of its arrays.
        batch_size: examples of a step; None is the whole training split.
        eval_every: steps between evaluations.
        segment_steps: steps of one device call; divides `eval_every`.
        width: W, lanes of a tile.
        evaluated: whether the transform has `eval_params`.
        method: the transform's name; empty where modifiers stand around it.
        probe_slots: evaluations of a tile that light probes look at together.
        watched: whether the optimizer's state is looked at where lanes may have diverged: that of
            a transform or modifier that is not the package's own.
    """

    index: int
    label: str
    make_transform: MakeTransform
    hyperparameters: tuple[str, ...]
    batch_size: int | None
    eval_every: int
    segment_steps: int
    width: int
    evaluated: bool = False
    method: str = ""
    probe_slots: int = 1
    watched: bool = False


@dataclass(frozen=True)
class LaneTable:
    """All lanes as columns [L]; a hyperparameter is NaN where a lane's program has none such."""

    program: np.ndarray
    steps: np.ndarray
    initializer_cell: np.ndarray
    init_seed: np.ndarray
    data_seed: np.ndarray
    noise_seed: np.ndarray
    hyperparameters: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.program)


@dataclass(frozen=True)
class Tile:
    """Up to W lanes of one program that train together for the same number of steps."""

    index: int
    program: int
    steps: int
    lanes: np.ndarray

    def padded(self, width: int) -> np.ndarray:
        """Lane numbers [W]; the last lane is repeated where the tile is not full."""
        return np.pad(self.lanes, (0, width - len(self.lanes)), mode="edge")


def tile_width(platform: str, size: ModelSize, batch: int, number_bytes: int = 4) -> int:
    """The tile width by rule, from platform, model and batch size, never by timing.

    The largest power of two, up to 16 on CPU and 512 elsewhere, for which four copies of
    all lanes' weights (weights, gradients, two accumulators) stay within 8 MiB on CPU and 1 GiB
    elsewhere, and the activations of their batches within 4 MiB and 1 GiB. On CPU up to 2048 lanes
    of a model of at most four weights, such as a point on a test function. Twice the bytes of a
    number, half the lanes.

    >>> digits = ModelSize(parameters=8_970, activations=406, flops=17_664)
    >>> tile_width("cpu", digits, 64), tile_width("cpu", digits, 1_078)
    (16, 2)
    >>> tile_width("gpu", digits, 64)
    512
    >>> tile_width("cpu", ModelSize(parameters=2, activations=20, flops=0), 1)
    2048
    """
    cpu = platform == "cpu"
    few = CPU_WIDTH_OF_FEW if size.parameters <= FEW_PARAMETERS else CPU_WIDTH
    most = few if cpu else ACCELERATOR_WIDTH
    weights = (CPU_WEIGHT_BYTES if cpu else ACCELERATOR_BYTES) // (
        4 * number_bytes * max(size.parameters, 1)
    )
    activations = CPU_ACTIVATION_BYTES if cpu else ACCELERATOR_BYTES
    fitting = min(weights, activations // (number_bytes * batch * max(size.activations, 1)))
    return max(1, min(most, 2 ** int(math.log2(max(fitting, 1)))))


def probe_slots(
    platform: str, size: ModelSize, width: int, evaluations: int, number_bytes: int = 4
) -> int:
    """Evaluations of a tile that light probes look at together, by rule.

    On CPU, calls to probe a small network take longer than the probes: states of several
    evaluations are probed in one, up to 128 lanes, while four copies of their weights stay within
    32 MiB and the activations of 64 examples within 16 MiB. Elsewhere a tile fills the device.

    >>> digits = ModelSize(parameters=8_970, activations=406, flops=17_664)
    >>> [probe_slots("cpu", digits, width, evaluations=21) for width in (16, 2)]
    [7, 21]
    """
    if platform != "cpu":
        return 1
    weights = CPU_BUFFER_WEIGHT_BYTES // (4 * number_bytes * max(size.parameters, 1))
    activations = CPU_BUFFER_ACTIVATION_BYTES // (number_bytes * 64 * max(size.activations, 1))
    most = max(1, min(CPU_BUFFER, weights, activations) // width)
    return -(-evaluations // -(-evaluations // most))  # as even as can be


def segment_steps(eval_every: int, width: int, batch: int, flops: int) -> int:
    """The longest segment that divides `eval_every` and stays within memory and work bounds.

    `flops` are those of one example's forward pass; a step takes about three times as many.

    >>> segment_steps(30, width=16, batch=64, flops=17_664)
    30
    """
    by_memory = SEGMENT_INDEX_BYTES // (4 * width * batch)
    by_work = SEGMENT_FLOPS // (3 * width * batch * max(flops, 1))
    most = max(1, min(eval_every, by_memory, by_work))
    return next(steps for steps in range(most, 0, -1) if eval_every % steps == 0)


def cut_tiles(programs: Sequence[Program], lanes: LaneTable, chosen: np.ndarray) -> list[Tile]:
    """Tiles of the chosen lanes, in the order of their programs, lengths and numbers."""
    tiles: list[Tile] = []
    for program in programs:
        of_program = chosen[lanes.program[chosen] == program.index]
        for steps in np.unique(lanes.steps[of_program]):
            group = of_program[lanes.steps[of_program] == steps]
            for first in range(0, len(group), program.width):
                part = group[first : first + program.width]
                tiles.append(Tile(len(tiles), program.index, int(steps), part))
    return tiles
