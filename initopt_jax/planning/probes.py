"""From a config's probes to what the engine measures: names, options, shapes, all held to rules."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax import probes
from initopt_jax.config.entries import ProbeConfig
from initopt_jax.config.task_keys import TEST_FUNCTION
from initopt_jax.engine.flops import tile_shapes
from initopt_jax.engine.keep import KEPT
from initopt_jax.engine.measure import (
    LaneView,
    Measurement,
    OptimizerView,
    make_measure,
)
from initopt_jax.engine.model_size import largest
from initopt_jax.engine.plan import Program
from initopt_jax.engine.records import variables
from initopt_jax.engine.workload import Workload
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.names import OWN, import_object, lookup
from initopt_jax.lookup.options import check_options, required_options
from initopt_jax.lookup.user_code import user_code
from initopt_jax.memory import require_memory
from initopt_jax.precision import param_dtype
from initopt_jax.probes import GIVEN, Batch, Probe
from initopt_jax.tasks.metrics import Target
from initopt_jax.tree import named_leaves
from initopt_jax.types import option_names


@dataclass(frozen=True)
class ProbePlan:
    """The probes of a study.

    Attributes:
        measurements: what the engine takes.
        dims: per variable, its dimensions after `lane` and `eval`.
        sizes: of these dimensions, where nothing labels them.
    """

    measurements: tuple[Measurement, ...] = ()
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


def dimension_labels(workload: Workload) -> dict[str, list[str]]:
    """Labels of the dimensions that a study knows: `leaf`, `kernel`; of a plane, `coordinate`."""
    known = {
        "leaf": [name for name, _ in named_leaves(workload.params)],
        "kernel": [kernel.path for kernel in workload.network.anatomy.kernels],
    }
    return known | ({"coordinate": ["x", "y"]} if workload.task.kind == TEST_FUNCTION else {})


def find_probe(name: str) -> Probe:
    """A probe by registry name, or a user's function by `module:function`.

    A user's function may say by the attribute `dims` what the axes of its arrays are called:
    a mapping of each array's name to names of dimensions.

    Raises:
        ConfigError: there is none.
    """
    if ":" not in name:
        return lookup("probe", name, probes.REGISTRY, OWN)
    function = import_object("probe", name)
    dims = getattr(function, "dims", {})
    if not isinstance(dims, Mapping):
        raise ConfigError(f"probe {name!r}: its dims must map names to dimensions, got {dims!r}")
    given = {str(key): tuple(value) for key, value in dims.items()}
    return Probe(name, function, given, "", name)


def bind(
    entries: Sequence[ProbeConfig],
    workload: Workload,
    programs: Sequence[Program],
    target: Target | None,
) -> ProbePlan:
    """The probes of a config, tried on the shapes of a study; nothing is computed.

    Args:
        entries: of the config.
        workload: what is measured.
        programs: the optimizers that a probe may ask for.
        target: of the study, whose variables no probe may give either.

    Raises:
        ConfigError: an unknown name or option, a probe that does not work on this model, arrays
            that go by a name that is taken, or whose axes are not what they are said to be.
    """
    measurements: list[Measurement] = []
    dims: dict[str, tuple[str, ...]] = {}
    sizes: dict[str, int] = {}
    owners = dict.fromkeys(variables(list(workload.task.metrics), {}, target), "the study")
    labels = dimension_labels(workload)
    for entry in entries:
        probe = find_probe(entry.name)
        measurement = measurement_of(probe, entry, workload, programs)
        measurements.append(measurement)
        if unknown := sorted(probe.dims.keys() - measurement.shapes.keys()):
            given = ", ".join(measurement.shapes)
            raise ConfigError(f"probe {entry.name!r}: dims name {unknown}, and it gives {given}")
        for variable, shape in measurement.shapes.items():
            what = f"probe {entry.name!r}"
            _check_name(what, variable, owners)
            owners[variable] = what
            axes = probe.dims.get(variable)
            axes = axes or tuple(f"{variable}_{axis}" for axis in range(len(shape)))
            dims[variable] = axes
            _measure_up(what, variable, dict(zip(axes, shape, strict=False)), labels, sizes)
            if len(axes) != len(shape):
                raise ConfigError(f"{what}: {variable!r} has shape {shape}, its dims are {axes}")
    return ProbePlan(tuple(measurements), dims, sizes)


def measurement_of(
    probe: Probe, entry: ProbeConfig, workload: Workload, programs: Sequence[Program]
) -> Measurement:
    """A probe with its options, and the shapes of what it gives."""
    what = f"probe {entry.name!r}"
    asked = frozenset(name for name in option_names(probe.measure) if name in GIVEN)
    unknown = [name for name in required_options(probe.measure) if name not in GIVEN]
    if missing := [name for name in unknown if name not in entry.options]:
        raise ConfigError(
            f"{what} needs {', '.join(missing)}; a probe may ask for {', '.join(GIVEN)} by these "
            "names, and all else are options of its own"
        )
    check_options(what, probe.measure, entry.options, given=GIVEN)
    call = functools.partial(probe.measure, **entry.options)
    alone = entry.name.rpartition(":")[2]
    measurement = Measurement(
        name=entry.name,
        function=lambda **given: _by_variable(what, alone, call(**given)),
        asks=asked,
        shapes={},
        examples=min(entry.examples or probe.examples, workload.examples),
        at=entry.at or probe.at,
    )
    asked = programs if measurement.of_optimizer else programs[:1]
    found = [_shapes(what, measurement, workload, program) for program in asked]
    if any(shapes != found[0] for shapes in found):
        raise ConfigError(f"{what} must give arrays of the same shapes for every optimizer")
    return Measurement(**{**vars(measurement), "shapes": found[0]})


def _by_variable(what: str, alone: str, given: Any) -> dict[str, jax.Array]:
    """What a probe returned, as arrays by variable in the dtype of weights."""
    named = given if isinstance(given, Mapping) else {alone: given}
    made: dict[str, jax.Array] = {}
    for name, value in named.items():
        try:
            array = jnp.asarray(value)
        except (TypeError, ValueError) as error:
            kind = type(value).__name__
            raise ConfigError(
                f"{what} must give an array, or arrays by name; {name!r} is a {kind}"
            ) from error
        if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == jnp.bool_):
            raise ValueError(f"{what} must give numbers; {name!r} has dtype {array.dtype}")
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise ValueError(f"{what} must give real numbers; {name!r} is complex")
        made[str(name)] = array.astype(param_dtype())
    if not made:
        raise ValueError(f"{what} gives nothing")
    return made


def _shapes(
    what: str, measurement: Measurement, workload: Workload, program: Program
) -> dict[str, tuple[int, ...]]:
    """Shapes of what a probe gives of one lane of a program."""
    width = program.width
    state, inputs = tile_shapes(program, workload, width)
    weights = state.params
    view = LaneView(
        *(weights, weights, state.model_state, inputs.noise_key, state.step),
        **{name: weights for name in ("start", "grads", "updates") if name in measurement.asks},
    )
    optimizer = None
    if measurement.of_optimizer:
        optimizer = OptimizerView(state.opt_state, inputs.hyperparameters)
    examples = measurement.examples
    shaped: Any = [
        jax.ShapeDtypeStruct((examples, *array.shape[1:]), array.dtype)
        for array in workload.dataset.train
    ]
    batch = Batch(*shaped)
    of = program if measurement.of_optimizer else None
    measure = make_measure(measurement, workload, of, width)
    trial = jax.make_jaxpr(measure, return_shape=True)
    with user_code(what):
        traced, made = trial(view, optimizer, batch)
    if jax.default_backend() == "cpu":
        require_memory(
            largest(traced.jaxpr), f"{what}, for a tile of {width} lanes,", "lower its numbers"
        )
    return {name: tuple(array.shape[1:]) for name, array in made.items()}


def _check_name(what: str, variable: str, owners: Mapping[str, str]) -> None:
    if not variable.isidentifier() or variable.startswith(KEPT):
        raise ConfigError(
            f"{what}: {variable!r} cannot name a variable of the results; use letters, digits and "
            f"underscores, and no beginning {KEPT!r}"
        )
    if variable in owners:
        raise ConfigError(f"{what} gives {variable!r}, which {owners[variable]} has already")


def _measure_up(
    what: str,
    variable: str,
    axes: Mapping[str, int],
    labels: Mapping[str, Sequence[str]],
    sizes: dict[str, int],
) -> None:
    """Hold axes to the dimensions that they are said to be; `sizes` gains those that are new."""
    for name, size in axes.items():
        if name in ("lane", "eval", KEPT):
            raise ConfigError(f"{what}: {variable!r} cannot have a dimension called {name!r}")
        known = len(labels[name]) if name in labels else sizes.get(name, size)
        if size != known:
            raise ConfigError(
                f"{what}: {variable!r} has {size} along {name!r}, which has {known} in this study"
            )
        if name not in labels:
            sizes[name] = size
