"""How cost grows: with the number of networks, the width of tiles, and the width of the network.

Command:  make scaling          (or, where torch is installed: python -m benchmarks.scaling)
          python -m benchmarks.scaling --figure benchmarks/results/scaling-<time>.json

Writes benchmarks/results/scaling-<time>.json and draws docs/scaling.png from it; `--figure` only
draws. Takes about eight minutes on two quiet cores. See README.md in this folder.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from benchmarks.crossover import crossover
from benchmarks.engine import rule_width, state_bytes, steady_rate, step_flops, whole_run
from benchmarks.machine import OtherLoad, machine, matrix_rate
from benchmarks.pace import Timed
from benchmarks.peers_jax import make_jax_loop
from benchmarks.record import RESULTS, say_other_load, write_record
from benchmarks.scaling_figure import draw
from benchmarks.workloads import DTYPES, Case, digits_mlp, mnist_mlp
from initopt_jax.engine.devices import set_up_devices

FIGURE = Path(__file__).parents[1] / "docs" / "scaling.png"
STEPS = 1000  # of each network, for the crossover
STUDY_SECONDS = 12  # longest study, in times of `--seconds`
LANES = tuple(4**power for power in range(7))
HIDDEN = (16, 32, 64, 128, 256, 512, 1024)
TILE_HIDDEN = (16, 64, 256, 1024)
WIDEST = {"cpu": 256}  # tile width; elsewhere:
WIDEST_ELSEWHERE = 4096
TILE_BYTES = {"cpu": 2**29}  # of a tile's state; elsewhere:
TILE_BYTES_ELSEWHERE = 2**33
JAX_LOOP, TORCH_LOOP = "JAX, one jitted step per call", "PyTorch loop"


def peers(workload: Case) -> dict[str, dict[str, Callable[[], Timed]]]:
    """Makers of fresh loops: name, then setting. PyTorch's are left out where it is missing."""
    found: dict[str, dict[str, Callable[[], Timed]]] = {
        JAX_LOOP: {
            "rows on device": lambda: make_jax_loop(workload, on_device=True),
            "host batches": lambda: make_jax_loop(workload, on_device=False),
        }
    }
    if find_spec("torch") and find_spec("lightning"):
        from benchmarks.peers_torch import make_torch_loop, threads_to_try

        found[TORCH_LOOP] = {
            f"{label}, fused optimizer": lambda n=n: make_torch_loop(workload, n, fused=True)
            for label, n in threads_to_try().items()
        }
    return found


def time_peers(workload: Case, seconds: float) -> dict[str, dict[str, Any]]:
    """Per peer: the best setting's steps per second, and seconds before its first step."""
    found = {}
    for name, settings in peers(workload).items():
        tried = []
        for label, make in settings.items():
            loop = make()
            began = time.perf_counter()
            loop(0.0)
            startup = time.perf_counter() - began
            tried.append({"rate": loop(seconds), "startup": startup, "setting": label})
        found[name] = max(tried, key=lambda one: one["rate"])
    return found


