"""Which tile a device takes next, so that a program is compiled on as few devices as possible."""

import threading
from collections import deque
from collections.abc import Sequence

from initopt_jax.engine.plan import Program, Tile

COMPILE_SECONDS = 1.5  # what a second compilation costs, roughly; decides only who does the work


class TileSchedule:
    """A shared queue of tiles, safe for one thread per device.

    A device stays with the programs that it has compiled; then it takes the largest program that no
    device has begun, one that is at home with it where there is one; only then does it help with
    another device's program, where enough work is left to pay for a second compilation. The order
    changes when results come, never what they are.

    Homes are dealt out by size, so that a program meets the same device run after run: JAX keeps
    compiled programs on disk per device.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        tiles: Sequence[Tile],
        *,
        examples: int,
        devices: int = 1,
    ):
        self._lock = threading.Lock()
        self._pending = {program.index: deque[Tile]() for program in programs}
        for tile in tiles:
            self._pending[tile.program].append(tile)
        self._cost = {
            program.index: (program.batch_size or examples) * program.width for program in programs
        }
        by_size = sorted(self._pending, key=lambda index: (-self._left(index), index))
        self._home = {index: rank % devices for rank, index in enumerate(by_size)}
        self._begun: set[int] = set()
        self._seconds: dict[int, float] = {}

    def report(self, program: int, seconds: float, *, compiled: bool) -> None:
        """Tell what a tile took, so that helping is weighed with measured times.

        `compiled` says that the time holds a compilation: an upper bound, replaced by the next.
        """
        with self._lock:
            if not compiled or program not in self._seconds:
                self._seconds[program] = seconds

    def next_tile(self, compiled: set[int], device: int = 0) -> Tile | None:
        """The next tile for a device that has these programs compiled; None when it is done."""
        with self._lock:
            left = {index: self._left(index) for index, queue in self._pending.items() if queue}
            own = {index: work for index, work in left.items() if index in compiled}
            fresh = {index: work for index, work in left.items() if index not in self._begun}
            at_home = {index: work for index, work in fresh.items() if self._home[index] == device}
            others = {index: work for index, work in left.items() if self._pays(index)}
            for choice in (own, at_home, fresh, others):
                if choice:
                    program = max(choice, key=lambda index: (choice[index], -index))
                    self._begun.add(program)
                    return self._pending[program].popleft()
            return None

    def _left(self, program: int) -> int:
        return sum(tile.steps for tile in self._pending[program]) * self._cost[program]

    def _pays(self, program: int) -> bool:
        seconds = self._seconds.get(program)
        waiting = len(self._pending[program])
        return seconds is None or seconds * waiting > COMPILE_SECONDS
