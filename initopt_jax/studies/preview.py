"""What a config would do: the audit of its first weights, and the plan of its programs."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from initopt_jax import conformance
from initopt_jax.audits import LeafAudit, audit_params, audit_refined
from initopt_jax.config.overrides import read_settings
from initopt_jax.config.schema import Config, Source, read_config, validate
from initopt_jax.config.yaml_text import parse_yaml
from initopt_jax.conformance import Examples, Finding
from initopt_jax.conformance.examples import made_up, of_dataset
from initopt_jax.data import describe, find_source
from initopt_jax.engine.batch_source import split_bytes
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.flops import tile_bytes
from initopt_jax.engine.initial import FirstWeights, InitialWeights
from initopt_jax.engine.plan import Tile, cut_tiles
from initopt_jax.engine.points import StartingPoints
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.initializers import MODEL_LEVEL, OnHost
from initopt_jax.lookup.names import importable_from, own_code
from initopt_jax.lookup.trust import trusting
from initopt_jax.lookup.user_code import users_failures
from initopt_jax.lookup.user_files import SourceFile, collect, forget, own_modules
from initopt_jax.planning.resolve import Experiment, find_task, load_dataset, refiner, resolve
from initopt_jax.planning.sweep import InitializerCell
from initopt_jax.precision import in_precision
from initopt_jax.store.files import clear_errors, write_whole
from initopt_jax.studies.forecast import Forecast, product_rate
from initopt_jax.studies.trial import try_in_study
from initopt_jax.tree import named_leaves
from initopt_jax.types import Device, PyTree

# Known to change what they find wrong, and nothing where nothing is.
OURS = tuple(entry.refine for entry in MODEL_LEVEL.values())


def prepare(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    first: Sequence[Path] = (),
    data_first: Sequence[Path] = (),
    trust: bool = False,
) -> Experiment:
    """A config, read and resolved; the user's own files are found beside it or where we stand.

    Args:
        source: the config.
        overrides: `key=value` changes to it.
        first: folders that are searched for the user's modules before these two.
        data_first: likewise for the files of the data.
        trust: whether functions of any installed package may be named.
    """
    config = read_config(source, overrides)
    with trusting(trust), _importable(config, first), users_failures("the config"):
        return resolve(config, [*data_first, *_beside(config), Path.cwd()])


def own_files(config: Config, first: Sequence[Path] = ()) -> dict[str, SourceFile]:
    """The files of the user's that a config would run, found as `prepare` does; none is run."""
    with _importable(config, first):
        return collect(own_modules(config.to_json()))


@contextlib.contextmanager
def _importable(config: Config, first: Sequence[Path]) -> Iterator[None]:
    """The user's own modules can be imported, anew; folders count only where any is named.

    A file that happens to lie beside a config must not take the place of an installed package.
    """
    own = own_modules(config.to_json())
    with importable_from(*([*first, Path.cwd(), *_beside(config)] if own else ())):
        forget(own)
        with own_code(collect(own)):
            yield


def _beside(config: Config) -> list[Path]:
    return [config.folder] if config.folder else []


def all_tiles(experiment: Experiment) -> list[Tile]:
    """The tiles of a whole study."""
    table = experiment.lane_table()
    return cut_tiles(experiment.programs, table, np.arange(len(table)))


def initial_weights(experiment: Experiment) -> FirstWeights:
    """The first weights of every lane, by initializer cell and init seed."""
    if experiment.test_function:
        return StartingPoints(
            experiment.workload.params,
            [cell.rules for cell in experiment.initializer_cells],
            [cell.place for cell in experiment.initializer_cells],
            experiment.workload.network.anatomy.layouts,
        )
    return InitialWeights(
        experiment.workload.params,
        [cell.rules for cell in experiment.initializer_cells],
        experiment.workload.network.anatomy.layouts,
        [_refine(experiment, cell) for cell in experiment.initializer_cells],
    )


def _refine(experiment: Experiment, cell: InitializerCell) -> Callable[..., Any] | None:
    """`(key, params, init seed) -> params`, compiled once per device; the data are its arguments.

    A training split that is streamed is never one of them: only batches of it leave the host.
    """
    refine, network = cell.refine, experiment.workload.network
    if refine is None:
        return None
    if experiment.streamed:
        held: Any = [OnHost(np.asarray(array)) for array in (network.inputs, network.targets)]
    else:
        held = (network.inputs, network.targets)
    if experiment.workload.states.random:  # each seed is a network of its own

        def in_its_state(key: Any, params: PyTree, seed: int) -> PyTree:
            own = replace(experiment.workload.network_of(seed), inputs=held[0], targets=held[1])
            return jax.jit(lambda key, params: refine(key, params, own)[0])(key, params)

        return in_its_state
    if experiment.streamed:
        hosted = replace(network, inputs=held[0], targets=held[1])
        drawn = jax.jit(lambda key, params: refine(key, params, hosted)[0])
        return lambda key, params, seed: drawn(key, params)
    compiled = jax.jit(refiner(refine, network))
    return lambda key, params, seed: compiled(key, params, *held)[0]


