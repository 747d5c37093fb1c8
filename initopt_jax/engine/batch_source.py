"""Where a device's training examples come from, in the form that a segment program takes them."""

import math
from collections.abc import Generator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from initopt_jax.engine.batches import tile_indices
from initopt_jax.engine.plan import LaneTable, Program, Tile
from initopt_jax.types import Device, Split


class DataChunk(NamedTuple):
    """What a segment program takes for k steps: examples, and the numbers of each step's batch.

    batches: int32 [k, W, B], or [k] where every step sees all of `data`.
    """

    data: Split
    batches: Any


class DataChunks(Protocol):
    """The chunks of a tile, in order, on the device."""

    def __next__(self) -> DataChunk:
        """The next chunk. Raises StudyError where its examples cannot be read."""
        ...

    def __iter__(self) -> "DataChunks":
        """Itself."""
        ...

    def close(self) -> None:
        """End all reading, whether or not there are more."""
        ...


class BatchSource(Protocol):
    """The training examples of one device."""

    def shapes(self, program: Program) -> list[DataChunk]:
        """Shapes of the chunks that there are: each is one compilation."""
        ...

    def spare(self, program: Program) -> int:
        """Bytes on the device besides those of a chunk under way."""
        ...

    def chunks(self, tile: Tile, program: Program, step: int) -> DataChunks:
        """The chunks of a tile from a step on."""
        ...


def split_bytes(split: Split) -> int:
    """Bytes of a split, of arrays or of their shapes."""
    return sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in split)


class DeviceData:
    """A training split that lies on the device as a whole: a chunk is a segment.

    Args:
        train: the split.
        lanes: of the study.
        device: where it goes.
    """

    def __init__(self, train: Split, lanes: LaneTable, device: Device):
        self._examples, self._lanes, self._device = len(train.inputs), lanes, device
        self._train = jax.device_put(train, device)

    def shapes(self, program: Program) -> list[DataChunk]:
        """One: the split, and the batches of a segment."""
        steps, width = program.segment_steps, program.width
        batches = (steps,) if program.batch_size is None else (steps, width, program.batch_size)
        return [DataChunk(self._train, jax.ShapeDtypeStruct(batches, np.int32))]

    def spare(self, program: Program) -> int:
        """None."""
        return 0

    def chunks(self, tile: Tile, program: Program, step: int) -> Generator[DataChunk, None, None]:
        """The split again and again, with the batches of each segment."""
        for first in range(step, tile.steps, program.segment_steps):
            batches = self._batches(tile, program, first)
            yield DataChunk(self._train, jax.device_put(batches, self._device))

    def _batches(self, tile: Tile, program: Program, first: int) -> np.ndarray:
        steps = program.segment_steps
        if program.batch_size is None:
            return np.arange(first, first + steps, dtype=np.int32)
        seeds = self._lanes.data_seed[tile.padded(program.width)]
        return tile_indices(seeds, first, steps, self._examples, program.batch_size)
