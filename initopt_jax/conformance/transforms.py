"""Does a transform keep the contracts that a study relies on? One function per contract.

Paths are compared to a part of the largest update: compiled programs differ in last bits. A bias
correction written as `1 - decay**count` keeps four digits of float32; the registered methods, whose
corrections are exact, are held to `ROUNDING`.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from initopt_jax.conformance.finding import (
    Broken,
    Finding,
    Unchecked,
    first_line,
    hold_to,
    refuse_values,
    words,
)
from initopt_jax.conformance.subject import (
    AMPLIFYING,
    LARGE,
    SMALL_RATE,
    STEPS,
    Subject,
    as_arrays,
    extra_arguments,
    loss,
    plain_layouts,
    start,
)
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.names import find_transform
from initopt_jax.lookup.options import check_options, required_options
from initopt_jax.models import is_model
from initopt_jax.transforms import REGISTRY
from initopt_jax.types import EvaluatedTransform, PyTree, option_names

CLOSE = 1e-3
ROUNDING = 1e-5  # of five steps
OF_WEIGHTS = 2.0**-23  # one rounding of weights of up to 1, whose difference an update may be
# L-BFGS divides by differences of gradients, a tenth as large.
ROUNDING_OF = {"lbfgs": 2e-4, **dict.fromkeys(AMPLIFYING, CLOSE)}
LAYOUTS = "layouts"  # a study gives them to a transform that asks for them
RATES = ("learning_rate", "lr")


def check_transform(
    name: str,
    options: Mapping[str, Any] | None = None,
    static: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Hold a transform to every contract.

    Numbers are traced, as a study does it: those given, and those that are floats by default. Text,
    flags and whole numbers by default are structure, and so is all that is under `static`. Where a
    learning rate is required and not given, it is 0.01.

    Args:
        name: as in a config: of the registry, `optax.<name>` or `module:function`.
        options: values for its options, as in a config, one each.
        static: options that choose its structure, as in a config.

    Returns:
        A finding per contract, in a fixed order. Two contracts bind the registered ones alone, and
        are `not checked` where another breaks them, since no study feels it: bfloat16 (weights are
        float32), and buffers of its own (the first state is made by a compiled program).

    Raises:
        ConfigError: there is no such transform or option, or it refuses an option's value.

    >>> {finding.outcome for finding in check_transform("momentum", {"learning_rate": 0.1})}
    {'ok'}
    """
    subject = _subject(name, dict(options or {}), dict(static or {}))
    findings: list[Finding] = []
    for contract in GATES:
        findings.append(hold_to(contract, subject))
        if findings[-1].outcome == "fails":
            left = [*GATES[len(findings) :], *CONTRACTS]
            return findings + [Finding(words(one), "not checked", "see above") for one in left]
    return findings + [hold_to(contract, subject) for contract in CONTRACTS]


def _subject(name: str, options: dict[str, Any], static: dict[str, Any]) -> Subject:
    entry = find_transform(name, REGISTRY)
    known, what, asked = option_names(entry.make), f"optimizer {name!r}", {**options, **static}
    if entry.origin == "user" and LAYOUTS in known and LAYOUTS not in asked:
        del known[LAYOUTS]
        entry = replace(entry, make=functools.partial(entry.make, layouts=plain_layouts()))
    for rate in RATES:
        if known.get(rate) is inspect.Parameter.empty and rate not in static:
            options.setdefault(rate, SMALL_RATE)
    if missing := [key for key in required_options(entry.make) if key not in asked | options]:
        values = " ".join(f"--set {key}=0.1" for key in missing)
        raise ConfigError(
            f"{what} needs {', '.join(missing)}; give values to check it with, such as {values}, "
            "or by --static where one is no number to sweep"
        )
    check_options(what, entry.make, {**options, **static})
    numbers = {key: value for key, value in known.items() if type(value) is float} | options
    for key, value in options.items():
        if isinstance(value, bool | str) or type(known.get(key)) is int:
            static[key] = value
        elif not isinstance(value, int | float):
            raise ConfigError(f"{what}: {key} must be one number, got {value!r}")
    numbers = {key: float(value) for key, value in numbers.items() if key not in static}
    rate = {key: SMALL_RATE for key in RATES if key in options or key in static}
    required = [key for key in required_options(entry.make) if key not in RATES]
    refuse_values(what, lambda **chosen: entry.make(**{**rate, **chosen}), asked, required)
    given = frozenset(options).union(RATES)
    return Subject(name, entry.make, numbers, static, given, registered=name in REGISTRY)


# What the others need ----------------------------------------------------------------------------


def builds_from_its_numbers(subject: Subject) -> None:
    """It is built from a learning rate and options, by name."""
    subject.make(**subject.static, **subject.numbers)


def is_a_gradient_transformation(subject: Subject) -> None:
    """It is an Optax gradient transformation."""
    made = subject.make(**subject.static, **subject.numbers)
    if not isinstance(made, optax.GradientTransformation):
        hint = "; a model's function takes outputs=" if is_model(made) else ""
        kind = type(made).__name__
        raise Broken(f"it returns {kind}, not an optax.GradientTransformation{hint}")