def audit_experiment(experiment: Experiment, initial: FirstWeights) -> list[LeafAudit]:
    """Every parameter leaf of every initializer cell, at the first reported seed."""
    seed = experiment.config.seeds.first
    rows: list[LeafAudit] = []
    layouts = experiment.workload.network.anatomy.layouts
    for index, cell in enumerate(experiment.initializer_cells):
        drawn = initial.drawn(index, seed)
        found = audit_params(
            drawn, cell.rules, distributions=cell.distributions, label=cell.label, layouts=layouts
        )
        if cell.refine:
            ours = getattr(cell.refine, "func", None) in OURS
            refined = initial(index, seed)
            found = audit_refined(found, drawn, refined, layouts, may_rest=ours)
        rows += found
    return rows


def audit(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    plot: Path | None = None,
    trust: bool = False,
) -> list[LeafAudit]:
    """The leaf table of a config, without training.

    Args:
        source: the config.
        overrides: `key=value` changes to it.
        plot: a file (.png, .pdf or .svg) for a histogram of each leaf.
        trust: whether functions of any installed package may be named.
    """
    kind = _picture_kind(plot) if plot else ""
    config = read_config(source, overrides)
    with in_precision(config.precision):
        return _audit(prepare(config, trust=trust), plot, kind)


def _audit(experiment: Experiment, plot: Path | None, kind: str) -> list[LeafAudit]:
    initial = initial_weights(experiment)
    if plot:
        from initopt_jax.reports.render.histograms import (  # Matplotlib is slow to load
            Drawn,
            histograms,
        )

        seed = experiment.config.seeds.first
        networks = [
            Drawn(cell.label, dict(named_leaves(initial(index, seed))))
            for index, cell in enumerate(experiment.initializer_cells)
        ]
        with clear_errors(plot):
            write_whole(plot, histograms(networks, kind))
    return audit_experiment(experiment, initial)


def _picture_kind(file: Path) -> str:
    """The format that a file's name asks for."""
    from initopt_jax.reports.render.histograms import FORMATS

    kind = file.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"the picture {str(file)!r} must end in one of {known}")
    return kind


def check(
    name: str,
    settings: Sequence[str] = (),
    static: Sequence[str] = (),
    *,
    dataset: str | None = None,
    shape: str | None = None,
    outputs: int | None = None,
    task: str | None = None,
    kind: str | None = None,
    trust: bool = False,
) -> list[Finding]:
    """Whether what a name stands for keeps the contracts that a study relies on.

    A schedule, a modifier, a probe, data and whatever else has no contracts of its own is tried in
    the smallest study.

    Args:
        name: as in a config; `module:function` is looked for where we stand.
        settings: `option=value`, values as in a config.
        static: the same, of a transform: options that choose its structure.
        dataset: of a model: what it learns, as in a config.
        shape: of a model: the sizes of one made-up example instead, such as `28,28,1`.
        outputs: of a model on made-up examples: how many numbers it is to give.
        task: of a model: classification, regression or reconstruction.
        kind: of `conformance.KINDS`; by default what the name, or the function behind it, says.
        trust: whether functions of any installed package may be named.
    """
    if kind is not None and kind not in conformance.KINDS:
        raise ConfigError(unknown_name("kind", kind, conformance.KINDS))
    set_up_devices()
    own = any(":" in text for text in (name, dataset or "", *settings))
    with trusting(trust), importable_from(*([Path.cwd()] if own else ())):
        examples = _examples(dataset, shape, outputs, task)
        options = read_settings(settings), read_settings(static, "--static")
        if kind is None and not (":" in name and examples is not None):
            kind = conformance.kind_of(name)
        if kind in (None, "initializer", "transform", "model") or static or examples is not None:
            return conformance.check(name, *options, examples, kind)
        return try_in_study(kind, name, options[0], [Path.cwd()])


