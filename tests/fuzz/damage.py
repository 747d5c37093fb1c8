"""Damage of study folders: what is read afterwards is what was written, or refused."""

import dataclasses
import functools
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import strategies as st

from initopt_jax.config.schema import Config
from initopt_jax.studies import run, study, verify
from tests.fuzz.outcome import OK, Outcome, attempt
from tests.fuzz.prepared import STUDIES, study_folder

SECONDS = 30.0
FILES = (
    "manifest.json", "manifest.json", "manifest.json", "lanes.csv", "lanes.csv", "journal.jsonl",
    "journal.jsonl", "landscapes.npz", "landscapes.npz", "summary.csv", "results.zarr/*/c/**/*",
    "results.zarr/kept*/**/*", "results.zarr/*/zarr.json", "results.zarr/zarr.json", "*",
)  # fmt: skip
HOWS = (
    "flip", "flip", "flip", "digit", "digit", "cut", "delete", "zero", "garbage", "empty", "append",
    "double", "other", "swap", "folder",
)  # fmt: skip
DEEP = ("probe", "verify", "report", "again")  # seconds each
GARBAGE = b'\x00\xff\n{"tile": 0, "lanes": [[0, 2]], "crc": 1}\n[]\n'


@st.composite
def tries(draw: Any) -> dict[str, Any]:
    """Which study, one or two damages, and what is read besides the quick things."""
    share = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)
    one = st.fixed_dictionaries(
        {
            "file": st.sampled_from(FILES),
            "nth": share,
            "how": st.sampled_from(HOWS),
            "at": share,
            "bit": st.integers(0, 7),
        }
    )
    given: dict[str, Any] = {
        "study": draw(st.sampled_from(["network", "network", "function"])),
        "damages": draw(st.lists(one, min_size=1, max_size=2)),
    }
    if draw(st.integers(0, 24)) == 0:
        given["deep"] = draw(st.sampled_from(DEEP))
    return given


def try_damage(given: Mapping[str, Any], folder: Path) -> Outcome:
    """Damage a copy of a study, and read all of it."""
    name = given["study"]
    damaged = Path(shutil.copytree(study_folder(name), folder / "study"))
    done = [harm(damaged, damage) for damage in given["damages"]]
    wanted = expected(name)
    worst = OK
    for what, read in {**READS, **_deep(given.get("deep"), name)}.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = _compare(damaged, what, read, wanted)
        if outcome.is_finding:
            return dataclasses.replace(outcome, text=f"{outcome.text} | {done}")
        worst = outcome if outcome.verdict == "refused" else worst
    return worst


def _compare(
    damaged: Path, what: str, read: Callable[[study.Study], Any], wanted: Mapping[str, Any]
) -> Outcome:
    """One reading of the damaged study against the undamaged one."""
    values = []
    outcome = attempt(lambda: values.append(plain(read(study.Study(damaged)))), SECONDS)
    if outcome.verdict == "ok" and what in wanted and values[0] != wanted[what]:
        return Outcome("wrong number", f"of {what}", _difference(wanted[what], values[0]))
    if outcome.is_finding:
        return dataclasses.replace(outcome, text=f"{what}: {outcome.text}")
    return outcome


def _report(opened: study.Study) -> Any:
    opened.report()
    return (opened.dir / "summary.csv").read_text()


def _probe(opened: study.Study) -> Any:
    """What a test function has no weights for is refused there, whatever the damage."""
    return opened.probe("weight_norm", lanes=[0])


READS: dict[str, Callable[[study.Study], Any]] = {
    "manifest": lambda opened: opened.manifest,
    "config": lambda opened: opened.config,
    "info": lambda opened: opened.info,
    "notes": lambda opened: opened.notes,
    "lanes": lambda opened: opened.lanes,
    "summary": lambda opened: opened.summary(),
    "frame": lambda opened: opened.frame(),
    "kept": lambda opened: opened.kept.load(),
    "params": lambda opened: [opened.params(lane) for lane in (0, len(opened.lanes) - 1)],
    "landscapes": lambda opened: opened.landscapes,
}


