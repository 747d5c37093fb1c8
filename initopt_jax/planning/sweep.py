"""From lists to lanes: every initializer and optimizer at every value, with every seed."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pandas as pd

from initopt_jax import initializers, modifiers, transforms
from initopt_jax.config.entries import MAX_SEED, InitializerConfig, OptimizerConfig, SeedsConfig
from initopt_jax.config.schema import Config
from initopt_jax.engine.model_size import ModelSize
from initopt_jax.engine.plan import Program, probe_slots, segment_steps, tile_width
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import Network
from initopt_jax.lookup.names import find_initializer
from initopt_jax.lookup.options import call_with, grid, swept_axes
from initopt_jax.memory import require_memory
from initopt_jax.planning.fitting import refuse_idle
from initopt_jax.planning.optimizers import resolve_optimizer
from initopt_jax.precision import param_dtype
from initopt_jax.tasks.functions.starts import STARTS, Place
from initopt_jax.types import DistributionSpec, Initializer, ModelInitializer, PyTree, Transform

Bound = tuple[Callable[..., Any], Callable[..., Any] | None]
INITIALIZERS: dict[str, Initializer | ModelInitializer] = {
    **initializers.REGISTRY,
    **initializers.MODEL_LEVEL,
}
LANE_BYTES = 2_000  # of a lane in tables and plans, roughly
MOST_STARTS = 1_000  # settings of one initializer: each is tried, audited and drawn by itself
TRIED = (4, 4)  # the shape that an initializer is tried on before the network is known
DRAW = "(key, shape, dtype, options) -> an array of that shape and dtype"


@dataclass(frozen=True)
class InitializerCell:
    """One initializer cell: a label, its hyperparameters, and rules that cover the whole network.

    Attributes:
        rules: (path pattern, `(key, shape, dtype) -> Array`), first match wins.
        distributions: per pattern, `(shape) -> DistributionSpec`, or None where the initializer
            states none.
        refine: `(key, params, network) -> (params, info)` of an initializer that sees the whole
            network, applied to what the rules drew.
        place: `(init seeds [n]) -> points [n, 2]` of a start on a test function; the rules then
            only say what it is held to.
    """

    label: str
    hyperparameters: dict[str, float]
    rules: tuple[tuple[str, Callable[..., Any]], ...]
    distributions: dict[str, Callable[..., Any] | None]
    refine: Callable[..., Any] | None = None
    place: Place | None = None


def expand_initializers(specs: Sequence[InitializerConfig]) -> tuple[InitializerCell, ...]:
    """Every initializer at every value of its swept hyperparameters."""
    cells: list[InitializerCell] = []
    for spec in specs:
        if spec.name in STARTS:
            raise ConfigError(
                f"initializer {spec.name!r} places the starting points of a test function; it "
                "cannot draw the weights of a network"
            )
        entry = find_initializer(spec.name, INITIALIZERS)
        whole = isinstance(entry, ModelInitializer)
        function = entry.refine if whole else entry.draw
        if spec.base and not whole:
            raise ConfigError(
                f"initializer {spec.name!r} takes no base: it draws each leaf by itself. Only "
                f"{', '.join(initializers.MODEL_LEVEL)} start from weights of another"
            )
        axes, static = swept_axes(
            "initializer", spec.name, function, spec.options, skip=3, counts=True
        )
        # With six digits, unless these make two values one.
        write = {
            key: _short if len(set(map(_short, values))) == len(values) else repr
            for key, values in axes.items()
        }
        cells_of_entry = grid(f"initializer {spec.name!r}", axes, MOST_STARTS)
        for values in cells_of_entry:
            options = values | static
            text = ", ".join(
                f"{key}={write.get(key, _short)(value)}" for key, value in options.items()
            )
            alone = not text or (spec.label and len(cells_of_entry) == 1)
            label = (spec.label or spec.name) + ("" if alone else f"({text})")
            if whole:
                bound = _single(spec.base or InitializerConfig(name=entry.base))
                refine = functools.partial(entry.refine, **options)
                cells.append(replace(_covering(label, values, bound, spec), refine=refine))
            else:
                cells.append(_covering(label, values, _bound(entry, options), spec))
    return distinct(cells)


def distinct(cells: Sequence[InitializerCell]) -> tuple[InitializerCell, ...]:
    """The cells. Raises ConfigError where two have the same label."""
    labels = [cell.label for cell in cells]
    if repeated := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"initializer {repeated!r} is listed twice; give one of them a label")
    return tuple(cells)


def _bound(entry: Initializer, options: Mapping[str, Any]) -> Bound:
    """Draw and distribution of an initializer with its options filled in."""
    distribution = entry.distribution
    what = f"initializer {entry.name!r}"
    mine = ":" in entry.name
    trial = {"draw": entry.draw, "options": options}
    made = call_with(what, _try_draw, trial, DRAW if mine else "")
    if mine and getattr(made, "shape", None) != TRIED:
        got = made.shape if hasattr(made, "shape") else type(made).__name__
        raise ConfigError(f"{what} must return an array of the shape {TRIED} asked for, got {got}")
    if distribution and not isinstance(
        call_with(what, distribution, {"shape": TRIED, **options}), DistributionSpec
    ):
        raise ConfigError(
            f"{what}: its distribution must return an initopt_jax.types.DistributionSpec"
        )

    def draw(key: Any, shape: Any, dtype: Any) -> Any:
        return entry.draw(key, shape, dtype, **options)

    draw.__name__ = entry.name
    return draw, (lambda shape: distribution(shape, **options)) if distribution else None


def _try_draw(draw: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    return jax.eval_shape(lambda key: draw(key, TRIED, np.float32, **options), jax.random.key(0))


def _covering(
    label: str, hyperparameters: dict[str, float], bound: Bound, spec: InitializerConfig
) -> InitializerCell:
    for entry, place in ((spec, "an initializer"), (spec.bias, "bias"), (spec.base, "base")):
        if entry and entry.layout:
            raise ConfigError(
                f"layout {entry.layout!r} of {entry.name!r} is for a rule, which names the leaf, "
                f"not for {place}: rules: {{PATH: {{name: {entry.name}, layout: {entry.layout}}}}}"
            )
    own = [(pattern, _stated(rule)) for pattern, rule in spec.rules.items()]
    bias = _single(spec.bias) if spec.bias else _single(InitializerConfig(name="zeros"))
    ones = _single(InitializerConfig(name="ones"))
    closing = initializers.DEFAULT_PATTERNS
    rules = [*own, *zip(closing, (bias, ones, bound), strict=True)]
    return InitializerCell(
        label,
        hyperparameters,
        rules=tuple((pattern, draw) for pattern, (draw, _) in rules),
        distributions={
            pattern: distribution for pattern, (_, distribution) in reversed(rules)
        },  # the first match counts
    )


def _stated(rule: InitializerConfig) -> Bound:
    """The initializer of a rule, with the layout of its leaf where the rule states one."""
    draw, distribution = _single(rule)
    return (initializers.with_layout(draw, rule.layout) if rule.layout else draw), distribution


def _single(spec: InitializerConfig) -> Bound:
    """An initializer for biases or a rule: one value per option, nothing swept."""
    entry = find_initializer(spec.name, INITIALIZERS)
    if isinstance(entry, ModelInitializer):
        raise ConfigError(
            f"initializer {spec.name!r} sees the whole network; it cannot be a base, bias or rule"
        )
    axes, static = swept_axes(
        "initializer", spec.name, entry.draw, spec.options, skip=3, counts=True
    )
    if any(len(values) > 1 for values in axes.values()):
        raise ConfigError(f"initializer {spec.name!r} of a rule or bias takes one value per option")
    return _bound(entry, {name: values[0] for name, values in axes.items()} | static)


@dataclass(frozen=True)
class Sweeps:
    """The optimizers of a config: programs, a row per optimizer cell, and notes on them."""

    programs: tuple[Program, ...]
    cells: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def expand_optimizers(
    config: Config, examples: int, size: ModelSize, network: Network, params: PyTree
) -> Sweeps:
    """Every optimizer at every value of its swept hyperparameters, grouped in programs.

    Two entries share a program where only numbers tell them apart.

    Args:
        config: the config.
        examples: of the training split.
        size: of the model.
        network: the model, for rates that belong to its leaves.
        params: shapes of its parameters.
    """
    programs: dict[tuple[Any, ...], Program] = {}
    cells: list[dict[str, Any]] = []
    labels: list[str] = []
    notes: list[str] = []
    for spec in config.optimizers:
        optimizer = resolve_optimizer(spec, network, params)
        notes += [optimizer.note] if optimizer.note else []
        batch = _batch_size(spec, optimizer.entry, config, examples)
        steps, every = _steps_and_eval_every(spec, config)
        refuse_idle(spec, steps)
        labels.append(optimizer.label)
        names = optimizer.hyperparameters
        shared = (*optimizer.structure, names, batch, every)
        if shared not in programs:
            seen = batch or examples
            width = _width(config.tile_width, len(programs), seen, size)
            programs[shared] = Program(
                index=len(programs),
                label=_program_label(spec, config, batch),
                make_transform=optimizer.make,
                hyperparameters=names,
                batch_size=batch,
                eval_every=every,
                segment_steps=segment_steps(every, width, seen, size.flops),
                width=width,
                evaluated=optimizer.evaluated,
                method=_method(spec),
                probe_slots=_probe_slots(size, width, steps // every + 1),
                watched=_watched(spec),
            )
        for values in grid(f"optimizer {optimizer.label!r}", optimizer.axes):
            row = {f"optimizer.{name}": value for name, value in values.items()}
            row |= {"optimizer.batch_size": batch or examples, "optimizer.steps": steps}
            cells.append({"optimizer": labels[-1], "program": programs[shared].index, **row})
    if repeated := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"optimizer {repeated!r} is listed twice; give one of them a label")
    return Sweeps(tuple(programs.values()), tuple(cells), tuple(dict.fromkeys(notes)))


def _watched(spec: OptimizerConfig) -> bool:
    """Whether a part of an optimizer is not the package's own, and may overflow in silence."""
    own = spec.name in transforms.REGISTRY and all(
        item.name in modifiers.REGISTRY for item in spec.modifiers
    )
    return not own


