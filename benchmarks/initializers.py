"""How long first weights take: 1,000 networks 784-300-100-10 by every tensor-level initializer.

Command:  make bench-init    (or: python -m benchmarks.initializers --networks 1000 --rounds 3)

Drawn as a study draws them: one network at a time, each with its own seed, a thread per device.
The methods take turns, round after round; the best round of each counts. What compiles, compiles
before the clock starts.
"""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from benchmarks.machine import OtherLoad, machine
from benchmarks.record import RESULTS, say_other_load, write_record
from initopt_jax import models
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.initial import InitialWeights
from initopt_jax.initializers import REGISTRY, default_rules

WIDTHS, INPUTS, OUTPUTS = (300, 100), 784, 10
GOAL = 2.0  # seconds for a thousand networks
WARM_UP = 10**6  # seeds before the clock starts


def seconds_of(name: str, networks: int, first_seed: int, devices: Sequence[Any]) -> float:
    """Seconds to draw so many networks, seeds from `first_seed` on."""
    model = models.REGISTRY["mlp"].make(outputs=OUTPUTS, hidden=WIDTHS)
    shapes = models.param_shapes(model, jax.ShapeDtypeStruct((2, INPUTS), "float32"))
    initial = InitialWeights(shapes, [default_rules(name)])

    def draw(device: Any, seeds: range) -> None:
        for seed in seeds:
            initial(0, seed, device)

    for number, device in enumerate(devices):
        draw(device, range(WARM_UP + number, WARM_UP + number + 1))
    threads = [
        threading.Thread(
            target=draw,
            args=(device, range(first_seed + number, first_seed + networks, len(devices))),
        )
        for number, device in enumerate(devices)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def measure(names: Sequence[str], networks: int, rounds: int) -> dict[str, list[float]]:
    """Seconds for a thousand networks, per initializer and round."""
    devices = set_up_devices()
    found: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        for name in names if round_ % 2 == 0 else reversed(names):
            seconds = seconds_of(name, networks, round_ * networks, devices)
            found[name].append(seconds * 1000 / networks)
    return found


def show(found: dict[str, list[float]], console: Console) -> None:
    sizes = "-".join(map(str, (INPUTS, *WIDTHS, OUTPUTS)))
    table = Table(title=f"Seconds for the first weights of 1,000 networks {sizes}")
    for heading in ("initializer", "best", "range", ""):
        table.add_column(heading, justify="left" if heading == "initializer" else "right")
    for name, seconds in sorted(found.items(), key=lambda item: min(item[1])):
        least, most = min(seconds), max(seconds)
        verdict = "reached" if least < GOAL else "missed"
        table.add_row(name, f"{least:.2f}", f"{least:.2f} to {most:.2f}", verdict)
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=1000, help="drawn per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=[*REGISTRY], help="these initializers")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    options = parser.parse_args(arguments)
    if min(options.networks, options.rounds) <= 0:
        parser.error("--networks and --rounds must be positive")
    console = Console()
    others = OtherLoad()
    found = measure(options.only or list(REGISTRY), options.networks, options.rounds)
    show(found, console)
    taken = others.cores()
    say_other_load(taken, console)
    record = {
        "machine": machine(),
        "networks": options.networks,
        "layers": [INPUTS, *WIDTHS, OUTPUTS],
        "goal_seconds": GOAL,
        "cores_busy_with_other_processes": taken,
        "seconds_for_1000_networks": found,
    }
    console.print(str(write_record("initializers", record, options.out)), soft_wrap=True)
    return int(options.check and any(min(seconds) >= GOAL for seconds in found.values()))


if __name__ == "__main__":
    sys.exit(main())
