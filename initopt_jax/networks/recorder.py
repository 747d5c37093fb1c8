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

from initopt_jax.networks.anatomy import SUMS, unit_axes
from initopt_jax.networks.programs import compute, evaluate
from initopt_jax.networks.tap import RANGES, tapped
from initopt_jax.networks.usage import Follower, parts_of, prepare, scan_counts
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
    program, shapes, given = prepare(apply, params, *inputs)
    outputs = jax.eval_shape(apply, params, *inputs)
    visitor = _Visitor(shapes, taps or {})
    numbers = jax.tree.leaves((params, *inputs))
    made = evaluate(program, _with_flows(given, numbers), visitor)
    examples = jax.tree.leaves(inputs)[0].shape[0]
    records = {
        path: Record(*(_ordered(part, visitor.units[path], examples) for part in chain.parts))
        for path, chain in visitor.chains.items()
    }
    results = jax.tree.unflatten(jax.tree.structure(outputs), [one.number for one in made])
    return results, records, visitor.stages


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


class _Traced(NamedTuple):
    """An array on the way through a network: what is known of it, its flow and its numbers."""

    value: Value
    flow: _Flow
    number: Any


class _Visitor:
    """Computes on the way and follows chains."""

    def __init__(self, shapes: Mapping[str, Shape], taps: Mapping[str, Array]):
        self.follower = Follower(shapes)
        self.taps = taps
        self.chains: dict[str, _Chain] = {}
        self.units: dict[str, tuple[int, ...]] = {}
        self.stages: dict[str, int] = {}

    def constant(self, value: Any) -> _Traced:
        return _Traced(CONSTANT, STILL, value)

    def read(self, known: _Traced, times: int) -> _Traced:
        # What two operations look at (x and its mean, say) is where the pre-activation stays.
        flow = known.flow if times == 1 else replace(known.flow, moving=False)
        return _Traced(self.follower.read(known.value, times), flow, known.number)

    def visit(self, equation: Any, operands: list[_Traced]) -> list[_Traced]:
        name, notes = equation.primitive.name, self.follower.notes
        if name == "scan":
            return self._scan(equation, operands)
        values = [one.value for one in operands]
        parts = [] if name in ("while", "cond") else parts_of(equation, values)
        if parts:
            part, given = parts[0]
            uses = len(notes.uses)
            inputs = [one._replace(value=v) for one, v in zip(operands, given, strict=True)]
            made = evaluate(part, inputs, self)
            if len(made) == len(equation.outvars):
                if not name.startswith("custom_") or len(notes.uses) > uses:
                    return made
                return self._pool(operands, _by_own_rule(equation, operands, made))
        before = set(notes.uses)
        results = self.follower.visit(equation, values)
        outcome = compute(equation, [one.number for one in operands])
        new = notes.new_kernels(before)
        if name in SUMS and new and any(value.data for value in values):
            units = [unit_axes(equation, values, path, outcome[0].ndim) for path in new]
            self.units.update(zip(new, units, strict=True))
            flow = self._begin(tuple(new), outcome[0])
            return [_Traced(results[0], flow, flow.chain.before if flow.chain else outcome[0])]
        flow = self._follow(equation, operands, outcome)
        chains = [one.flow.chain for one in operands]
        if flow.chain and flow.slope is not None and flow.chain not in chains:  # it has just begun
            outcome = [flow.chain.before]
        made = [_Traced(one, flow, number) for one, number in zip(results, outcome, strict=True)]
        return self._pool(operands, made) if name.startswith("reduce_window") else made

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
        operands: Sequence[_Traced],
        outcome: Sequence[Any],
    ) -> _Flow:
        """The flow of an operation's results, from those of its operands."""
        name = equation.primitive.name
        live = _live(operands)
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
        if len(live) == 1 and _moves(equation, operands, live[0]):
            biased = live[0].biased or (name == "add" and _weights_in(operands))
            return replace(self._begin(chain.kernels, made), biased=biased)
        chain.after, chain.slope = made, _slopes(equation, operands)[0]
        return _Flow(chain, slope=chain.slope)

    def _pool(self, operands: Sequence[_Traced], made: list[_Traced]) -> list[_Traced]:
        """Where sums are pooled before their bias and activation, these begin with the pooled."""
        live = _live(operands)
        chain = live[0].chain if len(live) == 1 and live[0].moving else None
        weights = any(one.value.leaves and not one.value.data for one in operands)
        first, *rest = made
        if weights or chain is None or not chain.kernels or first.flow.slope is not None:
            return made
        old, pooled = chain.before, first.number
        units = self.units[chain.kernels[0]]
        if pooled.ndim != old.ndim or any(pooled.shape[i] != old.shape[i] for i in units):
            return made
        flow = replace(self._begin(chain.kernels, pooled), biased=live[0].biased)
        pooled = flow.chain.before if flow.chain else pooled
        return [_Traced(first.value, flow, pooled), *rest]

    def _scan(self, equation: Any, operands: list[_Traced]) -> list[_Traced]:
        """A loop, run with a recorder inside; what it records comes out beside the results."""
        params = equation.params
        consts, whole = scan_counts(equation)
        carry = whole - consts
        values, numbers = [one.value for one in operands], [one.number for one in operands]
        (part, given), *_ = parts_of(equation, values)
        kept: list[_Visitor] = []
        each = {path: tap for path, tap in self.taps.items() if tap.ndim > len(TAP)}

        def body(carried: Any, sliced: Any) -> Any:
            rows, taps = sliced
            inner = _Visitor(self.follower.shapes, {**self.taps, **taps})
            inner.follower.notes = self.follower.notes.copied()
            inside = _with_flows(given, [*numbers[:consts], *carried, *rows])
            for place in range(consts + carry, len(inside)):
                row = inside[place].number
                if operands[place].flow.moving:  # sums of all rounds, awaiting their partner
                    ones = jnp.ones_like(row)
                    flow = _Flow(_Chain((), row, row, ones), slope=ones, moving=True)
                    inside[place] = inside[place]._replace(flow=flow)
            made = [one.number for one in evaluate(part, inside, inner)]
            kept.append(inner)
            found = {path: chain.parts for path, chain in inner.chains.items()}
            return tuple(made[:carry]), (tuple(made[carry:]), found)

        start, rows = tuple(numbers[consts : consts + carry]), tuple(numbers[consts + carry :])
        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        ends, (stacked, found) = lax.scan(body, start, (rows, each), **options)
        inner = kept[-1]
        self.follower.notes = inner.follower.notes
        self.stages |= inner.stages
        for path, parts in found.items():
            self.chains[path] = _Chain((path,), *parts)
            self.units[path] = tuple(axis + 1 for axis in inner.units[path])
        results = self.follower.visit(equation, values)
        flow = MIXED if any(value.data for value in values) else STILL
        pairs = zip(results, [*ends, *stacked], strict=True)
        return [_Traced(value, flow, number) for value, number in pairs]