def takes_what_the_engine_passes(subject: Subject) -> None:
    """It updates from gradients, state and weights, and takes value, grad, value_fn and key."""
    _types(subject, start())


GATES: Sequence[Callable[[Subject], None]] = (
    builds_from_its_numbers,
    is_a_gradient_transformation,
    takes_what_the_engine_passes,
)


# Types -------------------------------------------------------------------------------------------


def keeps_trees_shapes_and_dtypes(subject: Subject) -> None:
    """Updates are like the weights: nested, one array, one number; float32."""
    for what, params in (
        ("a nested tree", start()),
        ("one array", start()["dense"]["kernel"]),
        ("one number", start()["bias"][0]),
    ):
        updates, *_ = _types(subject, params)
        _same_types(f"updates of {what}", params, updates)


def keeps_the_types_of_its_state(subject: Subject) -> None:
    """The state keeps its structure, shapes and dtypes from step to step."""
    _, before, after = _types(subject, start())
    _same_types("the state after a step", before, after)


def keeps_bfloat16(subject: Subject) -> None:
    """Updates of bfloat16 weights are bfloat16, and the state keeps its types."""
    params = start(jnp.bfloat16)
    try:
        updates, before, after = _types(subject, params)
        _same_types("updates", params, updates)
        _same_types("the state after a step", before, after)
    except Exception as error:
        if subject.registered:
            raise
        raise Unchecked(
            f"{first_line(error)}; studies train in float32, where this changes nothing"
        ) from error


def _types(subject: Subject, params: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    """Types of updates, of the first state and of the next; nothing is run."""

    def first(numbers: Any, params: Any) -> Any:
        transform, g = subject.build(numbers), jax.tree.map(jnp.ones_like, params)
        state = transform.init(params)
        given: dict[str, Any] = {"value": jnp.float32(1), "grad": g, "key": jax.random.key(0)}
        given["value_fn"] = lambda params, key=None: _mean_square(params)
        updates, after = transform.update(g, state, params, **given)
        return updates, state, after

    return jax.eval_shape(first, as_arrays(subject.traceable), params)


def _mean_square(params: PyTree) -> Any:
    return sum(jnp.mean(leaf.astype(jnp.float32) ** 2) for leaf in jax.tree.leaves(params))


def _same_types(what: str, expected: PyTree, found: PyTree) -> None:
    if jax.tree.structure(expected) != jax.tree.structure(found):
        raise Broken(f"{what}: another structure")
    pairs = zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True)
    for (path, one), other in pairs:
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            where = jax.tree_util.keystr(path) or "leaf"
            kinds = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in (one, other)]
            raise Broken(f"{what}: {where} is {kinds[1]}, and should be {kinds[0]}")


# Runs --------------------------------------------------------------------------------------------


def repeats_itself(subject: Subject) -> None:
    """Built again and run again it takes the same steps: no hidden state, no clock."""
    first, again = subject.plain, subject.uncompiled(as_arrays(subject.traceable))
    if not _equal(first, again):
        raise Broken(f"updates differ by up to {_gap(first, again):.3g} between two runs")


def compiles(subject: Subject) -> None:
    """It can be compiled (jit), and takes the same steps within rounding."""
    _close(subject, "compiled", subject.plain, subject.alone(""))


def runs_on_many_lanes(subject: Subject) -> None:
    """It can be mapped over its numbers (vmap), and every lane gets what it would get alone."""
    for lane, path in subject.together.items():
        if lane.startswith(LARGE):
            continue
        alone = subject.alone(lane)
        few = len(jax.tree.leaves(alone)[0])
        with_others = jax.tree.map(lambda leaf, few=few: leaf[:few], path.updates)
        _close(subject, f"lane {lane or 'as given'}", alone, with_others)


def numbers_may_be_traced(subject: Subject) -> None:
    """Its numbers may be swept: traced by JAX, in one program for all values."""
    if not subject.numbers:
        raise Unchecked("it has no number")
    if subject.untraceable:
        raise Broken(
            f"{', '.join(subject.untraceable)} cannot be traced and so not be swept; give it under "
            "'static:'"
        )
    _close(subject, "traced numbers", subject.uncompiled(subject.traceable), subject.alone(""))


def listens_to_its_numbers(subject: Subject) -> None:
    """Each of its numbers changes the path when it is changed."""
    inert = [
        name
        for name in subject.traceable
        if all(
            _equal(subject.together[base].updates, subject.together[base + name].updates)
            for base in subject.bases
        )
    ]
    what = f"{', '.join(inert)} changed nothing in {STEPS} steps"
    if subject.given.intersection(inert):
        raise Broken(what)
    if inert:
        raise Unchecked(f"{what} on a quadratic; by default, and so not asked for")


