"""Looks into a network while it computes: what each kernel makes, and what becomes of it.

The operations of the network are walked one by one, so this works for any function. From a
kernel's sums on, the elementwise operations that follow (bias, normalization, activation) are its
*chain*; a derivative is carried along with it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal

from initopt_jax.networks.anatomy import SUMS, compute, unit_axes
from initopt_jax.networks.tap import RANGES, tapped
from initopt_jax.networks.usage import (
    Follower,
    inner_jaxprs,
    once,
    prepare,
    scan_counts,
    times_used,
)
from initopt_jax.networks.values import CONSTANT, ELEMENTWISE, Value
from initopt_jax.types import Array, PyTree, Shape

POINTWISE = ELEMENTWISE | {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp", "cosh",
    "digamma", "erf", "erf_inv", "erfc", "exp2", "expm1", "floor", "lgamma", "log1p", "nextafter",
    "rem", "round", "sinh", "tan",
}  # fmt: skip
SCALING = ("add", "convert_element_type", "div", "mul", "sub")
STAGES = 6  # places where one kernel's gradient may be tapped: its sums, scaled, with a bias...
TAP = (STAGES, len(RANGES))


class Record(NamedTuple):
    """What a kernel made of a batch, [examples, places, units] each.

    Places are positions of a convolution or a sequence, time steps, layers of a stack. `examples`
    is 1 where an axis of the batch's size was not found.

    preactivations: its sums, scaled by constants if they are, plus their bias.
    activations: what the elementwise operations after them give; the pre-activations if none do.
    slopes: the derivative of an activation by its own pre-activation. Means and variances that a
        normalization takes of the same sums count as constants.
    """

    preactivations: Array
    activations: Array
    slopes: Array


def record(
    apply: Callable[..., Any],
    params: PyTree,
    *inputs: Any,
    taps: Mapping[str, Array] | None = None,
) -> tuple[Any, dict[str, Record], dict[str, int]]:
    """The outputs of a network, and what every kernel made on the way.

    Kernels in loops (`lax.scan`: recurrent cells, stacked layers) are recorded at every round. The
    chain of a kernel ends where something that is not elementwise uses it, or where it meets what
    other kernels made; but a sum of two kernels' sums is the pre-activation of both, as in a
    recurrent cell, where `x W + h U + b` is that of `U`. Weights that are applied several times
    without a loop are recorded at their first use.

    Args:
        apply: `(params, *inputs) -> anything`, in operations that can be looked into.
        params: of the network.
        inputs: of the network, a batch [n, ...] of more than one example.
        taps: zeros `TAP` per kernel. The gradient of anything by `taps[path][stage]` is the square
            of the norm of its gradient by the kernel's pre-activations, in the units of
            `tap.RANGES`. Zeros `(rounds, *TAP)` for a kernel in a loop give that of every round.

    Returns:
        The outputs; records by path of the kernel in order of use, without those that were not met
        (kernels in `while` loops and branches of `cond`, weights never multiplied with data); and
        the stage of each kernel's tap.

    >>> params = {"a": jnp.eye(2), "b": jnp.ones(2), "c": jnp.ones((2, 3))}
    >>> def apply(params, x):
    ...     return jnp.tanh(x @ params["a"] + params["b"][None]) @ params["c"]
    >>> _, records, _ = record(apply, params, jnp.zeros((5, 2)))
    >>> float(records["a"].preactivations[0, 0, 0]), records["c"].slopes.shape
    (1.0, (5, 1, 3))
    """
    _, closed, given = prepare(Follower, apply, params, *inputs)
    outputs = jax.eval_shape(apply, params, *inputs)
    recorder = _Recorder(_shapes(given, params), taps or {})
    flows = [MIXED if one.data else STILL for one in given]
    values = jax.tree.leaves((params, *inputs))
    made = recorder.run(closed.jaxpr, closed.consts, given, flows, values)
    examples = jax.tree.leaves(inputs)[0].shape[0]
    records = {
        path: Record(*(_ordered(part, recorder.units[path], examples) for part in chain.parts))
        for path, chain in recorder.chains.items()
    }
    return jax.tree.unflatten(jax.tree.structure(outputs), made.numbers), records, recorder.stages


@dataclass(eq=False)
class _Chain:
    """What followed a kernel's sums up to now."""

    kernels: tuple[str, ...]
    before: Array  # the pre-activations
    after: Array
    slope: Array

    @property
    def parts(self) -> tuple[Array, Array, Array]:
        return self.before, self.after, self.slope


