"""Signals at any moment of a run: what is taken up again ends with the same bytes.

Needs a process that has not started JAX, as it forks the studies.
"""

import functools
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from hypothesis import strategies as st

from tests.fuzz.outcome import OK, Outcome
from tests.fuzz.prepared import FUNCTION, NETWORK, root
from tests.system.tiny import TINY
from tests.system.zygote import Life, end_of

SECONDS = 120.0  # for a life, of processor time
KILLED = {"tiny": TINY, "network": NETWORK | {"checkpoint_every": 1e-6}, "function": FUNCTION}
ENDS = {"SIGKILL": (0, -9), "SIGINT": (0, 3), "SIGTERM": (0, 3, -15)}


@st.composite
def tries(draw: Any) -> dict[str, Any]:
    """Which study, and one to four signals, each in a life of its own; moments as shares."""
    share = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)
    one = st.fixed_dictionaries(
        {
            "signal": st.sampled_from(["SIGKILL", "SIGKILL", "SIGINT", "SIGTERM"]),
            "when": st.sampled_from(["start", "after", "event", "event", "save"]),
            "at": share,
            "delay": st.sampled_from([0, 0.0005, 0.005, 0.05]),
            "times": st.sampled_from([1, 1, 1, 2, 3]),
        }
    )
    return {
        "study": draw(st.sampled_from(["tiny", "tiny", "network", "function"])),
        "kills": draw(st.lists(one, min_size=1, max_size=4)),
        "devices": draw(st.sampled_from([1, 1, 2])),
    }


def count(given: Mapping[str, Any]) -> int:
    """Signals of a try."""
    return len(given["kills"])


def try_kills(given: Mapping[str, Any], folder: Path) -> Outcome:
    """A life per signal, and a last one without; then the bytes are compared."""
    wanted, whole = _undisturbed(given["study"])
    told = []
    for kill in [*given["kills"], None]:
        order = _moment(kill, whole) if kill else {}
        status, out, err = _live(given["study"], folder, given["devices"], order)
        told.append(f"{order} -> {status} {err[-200:]}")
        allowed = ENDS[kill["signal"]] if kill else (0,)
        if kill and kill["signal"] == "SIGINT" and kill["times"] > 1:
            allowed = (*allowed, -2)  # who insists is obeyed at once
        if "Traceback" in out + err:
            return Outcome("traceback", f"after {_name(kill)}", err[-900:])
        if status == HUNG:
            return Outcome("hang", f"after {_name(kill)}", str(told)[-900:])
        if status not in allowed:
            return Outcome("traceback", f"status {status} after {_name(kill)}", str(told)[-900:])
        if status == 3 and "again" not in err:
            return Outcome("message", "does not say how to go on", err[-900:])
    return _compare(wanted, folder / "study", told)


def _name(kill: Mapping[str, Any] | None) -> str:
    return f"{kill['signal']} x {kill['times']} ({kill['when']})" if kill else "all signals"


def _compare(wanted: Mapping[str, bytes], study: Path, told: list[str]) -> Outcome:
    found = results(study)
    for name in wanted:
        if found.get(name) != wanted[name]:
            return Outcome("wrong number", f"of {name} after kills", str(told)[-900:])
    left = [path for path in study.rglob("*") if path.suffix in (".part", ".partial")]
    if left or (study / "checkpoints").exists():
        return Outcome("left behind", "after kills", str(left or "checkpoints"))
    return OK


def results(study: Path) -> dict[str, bytes]:
    """What a finished study has to show, byte for byte; times are not part of it."""
    data = xr.open_zarr(study / "results.zarr", consolidated=False, chunks=None).load()
    files = {name: (study / name).read_bytes() for name in ("lanes.csv", "summary.csv")}
    if (study / "landscapes.npz").exists():
        with np.load(study / "landscapes.npz") as arrays:
            files |= {f"landscapes {name}": arrays[name].tobytes() for name in arrays.files}
    return files | {str(name): data[name].to_numpy().tobytes() for name in data.data_vars}


@functools.cache
def _undisturbed(name: str) -> tuple[dict[str, bytes], dict[str, float]]:
    """The results of a run that nobody disturbs, and how much there is to disturb in it."""
    folder = root() / f"undisturbed-{name}"
    if not folder.exists():
        folder.mkdir()
        began = time.monotonic()
        status, _, err = _live(name, folder, 1, {})
        if status != 0:
            shutil.rmtree(folder)
            raise RuntimeError(f"an undisturbed run ended with {status}: {err}")
        (folder / "seconds").write_text(str(time.monotonic() - began))
    _, events, saves = json.loads((folder / "log").read_text().splitlines()[-1])
    seconds = float((folder / "seconds").read_text())
    return results(folder / "study"), {"event": events, "save": saves, "start": seconds}


def prepare() -> None:
    """Run every study undisturbed, once."""
    for name in KILLED:
        _undisturbed(name)


def _moment(kill: Mapping[str, Any], whole: Mapping[str, float]) -> dict[str, Any]:
    """When a signal is sent, from shares of an undisturbed run."""
    order = {"signal": kill["signal"], "times": kill["times"], "delay": kill["delay"]}
    when = kill["when"] if kill["when"] != "save" or whole["save"] else "event"
    if when in ("event", "save"):
        return {**order, when: 1 + int(kill["at"] * whole[when])}
    return {**order, when: kill["at"] * whole["start"]}


HUNG = 999


def _live(name: str, folder: Path, devices: int, kill: dict[str, Any]) -> tuple[int, str, str]:
    """One life of the command; its exit status, what it printed, and its errors."""
    config, log = folder / "config.yaml", folder / "log"
    config.write_text(yaml.safe_dump(KILLED[name]))
    study = folder / "study"
    words = ["run", config, "--out", study, "--devices", devices]
    order = {"arguments": [str(word) for word in words], "folder": str(study), "log": str(log),
             "kill": kill}  # fmt: skip
    child = os.fork()
    if child == 0:
        end_of(Life(order))
    status = _wait(child)
    printed = [log.with_suffix(ending) for ending in (".out", ".err")]
    out, err = (path.read_text() if path.exists() else "" for path in printed)
    return status, out, err


def _wait(child: int) -> int:
    """The exit status; HUNG where there is none in time."""
    ends = time.monotonic() + 4 * SECONDS
    while time.monotonic() < ends:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return HUNG
