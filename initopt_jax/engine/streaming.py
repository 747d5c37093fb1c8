"""Training splits that stay on the host: read chunk by chunk, one ahead of the device.

A chunk holds the examples of a few consecutive steps, once for every data seed of a tile, and goes
to the segment program in place of the split, with batches numbered anew. Only where an example lies
changes, never what is computed with it: the bits are those of a split that lies on the device.
"""

import functools
import itertools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from initopt_jax.engine.batch_source import DataChunk, split_bytes
from initopt_jax.engine.batches import batch_indices, epoch_orders
from initopt_jax.engine.plan import LaneTable, Program, Tile
from initopt_jax.errors import ConfigError, StudyError, byte_size
from initopt_jax.types import Dataset, Device, Split

CHUNK_BYTES = 16 * 2**20  # larger chunks gain nothing and make the first one late
BUFFERS = 2  # chunks on a device: the one that trains, and the next
# Threads that read, of each device. One reads MNIST at 3 GB/s, several times what a core can train
# on; two took twice the time of the same two cores. Beside an accelerator cores are idle.
CPU_READERS, ACCELERATOR_READERS = 1, 4
AHEAD = 2  # chunks at least that are read, or being read, before they are asked for
ALIGNMENT = 64  # bytes; arrays that begin so are taken by a CPU device without a copy


def is_streamed(dataset: Dataset, limit: float) -> bool:
    """Whether the training split stays on the host: where it takes more than `limit` bytes."""
    return split_bytes(dataset.train) > limit


def seeds_at_once(tiles: Sequence[Tile], lanes: LaneTable) -> dict[int, int]:
    """Per program, the most data seeds that one of the tiles holds."""
    most: dict[int, int] = {}
    for tile in tiles:
        found = len(np.unique(lanes.data_seed[tile.lanes]))
        most[tile.program] = max(found, most.get(tile.program, 0))
    return most


def check_streamed(
    dataset: Dataset,
    programs: Sequence[Program],
    seeds: Mapping[int, int],
    *,
    limit: float,
    eval_train: int,
) -> None:
    """Refuse what cannot be done with a training split that stays on the host.

    Args:
        dataset: whose training split is larger than `limit`.
        programs: that train on it.
        seeds: see `seeds_at_once`.
        limit: bytes of training data on a device.
        eval_train: examples of the training split that are measured.

    Raises:
        ConfigError: an optimizer takes the whole split in a step, one step needs more than half of
            the limit, or what is measured is larger than the limit.
    """
    train = dataset.train
    takes = f"the training split takes {byte_size(split_bytes(train))}"
    allowed = f"device_data allows {byte_size(limit)}"
    for program in programs:
        if program.batch_size is None:
            raise ConfigError(
                f"optimizer {program.label!r} takes the whole training split in every step, which "
                f"must then lie on the device; {takes} and {allowed}. Raise device_data, give "
                "the optimizer a batch_size, or shorten the split with the data set's limit"
            )
        step = BUFFERS * _step_bytes(program, train, seeds.get(program.index, 1))
        if step > limit:
            raise ConfigError(
                f"{takes} and {allowed}; two batches of {program.batch_size} examples for "
                f"{seeds[program.index]} data seeds of a tile take {byte_size(step)}. Raise "
                "device_data to that, or lower batch_size or tile_width"
            )
    share = min(1.0, eval_train / len(train.inputs))
    measured = {
        f"eval_train {min(eval_train, len(train.inputs)):,}": share * split_bytes(train),
        "val": split_bytes(dataset.val),
        "test": split_bytes(dataset.test),
    }
    if sum(measured.values()) > limit:
        sizes = ", ".join(f"{name}: {byte_size(size)}" for name, size in measured.items())
        raise ConfigError(
            f"{takes} and {allowed}, so that it is streamed; what is measured must still lie on "
            f"the device and is larger ({sizes}). Raise device_data, or lower eval_train or the "
            "shares under split"
        )


