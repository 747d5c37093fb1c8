"""The manifest: what ran, on what, with what; and what a report needs to know of it."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from initopt_jax import stats
from initopt_jax.config import Config, validate
from initopt_jax.data import describe
from initopt_jax.engine.devices import MATMUL_PRECISION
from initopt_jax.engine.plan import Tile
from initopt_jax.metrics import Target
from initopt_jax.resolve import Experiment
from initopt_jax.types import Device

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "initopt-jax")


def identity(experiment: Experiment, devices: Sequence[Device]) -> dict[str, Any]:
    """What a lane's bits depend on besides the config: platform, versions, data, tile width."""
    return {
        "platform": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "matmul_precision": MATMUL_PRECISION,
        "tile_width": _tile_width(experiment),
        "dataset": describe(experiment.dataset),
    }


def _tile_width(experiment: Experiment) -> int | list[int]:
    """One number where all programs have the same, else one per program, as a config takes it."""
    widths = [program.width for program in experiment.programs]
    return widths[0] if len(set(widths)) == 1 else widths


def new_manifest(
    experiment: Experiment, tiles: Sequence[Tile], devices: Sequence[Device]
) -> dict[str, Any]:
    """The manifest of a study that begins now."""
    examples = len(experiment.dataset.train.inputs)
    return {
        "name": experiment.config.name,
        "status": "running",
        **identity(experiment, devices),
        "devices": len(devices),
        "lanes": len(experiment.lanes),
        "tiles": len(tiles),
        "parameters": experiment.parameters,
        "metrics": dict(experiment.task.metrics),
        "primary": experiment.task.primary,
        "chance": experiment.task.chance(experiment.dataset.test.targets),
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
            }
            for program in experiment.programs
        ],
        "config": experiment.config.to_json(),
    }


def study_info(manifest: Mapping[str, Any]) -> stats.StudyInfo:
    """What statistics and reports need to know of a study."""
    config = validate(manifest["config"])
    return stats.StudyInfo(
        name=manifest["name"],
        task=config.task.name,
        dataset=manifest["dataset"]["name"],
        model=_model_line(config),
        primary=manifest["primary"],
        metrics=manifest["metrics"],
        selection=config.tuning.metric,
        target=config.target and Target(**config.target.model_dump()),
        chance=manifest["chance"],
        manifest=_rows(manifest),
    )


def _rows(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    compiling = sum(program["compile_seconds"] for program in manifest["programs"])
    width = manifest["tile_width"]
    widths = [width] if isinstance(width, int) else sorted(set(width))
    tiles = f"{manifest['tiles']:,} tiles of {' or '.join(map(str, widths))}"
    data = manifest["dataset"]
    devices = f"{manifest['devices']} devices ({manifest['device_kind']}, {manifest['machine']})"
    programs = f"{len(manifest['programs'])}, {compiling:.1f} s of compilation over all devices"
    return (
        ("lanes", f"{manifest['lanes']:,} networks in {tiles}"),
        ("parameters of a network", f"{manifest['parameters']:,}"),
        ("data", f"{data['name']}, fingerprint {data['fingerprint']}"),
        ("platform", f"{manifest['platform']}, {devices}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in manifest["versions"].items())),
        ("training programs", programs),
        ("time", f"{manifest['seconds']:.1f} s"),
    )


def _model_line(config: Config) -> str:
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
