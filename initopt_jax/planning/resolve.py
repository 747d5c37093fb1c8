"""From a config to an experiment: names become functions, lists become lanes.

Everything that can be wrong with a config and needs JAX, data or the user's own code to find out
is found here, before a study folder exists.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from initopt_jax import data, models, tasks
from initopt_jax.augmentations import make_augment
from initopt_jax.config.entries import DatasetConfig, TargetConfig
from initopt_jax.config.landscapes import check_chosen
from initopt_jax.config.schema import Config
from initopt_jax.engine.initial import InitialStates
from initopt_jax.engine.keep import Keep, make_keep
from initopt_jax.engine.model_size import model_size
from initopt_jax.engine.plan import LaneTable, Program, cut_tiles
from initopt_jax.engine.records import variables
from initopt_jax.engine.streaming import check_streamed, is_streamed, seeds_at_once
from initopt_jax.engine.workload import Workload
from initopt_jax.errors import ConfigError, parse_size, unknown_name
from initopt_jax.initializers import Network, initialize, match_rules, unknown_notes
from initopt_jax.lookup.names import import_object, lookup
from initopt_jax.lookup.options import call_with, takes
from initopt_jax.lookup.user_code import user_code
from initopt_jax.lookup.user_files import DATA_PREFIXES, SourceFile, collect, own_modules
from initopt_jax.plain_values import refuse_lost
from initopt_jax.planning.models import build_model, check_modes, in_precisions
from initopt_jax.planning.probes import ProbePlan, bind, dimension_labels
from initopt_jax.planning.room import (
    require_room_for_network,
    require_room_for_records,
    require_room_for_tiles,
)
from initopt_jax.planning.starting_points import expand_starts
from initopt_jax.planning.sweep import (
    InitializerCell,
    expand_initializers,
    expand_optimizers,
    plan_lanes,
)
from initopt_jax.precision import PRECISIONS, param_dtype
from initopt_jax.tasks.function_task import (
    LEAF,
    TestFunction,
    find_function,
    make_dataset,
    make_model,
    make_task,
)
from initopt_jax.tasks.metrics import Target
from initopt_jax.tree import named_leaves
from initopt_jax.types import Dataset, PyTree, Task

REFINE = "(key, params, network, options) -> (params, a dictionary of scalars)"
LANE_INTS = ("program", "initializer_cell", "steps", "init_seed", "data_seed", "noise_seed")


@dataclass(frozen=True)
class Experiment:
    """A config with every name resolved: what a study runs.

    Attributes:
        workload: model, task and data, with their precision.
        initializer_cells: initializers with their values, and what they draw.
        programs: the compiled training programs.
        lanes: a row per lane, as in `lanes.csv`.
        probing: the probes. keep: which states are stored.
        sources: the user's own modules behind the config, by name.
        notes: what is known of its seeds, for whoever reads the results.
        dtypes: of the model, besides those of the precision; see `model_building.in_precisions`.
        test_function: the test function, where the task is one.
        data_root: the folder that a relative path of data was found in, if any.
    """

    config: Config
    workload: Workload
    initializer_cells: tuple[InitializerCell, ...]
    programs: tuple[Program, ...]
    lanes: pd.DataFrame
    probing: ProbePlan
    keep: Keep
    target: Target | None
    sources: Mapping[str, SourceFile]
    notes: tuple[str, ...] = ()
    dtypes: Mapping[str, Any] = field(default_factory=dict)
    test_function: TestFunction | None = None
    data_root: Path | None = None

    @property
    def network_notes(self) -> list[str]:
        """Which leaves the network uses in ways that are not known, and what follows from it."""
        if self.test_function:
            return []
        shapes = {path: tuple(leaf.shape) for path, leaf in named_leaves(self.workload.params)}
        return unknown_notes(self.workload.network.anatomy.layouts, shapes)

    @property
    def device_data(self) -> int:
        """Bytes of training data that a device may hold."""
        return parse_size(self.config.device_data)

    @property
    def streamed(self) -> bool:
        """Whether the training split takes more than that, and so stays on the host."""
        return is_streamed(self.workload.dataset, self.device_data)

    def lane_table(self) -> LaneTable:
        """The lanes as the engine takes them."""
        prefix = "optimizer."
        columns = {name: self.lanes[name].to_numpy(np.int64) for name in LANE_INTS}
        names = {name for program in self.programs for name in program.hyperparameters}
        hyper = {name: self.lanes[prefix + name].to_numpy(np.float64) for name in sorted(names)}
        return LaneTable(**columns, hyperparameters=hyper)


def resolve(config: Config, folders: Sequence[Path] = ()) -> Experiment:
    """Resolve a config's names and plan its lanes.

    Args:
        config: a validated config.
        folders: where relative paths of data are looked for, in order; empty for the current one.

    Raises:
        ConfigError: an unknown name or option, data that are not there, an impossible combination.
    """
    _refuse_lost(config)
    test_function = _test_function(config)
    if test_function:
        config = _with_target(config, test_function)
        task, dataset = make_task(test_function.minima), in_wide(make_dataset(test_function))
        plain, known = make_model(test_function), models.Declared()
        cells = expand_starts(config, test_function)
    else:
        task = find_task(config.task.name)
        dataset = in_wide(load_dataset(config, task, folders))
        task = with_augmentation(config, task, dataset)
        plain, known = build_model(config, dataset)
        cells = expand_initializers(config.initializers)
    _check_tuning(config, task)
    _check_probes(config)
    plain, model, dtypes = in_precisions(config, plain, dataset)
    params, forms = models.check_shapes(
        config.model.name if config.model else config.task.name,
        *(model, task, dataset.train, dataset.outputs, dataset.name),
    )
    require_room_for_network(config, params, forms)
    check_modes(config, plain, known, models.Forms(params, forms, None), dataset)
    states = InitialStates(*models.first_state(model, forms, dataset.train.inputs.shape[1:]))
    model_state = states(config.seeds.first)
    parts = (plain, task, params, model_state, dataset.train)
    what = f"model {config.model.name!r}" if config.model else "the test function"
    with user_code(what):
        network = models.network_of(*parts)
    for cell in cells:
        _check_weights(cell, params, network)
    batch = jax.ShapeDtypeStruct((64, *dataset.train.inputs.shape[1:]), param_dtype())
    size = model_size(plain, params, model_state, batch)
    sweeps = expand_optimizers(config, len(dataset.train.inputs), size, network, params)
    workload = Workload(
        model=model,
        plain=plain,
        task=task,
        dataset=dataset,
        params=params,
        model_state=model_state,
        states=states,
        network=network,
        precision=PRECISIONS[config.precision],
    )
    require_room_for_tiles(sweeps.programs, workload)
    target = _target(config.target, task)
    lanes = plan_lanes(config, cells, sweeps)
    check_chosen(config.landscapes, lanes)
    keep = _keep(config, sweeps.programs, lanes, workload)
    probing = bind(config.probes, workload, sweeps.programs, target)
    recorded = variables(list(task.metrics), probing.dims, target) | dict(keep.variables)
    sizes = {name: len(labels) for name, labels in dimension_labels(workload).items()}
    sizes |= dict(probing.sizes) | keep.sizes
    require_room_for_records(sweeps.programs, lanes, recorded, sizes)
    made = Experiment(
        config=config,
        workload=workload,
        initializer_cells=cells,
        programs=sweeps.programs,
        lanes=lanes,
        probing=probing,
        keep=keep,
        target=target,
        sources=collect(own_modules(config.to_json())),
        notes=(*known.notes, *sweeps.notes),
        dtypes=dtypes,
        test_function=test_function,
        data_root=_data_root(config, folders),
    )
    if made.streamed:
        _check_streamed(made)
    return made


def _keep(
    config: Config,
    programs: Sequence[Program],
    lanes: pd.DataFrame,
    workload: Workload,
) -> Keep:
    """Which states are stored; steps that are no evaluation of some lane are refused."""
    every = np.array([program.eval_every for program in programs])[lanes["program"].to_numpy()]
    steps = lanes["steps"].to_numpy()
    for step in config.keep if isinstance(config.keep, list) else ():
        bad = np.flatnonzero((step > steps) | (step % every != 0))
        if len(bad):
            row = bad[0]
            raise ConfigError(
                f"keep: step {step} is no evaluation of optimizer "
                f"{lanes['optimizer'].iloc[row]!r}, which has one every {every[row]} of "
                f"{steps[row]} steps"
            )
    evals = int((steps // every).max()) + 1
    return make_keep(config.keep, evals, programs, workload)


def _check_streamed(made: Experiment) -> None:
    lanes = made.lane_table()
    tiles = cut_tiles(made.programs, lanes, np.arange(len(lanes)))
    check_streamed(
        made.workload.dataset,
        made.programs,
        seeds_at_once(tiles, lanes),
        limit=made.device_data,
        eval_train=made.config.eval_train,
    )


def _refuse_lost(config: Config) -> None:
    """Refuse options that are infinite or 0 in the dtype that the study computes in, only there.

    Data and targets are read and compared in float64.
    """
    parts = config.model_dump(include={"model", "initializers", "optimizers", "probes"})
    parts["task"] = config.task.model_dump(include={"function", "augment"})
    refuse_lost(parts, param_dtype())


def _test_function(config: Config) -> TestFunction | None:
    """The test function of a config whose task is one."""
    spec = config.task.function
    return find_function(spec.name, spec.options) if spec else None


def _with_target(config: Config, test_function: TestFunction) -> Config:
    """The config with the loss that solves its function as target, where none was given."""
    if config.target or test_function.target is None:
        return config
    target = TargetConfig(metric="val_loss", at_most=test_function.target)
    return config.model_copy(update={"target": target})


def _check_probes(config: Config) -> None:
    if not config.is_function and any(probe.name == LEAF for probe in config.probes):
        raise ConfigError(f"probe {LEAF!r} is for test functions; a network is no point in a plane")


def _check_weights(cell: InitializerCell, params: PyTree, network: Network) -> None:
    """Refuse an initializer that does not fit the model, or that none of its leaves would get."""
    what = f"initializer {cell.label!r}"
    given = {"params_or_shapes": params, "rules": cell.rules, "layouts": network.anatomy.layouts}
    matched = call_with(what, match_rules, given)
    own = cell.rules[-1][1]
    if not any(leaf.draw is own for leaf in matched):
        raise ConfigError(f"{what} touches no leaf: its rules, biases and scales take all of them")
    drawn = functools.partial(initialize, **given)
    with user_code(what):
        jax.eval_shape(drawn, jax.random.key(0))
    if cell.refine is None:
        return
    refine = refiner(cell.refine, network)
    key = jax.random.key(0)
    trial = functools.partial(jax.eval_shape, refine, key, params, network.inputs, network.targets)
    try:
        made = call_with(what, trial, {}, REFINE if ":" in cell.label else "")
    except LookupError as error:
        raise ConfigError(f"{what}: {type(error).__name__}: {error}") from error
    pair = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict)
    if not pair or any(jnp.ndim(value) for value in made[1].values()):
        raise ConfigError(f"{what} must return a pair: the parameters and a dictionary of scalars")
    if jax.tree.map(_kind, made[0]) != jax.tree.map(_kind, params):
        raise ConfigError(f"{what} must return parameters of the shapes and dtypes it was given")


def refiner(refine: Callable[..., Any], network: Network) -> Callable[..., Any]:
    """`(key, params, inputs, targets) -> (params, info)`: the data are arguments, not constants."""

    def refined(key: Any, params: PyTree, inputs: Any, targets: Any) -> Any:
        return refine(key, params, replace(network, inputs=inputs, targets=targets))

    return refined


def _kind(leaf: Any) -> tuple[Any, ...]:
    return leaf.shape, leaf.dtype


def find_task(name: str) -> Task:
    """A task by registry name, or what `module:function` returns."""
    if ":" not in name:
        return lookup("task", name, tasks.REGISTRY)
    made = call_with(f"task {name!r}", import_object("task", name), {})
    if not isinstance(made, Task):
        raise ConfigError(f"task {name!r} must return an initopt_jax.types.Task")
    return made


def with_augmentation(config: Config, task: Task, dataset: Dataset) -> Task:
    """The task, with what a config says should happen to training examples."""
    if config.task.augment is None:
        return task
    entries = [(entry.name, entry.options) for entry in config.task.augment]
    return replace(task, augment=make_augment(entries, dataset.train.inputs.shape[1:]))


def load_dataset(config: Config, task: Task, folders: Sequence[Path] = ()) -> Dataset:
    """The data set of a config: by name, from files, from TFDS, or from a user's function."""
    spec = config.task.dataset
    if spec is None or task.kind == "test_function":
        raise ConfigError(f"task {task.name!r} learns from no data set")
    split = data.SplitSpec(**(config.task.split.model_dump() if config.task.split else {}))
    if ":" in spec.name and not spec.name.startswith(DATA_PREFIXES):
        return _own_dataset(spec, task.kind, split)
    named = {"name": spec.name, **spec.options}
    return data.load(named, kind=task.kind, split=split, folders=folders)