@dataclass(frozen=True)
class _Flow:
    """What an array has to do with the kernels' sums.

    Attributes:
        chain: it depends on the data through these sums only.
        mixed: it depends on the data in another way.
        slope: set on the chain itself: the derivative by the pre-activation.
        moving: this is the pre-activation, which may still move on to what is made of it.
        biased: a bias was added, so that it moves on to sums only.
    """

    chain: _Chain | None = None
    mixed: bool = False
    slope: Array | None = None
    moving: bool = False
    biased: bool = False


STILL, MIXED = _Flow(), _Flow(mixed=True)


class _Made(NamedTuple):
    """Of each result of some operations: what is known of it, its flow and its numbers."""

    results: list[Value]
    flows: list[_Flow]
    numbers: list[Any]


class _Recorder(Follower):
    """Computes on the way and follows chains."""

    def __init__(self, shapes: Mapping[str, Shape], taps: Mapping[str, Array]):
        super().__init__(shapes)
        self.taps = taps
        self.chains: dict[str, _Chain] = {}
        self.units: dict[str, tuple[int, ...]] = {}
        self.stages: dict[str, int] = {}

    def run(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        given: Sequence[Value],
        flows: Sequence[_Flow],
        values: Sequence[Any],
    ) -> _Made:
        known: dict[Any, tuple[Value, _Flow, Any]] = {}
        known.update(zip(jaxpr.invars, zip(given, flows, values, strict=True), strict=True))
        known.update(
            (v, (CONSTANT, STILL, c)) for v, c in zip(jaxpr.constvars, consts, strict=True)
        )
        used = times_used(jaxpr)

        def look_up(variable: Any) -> tuple[Value, _Flow, Any]:
            if isinstance(variable, Literal):
                return CONSTANT, STILL, variable.val
            value, flow, number = known[variable]
            value = once(value, used[variable])
            # What two operations look at (x and its mean, say) is where the pre-activation stays.
            alone = used[variable] == 1
            return value, flow if alone else replace(flow, moving=False), number

        for equation in jaxpr.eqns:
            made = self._step(equation, *_columns(map(look_up, equation.invars)))
            known.update(zip(equation.outvars, zip(*made, strict=True), strict=True))
        return _Made(*_columns(map(look_up, jaxpr.outvars)))

    def _step(
        self, equation: Any, operands: list[Value], flows: list[_Flow], numbers: list[Any]
    ) -> _Made:
        name = equation.primitive.name
        if name == "scan":
            return self._scan(equation, operands, flows, numbers)
        parts = [] if name in ("while", "cond") else inner_jaxprs(equation, operands)
        if parts:
            part, given = parts[0]
            known = len(self.notes.uses)
            made = self.run(part.jaxpr, part.consts, given, flows, numbers)
            if len(made.numbers) == len(equation.outvars):
                if not name.startswith("custom_") or len(self.notes.uses) > known:
                    return made
                made = _by_own_rule(equation, flows, numbers, made)
                return self._pool(operands, flows, made)
        before = set(self.notes.uses)
        results = self.through(equation, operands)
        outcome = compute(equation, numbers)
        new = self.notes.new_kernels(before)
        if name in SUMS and new and any(one.data for one in operands):
            units = [unit_axes(equation, operands, path, outcome[0].ndim) for path in new]
            self.units.update(zip(new, units, strict=True))
            flow = self._begin(tuple(new), outcome[0])
            return _Made(results, [flow], [flow.chain.before if flow.chain else outcome[0]])
        chains = [one.chain for one in flows]
        flow = self._follow(equation, operands, flows, numbers, outcome)
        begun = flow.chain is not None and flow.slope is not None and flow.chain not in chains
        moved = [flow.chain.before] if flow.chain and begun else outcome
        made = _Made(results, [flow] * len(outcome), moved)
        return self._pool(operands, flows, made) if name.startswith("reduce_window") else made

    def _begin(self, kernels: tuple[str, ...], sums: Array) -> _Flow:
        """A chain from a pre-activation on, tapped for every kernel of it."""
        for path in kernels:
            self.stages[path] = stage = self.stages.get(path, -1) + 1
            if path in self.taps and stage < STAGES:
                sums = tapped(sums, self.taps[path], stage)
        chain = _Chain(kernels, sums, sums, jnp.ones_like(sums))
        self.chains.update(dict.fromkeys(kernels, chain))
        room = all(self.stages[path] < STAGES - 1 for path in kernels)
        return _Flow(chain, slope=chain.slope, moving=room)

    def _follow(
        self,
        equation: Any,
        operands: Sequence[Value],
        flows: Sequence[_Flow],
        numbers: Sequence[Any],
        outcome: Sequence[Any],
    ) -> _Flow:
        """The flow of an operation's results, from those of its operands."""
        name = equation.primitive.name
        live = [flow for flow in flows if flow.mixed or flow.chain]
        if not live:
            return STILL
        chain = live[0].chain
        if name in ("add", "add_any") and len(live) == 2 and _joint(live, outcome[0]):
            kernels = tuple(path for one in live if one.chain for path in one.chain.kernels)
            return self._begin(kernels, outcome[0])
        if chain is None or any(flow.mixed or flow.chain is not chain for flow in live):
            return MIXED
        made = outcome[0]
        on = any(flow.slope is not None for flow in live) and name in POINTWISE
        same = made.shape == chain.before.shape and jnp.issubdtype(made.dtype, jnp.floating)
        if not on or not same:
            return _Flow(chain)
        if len(live) == 1 and _moves(equation, operands, flows, live[0]):
            biased = live[0].biased or (name == "add" and any(one.is_weights for one in operands))
            return replace(self._begin(chain.kernels, made), biased=biased)
        chain.after, chain.slope = made, _slopes(equation, flows, numbers)[0]
        return _Flow(chain, slope=chain.slope)

    def _pool(self, operands: Sequence[Value], flows: Sequence[_Flow], made: _Made) -> _Made:
        """Where sums are pooled before their bias and activation, these begin with the pooled."""
        live = [flow for flow in flows if flow.mixed or flow.chain]
        chain = live[0].chain if len(live) == 1 and live[0].moving else None
        weights = any(one.leaves and not one.data for one in operands)
        if weights or chain is None or not chain.kernels or made.flows[0].slope is not None:
            return made
        old, pooled = chain.before, made.numbers[0]
        units = self.units[chain.kernels[0]]
        if pooled.ndim != old.ndim or any(pooled.shape[i] != old.shape[i] for i in units):
            return made
        flow = replace(self._begin(chain.kernels, pooled), biased=live[0].biased)
        pooled = flow.chain.before if flow.chain else pooled
        return _Made(made.results, [flow, *made.flows[1:]], [pooled, *made.numbers[1:]])

    def _scan(
        self, equation: Any, operands: list[Value], flows: list[_Flow], numbers: list[Any]
    ) -> _Made:
        """A loop, run with a recorder inside; what it records comes out beside the results."""
        params = equation.params
        consts, whole = scan_counts(equation)
        carry = whole - consts
        (part, given), *_ = inner_jaxprs(equation, operands)
        kept: list[_Recorder] = []
        each = {path: tap for path, tap in self.taps.items() if tap.ndim > len(TAP)}

        def body(carried: Any, sliced: Any) -> Any:
            rows, taps = sliced
            inner = _Recorder(self.shapes, {**self.taps, **taps})
            inner.notes = self.notes.copied()
            values = [*numbers[:consts], *carried, *rows]
            inside = [MIXED if one.data else STILL for one in given]
            for place in range(consts + carry, len(values)):
                flow, row = flows[place], values[place]
                if flow.moving:  # sums made for all rounds before the loop, awaiting their partner
                    ones = jnp.ones_like(row)
                    inside[place] = _Flow(_Chain((), row, row, ones), slope=ones, moving=True)
            made = inner.run(part.jaxpr, part.consts, given, inside, values)
            kept.append(inner)
            found = {path: chain.parts for path, chain in inner.chains.items()}
            return tuple(made.numbers[:carry]), (tuple(made.numbers[carry:]), found)

        start, rows = tuple(numbers[consts : consts + carry]), tuple(numbers[consts + carry :])
        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        ends, (stacked, found) = lax.scan(body, start, (rows, each), **options)
        inner = kept[-1]
        self.notes = inner.notes
        self.stages |= inner.stages
        for path, parts in found.items():
            self.chains[path] = _Chain((path,), *parts)
            self.units[path] = tuple(axis + 1 for axis in inner.units[path])
        results = self.through(equation, operands)
        flow = MIXED if any(one.data for one in operands) else STILL
        return _Made(results, [flow] * len(results), [*ends, *stacked])


