"""How a network uses each of its leaves, read off its own operations.

Fan-in and fan-out belong to the layer, not to the shape: `(8, 16, 64)` may be a convolution of
width 8, the output projection of eight heads, or eight kernels of an einsum. So the network is
traced, and every leaf followed through what only rearranges it to the first operation that sums
over it. This works for any function: Flax, another library, or plain JAX.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from initopt_jax.initializers.layout import Layout, standard_layout
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree, Shape

# What changes no place of a number: the axes of the first operand are those of the result.
ELEMENTWISE = {
    "abs", "add", "add_any", "convert_element_type", "copy", "copy_p", "cos", "div", "exp",
    "integer_pow", "log", "logistic", "max", "min", "mul", "neg", "optimization_barrier", "pow",
    "reduce_precision", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient",
    "sub", "tanh",
}  # fmt: skip
LOOPS = ("scan", "while")


@dataclass(frozen=True)
class Place:
    """Where a leaf's numbers lie in an array that holds nothing else.

    Attributes:
        path: of the leaf.
        axes: for each axis of the array, the leaf's axes in it, slowest first.
        alone: axes of the leaf that a loop runs over.
    """

    path: str
    axes: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...] = ()


@dataclass(frozen=True)
class Value:
    """What is known of an array.

    Attributes:
        leaves: paths of all leaves that it depends on.
        data: whether it depends on the network's inputs.
        place: set where it is a rearranged leaf.
        carried: whether it depends on what a loop around it hands from one round to the next.
    """

    leaves: frozenset[str] = frozenset()
    data: bool = False
    place: Place | None = None
    carried: bool = False


CONSTANT, DATA = Value(), Value(data=True)


def layouts(apply: Callable[..., Any], params: PyTree, *inputs: Any) -> dict[str, Layout]:
    """The layout of every leaf by what `apply` does with it.

    - A product (`dot_general`): contracted axes are inputs, free ones outputs, batch axes number
      kernels that stand alone.
    - A convolution: by its dimension numbers and groups.
    - Rows picked by number (`gather`): an embedding.
    - A leaf with several axes that is only added to activations or scales them: `added`.
    - Anything else: the layout that its shape suggests.

    Where a leaf is used more than once (tied weights), the first use counts.

    Args:
        apply: `(params, *inputs) -> anything`.
        params: arrays, or shapes as of `jax.eval_shape`; nothing is computed.
        inputs: likewise; a batch of more than one example.

    Returns:
        Path to layout, for all leaves.

    Example: the output projection of attention, eight heads of 16 to 64 outputs.

    >>> import jax.numpy as jnp
    >>> params = {"out": jax.ShapeDtypeStruct((8, 16, 64), "float32")}
    >>> def apply(params, heads):
    ...     return jnp.einsum("btnd,nde->bte", heads, params["out"])
    >>> found = layouts(apply, params, jax.ShapeDtypeStruct((2, 5, 8, 16), "float32"))
    >>> found["out"].fans((8, 16, 64))
    (128, 64)
    """
    follower, jaxpr, given = prepare(Follower, apply, params, *inputs)
    follower.walk(jaxpr.jaxpr, given)
    return follower.layouts()


def prepare(
    kind: Callable[[Mapping[str, Shape]], Any],
    apply: Callable[..., Any],
    params: PyTree,
    *inputs: Any,
) -> tuple[Any, Any, list[Value]]:
    """A follower, the operations of `apply`, and what their inputs are."""
    shapes = {path: tuple(leaf.shape) for path, leaf in named_leaves(params)}
    closed = jax.make_jaxpr(apply)(params, *inputs)
    given = [
        Value(frozenset([path]), place=Place(path, tuple((axis,) for axis in range(len(shape)))))
        for path, shape in shapes.items()
    ]
    return kind(shapes), closed, given + [DATA] * (len(closed.jaxpr.invars) - len(given))


class Follower:
    """One pass over the operations, in order; collects the first use of every leaf.

    Attributes:
        shapes: of the leaves, by path.
        summed: layouts of the leaves that are summed over or picked from, in order of use.
        met: leaves that met activations element by element: path to the operation's name.
    """

    def __init__(self, shapes: Mapping[str, Shape]):
        self.shapes = shapes
        self.summed: dict[str, Layout] = {}
        self.met: dict[str, str] = {}

    def layouts(self) -> dict[str, Layout]:
        """The layout of every leaf."""
        return {path: self._layout_of(path, shape) for path, shape in self.shapes.items()}

    def _layout_of(self, path: str, shape: Shape) -> Layout:
        if path in self.summed:
            return self.summed[path]
        if path in self.met and len(shape) > 1:
            last = len(shape) - 1
            return Layout("added", outputs=(last,), alone=tuple(range(last)))
        return standard_layout(shape)

    def walk(self, jaxpr: Any, given: Sequence[Value]) -> list[Value]:
        """Follow what is given through a jaxpr; what its results are, in order."""
        known = dict(zip(jaxpr.invars, given, strict=True))

        def look_up(variable: Any) -> Value:
            return CONSTANT if isinstance(variable, Literal) else known.get(variable, CONSTANT)

        for equation in jaxpr.eqns:
            operands = [look_up(variable) for variable in equation.invars]
            results = self.through(equation, operands)
            known.update(zip(equation.outvars, results, strict=True))
        return [look_up(variable) for variable in jaxpr.outvars]

    def through(self, equation: Any, operands: Sequence[Value]) -> list[Value]:
        """What the results of an operation are."""
        leaves = frozenset[str]().union(*(one.leaves for one in operands))
        data = any(one.data for one in operands)
        carried = any(one.carried for one in operands)
        results = [Value(leaves, data, carried=carried)] * len(equation.outvars)
        parts = inner_jaxprs(equation, operands)
        for part, given in parts:
            ends = self.inside(equation, part.jaxpr, given)
            if equation.primitive.name not in LOOPS and len(ends) == len(results):
                results = ends
        if parts:
            return results
        self.use(equation, operands)
        if not data and (place := _rearranged(equation, operands, self.shapes)):
            return [replace(results[0], place=place), *results[1:]]
        return results

    def inside(self, equation: Any, jaxpr: Any, given: Sequence[Value]) -> list[Value]:
        """Follow into an operation that holds others."""
        del equation
        return self.walk(jaxpr, given)

    def use(self, equation: Any, operands: Sequence[Value]) -> None:
        """Note what an operation does with the leaves among its operands."""
        name, params = equation.primitive.name, equation.params
        places = [one.place for one in operands]
        new = [place if place and place.path not in self.summed else None for place in places]
        if name == "dot_general":
            contracted, batched = params["dimension_numbers"]
            for place, sums, alone in zip(new, contracted, batched, strict=True):
                if place:
                    self._note(place, "dense", inputs=_axes(place, sums), alone=_axes(place, alone))
        elif name == "conv_general_dilated" and (place := new[1]):
            _, features, *window = params["dimension_numbers"].rhs_spec
            groups, spatial = params["feature_group_count"], _axes(place, window)
            kind = "convolution" if spatial else "dense"
            inputs = _axes(place, [features])
            self._note(place, kind, window=spatial, inputs=inputs, groups=groups)
        elif name == "gather" and (place := new[0]):
            rows = _axes(place, params["dimension_numbers"].collapsed_slice_dims)
            if rows:
                self._note(place, "embedding", alone=rows)
        elif name in ELEMENTWISE and any(one.data for one in operands):
            for place in places:
                if place:
                    self.met.setdefault(place.path, name)

    def _note(
        self,
        place: Place,
        kind: Any,
        *,
        window: tuple[int, ...] = (),
        inputs: tuple[int, ...] = (),
        alone: tuple[int, ...] = (),
        groups: int = 1,
    ) -> None:
        alone = place.alone + alone
        taken = {*window, *inputs, *alone}
        whole = [axis for axes in place.axes for axis in axes]
        outputs = tuple(dict.fromkeys(axis for axis in whole if axis not in taken))
        axes = window + inputs + outputs + alone
        # An axis of the leaf that lies in two places, or in none, was cut in a way not followed.
        if sorted(axes) == list(range(len(self.shapes[place.path]))):
            self.summed[place.path] = Layout(kind, window, inputs, outputs, alone, groups)


class Inner(NamedTuple):
    """A jaxpr inside an operation, and its constants."""

    jaxpr: Any
    consts: Sequence[Any]


def inner_jaxprs(equation: Any, operands: Sequence[Value]) -> list[tuple[Inner, list[Value]]]:
    """The jaxprs inside an operation, each with what its own inputs are."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        consts, whole = scan_counts(equation)
        carried = _carried(operands[consts:whole])
        rows = [_one_of(one) for one in operands[whole:]]
        return [(_opened(params["jaxpr"]), [*operands[:consts], *carried, *rows])]
    if name == "cond":
        return [(_opened(branch), list(operands[1:])) for branch in params["branches"]]
    if name == "while":
        first = params["cond_nconsts"]
        last = first + params["body_nconsts"]
        carried = _carried(operands[last:])
        return [(_opened(params["body_jaxpr"]), [*operands[first:last], *carried])]
    for value in params.values():
        part = _opened(value)
        if hasattr(part.jaxpr, "eqns") and len(part.jaxpr.invars) == len(operands):
            return [(part, list(operands))]
    return []