def _deep(asked: str | None, name: str) -> dict[str, Callable[[study.Study], Any]]:
    def again(opened: study.Study) -> Any:
        done = run.run(STUDIES[name], opened.dir, devices=1)
        return [read(study.Study(done.dir)) for read in map(READS.get, AFTERWARDS) if read]

    known: dict[str, Callable[[study.Study], Any]] = {
        "probe": _probe,
        "verify": lambda opened: verify.verify(opened.dir, sample=1, devices=1).exit_code,
        "report": _report,
        "again": again,
    }
    return {key: value for key, value in known.items() if key == asked}


AFTERWARDS = ("lanes", "summary", "frame", "kept")  # of a study that was run again


@functools.cache
def expected(name: str) -> dict[str, Any]:
    """What an undamaged study gives; what it refuses is not there."""
    opened = study.Study(study_folder(name))
    found: dict[str, Any] = {}

    def keep(what: str, read: Callable[[study.Study], Any]) -> None:
        found[what] = plain(read(study.Study(opened.dir)))

    for what, read in READS.items():
        outcome = attempt(functools.partial(keep, what, read), SECONDS)
        if outcome.is_finding:
            raise RuntimeError(f"{what} of an undamaged study: {outcome}")
    found["report"] = (opened.dir / "summary.csv").read_text()
    found["again"] = plain([READS[what](study.Study(opened.dir)) for what in AFTERWARDS])
    return found


def plain(value: Any) -> Any:
    """Values that compare with ==, bits of arrays included."""
    if isinstance(value, xr.Dataset):
        return {str(key): (array.dims, plain(array.values)) for key, array in value.items()}
    if isinstance(value, pd.DataFrame):
        return value.sort_index(axis=1).to_csv()  # the order of columns is the file system's
    if isinstance(value, Config):
        return value.to_json()
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        data = array.tolist() if array.dtype.kind in "OTU" else array.tobytes()
        return str(array.dtype), array.shape, data
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else repr(value)


def _difference(wanted: Any, got: Any, place: str = "") -> str:
    """Where two plain values first differ."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in {**wanted, **got}:
            if wanted.get(key) != got.get(key):
                return _difference(wanted.get(key), got.get(key), f"{place}.{key}")
    return f"{place}: {str(wanted)[:300]} -> {str(got)[:300]}"


def harm(folder: Path, damage: Mapping[str, Any]) -> str:
    """Do one damage; says to which file, and what."""
    files = [path for path in sorted(folder.rglob(damage["file"])) if path.is_file()]
    if not files:
        return f"no {damage['file']}"
    path = files[int(damage["nth"] * len(files))]
    content, how = bytearray(path.read_bytes()), damage["how"]
    place = min(int(damage["at"] * len(content)), max(0, len(content) - 1))
    other = study_folder("other") / path.relative_to(folder)
    if how == "delete":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "swap":
        second = files[int(damage["at"] * len(files))]
        content = second.read_bytes()
        second.write_bytes(path.read_bytes())
        path.write_bytes(content)
    elif how == "other":
        path.write_bytes(other.read_bytes() if other.is_file() else b"")
    else:
        path.write_bytes(_changed(content, how, place, damage["bit"]))
    return f"{how} {path.relative_to(folder)} at {place}"


def _changed(content: bytearray, how: str, place: int, bit: int) -> bytes:
    """The content of a file after a damage that needs no other file."""
    if how == "flip" and content:
        content[place] ^= 1 << bit
    elif how == "digit":
        digits = [at for at, byte in enumerate(content) if 48 <= byte <= 57]
        if digits:
            at = digits[place * len(digits) // max(1, len(content))]
            content[at] = 48 + (content[at] - 48 + 1 + bit) % 10
    elif how == "zero":
        content[place : place + 16] = bytes(len(content[place : place + 16]))
    changed = {"cut": content[:place], "garbage": GARBAGE, "empty": b""}
    changed |= {"append": content + GARBAGE, "double": content + content}
    return bytes(changed.get(how, content))
