"""A hundred SIGKILLs, at random moments and inside writes: nothing is lost, the bits are the same.

A study is killed and taken up again until it is complete, then the next one begins. What each life
has done is written down outside of the study's folder, by the process that is killed.
"""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

KILLS = 100
PROCESSES = 2
TILES, SEGMENT = 6, 4


def notes(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def assert_nothing_lost(log):
    """A tile goes on from its last checkpoint, a segment at a time; what is written stays so."""
    saved, trained, written = {}, {}, set()
    for word, *numbers in notes(log):
        if word == "began":
            tile, step = numbers
            assert tile not in written, f"tile {tile} was trained again"
            assert step >= saved.get(tile, 0), f"tile {tile} went back to step {step}"
            trained[tile] = step
        elif word == "saved":
            tile, step = numbers
            assert step == trained[tile] + SEGMENT, f"tile {tile} ran ahead of its checkpoint"
            saved[tile] = trained[tile] = step
        elif word == "written":
            written.add(numbers[0])
    assert len(written) <= TILES


def any_kill(dice, events, saves):
    """When to kill: at any time, at a file access, or while Orbax writes a checkpoint."""
    kind = dice.random()
    if kind < 0.25:
        return {"after": dice.uniform(0, 2)}
    if kind < 0.65:
        # At the access itself, before it is made, or somewhat later, as in the middle of a write.
        return {
            "event": dice.randint(1, events // 3),
            "delay": dice.choice([0, dice.uniform(0, 0.002)]),
        }
    return {"save": dice.randint(1, saves // 3), "delay": dice.uniform(0.0002, 0.06)}


def kill_studies(live, folder, dice, events, saves):
    """Kill and resume until a share of the kills is made; folders of the studies completed."""
    made, finished = 0, []
    while made < KILLS // PROCESSES:
        study, log = folder / f"study-{len(finished)}", folder / f"log-{len(finished)}"
        status = -9
        while status:
            kill = any_kill(dice, events, saves) if made < KILLS // PROCESSES else {}
            status = live(study, log, devices=dice.choice([1, 1, 1, 2]), kill=kill)
            errors = log.with_suffix(".err").read_text()
            assert status in (0, -9), f"the study failed after {kill}: {errors}"
            made += status == -9
        assert_nothing_lost(log)
        finished.append(study)
    return finished


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing(
    tmp_path, tiny_config, make_zygote, undisturbed, assert_same_as_undisturbed
):
    _, events, saves = notes(undisturbed.with_name("log"))[-1]
    assert saves == TILES * 9, "a checkpoint after every segment but a tile's last"

    def share(number):
        folder = tmp_path / f"process-{number}"
        folder.mkdir()
        with make_zygote() as zygote:

            def live(study, log, *, devices, kill):
                arguments = ("run", tiny_config, "--out", study, "--devices", devices)
                return zygote.live(study, log, *arguments, kill=kill)

            return kill_studies(live, folder, random.Random(number), events, saves)

    with ThreadPoolExecutor(PROCESSES) as pool:
        shares = list(pool.map(share, range(PROCESSES)))
    studies = [study for part in shares for study in part]
    assert len(studies) >= PROCESSES
    for study in studies:
        assert_same_as_undisturbed(study)
