"""The engine's turn: whole studies as a user runs them, and the steady state of a tile width."""

import math
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

import initopt_jax
from benchmarks.pace import Timed
from benchmarks.workloads import HELD_OUT, Case
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.events import Progress
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.flops import step_operations, tile_bytes
from initopt_jax.studies.preview import all_tiles, initial_weights, prepare
from initopt_jax.studies.training import make_work

TILES = 4  # of each device in the shortest study: the first warms it up, the others count
LEAST_SEGMENTS = 4  # of each device in a window
PATIENCE = 120.0  # seconds within which every device must have begun


def study_config(workload: Case, lanes: int, steps: int, **keys: Any) -> dict[str, Any]:
    """A workload as anyone would write it down, `lanes` times; `keys` are further ones."""
    return {
        "name": "benchmark",
        "task": {
            "name": "classification",
            "dataset": workload.dataset,
            "batch_size": workload.batch,
        },
        "model": workload.model,
        "initializers": ["glorot_uniform"],
        "optimizers": [workload.optimizer],
        "seeds": lanes,
        "tuning": {"seeds": 0},
        "steps": steps,
        "eval_every": steps,
        "eval_train": 10_000 if workload.name == "digits" else HELD_OUT,
        **keys,
    }


@cache
def _known(workload: Case) -> tuple[float, int]:
    """Operations of a step, and the tile width by rule."""
    known = prepare(study_config(workload, 1, 1))
    program = known.programs[0]
    counted = step_operations(program, known.workload)
    return float(counted.count), program.width


def step_flops(workload: Case) -> float:
    """Floating-point operations of one network's step, as a study counts them."""
    return _known(workload)[0]


def rule_width(workload: Case) -> int:
    """The tile width that the engine takes when none is given."""
    return _known(workload)[1]


def whole_run(
    workload: Case, lanes: int, steps: int, devices: int | None = None, **keys: Any
) -> dict[str, Any]:
    """`initopt_jax.run` on a new folder, and what of its time was spent on what.

    Returns:
        `seconds_whole_run`; `seconds_to_first_segment`, compilation included; `seconds_training`,
        from there to the last result; `tiles_done`, pairs of time and lanes finished.
    """
    finished: list[tuple[float, int]] = []
    first: list[float] = []

    def progress(tally: Any) -> None:
        now = time.perf_counter() - began
        if tally.began and not first:
            first.append(now)
        if tally.lanes_done > (finished[-1][1] if finished else 0):
            finished.append((now, tally.lanes_done))

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        study = initopt_jax.run(
            study_config(workload, lanes, steps, **keys),
            out=Path(folder) / "study",
            devices=devices,
            progress=progress,
        )
        whole = time.perf_counter() - began
        program = study.manifest["programs"][0]
    return {
        "lanes": lanes,
        "steps": steps,
        "seconds_whole_run": whole,
        "seconds_to_first_segment": first[0],
        "seconds_training": finished[-1][0] - first[0],
        "seconds_compiling_summed_over_devices": program["compile_seconds"],
        "lane_steps_per_second_whole_run": lanes * steps / whole,
        "tiles_done": finished,
    }


def finished_rate(tiles_done: Sequence[tuple[float, int]], steps: int, warm_lanes: int) -> float:
    """Lane-steps per second from the time when `warm_lanes` were finished to the last one's end.

    >>> finished_rate([(3.0, 16), (4.0, 32), (5.0, 48)], steps=100, warm_lanes=16)
    1600.0
    """
    began, before = next(pair for pair in tiles_done if pair[1] >= warm_lanes)
    ended, after = tiles_done[-1]
    return (after - before) * steps / (ended - began)


