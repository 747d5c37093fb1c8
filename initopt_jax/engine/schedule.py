"""Which tile a device takes next, so that a program is compiled on as few devices as possible."""

import threading
from collections import deque
from collections.abc import Sequence

from initopt_jax.engine.plan import Program, Tile

COMPILE_SECONDS = 1.5  # what a second compilation costs, roughly; decides only who does the work


class Schedule:
    """A shared queue of tiles, safe for one thread per device.

    A device stays with the programs that it has compiled; then it takes the largest program that no
    device has begun; only then does it help with another device's program, where enough work is
    left to pay for a second compilation. The order changes when results come, never what they are.
    """

    def __init__(self, programs: Sequence[Program], tiles: Sequence[Tile], *, examples: int):
        self._lock = threading.Lock()
        self._pending = {program.index: deque[Tile]() for program in programs}
        for tile in tiles:
            self._pending[tile.program].append(tile)
        self._cost = {
            program.index: (program.batch_size or examples) * program.width for program in programs
        }
        self._begun: set[int] = set()
        self._seconds: dict[int, float] = {}

    def report(self, program: int, seconds: float, *, compiled: bool) -> None:
        """Tell what a tile took, so that helping is weighed with measured times.

        `compiled` says that the time holds a compilation: an upper bound, replaced by the next.
        """
        with self._lock:
            if not compiled or program not in self._seconds:
                self._seconds[program] = seconds

    def next_tile(self, compiled: set[int]) -> Tile | None:
        """The next tile for a device that has these programs compiled; None when it is done."""
        with self._lock:
            left = {index: sum(t.steps for t in queue) * self._cost[index]
                    for index, queue in self._pending.items() if queue}  # fmt: skip
            own = {index: work for index, work in left.items() if index in compiled}
            fresh = {index: work for index, work in left.items() if index not in self._begun}
            others = {index: work for index, work in left.items() if self._pays(index)}
            for choice in (own, fresh, others):
                if choice:
                    program = max(choice, key=lambda index: (choice[index], -index))
                    self._begun.add(program)
                    return self._pending[program].popleft()
            return None

    def _pays(self, program: int) -> bool:
        seconds = self._seconds.get(program)
        waiting = len(self._pending[program])
        return seconds is None or seconds * waiting > COMPILE_SECONDS