def works_on_a_part_of_the_weights(subject: Subject) -> None:
    """It works on some of the weights (optax.partition), and leaves the others."""
    params, asked = start(), []
    part = params["dense"]
    labels = {"dense": "mine", "bias": "rest"}
    numbers = as_arrays(subject.traceable)
    given = extra_arguments(params)
    given["value_fn"] = lambda params, key=None: asked.append(1) or loss(params)
    g = given["grad"]
    mine = subject.build(numbers)
    whole = optax.partition(
        {"mine": mine, "rest": optax.set_to_zero()}, labels, mask_compatible_extra_args=True
    )
    try:
        updates, _ = whole.update(g, whole.init(params), params, **given)
    except Exception as error:
        if asked:
            raise Unchecked("it asks for the loss, which is one of all weights") from error
        raise
    _close(subject, "weights left out", jnp.zeros_like(g["bias"]), updates["bias"])
    if not asked:
        alone, _ = mine.update(g["dense"], mine.init(part), part, **{**given, "grad": g["dense"]})
        _close(subject, "its part", alone, updates["dense"])


def has_a_state_of_its_own(subject: Subject) -> None:
    """A fresh state may be donated: its buffers are its own, each once."""
    params = start()
    state = subject.build(as_arrays(subject.traceable)).init(params)
    taken = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(params)]
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if not isinstance(leaf, jax.Array) or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            continue
        if leaf.unsafe_buffer_pointer() not in taken:
            taken.append(leaf.unsafe_buffer_pointer())
            continue
        shared = f"{jax.tree_util.keystr(path)} shares its buffer with weights or other state"
        if subject.registered:
            raise Broken(shared)
        raise Unchecked(f"{shared}; a study compiles the first state, which gives it one")


def takes_a_schedule(subject: Subject) -> None:
    """The learning rate may be a schedule; a constant one takes the same steps as its number."""
    if subject.rate in (None, "lr"):
        raise Unchecked("it has no number called learning_rate, which a schedule would change")
    value = subject.numbers[subject.rate]
    numbers = as_arrays(subject.traceable)
    try:
        scheduled = subject.uncompiled(numbers | {subject.rate: lambda count: jnp.float32(value)})
    except Exception as error:
        raise Unchecked(
            f"it takes no schedule ({first_line(error)}): its learning_rate would be a function of "
            "the step; optax.scale_by_learning_rate(learning_rate) takes both"
        ) from error
    _close(subject, "a constant schedule", subject.plain, scheduled)


def stays_finite_without_gradient(subject: Subject) -> None:
    """Gradients of 0 give finite updates and a finite state."""
    numbers, params = as_arrays(subject.traceable), start()
    zero, state = jax.tree.map(jnp.zeros_like, params), subject.build(numbers).init(params)
    for _ in range(2):
        updates, state = subject.compiled(numbers, zero, state, params)
        for leaf in jax.tree.leaves((updates, state)):
            floats = jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)
            if floats and not bool(jnp.isfinite(leaf).all()):
                raise Broken("updates or state are not finite")


def descends(subject: Subject) -> None:
    """At its learning rate, or a small one, it lowers the loss of a convex quadratic."""
    paths = [subject.together[lane].losses for lane in ("", "small") if lane in subject.lanes]
    if not any(losses[-1] < losses[0] for losses in paths):
        first, last = paths[-1][0], paths[-1][-1]
        raise Broken(f"the loss goes from {first:.4g} to {last:.4g} in {STEPS} steps")


def eval_params_are_like_params(subject: Subject) -> None:
    """Where it has eval_params, these are like the params that it trains."""
    made = subject.make(**subject.static, **subject.numbers)
    if isinstance(made, EvaluatedTransform):
        params = start()
        evaluated = jax.eval_shape(made.eval_params, made.init(params), params)
        _same_types("eval_params", params, evaluated)


CONTRACTS: Sequence[Callable[[Subject], None]] = (
    keeps_trees_shapes_and_dtypes,
    keeps_the_types_of_its_state,
    keeps_bfloat16,
    repeats_itself,
    compiles,
    runs_on_many_lanes,
    numbers_may_be_traced,
    listens_to_its_numbers,
    works_on_a_part_of_the_weights,
    has_a_state_of_its_own,
    takes_a_schedule,
    stays_finite_without_gradient,
    descends,
    eval_params_are_like_params,
)


def _close(subject: Subject, what: str, expected: PyTree, found: PyTree) -> None:
    sizes = np.concatenate([np.abs(np.ravel(leaf)) for leaf in jax.tree.leaves(expected)])
    largest = float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))
    gap = _gap(expected, found)
    band = ROUNDING_OF.get(subject.name, ROUNDING) if subject.registered else CLOSE
    if not gap <= band * largest + OF_WEIGHTS:  # not a number is no small gap
        raise Broken(f"{what}: updates differ by up to {gap:.3g}, of {largest:.3g}")


def _gap(left: PyTree, right: PyTree) -> float:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    gaps = [_difference(np.asarray(one), np.asarray(other)) for one, other in pairs]
    return max(gaps, default=math.nan)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest; NaN in both is none."""
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return float(np.max(np.where(same, 0.0, apart), initial=0.0))


def _equal(left: PyTree, right: PyTree) -> bool:
    """Whether all numbers are the same, NaN included."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(one, other, equal_nan=True) for one, other in pairs)
