"""The manifest: what ran, on what, with what; and what a report needs to know of it."""

import os
import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import jax

from initopt_jax import stats
from initopt_jax.config.schema import Config, differences, validate
from initopt_jax.data import describe
from initopt_jax.engine.devices import compiler_options
from initopt_jax.engine.plan import Tile
from initopt_jax.engine.processor import processor
from initopt_jax.lookup import user_files
from initopt_jax.planning.resolve import Experiment
from initopt_jax.precision import MATMUL_PRECISION, PRECISIONS
from initopt_jax.probes.slices.record import Mesh
from initopt_jax.store import maker
from initopt_jax.tasks.function_task import read_function
from initopt_jax.tasks.metrics import Target
from initopt_jax.types import Device

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "initopt-jax")
ACCELERATOR_PACKAGES = ("jax-cuda", "jax-rocm", "libtpu", "nvidia-")  # beginnings of names
SETTINGS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
NO_NUMBERS = ("--xla_force_host_platform_device_count", "--xla_dump")  # XLA flags without effect
TIMES_LOST = ", and what ran before the manifest was lost and made anew"
# True of manifests that do not say it, and of the configs in them.
BEFORE = {"compiler_options": {}, "processor": None, "dtypes": asdict(PRECISIONS["float32"])}


def identity(experiment: Experiment, devices: Sequence[Device]) -> dict[str, Any]:
    """What a lane's bits depend on besides the config and the user's own files.

    Platform, processor, versions, settings of JAX and XLA, data, tile width.
    """
    kind = devices[0].platform
    return {
        "platform": kind,
        "device_kind": devices[0].device_kind,
        "machine": platform.machine(),
        "processor": processor() if kind == "cpu" else None,
        "versions": versions(accelerator=kind != "cpu"),
        "dtypes": asdict(PRECISIONS[experiment.config.precision]) | dict(experiment.dtypes),
        "matmul_precision": MATMUL_PRECISION,
        "compiler_options": compiler_options(kind),
        "settings": settings(),
        "tile_width": _tile_width(experiment),
        "dataset": describe(experiment.workload.dataset),
    }


def _tile_width(experiment: Experiment) -> int | list[int]:
    """One number where all programs have the same, else one per program, as a config takes it."""
    widths = [program.width for program in experiment.programs]
    return widths[0] if len(set(widths)) == 1 else widths


def obstacles(
    manifest: Mapping[str, Any], experiment: Experiment, devices: Sequence[Device]
) -> list[str]:
    """Why a study's bits cannot be expected here: every difference from when it began, in words."""
    lines: list[str] = []
    for key, now in identity(experiment, devices).items():
        if key in manifest:
            lines += _differences(manifest[key], now, key)
        elif key not in BEFORE or BEFORE[key] != now:
            lines.append(f"{key}: not recorded when the study began; here it is {now!r}")
    return lines + user_files.changes(manifest.get("sources"), experiment.sources)


def _differences(old: Any, new: Any, place: str) -> list[str]:
    """As `config.differences`; of two lists of names only what one has and the other has not."""
    if place == "processor" and isinstance(old, dict) and isinstance(new, dict):
        had, has = set(old.get("vector", [])), set(new.get("vector", []))
        sets = ("not here: ", had - has), ("only here: ", has - had)
        words = "; ".join(text + " ".join(sorted(names)) for text, names in sets if names)
        rest = {"model": old.get("model")}, {"model": new.get("model")}
        return differences(*rest, place) + ([f"{place}.vector: {words}"] if words else [])
    return differences(old, new, place)


def settings() -> dict[str, Any]:
    """The settings of JAX and XLA that can change numbers: the process's, not this thread's."""
    flags = sorted(
        flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(NO_NUMBERS)
    )
    known: dict[str, Any] = {}

    def look() -> None:
        known.update({name: getattr(jax.config, name) for name in SETTINGS})

    thread = threading.Thread(target=look)  # a new one has no settings of its own
    thread.start()
    thread.join()
    return known | ({"XLA_FLAGS": " ".join(flags)} if flags else {})


def versions(*, accelerator: bool) -> dict[str, str]:
    """Python and the packages that numbers come from; on an accelerator also its own."""
    found = {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}}
    if accelerator:
        names = {d.name: d.version for d in distributions() if d.name}
        found |= {n: names[n] for n in sorted(names) if n.startswith(ACCELERATOR_PACKAGES)}
    return found


def data_folders(manifest: Mapping[str, Any], folder: Path) -> list[Path]:
    """Where a study found its data by a relative path, if it did."""
    root = manifest.get("data_root")
    return [(folder.resolve() / root).resolve()] if root else []