def _shapes(given: Sequence[Value], params: PyTree) -> dict[str, Shape]:
    paths = [path for one in given for path in one.paths]
    leaves = jax.tree.leaves(params)
    return {path: tuple(leaf.shape) for path, leaf in zip(paths, leaves, strict=True)}


def _columns(rows: Any) -> tuple[list[Any], list[Any], list[Any]]:
    found = list(rows)
    return [row[0] for row in found], [row[1] for row in found], [row[2] for row in found]


def _joint(live: Sequence[_Flow], made: Any) -> bool:
    """Whether a sum is that of two different pre-activations."""
    chains = [flow.chain for flow in live if flow.moving and flow.chain]
    if len(chains) != 2 or chains[0] is chains[1]:
        return False
    return all(chain.before.shape == made.shape for chain in chains)


def _moves(equation: Any, operands: Sequence[Value], flows: Sequence[_Flow], flow: _Flow) -> bool:
    """Whether an operation with constants and weights gives a pre-activation from one."""
    name = equation.primitive.name
    if not flow.moving or name not in SCALING or (name == "div" and flows[0] is not flow):
        return False
    return not flow.biased or (name == "add" and any(one.is_weights for one in operands))


def _slopes(equation: Any, flows: Sequence[_Flow], numbers: Sequence[Any]) -> list[Any]:
    """Derivatives of an operation's results along its chain; all else is held constant."""
    numbers = [lax.stop_gradient(number) for number in numbers]
    along = [place for place, flow in enumerate(flows) if flow.slope is not None]

    def outcome(*moved: Any) -> list[Any]:
        at = dict(zip(along, moved, strict=True))
        return compute(equation, [at.get(place, number) for place, number in enumerate(numbers)])

    slopes = tuple(lax.stop_gradient(flows[place].slope) for place in along)
    return jax.jvp(outcome, tuple(numbers[place] for place in along), slopes)[1]


