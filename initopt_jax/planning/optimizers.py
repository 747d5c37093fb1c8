"""From an optimizer entry of a config to one transformation, with all that stands around it.

The gradient passes the modifiers of gradients, the transform, the rates that belong to a
parametrization, the modifiers of updates; modifiers around stand around all of these, the first
listed inside the next. Every number of every part is a hyperparameter: an axis that may be swept.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import optax

from initopt_jax import initializers, modifiers, schedules, transforms
from initopt_jax.config.entries import OptimizerConfig
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import Layout, Network
from initopt_jax.keys import NOISE_KEY, named_key
from initopt_jax.lookup.names import find_modifier, find_schedule, find_transform, lookup
from initopt_jax.lookup.options import call_with, check_options, swept_axes
from initopt_jax.lookup.user_code import user_code
from initopt_jax.planning.update_trial import (
    SCHEDULE,
    TRANSFORM,
    try_schedule,
    try_update,
    try_values,
    uphill_note,
)
from initopt_jax.transforms.chain import chain
from initopt_jax.transforms.chance import ARGUMENTS, seeded, with_words
from initopt_jax.types import EvaluatedTransform, PyTree, Transform, option_names

RATE, STEPS, LAYOUTS = "learning_rate", "steps", "layouts"
# What a modifier may ask for by these names; a transform the last two.
GIVEN = (RATE, STEPS, LAYOUTS, NOISE_KEY)
MODIFIER = "a function of its options that returns an optax.GradientTransformation"
BLIND = ("accumulate", "freeze")  # they change the gradient at the weights of the step alone


@dataclass(frozen=True)
class Optimizer:
    """One entry of a config, every name resolved.

    Attributes:
        entry: its transform.
        label: the name in tables.
        axes: hyperparameter to its values; those of a modifier or the schedule carry its name, as
            in `clip_by_global_norm.max_norm`.
        structure: what its program depends on besides the names of the axes.
        make: `(hyperparameters) -> transformation`; those of `axes`, and `steps` where `timed`.
        timed: whether it needs to know the steps of its lane.
        evaluated: whether it has `eval_params` of its own.
        note: what a user should know of it, or empty.
    """

    entry: Transform
    label: str
    axes: dict[str, list[float]]
    structure: tuple[Any, ...]
    make: Callable[[Mapping[str, Any]], optax.GradientTransformation]
    timed: bool
    evaluated: bool
    note: str = ""

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """The names of the arrays that `make` takes."""
        return tuple(sorted([*self.axes, STEPS] if self.timed else self.axes))


@dataclass(frozen=True)
class _Part:
    """The schedule or a modifier: its function, the prefix of its axes, its fixed options."""

    name: str
    function: Callable[..., Any]
    prefix: str
    axes: dict[str, list[float]]
    static: dict[str, Any]
    asks: frozenset[str] = frozenset()
    place: str = ""
    pace: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    def options(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Its options, numbers from among the hyperparameters; those by pattern in a mapping."""
        chosen: dict[str, Any] = {**self.static, **self.given}
        for name in self.axes:
            option, dot, pattern = name.partition(".")
            value = hyperparameters[self.prefix + name]
            if dot:
                chosen.setdefault(option, {})[pattern] = value
            else:
                chosen[option] = value
        return chosen


