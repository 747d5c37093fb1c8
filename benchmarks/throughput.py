"""Training steps of one small network per second: the lane engine against the usual loops.

Command:  make bench            (or, where torch and lightning are installed:
          python -m benchmarks.throughput --workload digits --rounds 5 --seconds 5)

Three workloads: the digits MLP, an MNIST MLP and an MNIST CNN. All contenders train the same
network in this process, in turns: round after round, each round in the reverse order of the one
before. The machine's rate of matrix products is measured in every round beside them. See README.md
in this folder for what is counted and why it is fair.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.engine import make_engine, rule_width, steady_rate, step_flops
from benchmarks.machine import machine
from benchmarks.peers_jax import make_jax_loop
from benchmarks.record import (
    RESULTS,
    Contender,
    run_rounds,
    write_record,
)
from benchmarks.workloads import DTYPES, WORKLOADS, Case
from initopt_jax.engine.devices import set_up_devices

VMAP_NETWORKS = 16


def torch_contenders(workload: Case) -> list[Contender]:
    """PyTorch's ways to train this network, strongest settings tried."""
    # Not at the top: without PyTorch, the rest of the benchmarks must still import.
    from benchmarks import peers_torch as peers

    threads = peers.threads_to_try()
    goals = workload.goals
    loops: dict[str, dict[str, Any]] = {"default optimizer": {}, "fused optimizer": {"fused": True}}
    if not workload.is_mlp:
        loops = {
            f"{label}, {layout}": {**options, "channels_last": layout == "channels last"}
            for label, options in loops.items()
            for layout in ("contiguous", "channels last")
        }

    def every(forms: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            f"{count}, {label}": peers.make_torch_loop(workload, number, **options, **more)
            for count, number in threads.items()
            for label, options in forms.items()
        }

    fused = {label: options for label, options in loops.items() if "fused" in options}
    compiles = peers.compiler_at_hand()
    if workload.name != "digits":
        found = [Contender("PyTorch loop", every(loops), goals["PyTorch loop"])]
    else:
        plain = {label: options for label, options in loops.items() if label not in fused}
        lit = {label: peers.make_lightning(workload, n) for label, n in threads.items()}
        vmaps = {
            label: peers.make_torch_vmap(workload, VMAP_NETWORKS, n) for label, n in threads.items()
        }
        name = f"torch.func vmap of {VMAP_NETWORKS}"
        found = [
            Contender("Lightning", lit, goals["Lightning"]),
            Contender("PyTorch loop", every(plain), goals["PyTorch loop"]),
            Contender("PyTorch loop, fused Adam", every(fused)),
            Contender(name, vmaps, goals[name]),
        ]
        if compiles:
            compiled = {
                label: peers.make_torch_vmap(workload, VMAP_NETWORKS, n, compiled=True)
                for label, n in threads.items()
            }
            found.append(Contender(f"{name}, torch.compile", compiled))
    if compiles:
        found.append(Contender("PyTorch loop, torch.compile", every(fused, compiled=True)))
    return found


def own_contenders(workload: Case, details: list[dict[str, Any]]) -> list[Contender]:
    """JAX's ways, the engine last."""
    found = []
    if workload.name == "digits":
        name = "JAX, one jitted step per call"
        loops = {
            "host batches": make_jax_loop(workload, on_device=False),
            "rows on device": make_jax_loop(workload, on_device=True),
        }
        found.append(Contender(name, loops, workload.goals[name]))
        if len(set_up_devices()) > 1:
            name = "initopt-jax, one device"
            one = {"whole study": make_engine(workload, details, devices=1)}
            found.append(Contender(name, one, workload.goals[name]))
    if workload.name == "cnn":
        name = "initopt-jax, stock convolution"
        stock = workload.with_model(convolution="stock")
        width = rule_width(workload)

        def timed(seconds: float) -> float:
            return steady_rate(stock, seconds, width=width, rate=1e9)

        found.append(
            Contender(name, {f"tiles of {width}, training only": timed}, workload.goals[name])
        )
    label = f"whole study, {len(set_up_devices())} device(s)"
    found.append(Contender("initopt-jax lanes", {label: make_engine(workload, details)}))
    return found


def run_workload(workload: Case, rounds: int, seconds: float, console: Console) -> dict[str, Any]:
    """One workload's record."""
    details: list[dict[str, Any]] = []
    contenders = torch_contenders(workload) + own_contenders(workload, details)
    # What a convolution is rewritten to may count differently: the stock one counts for everyone.
    plain = workload if workload.is_mlp else workload.with_model(convolution="stock")
    record = run_rounds(
        workload.title,
        contenders,
        flops=step_flops(plain),
        rounds=rounds,
        seconds=seconds,
        dtype=workload.dtype,
        console=console,
        share_goal=workload.share_goal,
        share_aim=workload.share_aim,
    )
    return {
        **record,
        "data": workload.data().name,
        "dtype": workload.dtype,
        "tile_width": rule_width(workload),
        "flops_per_step_is": "counted in the trace of one network's step, update included",
        "engine": details,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=3, help="times each contender runs")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each contender per round")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the computation")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.seconds) <= 0:
        parser.error("--rounds and --seconds must be positive")
    if not (find_spec("torch") and find_spec("lightning")):
        parser.error("PyTorch and Lightning are missing here; `make bench` installs them")
    set_up_devices()
    console = Console(width=max(140, Console().width))
    names = WORKLOADS if options.workload == "all" else [options.workload]
    model = {} if options.dtype == "float32" else {"dtype": options.dtype}
    done = {
        name: run_workload(WORKLOADS[name](**model), options.rounds, options.seconds, console)
        for name in names
    }
    settings = {name: getattr(options, name) for name in ("rounds", "seconds", "dtype")}
    record = {"settings": settings, "machine": machine(), "workloads": done}
    file = write_record("throughput", record, options.out)
    console.print(str(file), soft_wrap=True, highlight=False)
    missed = [row for one in done.values() for row in one["results"] if row["reached"] is False]
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