def piece_lengths(steps: int, most: int) -> list[int]:
    """Steps of the chunks of one segment: at most `most` each, equal where that is possible.

    Chunks of another length are another program to compile, so up to twice as many are taken if
    all have the same length; else lengths differ by one.

    >>> piece_lengths(100, 30), piece_lengths(7, 3)
    ([25, 25, 25, 25], [3, 2, 2])
    """
    least = -(-steps // most)
    alike = (count for count in range(least, 2 * least + 1) if steps % count == 0)
    count = next(alike, least)
    return [steps // count + (number < steps % count) for number in range(count)]


def _step_bytes(program: Program, train: Split, seeds: int) -> int:
    """What one step of a tile needs: a batch per data seed, and their numbers."""
    batch = program.batch_size or len(train.inputs)
    example = split_bytes(train) // len(train.inputs)
    return batch * (seeds * example + 4 * program.width)


class Streamed:
    """A training split that stays on the host, and goes to one device chunk by chunk.

    Args:
        train: the split; its arrays may be memory-mapped.
        lanes: of the study.
        seeds: see `seeds_at_once`; chunks of a program are all as large as its largest.
        limit: bytes of training data on the device, for both buffers.
        device: where chunks go.
    """

    def __init__(
        self,
        train: Split,
        lanes: LaneTable,
        seeds: Mapping[int, int],
        limit: float,
        device: Device,
    ):
        # Rows of an array in another order could only be taken from a copy of all of it.
        self._train = Split(*map(np.ascontiguousarray, train))
        self._lanes, self._seeds, self._limit, self._device = lanes, seeds, limit, device
        remembered = 2 * max(seeds.values(), default=1)  # chunks may cross into the next epoch
        self._order = functools.lru_cache(remembered)(self._drawn)
        self._drawing = threading.Lock()

    def shapes(self, program: Program) -> list[DataChunk]:
        """One, or two where a segment cannot be cut in equal chunks."""
        seeds, batch, width = self._seeds[program.index], program.batch_size or 0, program.width
        found = []
        for steps in sorted(set(self._lengths(program)), reverse=True):
            rows = steps * seeds * batch
            data: Any = [jax.ShapeDtypeStruct((rows, *a.shape[1:]), a.dtype) for a in self._train]
            found.append(
                DataChunk(Split(*data), jax.ShapeDtypeStruct((steps, width, batch), np.int32))
            )
        return found

    def spare(self, program: Program) -> int:
        """The chunk that is on its way while another trains."""
        largest = self.shapes(program)[0]
        return split_bytes(largest.data) + 4 * math.prod(largest.batches.shape)

    def chunks(self, tile: Tile, program: Program, step: int) -> "_DataChunks":
        """The examples of a few steps at a time; reading begins at once."""
        seeds, lane_of = np.unique(
            self._lanes.data_seed[tile.padded(program.width)], return_inverse=True
        )
        lengths = self._lengths(program) * ((tile.steps - step) // program.segment_steps)
        firsts = [step, *(step + done for done in itertools.accumulate(lengths))][:-1]
        spans = list(zip(firsts, lengths, strict=True))
        batch = program.batch_size or 0
        batches = {}
        for steps in set(lengths):  # the same for all chunks of one length
            numbers = np.arange(steps * len(seeds) * batch, dtype=np.int32)
            of_lanes = numbers.reshape(steps, len(seeds), batch)[:, lane_of]
            batches[steps] = jax.device_put(of_lanes, self._device)
        source = _Reading(functools.partial(self.read, program, seeds), spans)
        return _DataChunks(source, batches, self._device)

    def read(
        self, program: Program, seeds: np.ndarray, first: int, steps: int
    ) -> tuple[np.ndarray, ...]:
        """The examples of consecutive steps: step by step, in each seed by seed.

        What lies behind them, where the tile has fewer seeds than its program's largest, is never
        looked at.
        """
        examples, batch = len(self._train.inputs), program.batch_size or 0
        drawn = [
            batch_indices(int(seed), first, steps, examples, batch, self._orders) for seed in seeds
        ]
        rows = np.stack(drawn, axis=1).reshape(-1)
        taken = []
        for array in self._train:
            shape = (steps * self._seeds[program.index] * batch, *array.shape[1:])
            place = _aligned(shape, array.dtype)
            # Rows are in range; any mode but `raise` writes them to their place at once.
            np.take(array, rows, axis=0, out=place[: len(rows)], mode="clip")
            taken.append(place)
        return tuple(taken)

    def _lengths(self, program: Program) -> list[int]:
        """Steps of the chunks of one segment."""
        step = _step_bytes(program, self._train, self._seeds[program.index])
        wanted = max(CHUNK_BYTES // step, 2)
        most = max(1, min(wanted, int(self._limit / BUFFERS / step)))
        return piece_lengths(program.segment_steps, min(most, program.segment_steps))

    def _drawn(self, seed: int, epoch: int, examples: int) -> np.ndarray:
        return epoch_orders(seed, epoch, 1, examples)

    def _orders(self, seed: int, first: int, epochs: int, examples: int) -> np.ndarray:
        """`batches.epoch_orders`, each epoch drawn once for many chunks."""
        with self._drawing:  # another reader is likely to want the same
            orders = [self._order(seed, first + e, examples) for e in range(epochs)]
        return orders[0] if epochs == 1 else np.concatenate(orders)


class _Reading:
    """The chunks of a tile as a source that Grain reads from: item n is `read(*spans[n])`."""

    def __init__(
        self,
        read: Callable[[int, int], tuple[np.ndarray, ...]],
        spans: Sequence[tuple[int, int]],
    ):
        self.read, self.spans = read, spans

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, number: Any) -> tuple[np.ndarray, ...]:
        return self.read(*self.spans[number])


class _DataChunks:
    """What Grain's threads have read, handed to the device when it is asked for."""

    def __init__(self, source: _Reading, batches: Mapping[int, jax.Array], device: Device):
        # Not at the top: it takes a second, and most studies do without.
        import grain

        threads = CPU_READERS if device.platform == "cpu" else ACCELERATOR_READERS
        options = grain.ReadOptions(threads, prefetch_buffer_size=max(threads, AHEAD))
        self._examples = iter(grain.MapDataset.source(source).to_iter_dataset(options))
        self._examples.start_prefetch()
        self._spans, self._batches, self._device = iter(source.spans), batches, device

    def __iter__(self) -> "_DataChunks":
        return self

    def __next__(self) -> DataChunk:
        first, steps = next(self._spans)
        try:
            data = Split(*next(self._examples))
        except Exception as error:
            raise StudyError(
                f"the training examples of steps {first} to {first + steps - 1} cannot be read: "
                f"{type(error).__name__}: {error}"
            ) from error
        return DataChunk(jax.device_put(data, self._device), self._batches[steps])

    def close(self) -> None:
        """End the threads; what one of them is reading is dropped."""
        self._examples.close()


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array with any content whose first byte lies where XLA wants it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