def make_engine(workload: Case, details: list[dict[str, Any]], devices: int | None = None) -> Timed:
    """A study of the workload, long enough for the time asked for; the clock starts once warm.

    Its first call runs the shortest study beforehand, to learn how many lanes the time is worth.
    What a study does besides training counts; compilation before the first tile, and the report
    after the last, are left out here and given in `details`.
    """
    used = len(set_up_devices(devices))
    learned: list[float] = []

    def once(tiles: int) -> dict[str, Any]:
        at_once = rule_width(workload) * used
        run = whole_run(workload, tiles * at_once, workload.steps, devices)
        done = run.pop("tiles_done")
        run["lane_steps_per_second"] = finished_rate(done, workload.steps, warm_lanes=at_once)
        return run

    def timed(seconds: float) -> float:
        if not learned:
            learned.append(once(TILES)["lane_steps_per_second"])
        per_tile = rule_width(workload) * used * workload.steps / learned[0]
        run = once(max(TILES, 1 + math.ceil(seconds / per_tile)))
        details.append({"devices": used, **run})
        return run["lane_steps_per_second"]

    return timed


# Steady state -------------------------------------------------------------------------------------


def segment_length(flops: float, at_once: int, rate: float) -> int:
    """Steps between two evaluations that take about a fifth of a second, 1 to 500."""
    lane_steps = min(rate / max(flops, 1.0), 1e6)
    return max(1, min(500, int(0.2 * lane_steps / at_once)))


def steady_rate(
    workload: Case,
    seconds: float,
    *,
    width: int | None = None,
    devices: int | None = None,
    rate: float = 1e11,
    **keys: Any,
) -> float:
    """Lane-steps per second while one tile per device trains; nothing else is in the time.

    The window opens when every device has finished a segment and is closed after `seconds`, or
    later where a device has not finished LEAST_SEGMENTS by then. Within it each device is timed
    between its own first and last segment, so that it matters little where the window is cut.

    Args:
        workload: what is trained.
        seconds: length of the window.
        width: lanes of a tile; by default the rule's.
        devices: how many; by default all.
        rate: a guess of operations per second, for the length of segments only.
        keys: further ones of the config.
    """
    used = set_up_devices(devices)
    width = width or rule_width(workload)
    every = segment_length(step_flops(workload), width * len(used), rate)
    config = study_config(workload, width * len(used), 4000 * every, tile_width=width)
    config |= {"eval_every": every, "eval_train": 32, "probes": [], "audit": False, **keys}
    config["task"] |= {"split": {"val": 0.02, "test": 0.02}}
    known = prepare(config)
    first = initial_weights(known)(0, 0)  # the same for every lane: drawing is not what is timed
    alike = SimpleNamespace(stacked=lambda lanes, *_: _repeated(first, len(lanes)))
    work = replace(make_work(known, initial_weights(known)), initial=alike)
    stop = threading.Event()
    ends: dict[int, list[float]] = defaultdict(list)
    began, opened, lane_steps = time.perf_counter(), 0.0, 0
    with closing(run_tiles(work, all_tiles(known), used, stop)) as events:
        for event in events:
            now = time.perf_counter()
            if not opened and now - began > PATIENCE:
                raise RuntimeError(f"only {len(ends)} of {len(used)} devices began in {PATIENCE} s")
            if not isinstance(event, Progress) or stop.is_set():
                continue
            ends[event.tile.index].append(now)
            lane_steps = event.lane_steps
            # The first event of a tile comes when its first segment begins, not when it ends.
            if not opened and len(ends) == len(used) and min(map(len, ends.values())) > 1:
                opened = now
            if opened and now - opened >= seconds:
                counts = [sum(end >= opened for end in tile) for tile in ends.values()]
                if min(counts) > LEAST_SEGMENTS:
                    stop.set()
    return window_rate(ends.values(), opened, lane_steps)


def _repeated(params: Any, lanes: int) -> Any:
    """The weights of one network for all lanes of a tile."""
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (lanes, *leaf.shape)), params)


def window_rate(tiles: Any, opened: float, lane_steps: int) -> float:
    """The sum over tiles of lane-steps per second between their segments' ends since `opened`.

    >>> window_rate([[0.0, 1.0, 2.0, 3.0], [0.5, 1.5, 2.0]], opened=1.0, lane_steps=10)
    30.0
    """
    total = 0.0
    for ends in tiles:
        inside = [end for end in ends if end >= opened]
        total += (len(inside) - 1) * lane_steps / (inside[-1] - inside[0])
    return total


def state_bytes(workload: Case, width: int) -> int:
    """What a tile's weights and accumulators take."""
    known = prepare(study_config(workload, 1, 1, tile_width=width))
    return tile_bytes(known.programs[0], known.workload)
