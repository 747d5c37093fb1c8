"""What a study will cost: floating-point operations, how many of them evaluate, and time."""

import time
from collections.abc import Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.engine.flops import evaluation_operations, step_operations
from initopt_jax.engine.operations import Operations
from initopt_jax.engine.plan import Tile
from initopt_jax.planning.fitting import leftovers
from initopt_jax.planning.resolve import Experiment
from initopt_jax.precision import MATMUL_PRECISION, param_dtype
from initopt_jax.types import Device

MUCH = 0.5  # of all operations: evaluations that take more are told of
RATE = 2e10  # operations per second where none was measured: for the weights of tiles alone
# Rough, from `make bench-forecast`: small networks reach a fifth of the rate of large products; a
# step of a tile takes so many seconds at least, a program so many to compile and to begin with.
REACHED, STEP_SECONDS, PROGRAM_SECONDS = 0.2, 5e-5, 0.7


class Forecast:
    """The operations of a study, and what follows from them.

    Args:
        experiment: the study; what it costs is counted when it is asked for.
    """

    def __init__(self, experiment: Experiment):
        self._experiment = experiment
        self._steps: dict[int, Operations] = {}

    def step(self, program: int) -> Operations:
        """Floating-point operations of one step of a program's lane."""
        if program not in self._steps:
            found = step_operations(self._experiment.programs[program], self._experiment.workload)
            self._steps[program] = found
        return self._steps[program]

    @cached_property
    def example(self) -> float:
        """Operations that it takes to measure a network on one example."""
        return evaluation_operations(self._experiment.workload)

    @property
    def measured(self) -> tuple[int, int, int]:
        """Examples of one evaluation: of the training split and of validation; of the last test."""
        data = self._experiment.workload.dataset
        train = min(self._experiment.config.eval_train, len(data.train.inputs))
        return train, len(data.val.inputs), len(data.test.inputs)

    def lane(self, tile: Tile) -> tuple[float, float]:
        """Operations of one lane of a tile: of its steps, and of its evaluations."""
        evaluations = tile.steps // self._experiment.programs[tile.program].eval_every + 1
        train, val, test = self.measured
        evaluating = (evaluations * (train + val) + test) * self.example
        return float(tile.steps * self.step(tile.program).count), evaluating

    def operations(self, tiles: Sequence[Tile]) -> tuple[float, float]:
        """Operations of all lanes of tiles: of their steps, and of their evaluations."""
        training, evaluating = zip(*(self.lane(tile) for tile in tiles), strict=True)
        lanes = np.array([len(tile.lanes) for tile in tiles])
        return float(lanes @ training), float(lanes @ evaluating)

    def seconds(self, tile: Tile, rate: float = RATE) -> float:
        """Roughly how long a device takes for a tile, without compilation.

        Args:
            tile: its places that no lane takes train as well.
            rate: operations per second.
        """
        width = self._experiment.programs[tile.program].width
        training, evaluating = self.lane(tile)
        steps = max(width * training / rate, tile.steps * STEP_SECONDS)
        return steps + width * evaluating / rate

    def total_seconds(self, tiles: Sequence[Tile], rate: float, devices: int) -> float:
        """Roughly how long a study takes.

        Args:
            tiles: of the study.
            rate: operations per second of large products on one device, see `product_rate`.
            devices: how many there are.
        """
        training = sum(self.seconds(tile, REACHED * rate) for tile in tiles)
        return training / devices + PROGRAM_SECONDS * len(self._experiment.programs)

    def notes(self, tiles: Sequence[Tile]) -> list[str]:
        """What a person should know before such a study runs, in words."""
        config, programs = self._experiment.config, self._experiment.programs
        said = self._experiment.network_notes
        training, evaluating = self.operations(tiles)
        share = evaluating / max(training + evaluating, 1.0)
        train, val, _ = self.measured
        every = sorted({p.eval_every for p in programs})
        advice = []
        if any(tile.steps > programs[tile.program].eval_every for tile in tiles):
            advice.append(f"eval_every above {' or '.join(map(str, every))} steps")
        if train > 1:
            advice.append(f"eval_train below {train:,} examples")
        if share > MUCH and advice:
            said.append(
                f"evaluation is {share:.0%} of the operations ({train:,} training and {val:,} "
                f"validation examples each time): {', or '.join(advice)} would lower it"
            )
        for spec in config.optimizers:
            said += leftovers(spec, spec.steps or config.steps)
        return said


def product_rate(device: Device) -> float:
    """Operations per second that large matrix products reach on a device; takes a moment."""
    size = 512 if device.platform == "cpu" else 4096
    matrix = jax.device_put(np.full((size, size), 1 / size, param_dtype()), device)
    best = np.inf
    with jax.default_matmul_precision(MATMUL_PRECISION):
        square = jax.jit(jnp.matmul)
        for _ in range(6):  # the first compiles
            began = time.perf_counter()
            jax.block_until_ready([square(matrix, matrix) for _ in range(4)])
            best = min(best, (time.perf_counter() - began) / 4)
    return 2 * size**3 / best


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(45.2), duration(95), duration(2_000), duration(7_500), duration(400_000)
    ('45 seconds', '1 minute 35 seconds', '33 minutes', '2 hours 5 minutes', '4 days 15 hours')
    """
    units = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)]
    rest = max(1, round(seconds))
    if rest >= 600:  # seconds say nothing then
        rest = round(rest / 60) * 60
    parts = []
    for name, length in units:
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}" if count else "")
    return " ".join(part for part in parts[:2] if part)
