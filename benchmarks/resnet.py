"""Training steps of a small ResNet-9 per second: the lane engine against a PyTorch loop.

Command:  make bench-resnet     (or, where torch and lightning are installed:
          python -m benchmarks.resnet --rounds 5 --seconds 10 --widths 1 2 4)

All train the same network in this process, in turns, every round in the reverse order of the one
before. The engine's tiles are timed while they train: compilation is left out, an evaluation of
about a hundred examples every ten steps or so is in (a twentieth of the time). PyTorch's loop has
none; it runs with one thread and with all cores, contiguous and channels last. The table's last row
is the engine with the first of `--widths` lanes to a tile.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.engine import steady_rate, step_flops
from benchmarks.machine import machine
from benchmarks.pace import Timed
from benchmarks.record import (
    RESULTS,
    Contender,
    run_rounds,
    write_record,
)
from benchmarks.workloads import Case, small_resnet
from initopt_jax.engine.devices import set_up_devices

# Operations per second, of which XLA counts those of a loop once: for ten steps or so between
# evaluations.
GUESS = 2.5e11


def contenders(workload: Case, widths: Sequence[int]) -> list[Contender]:
    """PyTorch's loop in its settings, then the engine by tile width, the first width last."""
    # Not at the top: without PyTorch, the rest of the benchmarks must still import.
    from benchmarks import peers_torch as peers

    loops = {
        f"{count}, {layout}": peers.make_torch_loop(
            workload, number, fused=True, channels_last=layout == "channels last"
        )
        for count, number in peers.threads_to_try().items()
        for layout in ("contiguous", "channels last")
    }
    found = [Contender("PyTorch loop", loops, workload.goals["PyTorch loop"])]
    for width in reversed(widths):
        name = f"initopt-jax, tiles of {width}"
        found.append(Contender(name, {"training only": own(workload, width)}))
    return found


def own(workload: Case, width: int) -> Timed:
    """The engine with so many lanes to a tile, one tile on each device."""
    return partial(steady_rate, workload, width=width, rate=GUESS)


def run(workload: Case, widths: Sequence[int], rounds: int, seconds: float) -> dict[str, Any]:
    """The record of all rounds; the table is printed."""
    # What a convolution is rewritten to may count differently: the stock one counts for everyone.
    return run_rounds(
        workload.title,
        contenders(workload, widths),
        flops=step_flops(workload.with_model(convolution="stock")),
        rounds=rounds,
        seconds=seconds,
        dtype=workload.dtype,
        console=Console(width=max(140, Console().width)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=16, help="channels of the first layer")
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 2], help="lanes of a tile")
    parser.add_argument("--rounds", type=int, default=3, help="times each contender runs")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each contender per round")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the goal is missed")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.seconds, options.width, *options.widths) <= 0:
        parser.error("all numbers must be positive")
    if not (find_spec("torch") and find_spec("lightning")):
        parser.error("PyTorch and Lightning are missing here; `make bench-resnet` installs them")
    set_up_devices()
    done = run(small_resnet(options.width), options.widths, options.rounds, options.seconds)
    settings = {name: getattr(options, name) for name in ("width", "widths", "rounds", "seconds")}
    record = {"settings": settings, "machine": machine(), "workload": done}
    print(write_record("resnet", record, options.out))
    missed = any(row["reached"] is False for row in done["results"])
    return int(options.check and missed)


if __name__ == "__main__":
    sys.exit(main())