def _examples(
    dataset: str | None, shape: str | None, outputs: int | None, task: str | None
) -> list[Examples] | None:
    """What a model is to be held to its contracts with; None where nothing was asked for."""
    if shape is None and outputs is not None:
        raise ConfigError("--outputs needs --input, the sizes of one example, such as 28,28,1")
    if dataset is None and shape is None:
        if task is not None:
            raise ConfigError("--task needs --data or --input")
        return None
    if dataset is not None and shape is not None:
        raise ConfigError("--data and --input exclude each other")
    if shape is not None:
        sizes = [size.strip() for size in shape.split(",")]
        if not all(size.isdecimal() for size in sizes):
            raise ConfigError(f"--input takes the sizes of one example, as in 28,28,1, got {shape}")
        return [made_up(tuple(map(int, sizes)), outputs=outputs, task=task)]
    spec = parse_yaml(str(dataset), f"the value in --data {dataset}")
    found = {
        "name": "check",
        "task": {"name": task or _usual_task(spec), "dataset": spec},
        "model": "linear",
        "initializers": ["zeros"],
        "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
        "seeds": 1,
        "steps": 1,
    }
    config = validate(found)
    learnt = find_task(config.task.name)
    return [of_dataset(load_dataset(config, learnt, [Path.cwd()]), learnt)]


def _usual_task(spec: Any) -> str:
    """What the data are for: the first of a source's kinds; of one's own, classification."""
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    try:
        return find_source(str(name)).kinds[0]
    except ConfigError:
        return "classification"


@dataclass(frozen=True)
class ProgramPlan:
    """One compiled program of a planned study. `bytes` is what a tile's state takes on a device."""

    label: str
    width: int
    hyperparameters: tuple[str, ...]
    lanes: int
    tiles: int
    steps: tuple[int, ...]
    segment_steps: int
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What a study would do. `bytes` is rough: data, and the largest tile twice, per device.

    Attributes:
        streamed: whether the training split is too large for `device_data` and stays on the host.
        training: floating-point operations of all steps. evaluation: of all evaluations.
        open_loops: the most loops of a step that are counted once, see `operations`.
        rate: operations per second of large products, measured on one device.
        seconds: very roughly, how long it would take by all of these.
        notes: what a person should know before it runs.
    """

    name: str
    lanes: int
    tiles: int
    parameters: int
    devices: int
    dataset: dict[str, Any]
    programs: tuple[ProgramPlan, ...]
    streamed: bool
    bytes: int
    training: float
    evaluation: float
    open_loops: int
    rate: float
    seconds: float
    notes: tuple[str, ...]


def plan(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    devices: int | None = None,
    trust: bool = False,
) -> Plan:
    """What a config would run, without running or creating anything.

    Args:
        source: path of a YAML file, a mapping, or a `Config`.
        overrides: `key=value` changes to it, as `--set` takes them.
        devices: how many devices there would be; by default all, on CPU one per core.
        trust: whether functions of any installed package may be named.

    Raises:
        ConfigError: the config is wrong.
    """
    used = set_up_devices(devices)
    config = read_config(source, overrides)
    with in_precision(config.precision):
        return _plan(prepare(config, trust=trust), used)


def _plan(experiment: Experiment, used: Sequence[Device]) -> Plan:
    tiles = all_tiles(experiment)
    rows = []
    for program in experiment.programs:
        own = [tile for tile in tiles if tile.program == program.index]
        rows.append(
            ProgramPlan(
                label=program.label,
                width=program.width,
                hyperparameters=program.hyperparameters,
                lanes=sum(len(tile.lanes) for tile in own),
                tiles=len(own),
                steps=tuple(sorted({tile.steps for tile in own})),
                segment_steps=program.segment_steps,
                bytes=tile_bytes(program, experiment.workload),
            )
        )
    limit, devices = experiment.device_data, len(used)
    forecast, rate = Forecast(experiment), product_rate(used[0])
    training, evaluation = forecast.operations(tiles)
    dataset = experiment.workload.dataset
    train = min(split_bytes(dataset.train), limit)
    data = split_bytes(dataset.val) + split_bytes(dataset.test)
    return Plan(
        name=experiment.config.name,
        lanes=len(experiment.lanes),
        tiles=len(tiles),
        parameters=experiment.workload.parameters,
        devices=devices,
        dataset=describe(dataset),
        programs=tuple(rows),
        streamed=experiment.streamed,
        bytes=devices * (2 * (data + train) + 2 * max(row.bytes for row in rows)),
        training=training,
        evaluation=evaluation,
        open_loops=max(forecast.step(p.index).open_loops for p in experiment.programs),
        rate=rate,
        seconds=forecast.total_seconds(tiles, rate, devices),
        notes=tuple(forecast.notes(tiles)),
    )
