"""Which device takes which tile."""

import numpy as np

from initopt_jax.engine.plan import Program, Tile
from initopt_jax.engine.schedule import TileSchedule


def program(index, batch):
    return Program(index, f"p{index}", lambda _: None, (), batch, 10, 10, 4)


def schedule(batches, tiles_each=3, devices=2):
    programs = [program(index, batch) for index, batch in enumerate(batches)]
    tiles = [
        Tile(index * tiles_each + number, index, 10, np.arange(4))
        for index in range(len(batches))
        for number in range(tiles_each)
    ]
    return TileSchedule(programs, tiles, examples=100, devices=devices)


def test_devices_begin_with_programs_of_their_own_whoever_asks_first():
    """The home of a program does not depend on timing, so the next run finds it compiled."""
    for order in ([0, 1], [1, 0]):
        planned = schedule([8, 64, 16, 32])
        first = {device: planned.next_tile(set(), device).program for device in order}
        assert first == {0: 1, 1: 3}, "the two largest, dealt out by size"


def test_device_stays_then_begins_then_helps():
    planned = schedule([64, 32], tiles_each=2)
    compiled: set[int] = set()
    taken = []
    while tile := planned.next_tile(compiled, 0):
        compiled.add(tile.program)
        taken.append(tile.program)
    assert taken == [0, 0, 1, 1], "one device does all, program by program"


def test_helping_must_pay():
    planned = schedule([64], tiles_each=2)
    assert planned.next_tile(set(), 0) is not None
    planned.report(0, 0.1, compiled=False)
    assert planned.next_tile(set(), 1) is None, "a second compilation costs more than 0.1 s"
    planned.report(0, 10.0, compiled=False)
    assert planned.next_tile(set(), 1) is not None
