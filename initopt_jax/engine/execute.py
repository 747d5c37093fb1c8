"""Running tiles: one worker thread per device, results and checkpoints handed to one consumer.

Workers never touch files. They put events in a bounded queue; whoever iterates over `run_tiles`
(the study) writes them down.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence

import jax

from initopt_jax.engine.events import Checkpoint, Event
from initopt_jax.engine.plan import Tile
from initopt_jax.engine.programs import Programs, Work
from initopt_jax.engine.schedule import Schedule
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
    schedule = Schedule(work.programs, tiles, examples=examples, devices=len(devices))
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