def resolve_optimizer(spec: OptimizerConfig, network: Network, params: PyTree) -> Optimizer:
    """Resolve an entry's names and try it on the shapes of a network.

    Args:
        spec: the entry.
        network: the model, for rates that belong to its leaves.
        params: shapes of its parameters.

    Raises:
        ConfigError: an unknown name or option, a value out of its range, a pattern that matches no
            leaf, a structure that is swept, a state that changes its structure.
    """
    entry = find_transform(spec.name, transforms.REGISTRY)
    registered = spec.name in transforms.REGISTRY
    what, function = f"optimizer {spec.name!r}", entry.make
    _refuse_seeds(what, function, {**spec.options, **(spec.static or {})})
    entry = replace(entry, make=seeded(function))
    layouts = network.anatomy.layouts
    given = _layouts_for(spec, entry, layouts)
    axes, static = swept_axes(
        "optimizer", spec.name, entry.make, spec.options,
        static=spec.static, given=(*given, NOISE_KEY), counts=registered,
    )  # fmt: skip
    if registered:
        axes = _all_numbers(entry.make, axes, static)
    fixed = {**static, **given}
    _refuse_uphill(what, entry, axes)
    own = TRANSFORM if entry.origin == "user" else ""
    try_values(what, entry.make, axes, fixed, own)
    entry = _with_evaluated(what, entry, axes, fixed, params)
    schedule = _schedule(spec, entry, what)
    around = _modifiers(spec, what, layouts)
    rates = _rates(spec, entry, network, params)
    parts = [part for part in (schedule, *around) if part]
    first = {name: values[0] for name, values in axes.items()}
    _check_places(what, spec, entry, around, call_with(what, entry.make, {**first, **fixed}))
    names = tuple(axes)
    make = _maker(entry, names, fixed, schedule, around, rates)
    for part in parts:
        axes |= {part.prefix + name: values for name, values in part.axes.items()}
    timed = schedule is not None or any(STEPS in part.asks for part in around)
    numbers = {name: values[0] for name, values in axes.items()}
    numbers |= {STEPS: 10.0} if timed else {}
    tried = f"{what} with {', '.join(mine)}" if (mine := _own_names(parts)) else what
    plain = _maker(entry, names, fixed, None, around, rates) if schedule else None
    keyed, note = try_update(tried, make, numbers, params, unscheduled=plain, expects=own)
    if entry.origin == "user" or mine:
        call = {"what": tried, "make": make, "numbers": numbers, "params": params}
        note = "; ".join(filter(None, (note, call_with(tried, uphill_note, call))))
    made = call_with(what, make, {"hyperparameters": numbers | {STEPS: 10.0}})
    return Optimizer(
        entry=entry,
        label=spec.label or _label(spec, static),
        axes=axes,
        structure=(
            function if NOISE_KEY in option_names(entry.make) else entry.make,
            repr(sorted(static.items())),
            repr(sorted((rates or {}).items())),
            # The order of patterns counts: the first that matches a leaf does.
            *(
                (part.function, part.prefix, tuple(part.axes), repr(sorted(part.static.items())))
                for part in parts
            ),
        ),
        make=(lambda numbers: with_words(make(numbers))) if keyed else make,
        timed=timed,
        evaluated=isinstance(made, EvaluatedTransform),
        note=note,
    )


def _layouts_for(
    spec: OptimizerConfig, entry: Transform, layouts: Mapping[str, Layout]
) -> dict[str, Any]:
    """The network's layouts, for a transform that asks for them by name.

    Not for one of Optax, where the name would mean something of its own, nor where the user's own
    function has an option of this name that the config sets.
    """
    own = entry.origin == "user" and LAYOUTS in {**spec.options, **(spec.static or {})}
    asks = not spec.name.startswith("optax.") and LAYOUTS in option_names(entry.make)
    return {LAYOUTS: layouts} if asks and not own else {}


def _own_names(parts: Sequence["_Part"]) -> list[str]:
    """The user's own functions among the schedule and the modifiers."""
    return [part.name for part in parts if ":" in part.name]


def _schedule(spec: OptimizerConfig, entry: Transform, optimizer: str) -> _Part | None:
    if spec.schedule is None:
        return None
    what = f"schedule {spec.schedule.name!r} of {optimizer}"
    if RATE not in option_names(entry.make):
        raise ConfigError(f"{optimizer} takes no learning_rate that a schedule could change")
    found = find_schedule(spec.schedule.name, schedules.REGISTRY)
    axes, static = swept_axes(
        "schedule", found.name, found.multiplier, spec.schedule.options, skip=2
    )
    axes = _all_numbers(found.multiplier, axes, static)
    own = SCHEDULE if ":" in found.name else ""
    try_schedule(what, found.multiplier, axes, static, own)
    return _Part(found.name, found.multiplier, "schedule.", axes, static)