def _data_root(config: Config, folders: Sequence[Path]) -> Path | None:
    """The folder that a relative path of data was found in; None where there is none."""
    spec = config.task.dataset
    return data.data_root(spec.name, folders or [Path.cwd()]) if spec else None


def data_places(config: Config, folders: Sequence[Path]) -> list[Path]:
    """The files and folders that a config's data are read from; empty where it names none."""
    spec = config.task.dataset
    return data.data_files({"name": spec.name, **spec.options}, folders) if spec else []


def _own_dataset(spec: DatasetConfig, kind: data.TaskKind, split: data.SplitSpec) -> Dataset:
    """What a user's function makes; `limit` and `label_noise` are ours where it has none."""
    try:
        make = import_object("dataset", spec.name)
    except ConfigError as error:
        close = data.likely_prefix(spec.name)
        hint = f"; did you mean {close!r}?" if close else ""
        raise ConfigError(f"{error}{hint}") from error
    what, options = f"dataset {spec.name!r}", spec.options
    ours = {
        key: options.pop(key)
        for key in ("limit", "label_noise")
        if key in options and not takes(make, key)
    }
    made = call_with(what, make, options)
    return data.as_dataset(spec.name, made, kind=kind, split=split, **ours)


def in_wide(dataset: Dataset) -> Dataset:
    """The data set with its floating arrays in the dtype of weights; integers stay."""
    if param_dtype() == np.float32:
        return dataset  # as all sources have it
    parts = (dataset.train, dataset.val, dataset.test)
    train, val, test = (models.floats_as(param_dtype(), part) for part in parts)
    return replace(dataset, train=train, val=val, test=test)


def _target(spec: TargetConfig | None, task: Task) -> Target | None:
    if spec is None:
        return None
    allowed = [f"{split}_{metric}" for split in ("train", "val") for metric in task.metrics]
    if spec.metric not in allowed:
        raise ConfigError(unknown_name("target.metric", spec.metric, allowed))
    best = "at_least" if task.metrics[spec.metric.partition("_")[2]] == "max" else "at_most"
    if getattr(spec, best) is None:
        better = "higher" if best == "at_least" else "lower"
        raise ConfigError(f"target: {spec.metric} is better when {better}; bound it with {best}")
    return Target(**spec.model_dump())


def _check_tuning(config: Config, task: Task) -> None:
    metric = config.tuning.metric
    allowed = [f"val_{name}" for name in task.metrics] + ["steps_to_target"]
    if metric == "steps_to_target" and config.target is None:
        raise ConfigError("tuning.metric: steps_to_target needs a target")
    if metric not in allowed:
        raise ConfigError(unknown_name("tuning.metric", metric, allowed))