def scan_counts(equation: Any) -> tuple[int, int]:
    """Inputs of a `scan` that every round gets alike; and these with what rounds hand on.

    By ranks, since JAX 0.11 no longer names the counts: only what is stacked loses an axis.
    """
    body = _opened(equation.params["jaxpr"]).jaxpr
    whole = _of_equal_rank(equation.invars, body.invars)
    return whole - _of_equal_rank(equation.outvars, body.outvars), whole


def _of_equal_rank(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many variables of a `scan` have as many axes outside as inside its body."""
    pairs = zip(outside, inside, strict=True)
    return sum(len(one.aval.shape) == len(other.aval.shape) for one, other in pairs)


def _carried(first: Sequence[Value]) -> list[Value]:
    """What a round of a loop gets from the one before, by what the first round gets."""
    return [replace(one, data=True, place=None, carried=True) for one in first]


def _opened(closed: Any) -> Inner:
    return Inner(getattr(closed, "jaxpr", closed), getattr(closed, "consts", ()))


def _one_of(stacked: Value) -> Value:
    """What a loop over the first axis of an array sees."""
    place = stacked.place
    if not place or not place.axes:
        return replace(stacked, place=None)
    one = Place(place.path, place.axes[1:], place.alone + place.axes[0])
    return replace(stacked, place=one)


def _axes(leaf: Place, places: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for place in places for axis in leaf.axes[place])


def _rearranged(
    equation: Any, operands: Sequence[Value], shapes: Mapping[str, Shape]
) -> Place | None:
    """What the result is, where it holds the numbers of a leaf in other places."""
    name, params = equation.primitive.name, equation.params
    shape = tuple(equation.outvars[0].aval.shape)
    if name in ELEMENTWISE:
        alike = [
            one.place
            for one, variable in zip(operands, equation.invars, strict=True)
            if one.place and tuple(variable.aval.shape) == shape and shape
        ]
        # A kernel times a gain per unit that was spread over it is still the kernel.
        return max(alike, key=lambda one: sum(map(bool, one.axes)), default=None)
    leaf = operands[0].place if operands else None
    if leaf is None:
        return None
    if name == "transpose":
        axes = tuple(leaf.axes[axis] for axis in params["permutation"])
    elif name == "rev":
        axes = leaf.axes
    elif name == "squeeze":
        gone = params["dimensions"]
        axes = tuple(own for axis, own in enumerate(leaf.axes) if axis not in gone)
    elif name == "broadcast_in_dim":
        placed: list[tuple[int, ...]] = [()] * len(shape)
        for axis, place in enumerate(params["broadcast_dimensions"]):
            placed[place] = leaf.axes[axis]
        axes = tuple(placed)
    elif name == "reshape" and params.get("dimensions") is None:
        regrouped = _regrouped(leaf, shape, shapes[leaf.path])
        if regrouped is None:
            return None
        axes = regrouped
    else:
        return None
    return Place(leaf.path, axes, leaf.alone)


def _regrouped(leaf: Place, shape: Shape, sizes: Shape) -> tuple[tuple[int, ...], ...] | None:
    """The leaf's axes in each axis of a reshaped array; None where an axis is cut."""
    waiting = [axis for axes in leaf.axes for axis in axes if sizes[axis] != 1]
    placed: list[tuple[int, ...]] = []
    for size in shape:
        taken: list[int] = []
        while waiting and math.prod(sizes[axis] for axis in taken) < size:
            taken.append(waiting.pop(0))
        if math.prod(sizes[axis] for axis in taken) != size:
            return None
        placed.append(tuple(taken))
    if waiting:
        return None
    # Axes of one entry say nothing: keep them beside their neighbours so that none is lost.
    for axis in (axis for axes in leaf.axes for axis in axes if sizes[axis] == 1):
        after = [i for i, own in enumerate(placed) if any(other > axis for other in own)]
        where = after[0] if after else len(placed) - 1
        if placed:
            placed[where] = tuple(sorted((*placed[where], axis)))
    return tuple(placed)