def _with_flows(values: Sequence[Value], numbers: Sequence[Any]) -> list[_Traced]:
    """Where nothing is known of kernels' sums."""
    pairs = zip(values, numbers, strict=True)
    return [_Traced(value, MIXED if value.data else STILL, number) for value, number in pairs]


def _live(operands: Sequence[_Traced]) -> list[_Flow]:
    """The flows that have to do with the data."""
    return [one.flow for one in operands if one.flow.mixed or one.flow.chain]


def _weights_in(operands: Sequence[_Traced]) -> bool:
    return any(one.value.is_weights for one in operands)


def _joint(live: Sequence[_Flow], made: Any) -> bool:
    """Whether a sum is that of two different pre-activations."""
    chains = [flow.chain for flow in live if flow.moving and flow.chain]
    if len(chains) != 2 or chains[0] is chains[1]:
        return False
    return all(chain.before.shape == made.shape for chain in chains)


def _moves(equation: Any, operands: Sequence[_Traced], flow: _Flow) -> bool:
    """Whether an operation with constants and weights gives a pre-activation from one."""
    name = equation.primitive.name
    if not flow.moving or name not in SCALING or (name == "div" and operands[0].flow is not flow):
        return False
    return not flow.biased or (name == "add" and _weights_in(operands))


def _slopes(equation: Any, operands: Sequence[_Traced]) -> list[Any]:
    """Derivatives of an operation's results along its chain; all else is held constant."""
    numbers = [lax.stop_gradient(one.number) for one in operands]
    along = [place for place, one in enumerate(operands) if one.flow.slope is not None]

    def outcome(*moved: Any) -> list[Any]:
        at = dict(zip(along, moved, strict=True))
        return compute(equation, [at.get(place, number) for place, number in enumerate(numbers)])

    slopes = tuple(lax.stop_gradient(operands[place].flow.slope) for place in along)
    return jax.jvp(outcome, tuple(numbers[place] for place in along), slopes)[1]


def _by_own_rule(equation: Any, operands: Sequence[_Traced], made: list[_Traced]) -> list[_Traced]:
    """Results by the operation's own rule of derivatives: that of relu is 0 at 0, of max 1/2."""
    outcome = compute(equation, [one.number for one in operands])
    on = [place for place, one in enumerate(made) if one.flow.slope is not None]
    if not on or any(made[place].flow.moving for place in on):
        return made
    slopes = (
        _slopes(equation, operands)
        if equation.primitive.name.startswith("custom_jvp")
        else [one.flow.slope for one in made]
    )
    changed = [one._replace(number=number) for one, number in zip(made, outcome, strict=True)]
    for place in on:
        chain = made[place].flow.chain
        slope: Any = slopes[place]
        if chain is not None and chain.after is made[place].number:
            chain.after, chain.slope = outcome[place], slope
        changed[place] = changed[place]._replace(flow=replace(made[place].flow, slope=slope))
    return changed


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