def _by_own_rule(
    equation: Any, flows: Sequence[_Flow], numbers: Sequence[Any], made: _Made
) -> _Made:
    """Results by the operation's own rule of derivatives: that of relu is 0 at 0, of max 1/2."""
    outcome = compute(equation, numbers)
    on = [place for place, flow in enumerate(made.flows) if flow.slope is not None]
    if not on or any(made.flows[place].moving for place in on):
        return made
    slopes = (
        _slopes(equation, flows, numbers)
        if equation.primitive.name.startswith("custom_jvp")
        else [flow.slope for flow in made.flows]
    )
    changed = list(made.flows)
    for place in on:
        chain = made.flows[place].chain
        slope: Any = slopes[place]
        if chain is not None and chain.after is made.numbers[place]:
            chain.after, chain.slope = outcome[place], slope
        changed[place] = replace(made.flows[place], slope=slope)
    return _Made(made.results, changed, outcome)


def _ordered(array: Array, units: tuple[int, ...], examples: int) -> Array:
    """An array of a chain as [examples, places, units]."""
    rows = [axis for axis in range(array.ndim) if axis not in units]
    batch = [axis for axis in rows if array.shape[axis] == examples][:1]
    places = [axis for axis in rows if axis not in batch]
    ordered = array.transpose(*batch, *places, *units)
    width = 1
    for axis in units:
        width *= array.shape[axis]
    return ordered.reshape(examples if batch else 1, -1, width)