def _method(spec: OptimizerConfig) -> str:
    """The optimizer's name, where no modifier changes what it makes of a gradient."""
    return "" if spec.modifiers else spec.name


def _program_label(spec: OptimizerConfig, config: Config, batch: int | None) -> str:
    if config.is_function:
        return spec.name
    return f"{spec.name}, {'full batch' if batch is None else f'batch {batch}'}"


def _width(given: int | list[int] | None, program: int, batch: int, size: ModelSize) -> int:
    """The tile width of a program: as the config gives it, else by rule."""
    if given is None:
        return tile_width(jax.default_backend(), size, batch, param_dtype().itemsize)
    if isinstance(given, int):
        return given
    if program >= len(given):
        raise ConfigError(
            f"tile_width lists {len(given)} widths, and the optimizers need more programs than "
            "that; give one number for all, or one per program (see --dry-run)"
        )
    return given[program]


def _probe_slots(size: ModelSize, width: int, evaluations: int) -> int:
    return probe_slots(jax.default_backend(), size, width, evaluations, param_dtype().itemsize)


def _batch_size(
    spec: OptimizerConfig, entry: Transform, config: Config, examples: int
) -> int | None:
    default = "full" if entry.full_batch else config.task.batch_size
    batch = spec.batch_size if spec.batch_size is not None else default
    if batch in ("full", None):
        return None
    if batch > examples:
        raise ConfigError(
            f"batch_size {batch} of optimizer {spec.name!r} exceeds the {examples} training "
            "examples; use a smaller one, or 'full'"
        )
    return batch