def _modifiers(spec: OptimizerConfig, optimizer: str, layouts: Mapping[str, Layout]) -> list[_Part]:
    parts: list[_Part] = []
    for item in spec.modifiers:
        found = find_modifier(item.name, modifiers.REGISTRY)
        what = f"modifier {item.name!r} of {optimizer}"
        _refuse_seeds(what, found.make, item.options)
        found = replace(found, make=seeded(found.make))
        first = 1 if found.place == "wrapper" else 0
        names = list(option_names(found.make))
        asks = frozenset(name for name in names[first:] if name in GIVEN) - set(item.options)
        axes, static = swept_axes(
            "modifier", item.name, found.make, item.options, given=(*names[:first], *asks)
        )
        axes = _all_numbers(found.make, axes, static)
        same = sum(part.name == found.name for part in parts)
        prefix = f"{item.name}.{same + 1}." if same else f"{item.name}."
        given = {LAYOUTS: layouts} if LAYOUTS in asks else {}
        part = _Part(
            found.name, found.make, prefix, axes, static,
            asks - {LAYOUTS}, found.place, found.pace, given,
        )  # fmt: skip
        _try_part(what, part)
        parts.append(part)
    return parts


def _try_part(what: str, part: _Part) -> None:
    """Build a modifier at every value, one axis at a time."""
    given = {name: None if name == NOISE_KEY else 1.0 for name in part.asks}
    first = {part.prefix + name: values[0] for name, values in part.axes.items()}
    inner = (optax.identity(),) if part.place == "wrapper" else ()
    for name, values in part.axes.items() or [("", [0.0])]:
        for value in values:
            options = part.options(first | {part.prefix + name: value})
            make = functools.partial(part.function, *inner)
            made = call_with(what, make, {**options, **given}, MODIFIER if ":" in part.name else "")
            if not isinstance(made, optax.GradientTransformation):
                raise ConfigError(
                    f"{what} must return an optax.GradientTransformation, got {type(made).__name__}"
                )


def _maker(
    entry: Transform,
    names: Sequence[str],
    static: Mapping[str, Any],
    schedule: _Part | None,
    around: Sequence[_Part],
    rates: Mapping[str, float] | None,
) -> Callable[[Mapping[str, Any]], optax.GradientTransformation]:
    def make(hyperparameters: Mapping[str, Any]) -> optax.GradientTransformation:
        own = {name: hyperparameters[name] for name in names}
        steps, noise = hyperparameters.get(STEPS), hyperparameters.get(NOISE_KEY)
        if NOISE_KEY in option_names(entry.make) and noise is not None:
            own[NOISE_KEY] = named_key(noise, "optimizer")
        built = [(part, part.options(hyperparameters)) for part in around]
        if schedule:
            own[RATE] = _scheduled(own, entry, schedule, hyperparameters, _paced(steps, built))
        rate = own.get(RATE, static.get(RATE, option_names(entry.make).get(RATE)))
        transform = entry.make(**own, **static)
        if rates:
            transform = chain(transform, transforms.scale_by_leaf(rates))
        placed: dict[str, list[Any]] = {"pre-transform": [], "post-transform": [], "wrapper": []}
        for number, (part, options) in enumerate(built):
            # It counts the steps that are left to it by what stands around it.
            outside = built[number + 1 :] if part.place == "wrapper" else built
            given = {RATE: rate, STEPS: _paced(steps, outside) if STEPS in part.asks else None}
            given[NOISE_KEY] = None if noise is None else named_key(noise, f"modifier {number}")
            asked = {name: given[name] for name in part.asks}
            placed[part.place].append((part.function, options | asked))
        if placed["pre-transform"] or placed["post-transform"]:
            before, after = (
                [modify(**options) for modify, options in placed[place]]
                for place in ("pre-transform", "post-transform")
            )
            transform = chain(*before, transform, *after)
        for modify, options in placed["wrapper"]:
            transform = modify(transform, **options)
        return transform

    return make


def _paced(steps: Any, built: Sequence[tuple[_Part, Mapping[str, Any]]]) -> Any:
    """How many steps the optimizer makes in so many of the run."""
    for part, options in built:
        if part.pace:
            steps = steps / options[part.pace]
    return steps


def _scheduled(
    own: Mapping[str, Any],
    entry: Transform,
    schedule: _Part,
    hyperparameters: Mapping[str, Any],
    steps: Any,
) -> Callable[[Any], Any]:
    rate = own.get(RATE, option_names(entry.make)[RATE])
    options = schedule.options(hyperparameters)
    return lambda count: rate * schedule.function(count, steps, **options)