def new_manifest(
    experiment: Experiment, tiles: Sequence[Tile], devices: Sequence[Device], folder: Path
) -> dict[str, Any]:
    """The manifest of a study that begins now in a folder."""
    examples = len(experiment.workload.dataset.train.inputs)
    root = experiment.data_root
    made = {
        "name": experiment.config.name,
        "status": "running",
        **identity(experiment, devices),
        "sources": user_files.to_json(experiment.sources, folder),
        "data_root": root and user_files.place(root, folder),
        "devices": len(devices),
        "streamed": experiment.streamed,
        "lanes": len(experiment.lanes),
        "tiles": len(tiles),
        "parameters": experiment.workload.parameters,
        "function": experiment.test_function and experiment.test_function.describe(),
        "metrics": dict(experiment.workload.task.metrics),
        "primary": experiment.workload.task.primary,
        "chance": experiment.workload.task.chance(experiment.workload.dataset.test.targets),
        "notes": list(experiment.workload.dataset.notes),
        "network_notes": experiment.network_notes,
        "seconds": 0.0,
        "programs": [
            {
                "label": program.label,
                "hyperparameters": list(program.hyperparameters),
                "batch_size": program.batch_size or examples,
                "eval_every": program.eval_every,
                "tiles": sum(tile.program == program.index for tile in tiles),
                "compiled": 0,
                "compile_seconds": 0.0,
                "run_seconds": 0.0,
                "flops_per_step": None,
                "open_loops": 0,
            }
            for program in experiment.programs
        ],
        "config": experiment.config.to_json(),
    }
    return {**made, "mark": maker.mark(made)}


def study_info(manifest: Mapping[str, Any], mesh: Mesh | None = None) -> stats.StudyInfo:
    """What statistics and reports need to know of a study, from what is stored; no code is run.

    Args:
        manifest: of the study.
        mesh: the stored values of its test function, where its task is one.
    """
    config = validate(manifest["config"])
    function = manifest.get("function")
    return stats.StudyInfo(
        name=manifest["name"],
        task=config.task.name,
        dataset=manifest["dataset"]["name"],
        model=_function_line(config) if config.is_function else _model_line(config),
        primary=manifest["primary"],
        metrics=manifest["metrics"],
        selection=config.tuning.metric,
        target=config.target and Target(**config.target.model_dump()),
        chance=manifest["chance"],
        test_function=read_function(function, mesh) if function else None,
        manifest=_rows(manifest),
    )


def _rows(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    compiling = sum(program["compile_seconds"] for program in manifest["programs"])
    width = manifest["tile_width"]
    widths = [width] if isinstance(width, int) else sorted(set(width))
    tiles = f"{manifest['tiles']:,} tiles of {' or '.join(map(str, widths))}"
    data = manifest["dataset"]
    function = manifest.get("function")
    devices = f"{manifest['devices']} devices ({manifest['device_kind']}, {manifest['machine']})"
    programs = f"{len(manifest['programs'])}, {compiling:.1f} s of compilation over all devices"
    what: tuple[tuple[str, str], ...] = (
        ("lanes", f"{manifest['lanes']:,} networks in {tiles}"),
        ("parameters of a network", f"{manifest['parameters']:,}"),
        ("data", f"{data['name']}, fingerprint {data['fingerprint']}"),
        *(("about the data", note) for note in manifest.get("notes", ())),
        *(("about the network", note) for note in manifest.get("network_notes", ())),
    )
    if function:
        box = "x from {:g} to {:g}, y from {:g} to {:g}".format(*function["domain"])
        what = (
            ("lanes", f"{manifest['lanes']:,} runs in {tiles}"),
            ("domain", box),
            ("known minima", f"{len(function['minima'])}"),
        )
    return (
        *what,
        ("platform", f"{manifest['platform']}, {devices}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in manifest["versions"].items())),
        ("precision", _precision_line(manifest)),
        ("training programs", programs),
        ("time", f"{manifest['seconds']:.1f} s" + TIMES_LOST * ("times_lost" in manifest)),
        *_evaluation_row(manifest),
        *(("about the seeds", note) for note in manifest.get("seed_notes", ())),
    )


def _evaluation_row(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What evaluations took, by count and by the clock; nothing for studies of before."""
    counted = manifest.get("operations")
    if not counted:
        return ()
    share = counted["evaluation"] / max(sum(counted.values()), 1.0)
    text = f"{share:.0%} of the operations"
    timed, evaluating = (
        sum(program.get(name, 0.0) for program in manifest["programs"])
        for name in ("timed_seconds", "evaluation_seconds")
    )
    if timed:
        text += f"; about {min(evaluating / timed, 1.0):.0%} of the time, where it was measured"
    return (("evaluation", text),)


def _precision_line(manifest: Mapping[str, Any]) -> str:
    known = manifest.get("dtypes", BEFORE["dtypes"])
    within = {known["compute"], *known.get("declared", {}).values(), *known.get("computes_in", ())}
    names = ", ".join(sorted(within - {known["wide"]}))
    inner = f", {names} within the model" if names else ""
    return f"{known['wide']}{inner}; matrix products at {manifest['matmul_precision']} precision"


def _function_line(config: Config) -> str:
    """A test function and its options."""
    spec = config.task.function
    given = spec.options.items() if spec else ()
    return ", ".join([spec.name if spec else "", *(f"{name} {value:g}" for name, value in given)])


def _model_line(config: Config) -> str:
    if config.model is None:
        return ""
    options = config.model.options
    hidden = options.pop("hidden", None)
    widths = "-".join(map(str, hidden)) if isinstance(hidden, list) else ""
    rest = ", ".join(str(value) for value in options.values())
    return ", ".join(part for part in (f"{config.model.name} {widths}".strip(), rest) if part)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