def _steps_and_eval_every(spec: OptimizerConfig, config: Config) -> tuple[int, int]:
    """Steps and steps between evaluations of one optimizer's lanes."""
    steps = spec.steps or config.steps
    every = spec.eval_every or (config.eval_every if spec.steps is None else None)
    if every is None:
        every = _tenth(steps)
    if steps % every:
        near = [value for value in (steps // every * every, (steps // every + 1) * every) if value]
        raise ConfigError(
            f"eval_every {every} must divide the steps of optimizer {spec.name!r}, {steps}; "
            f"nearest: {' or '.join(map(str, near))} steps"
        )
    return steps, every


def _tenth(steps: int) -> int:
    """The largest divisor that is at most a tenth of the steps; 1 of fewer than ten.

    >>> _tenth(300), _tenth(7), _tenth(2**31 - 1)
    (30, 1, 1)
    """
    root = math.isqrt(steps)
    large = (steps // part for part in range(10, root + 1) if steps % part == 0)
    small = (part for part in range(min(root, max(1, steps // 10)), 0, -1) if steps % part == 0)
    return next(itertools.chain(large, small))


def plan_lanes(
    config: Config, initializer_cells: Sequence[InitializerCell], sweeps: Sweeps
) -> pd.DataFrame:
    """A row per lane, program by program, within it seed by seed.

    Tuning seeds are for optimizers with several settings: a single one leaves nothing to choose.
    """
    pairs = config.seeds.all or (config.seeds.init or 0) * (config.seeds.data or 0)
    _require_room(pairs + config.tuning.seeds, len(initializer_cells), len(sweeps.cells))
    seeds = _seed_table(config.seeds, config.tuning.seeds)
    cells = pd.DataFrame(list(sweeps.cells))
    cells["_optimizer_cell"] = np.arange(len(cells))
    starts = pd.DataFrame(
        [
            {"initializer": cell.label, "initializer_cell": index}
            | {f"initializer.{name}": value for name, value in cell.hyperparameters.items()}
            for index, cell in enumerate(initializer_cells)
        ]
    )
    cells["_choice"] = cells["optimizer"].duplicated(keep=False)
    lanes = seeds.merge(starts, how="cross").merge(cells, how="cross")
    lanes = lanes[(lanes["role"] == "report") | lanes.pop("_choice")]
    lanes = lanes.sort_values("program", kind="stable", ignore_index=True)
    lanes["cell"] = lanes["initializer_cell"] * len(cells) + lanes.pop("_optimizer_cell")
    lanes["steps"] = lanes["optimizer.steps"]
    swept = [name for name in lanes if name.startswith("initializer.")]
    swept += [name for name in lanes if name.startswith("optimizer.")]
    first = ["cell", "role", "initializer", "optimizer"]
    last = ["init_seed", "data_seed", "noise_seed", "program", "initializer_cell", "steps"]
    lanes.index.name = "lane"
    return lanes[first + swept + last]


def _require_room(seeds: int, starts: int, cells: int) -> None:
    """Refuse more lanes than a table holds."""
    count = seeds * starts * cells
    require_memory(
        count * LANE_BYTES,
        f"a table of {count:,} lanes ({seeds:,} seeds, {starts:,} initializers, {cells:,} "
        "optimizers, each with their values)",
        "lower seeds, or list fewer values",
    )


def _seed_table(seeds: SeedsConfig, tuning: int) -> pd.DataFrame:
    """Seeds of the reported lanes, then of the tuning lanes; noise follows the data seed."""
    if seeds.all:
        pairs = [(number, number) for number in range(seeds.all)]
    else:
        pairs = list(itertools.product(range(seeds.init or 0), range(seeds.data or 0)))
    reported = [("report", seeds.first + init, seeds.first + d) for init, d in pairs]
    tuned = [("tuning", MAX_SEED + number, MAX_SEED + number) for number in range(tuning)]
    table = pd.DataFrame(reported + tuned, columns=["role", "init_seed", "data_seed"])
    return table.assign(noise_seed=table["data_seed"])


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
