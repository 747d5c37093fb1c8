"""Running tiles: one worker thread per device, results and checkpoints handed to one consumer.

The life of a tile, from plan to disk:

1. `planning` makes lanes (a row each: program, initializer cell, seeds, hyperparameters) and
   programs (one per optimizer structure, batch size and width). `plan.cut_tiles` cuts the lanes of
   a program into tiles of its width W; a tile with fewer lanes is padded with lanes of its own.
2. `run_tiles` starts a `Worker` thread per device. `Schedule` gives each the next tile: of a
   program that it has compiled already where that is as quick.
3. The worker compiles the program's segment from shapes alone (`Programs.compile_segment`), and
   refuses it where the device has less memory than it takes.
4. `Worker._begin` draws first weights on the host (`InitialWeights`, by init seed, one network at a
   time, so that neither W nor the device shows in them), stacks them to [W, ...], and makes the
   optimizer's state, the noise keys [W] and the hyperparameters [W] (`segment.make_start`).
   The first evaluation is of step 0.
5. `Worker._advance` runs one segment, a compiled loop of `segment_steps` training steps over W
   lanes (`segment.make_segment`: the one definition of a step). Batches come from a `BatchSource`:
   indices by data seed into a split that lies on the device (`DeviceData`), or chunks of examples
   that are read one ahead of it (`Streamed`). The host stays one segment ahead of the device.
6. At an evaluation the weights that the optimizer evaluates (`make_eval_params`) are measured on
   the `train` and `val` splits in chunks (`segment.make_evaluate`), the state is checked for
   numbers that are not finite (`divergence`), light probes get a copy in their `ProbeBuffer`,
   other probes run at once (`Prober`), and a state that is to be kept is written (`Keep`).
7. What was measured is fetched after the next segment was dispatched, and written into the tile's
   record: curves [W, E, ...] by variable. A lane that diverged has no numbers after that; with
   early stop it ends, and the tile when all its lanes have.
8. When `checkpoint_every` seconds are over, the tile's state is copied to the host and emitted as
   `Saved`; the worker waits until it is written. A tile that is taken up again begins at step 4
   with the checkpoint's arrays in place of the drawn ones, and goes on to the same bits.
9. At the end the test split is measured, padding is cut off, and `Finished` is emitted with the
   record.
10. The consumer (`studies.training`) completes the record (`records.complete`: examples, floating-
    point operations, steps to the target), and `Store.write_tiles` writes its rows into
    `results.zarr`, then a line with their checksums into `journal.jsonl`. Only then is the tile
    done: after a kill at any moment before, it is trained again from its last checkpoint.

Workers never touch files. They put events in a bounded queue; whoever iterates over `run_tiles`
writes them down.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence

import jax

from initopt_jax.engine.events import Checkpoint, Event
from initopt_jax.engine.plan import Tile
from initopt_jax.engine.programs import Programs, Work
from initopt_jax.engine.schedule import TileSchedule
from initopt_jax.engine.streaming import seeds_at_once
from initopt_jax.engine.worker import Worker
from initopt_jax.lookup.user_code import silent_ends
from initopt_jax.precision import MATMUL_PRECISION
from initopt_jax.types import Device

WAITING = 64  # events that may wait for the consumer


class _EventQueue:
    """Events on their way to the consumer, each with a mark that is set once it was dealt with."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Event | BaseException | None, threading.Event]]
        self._queue = queue.Queue(WAITING)

    def put(self, item: Event | BaseException | None) -> threading.Event:
        mark = threading.Event()
        self._queue.put((item, mark))
        return mark

    def get(self) -> tuple[Event | BaseException | None, threading.Event]:
        return self._queue.get()


class _Halt(threading.Event):
    """Set by whoever asked for the tiles, who is not told of what is set here."""

    def __init__(self, asked: threading.Event):
        super().__init__()
        self._asked = asked

    def is_set(self) -> bool:
        return super().is_set() or self._asked.is_set()


def run_tiles(
    work: Work,
    tiles: Sequence[Tile],
    devices: Sequence[Device],
    stop: threading.Event,
    checkpoints: Callable[[Tile], Checkpoint | None] = lambda tile: None,
) -> Generator[Event, None, None]:
    """Train tiles on devices; events as they come, until all tiles are done or `stop` is set.

    An event counts as dealt with when the next one is asked for; a worker whose checkpoint is not
    yet dealt with waits.

    Args:
        work: what lanes need.
        tiles: to train; their order changes when results come, never what they are.
        devices: a worker thread each.
        stop: set it to end at the next segment.
        checkpoints: where a tile was stored in mid-run, its checkpoint; called from worker threads.

    Raises:
        Whatever a worker raised, after all workers have stopped.
    """
    queue, halt = _EventQueue(), _Halt(stop)
    examples = work.workload.examples
    schedule = TileSchedule(work.programs, tiles, examples=examples, devices=len(devices))
    programs = Programs(work, devices)
    seeds = seeds_at_once(tiles, work.lanes)

    def drive(number: int, device: Device) -> None:
        try:
            # The precision is a setting of each thread.
            with jax.default_matmul_precision(MATMUL_PRECISION), silent_ends("training failed"):
                worker = Worker(work, programs, device, queue.put, halt, seeds)
                while not halt.is_set():
                    tile = schedule.next_tile(set(worker.compiled), number)
                    if tile is None:
                        break
                    began = time.perf_counter()
                    fresh = tile.program not in worker.compiled
                    worker.run(tile, checkpoints(tile))
                    seconds = time.perf_counter() - began
                    schedule.report(tile.program, seconds, compiled=fresh)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, which raises it
            halt.set()
            queue.put(error)
        finally:
            queue.put(None)

    threads = [
        threading.Thread(target=drive, args=item, name=f"lanes on {item[1]}", daemon=True)
        for item in enumerate(devices)
    ]
    for thread in threads:
        thread.start()
    failure: BaseException | None = None
    running = len(threads)
    mark = threading.Event()
    try:
        while running:
            item, mark = queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                failure = failure or item
            else:
                yield item
            mark.set()
    finally:  # also where the consumer gave up: let no worker wait for it
        halt.set()
        mark.set()
        while running:
            item, mark = queue.get()
            mark.set()
            running -= item is None
        for thread in threads:
            thread.join()
    if failure:
        raise failure
