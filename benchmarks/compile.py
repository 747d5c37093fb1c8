"""What compilation costs a study, the first time and with what the first time left behind.

Command:  make bench-compile    (or: python -m benchmarks.compile)

Runs configs/effects_digits.yaml twice, each in a fresh process, cut down to few steps and seeds by
`--set`: only what happens before training is of interest. Both share an empty folder for compiled
programs, JAX_COMPILATION_CACHE_DIR.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

import initopt_jax
from benchmarks.machine import OtherLoad, machine
from benchmarks.record import RESULTS, say_other_load, write_record

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "effects_digits.yaml"
SHORTER = (
    "steps=30",
    "eval_every=15",
    "optimizers.0.steps=6",
    "seeds=1",
    "tuning.seeds=1",
    "target=null",
)
GOALS = {"first": 25.0, "second": 5.0}  # seconds of compiling
BACKEND_COMPILE = "/jax/core/compile/backend_compile_duration"


def child(began: float, out: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Run the study in this process; `began` is when it was started, in seconds since the epoch."""
    first: list[float] = []
    backend: list[float] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == BACKEND_COMPILE:
            backend.append(seconds)

    def progress(tally: Any) -> None:
        if tally.began and not first:
            first.append(time.time() - began)

    jax.monitoring.register_event_duration_secs_listener(listen)
    study = initopt_jax.run(CONFIG, out=out, overrides=list(overrides), progress=progress)
    programs = study.manifest["programs"]
    return {
        "seconds_to_first_step": first[0],
        "seconds_whole_process": time.time() - began,
        "seconds_compiling": sum(program["compile_seconds"] for program in programs),
        "seconds_in_backend_compiler": sum(backend),
        "backend_compilations": len(backend),
        "programs": {
            program["label"]: {key: program[key] for key in ("compiled", "compile_seconds")}
            for program in programs
        },
    }


def spawn(folder: Path, name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """`child` in a fresh process."""
    result = folder / f"{name}.json"
    command = [sys.executable, "-m", "benchmarks.compile", "--child", str(result)]
    for override in overrides:
        command += ["--set", override]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    }
    subprocess.run([*command, "--began", repr(time.time())], env=environment, check=True, cwd=ROOT)
    return json.loads(result.read_text(encoding="utf-8"))


def show(runs: dict[str, dict[str, Any]], console: Console) -> None:
    table = Table(title=f"Seconds before training, {CONFIG.name}")
    for heading in ("run", "to first step", "compiling, all devices", "goal", ""):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for name, run in runs.items():
        table.add_row(
            name,
            f"{run['seconds_to_first_step']:.1f}",
            f"{run['seconds_compiling']:.1f}",
            f"{run['goal']:g}",
            "reached" if run["reached"] else "missed",
        )
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="further overrides")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        found = child(options.began, options.child.with_suffix(".study"), options.set or [])
        options.child.write_text(json.dumps(found), encoding="utf-8")
        return 0
    console = Console()
    overrides = [*SHORTER, *(options.set or [])]
    others = OtherLoad()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, goal in GOALS.items():
            run = spawn(Path(folder), name, overrides)
            runs[name] = {**run, "goal": goal, "reached": run["seconds_compiling"] < goal}
    show(runs, console)
    say_other_load(others.cores(), console)
    record = {"config": CONFIG.name, "overrides": overrides, "machine": machine(), "runs": runs}
    console.print(str(write_record("compile", record, options.out)), soft_wrap=True)
    return int(options.check and not all(run["reached"] for run in runs.values()))


if __name__ == "__main__":
    sys.exit(main())
