"""What light probes cost: configs/effects_digits.yaml with them and without, in turns.

Command:  make bench-probes    (or: python -m benchmarks.probes --rounds 4)

Every run is a process of its own, and what counts are the seconds in the study's manifest:
training, evaluations, probes and writing, not the report. The runs share a folder for compiled
programs, which a first run of either kind fills; these are not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import OtherLoad, machine
from benchmarks.record import RESULTS, say_other_load, write_record

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "effects_digits.yaml"
LIGHT = ("weight_norm", "distance", "weight_histogram", "update", "signals")
KINDS = {"without": (), "with": LIGHT}
GOAL = 0.15  # of a study's seconds without probes


def run_study(folder: Path, name: str, overrides: Sequence[str], cache: Path) -> dict[str, Any]:
    """Seconds of a study in a fresh process, and of its probes, as its manifest has them."""
    out = folder / name
    command = [
        sys.executable,
        "-c",
        "from initopt_jax.cli import main; main()",
        "run",
        str(CONFIG),
    ]
    for override in overrides:
        command += ["--set", override]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "JAX_COMPILATION_CACHE_DIR": "",  # it would be used otherwise than the user's own folder is
        "XDG_CACHE_HOME": str(cache),
    }
    command += ["--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return {"seconds": manifest["seconds"], "probes": manifest["probes"]}


def take_turns(rounds: int, overrides: Sequence[str], console: Console) -> list[dict[str, Any]]:
    """Both kinds in every round, in the reverse order of the one before; after one uncounted."""
    counted: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            found: dict[str, Any] = {}
            for kind in list(KINDS) if number % 2 == 0 else reversed(KINDS):
                given = [f"probes=[{','.join(KINDS[kind])}]", *overrides]
                place = Path(folder)
                found[kind] = run_study(place, f"{number}-{kind}", given, place / "cache")
            if number:
                counted.append(found)
                console.print(f"round {number}/{rounds}: {_ratio(found):.2f} times the seconds")
    return counted


def _ratio(found: dict[str, Any]) -> float:
    return found["with"]["seconds"] / found["without"]["seconds"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="besides the first, which compiles")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="further overrides")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the goal is missed")
    options = parser.parse_args(arguments)
    if options.rounds <= 0:
        parser.error("--rounds must be positive")
    console, others = Console(), OtherLoad()
    rounds = take_turns(options.rounds, options.set or [], console)
    seconds = {kind: statistics.median(one[kind]["seconds"] for one in rounds) for kind in KINDS}
    share = statistics.median(_ratio(one) for one in rounds) - 1
    verdict = "reached" if share < GOAL else "missed"
    console.print(
        f"{len(LIGHT)} light probes at every evaluation: {seconds['with']:.1f} s against "
        f"{seconds['without']:.1f} s, {share:+.0%} (goal: under {GOAL:.0%}, {verdict})"
    )
    taken = others.cores()
    say_other_load(taken, console)
    record = {
        "config": CONFIG.name,
        "overrides": options.set or [],
        "machine": machine(),
        "probes": LIGHT,
        "goal": GOAL,
        "share": share,
        "seconds": seconds,
        "cores_busy_with_other_processes": taken,
        "rounds": rounds,
    }
    console.print(str(write_record("probes", record, options.out)), soft_wrap=True)
    return int(options.check and share >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