def _rates(
    spec: OptimizerConfig, entry: Transform, network: Network, params: PyTree
) -> dict[str, float] | None:
    """The number that multiplies each leaf's updates, by path; None where there is none."""
    if spec.per_leaf is None:
        return None
    known = initializers.PARAMETRIZATIONS
    what = f"per_leaf of optimizer {spec.name!r}"
    make = lookup(what, spec.per_leaf.name, known, also="")
    kind = spec.per_leaf.kind or entry.kind
    if kind is None:
        raise ConfigError(
            f"{what} needs kind: sgd where updates are linear in the gradients, or adam where the "
            "gradients' size does not matter"
        )
    check_options(what, make, spec.per_leaf.options, given=("anatomy", "params", "kind"))
    given = {"anatomy": network.anatomy, "params": params, "kind": kind, **spec.per_leaf.options}
    return {path: float(rate) for path, rate in call_with(what, make, given).items()}


def _all_numbers(
    function: Callable[..., Any], axes: Mapping[str, list[float]], static: Mapping[str, Any]
) -> dict[str, list[float]]:
    """The axes and the numbers that were left at their defaults: all are traced, so that entries
    with other values share a program.
    """
    defaults = {
        name: [value]
        for name, value in option_names(function).items()
        if type(value) is float and name not in static
    }
    return {name: axes.get(name, defaults.get(name, [])) for name in {**axes, **defaults}}


def _refuse_uphill(what: str, entry: Transform, axes: Mapping[str, Sequence[float]]) -> None:
    """Refuse a learning rate below 0, which Optax takes; our own transforms say so themselves."""
    below = [rate for rate in axes.get(RATE, ()) if rate < 0]
    if entry.origin == "optax" and below:
        raise ConfigError(f"{what}: {RATE} must be at least 0, got {below[0]:g}: it goes uphill")


def _refuse_seeds(what: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse a key that would be the same in every lane."""
    for name in ARGUMENTS:
        if name in options and name in option_names(make):
            raise ConfigError(f"{what}: {name} comes from the seed of each lane; leave it out")


def _with_evaluated(
    what: str,
    entry: Transform,
    axes: Mapping[str, Sequence[float]],
    static: Mapping[str, Any],
    params: PyTree,
) -> Transform:
    """An optimizer of Optax that is evaluated elsewhere, as one that says where."""
    if entry.origin != "optax" or entry.name in transforms.REGISTRY:
        return entry
    first = {name: values[0] for name, values in axes.items()}
    made = call_with(what, entry.make, {**first, **static})
    if not hasattr(made, "init"):
        return entry  # refused later, in words of its own
    with user_code(what):
        state = jax.eval_shape(made.init, params)
    if not isinstance(state, optax.contrib.ScheduleFreeState):
        return entry

    def make(**options: Any) -> optax.GradientTransformation:
        plain = optax.with_extra_args_support(entry.make(**options))
        where = optax.contrib.schedule_free_eval_params
        return EvaluatedTransform(plain.init, plain.update, where)

    return replace(entry, make=functools.wraps(entry.make)(make))


def _check_places(
    what: str,
    spec: OptimizerConfig,
    entry: Transform,
    around: Sequence[_Part],
    made: optax.GradientTransformation,
) -> None:
    """Refuse what would be undone, or not be seen, without a word."""
    behind = [part.name for part in around if part.place == "post-transform"]
    behind += [f"per_leaf: {spec.per_leaf.name}"] if spec.per_leaf else []
    if behind and isinstance(made, EvaluatedTransform):
        raise ConfigError(
            f"{what} has `eval_params` of its own, which {behind[0]} would not reach: it "
            "changes updates alone"
        )
    blind = [part.name for part in around if part.place == "pre-transform" or part.name in BLIND]
    if blind and (entry.looks_around or spec.name == "optax.lbfgs"):
        raise ConfigError(
            f"{what} asks for the loss at other weights, where {blind[0]} would not be seen"
        )
    names = [part.name for part in around]
    if "sharpness_aware" in names and "accumulate" in names[names.index("sharpness_aware") :]:
        raise ConfigError(
            f"{what}: list accumulate before sharpness_aware, which else looks at the loss of the "
            "last batch alone"
        )


def _label(spec: OptimizerConfig, static: Mapping[str, Any]) -> str:
    texts = [f"{name}={value}" for name, value in static.items()]
    texts += [f"per_leaf={spec.per_leaf.name}"] if spec.per_leaf else []
    texts += [spec.schedule.name] if spec.schedule else []
    texts += [item.name for item in spec.modifiers]
    text = ", ".join(texts)
    return spec.name + (f"({text})" if text else "")
