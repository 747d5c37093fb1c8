"""What it costs to stream a training split instead of keeping it on the device.

Command:  make bench-streaming     (or python -m benchmarks.streaming --rounds 7 --seconds 5)

The same studies of MNIST train with the whole training split on the device and with `device_data`
set so low that it is streamed; in turns, every round in the reverse order of the one before. Tiles
are timed while they train: compilation is left out, an evaluation every fifth of a second or so is
in. Every lane has a data seed of its own: no two share what is read.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.engine import steady_rate, step_flops
from benchmarks.machine import machine
from benchmarks.record import (
    RESULTS,
    Contender,
    run_rounds,
    write_record,
)
from benchmarks.workloads import Case, mnist_cnn, mnist_mlp
from initopt_jax.engine.batch_source import split_bytes
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.errors import byte_size

WORKLOADS = {"mnist": mnist_mlp, "cnn": mnist_cnn}
GOAL = 0.8  # of the speed with the split on the device
LIMIT = "64MiB"  # of MNIST's 180


def contenders(workload: Case, limit: str) -> list[Contender]:
    """The split on the device, and streamed."""
    resident = partial(steady_rate, workload, device_data="1TiB")
    streamed = partial(steady_rate, workload, device_data=limit)
    return [
        Contender("on the device", {"training only": resident}, GOAL),
        Contender("streamed", {"training only": streamed}),
    ]


def run(workload: Case, limit: str, rounds: int, seconds: float) -> dict[str, Any]:
    """The record of all rounds; the ratio is printed."""
    console = Console(width=max(140, Console().width))
    record = run_rounds(
        workload.title,
        contenders(workload, limit),
        flops=step_flops(workload),
        rounds=rounds,
        seconds=seconds,
        dtype=workload.dtype,
        console=console,
    )
    resident, data = record["results"][0], workload.data()
    size = split_bytes(data.train)
    console.print(
        f"{workload.title}: streamed {resident['ratio']:.2f} of the speed with the split on the "
        f"device ({resident['ratio_low']:.2f} to {resident['ratio_high']:.2f}; goal {GOAL}), "
        f"{byte_size(size)} under a limit of {limit}"
    )
    return {**record, "data": data.name, "train_bytes": size, "device_data": limit}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    parser.add_argument("--limit", default=LIMIT, help="device_data of the streamed studies")
    parser.add_argument("--rounds", type=int, default=5, help="times each contender runs")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each contender per round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the goal is missed")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.seconds) <= 0:
        parser.error("all numbers must be positive")
    set_up_devices()
    chosen = WORKLOADS if options.workload == "all" else [options.workload]
    done = {
        name: run(WORKLOADS[name](), options.limit, options.rounds, options.seconds)
        for name in chosen
    }
    settings = {name: getattr(options, name) for name in ("limit", "rounds", "seconds")}
    record = {"settings": settings, "machine": machine(), "workloads": done}
    print(write_record("streaming", record, options.out))
    missed = any(row["reached"] is False for one in done.values() for row in one["results"])
    return int(options.check and missed)


if __name__ == "__main__":
    sys.exit(main())