def lanes_curve(
    workload: Case, lanes: Sequence[int], seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Whole studies of more and more networks, and the loops beside them, before and after.

    Each network makes STEPS steps where that takes at most STUDY_SECONDS times `seconds`. In larger
    studies each makes fewer, and what is missing is added at the steady rate, which is said.
    """
    before = time_peers(workload, seconds)
    steady = steady_rate(workload, seconds)
    points = []
    for count in lanes:
        steps = max(100, min(STEPS, int(STUDY_SECONDS * seconds * steady / count)))
        run = whole_run(workload, count, steps)
        missing = count * (STEPS - steps) / steady
        training = run["seconds_training"] + missing
        whole = run["seconds_whole_run"] + missing
        points.append(
            {
                "lanes": count,
                "steps_made": steps,
                "rate_training": count * STEPS / training,
                "rate_whole": count * STEPS / whole,
                "seconds": whole,
                "seconds_besides_training": whole - training,
                "seconds_compiling": run["seconds_compiling_summed_over_devices"],
                "seconds_added": missing,
            }
        )
        rates = " and ".join(f"{points[-1][key]:,.0f}/s" for key in ("rate_training", "rate_whole"))
        say(f"{count} lanes: {rates} with everything")
    after = time_peers(workload, seconds)
    loops = {name: max(before[name], after[name], key=lambda one: one["rate"]) for name in before}
    seconds_of = [(point["lanes"], point["seconds"]) for point in points]
    pays = {
        name: crossover(seconds_of, loop["startup"], STEPS / loop["rate"])
        for name, loop in loops.items()
    }
    return {
        "steps": STEPS,
        "steady_rate": steady,
        "points": points,
        "peers": loops,
        "pays_from_lanes": pays,
    }


def tile_curve(
    label: str, workload: Case, seconds: float, most: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Steady rates at tile widths 1, 2, 4, ... while a tile fits and its segments stay short."""
    devices = set_up_devices()
    allowed = TILE_BYTES.get(devices[0].platform, TILE_BYTES_ELSEWHERE)
    points: list[dict[str, float]] = []
    flops = step_flops(workload)
    width, guess = 1, 0.0
    while width <= most and state_bytes(workload, width) <= allowed:
        if guess and 6 * width * len(devices) / guess > 5 * seconds:
            break
        guess = steady_rate(workload, seconds, width=width, rate=max(guess * flops, 1e11))
        points.append({"width": width, "rate": guess})
        say(f"{label}, tiles of {width}: {guess:,.0f}/s, {guess * flops / 1e9:,.1f} GFLOP/s")
        width *= 2
    return {"label": label, "flops_per_step": flops, "rule": rule_width(workload), "points": points}


def model_curve(
    hidden: Sequence[int], seconds: float, options: dict[str, Any], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Steady rates of wider and wider networks by the number of devices, loops beside them."""
    counts = sorted({1, len(set_up_devices())})
    rows = []
    for width in hidden:
        workload = digits_mlp(width, **options)
        rates = {str(count): steady_rate(workload, seconds, devices=count) for count in counts}
        loops = time_peers(workload, seconds)
        rows.append(
            {
                "hidden": width,
                "flops_per_step": step_flops(workload),
                "tile_width": rule_width(workload),
                "engine": rates,
                "peers": loops,
            }
        )
        listed = ", ".join(f"{rate:,.0f}/s on {count}" for count, rate in rates.items())
        others = ", ".join(f"{name} {loop['rate']:,.0f}/s" for name, loop in loops.items())
        say(f"hidden width {width}: {listed}; {others}")
    return rows


def measure(
    seconds: float, most: int, dtype: str, console: Console, *, small: bool = False
) -> dict[str, Any]:
    """The record of all curves; `small` takes the first two points of each, to try the script."""
    options = {} if dtype == "float32" else {"dtype": dtype}
    part = slice(2 if small else None)
    others = OtherLoad()
    products = [matrix_rate(dtype=dtype)]
    lanes = lanes_curve(digits_mlp(**options), LANES[part], seconds, console.print)
    models = {
        f"64-{hidden}-{hidden}-10": digits_mlp(hidden, **options) for hidden in TILE_HIDDEN[part]
    }
    if not small:
        models["784-300-100-10"] = mnist_mlp(generated=True, **options)
    tiles = [
        tile_curve(label, workload, seconds, 2 if small else most, console.print)
        for label, workload in models.items()
    ]
    products.append(matrix_rate(dtype=dtype))
    widths = model_curve(HIDDEN[part], seconds, options, console.print)
    limit, way = max([*products, matrix_rate(dtype=dtype)])
    taken = others.cores()
    say_other_load(taken, console)
    return {
        "settings": {"seconds": seconds, "dtype": dtype, "widest_tile": most},
        "machine": machine(),
        "cores_busy_with_other_processes": taken,
        "matrix_flops_per_second": limit,
        "matrix_product": way,
        "lanes": lanes,
        "tile_width": tiles,
        "model_width": widths,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each point")
    parser.add_argument("--widest", type=int, help="tile width; by default 256 on CPU, else 4096")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the computation")
    parser.add_argument("--small", action="store_true", help="two points of each curve")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--figure", type=Path, help="draw from this JSON, measure nothing")
    parser.add_argument("--png", type=Path, default=FIGURE, help="where the figure goes")
    options = parser.parse_args(arguments)
    console = Console()
    file = options.figure
    if file is None:
        if options.seconds <= 0 or (options.widest or 1) < 1:
            parser.error("--seconds and --widest must be positive")
        # Every study here is to pay for its own compilation.
        jax.config.update("jax_enable_compilation_cache", False)
        platform = set_up_devices()[0].platform
        most = options.widest or WIDEST.get(platform, WIDEST_ELSEWHERE)
        began = time.perf_counter()
        record = measure(options.seconds, most, options.dtype, console, small=options.small)
        record["seconds"] = round(time.perf_counter() - began, 1)
        file = write_record("scaling", record, options.out)
        console.print(f"{file} ({record['seconds']:.0f} s)", soft_wrap=True, highlight=False)
    draw(json.loads(file.read_text(encoding="utf-8")), options.png)
    console.print(str(options.png), soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
