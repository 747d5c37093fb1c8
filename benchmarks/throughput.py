"""Training steps of one small network per second: the lane engine against the usual loops.

Command:  make bench            (or, where torch and lightning are installed:
          python benchmarks/throughput.py --rounds 5 --seconds 5)

All contenders train the digits MLP 64-64-64-10 (tanh) on batches of 64 with Adam at 1e-3, in this
process, in turns: round after round, each round in the reverse order of the one before. See
README.md beside this file for what is counted and why it is fair.
"""

import argparse
import contextlib
import datetime as dt
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
from peers import (
    BATCH,
    LEARNING_RATE,
    WIDTHS,
    Timed,
    make_jax_loop,
    make_lightning,
    make_torch_loop,
)
from rich.console import Console
from rich.table import Table

import initopt_jax
from initopt_jax.engine.devices import set_up_devices

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contender:
    """A way to train the network.

    Attributes:
        name: in the table.
        variants: settings to Timed; the variant with the best median speaks for the contender.
        goal: how many times faster the engine should be; None where no goal was set.
    """

    name: str
    variants: dict[str, Timed]
    goal: float | None = None


def study_config(lanes: int, steps: int) -> dict[str, Any]:
    """The same network and optimizer, `lanes` times, as anyone would write it."""
    return {
        "name": "throughput",
        "task": {"name": "classification", "dataset": "digits", "batch_size": BATCH},
        "model": {"name": "mlp", "hidden": list(WIDTHS[1:-1]), "activation": "tanh"},
        "initializers": ["glorot_uniform"],
        "optimizers": [{"name": "adam", "learning_rate": LEARNING_RATE}],
        "seeds": lanes,
        "tuning": {"seeds": 0},
        "steps": steps,
        "eval_every": steps,
    }


def make_engine(lanes: int, steps: int, details: list[dict[str, float]]) -> Timed:
    """`initopt_jax.run`: lane-steps per second from the first segment's end to the last one's.

    Compilation before the first segment, and the report after the last, are left out here and given
    in `details` instead. The length of a run is that of the study, not of `seconds`.
    """

    def timed(_: float) -> float:
        ends: list[tuple[float, int]] = []

        def progress(tally: Any) -> None:
            if tally.lane_steps_done > (ends[-1][1] if ends else 0):
                ends.append((time.perf_counter(), tally.lane_steps_done))

        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            study = initopt_jax.run(
                study_config(lanes, steps), out=Path(folder) / "study", progress=progress
            )
            whole = time.perf_counter() - began
            programs = study.manifest["programs"]
        (first, before), (last, after) = ends[0], ends[-1]
        details.append(
            {
                "seconds_whole_run": whole,
                "seconds_to_first_segment": first - began,
                "seconds_compiling_summed_over_devices": sum(
                    program["compile_seconds"] for program in programs
                ),
                "lane_steps_per_second_whole_run": after / whole,
            }
        )
        return (after - before) / (last - first)

    return timed


# Measuring and reporting -------------------------------------------------------------------------


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning advises on loggers and workers at each fit; the settings here are on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        yield


class OtherLoad:
    """How many cores other processes kept busy since this was made; None outside Linux."""

    def __init__(self) -> None:
        self.began, self.busy, self.own = time.perf_counter(), self._busy(), time.process_time()

    @staticmethod
    def _busy() -> float | None:
        counters = Path("/proc/stat")
        if not counters.exists():
            return None
        fields = counters.read_text(encoding="ascii").splitlines()[0].split()[1:9]
        user, nice, system, _, _, irq, softirq, steal = map(int, fields)
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def cores(self) -> float | None:
        now = self._busy()
        if now is None or self.busy is None:
            return None
        spent = (now - self.busy) - (time.process_time() - self.own)
        return max(0.0, spent / (time.perf_counter() - self.began))


def measure(
    contenders: Sequence[Contender], rounds: int, seconds: float, console: Console
) -> dict[str, dict[str, list[float]]]:
    """Steps per second: contender, variant, one number per round."""
    turns = [(c.name, label, run) for c in contenders for label, run in c.variants.items()]
    rates: dict[str, dict[str, list[float]]] = {
        c.name: {label: [] for label in c.variants} for c in contenders
    }
    for index in range(rounds):
        for name, label, run in turns if index % 2 == 0 else reversed(turns):
            rate = run(seconds)
            rates[name][label].append(rate)
            console.print(f"round {index + 1}/{rounds}: {name} ({label}) {rate:,.0f}/s")
    return rates


def best_variant(variants: dict[str, list[float]]) -> tuple[str, list[float]]:
    """The variant with the highest median."""
    return max(variants.items(), key=lambda item: statistics.median(item[1]))


def outcome(
    contenders: Sequence[Contender], rates: dict[str, dict[str, list[float]]]
) -> list[dict[str, Any]]:
    """Per contender: its best variant, median and spread, and the engine's ratio to it.

    The ratio is the median over rounds of the ratio within a round, so that a machine that is
    slower for a while slows both sides of it.
    """
    _, ours = best_variant(rates[contenders[-1].name])
    rows = []
    for contender in contenders:
        label, values = best_variant(rates[contender.name])
        ratios = [mine / theirs for mine, theirs in zip(ours, values, strict=True)]
        ratio = statistics.median(ratios)
        rows.append(
            {
                "contender": contender.name,
                "variant": label,
                "median": statistics.median(values),
                "low": min(values),
                "high": max(values),
                "ratio": ratio,
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "goal": contender.goal,
                "reached": None if contender.goal is None else ratio >= contender.goal,
            }
        )
    return rows


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table(title="Training steps of one network per second (median over rounds)")
    for heading in ("contender", "setting", "steps/s", "range", "engine is", "goal", ""):
        table.add_column(
            heading, justify="left" if heading in {"contender", "setting"} else "right"
        )
    for row in rows:
        spread = f"{row['low']:,.0f} to {row['high']:,.0f}"
        goal = "" if row["goal"] is None else f"{row['goal']:.0f}x"
        verdict = {None: "", True: "reached", False: "missed"}[row["reached"]]
        ratio = f"{row['ratio']:.1f}x"
        rate = f"{row['median']:,.0f}"
        table.add_row(row["contender"], row["variant"], rate, spread, ratio, goal, verdict)
    console.print(table)


def machine() -> dict[str, Any]:
    """Where and with what the numbers were taken."""
    packages = ("initopt-jax", "jax", "jaxlib", "optax", "flax", "torch", "lightning", "numpy")
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: installed(package) for package in packages},
        "jax_devices": [str(device) for device in jax.local_devices()],
    }


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def make_contenders(lanes: int, steps: int, details: list[dict[str, float]]) -> list[Contender]:
    """All contenders, the engine last."""
    threads = {f"{n} thread{'s' * (n > 1)}": n for n in (1, 2)}
    return [
        Contender("Lightning", {label: make_lightning(n) for label, n in threads.items()}, 40),
        Contender(
            "PyTorch loop",
            {label: make_torch_loop(n, fused=False) for label, n in threads.items()},
            20,
        ),
        Contender(
            "PyTorch loop, fused Adam",
            {label: make_torch_loop(n, fused=True) for label, n in threads.items()},
        ),
        Contender(
            "JAX, one jitted step per call",
            {
                "host batches": make_jax_loop(on_device=False),
                "rows on device": make_jax_loop(on_device=True),
            },
            8,
        ),
        Contender(
            "initopt-jax lanes", {f"{lanes} x {steps} steps": make_engine(lanes, steps, details)}
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times each contender runs")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each peer per round")
    parser.add_argument("--lanes", type=int, default=512, help="networks of the engine's study")
    parser.add_argument("--steps", type=int, default=1000, help="of each network")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    options = parser.parse_args()
    if min(options.rounds, options.seconds, options.steps) <= 0 or options.lanes < 64:
        parser.error("--rounds, --seconds and --steps must be positive, --lanes at least 64")
    set_up_devices()
    details: list[dict[str, float]] = []
    contenders = make_contenders(options.lanes, options.steps, details)
    console = Console()
    others = OtherLoad()
    with quiet_lightning():
        rates = measure(contenders, options.rounds, options.seconds, console)
    rows, taken = outcome(contenders, rates), others.cores()
    show(rows, console)
    if taken is not None and taken > 0.1:
        console.print(f"Others kept {taken:.2f} cores busy: measure again on a quiet machine")
    now = dt.datetime.now(dt.UTC)
    settings = {name: getattr(options, name) for name in ("rounds", "seconds", "lanes", "steps")}
    record = {
        "date": now.isoformat(timespec="seconds"),
        "settings": settings,
        "machine": machine(),
        "cores_busy_with_other_processes": taken,
        "results": rows,
        "steps_per_second": rates,
        "engine": details,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"throughput-{now:%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    console.print(str(file), soft_wrap=True, highlight=False)
    return int(options.check and any(row["reached"] is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
