"""How a network uses each of its leaves, read off its own operations.

Fan-in and fan-out belong to the layer, not to the shape: `(8, 16, 64)` may be a convolution of
width 8, the output projection of eight heads, or eight kernels of an einsum. So the network is
traced, and every leaf followed through what only rearranges it to the first operation that sums
over it. This works for any function: Flax, another library, or plain JAX.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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


@dataclass(frozen=True)
class Traced:
    """An array that is a rearranged leaf.

    Attributes:
        path: of the leaf.
        axes: for each axis of the array, the leaf's axes in it, slowest first.
        alone: axes of the leaf that a loop runs over.
    """

    path: str
    axes: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...] = ()


class Data:
    """An array that depends on the network's inputs."""


DATA = Data()
Value: TypeAlias = Traced | Data | None  # None: neither of the two, such as a constant


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
    shapes = {path: tuple(leaf.shape) for path, leaf in named_leaves(params)}
    jaxpr = jax.make_jaxpr(apply)(params, *inputs).jaxpr
    weights = [Traced(path, tuple((a,) for a in range(len(s)))) for path, s in shapes.items()]
    follow = _Follower(shapes)
    follow.walk(jaxpr, [*weights, *[DATA] * (len(jaxpr.invars) - len(weights))])
    return {path: follow.layout_of(path) for path in shapes}


class _Follower:
    """One pass over the operations, in order; collects the first use of every leaf."""

    def __init__(self, shapes: Mapping[str, Shape]):
        self.shapes = shapes
        self.found: dict[str, Layout] = {}
        self.added: set[str] = set()

    def layout_of(self, path: str) -> Layout:
        shape = self.shapes[path]
        if path in self.found:
            return self.found[path]
        if path in self.added and len(shape) > 1:
            last = len(shape) - 1
            return Layout("added", outputs=(last,), alone=tuple(range(last)))
        return standard_layout(shape)

    def walk(self, jaxpr: Any, given: Sequence[Value]) -> list[Value]:
        """Follow what is given through a jaxpr; what its results are, in order."""
        known = dict(zip(jaxpr.invars, given, strict=True))

        def look_up(variable: Any) -> Value:
            return None if isinstance(variable, Literal) else known.get(variable)

        for equation in jaxpr.eqns:
            operands = [look_up(variable) for variable in equation.invars]
            if any(operands):
                results = self._through(equation, operands)
                known.update(zip(equation.outvars, results, strict=True))
        return [look_up(variable) for variable in jaxpr.outvars]

    def _through(self, equation: Any, operands: Sequence[Value]) -> list[Value]:
        """What the results of an operation are."""
        results: list[Value] = [DATA if DATA in operands else None] * len(equation.outvars)
        for part, given in _inner(equation, operands):
            ends = self.walk(part, given)
            if len(ends) == len(results) and equation.primitive.name != "scan":
                results = ends
        leaves = [one for one in operands if isinstance(one, Traced)]
        if leaves and not _is_call(equation):
            self._use(equation, operands)
            if DATA in operands:
                self.added.update(leaf.path for leaf in leaves)
            elif moved := _rearranged(equation, operands, self.shapes):
                results = [moved, *results[1:]]
        return results

    def _use(self, equation: Any, operands: Sequence[Value]) -> None:
        """Note the layout of a leaf that this operation sums over."""
        name, params = equation.primitive.name, equation.params
        new = [one if isinstance(one, Traced) and one.path not in self.found else None
               for one in operands]  # fmt: skip
        if name == "dot_general":
            contracted, batched = params["dimension_numbers"]
            for leaf, sums, alone in zip(new, contracted, batched, strict=True):
                if leaf:
                    self._note(leaf, "dense", inputs=_axes(leaf, sums), alone=_axes(leaf, alone))
        elif name == "conv_general_dilated" and (leaf := new[1]):
            _, features, *window = params["dimension_numbers"].rhs_spec
            groups, places = params["feature_group_count"], _axes(leaf, window)
            kind = "convolution" if places else "dense"
            inputs = _axes(leaf, [features])
            self._note(leaf, kind, window=places, inputs=inputs, groups=groups)
        elif name == "gather" and (leaf := new[0]):
            rows = _axes(leaf, params["dimension_numbers"].collapsed_slice_dims)
            if rows:
                self._note(leaf, "embedding", alone=rows)

    def _note(
        self,
        leaf: Traced,
        kind: Any,
        *,
        window: tuple[int, ...] = (),
        inputs: tuple[int, ...] = (),
        alone: tuple[int, ...] = (),
        groups: int = 1,
    ) -> None:
        alone = leaf.alone + alone
        taken = {*window, *inputs, *alone}
        whole = [axis for axes in leaf.axes for axis in axes]
        outputs = tuple(dict.fromkeys(axis for axis in whole if axis not in taken))
        axes = window + inputs + outputs + alone
        # An axis of the leaf that lies in two places, or in none, was cut in a way not followed.
        if sorted(axes) == list(range(len(self.shapes[leaf.path]))):
            self.found[leaf.path] = Layout(kind, window, inputs, outputs, alone, groups)


def _is_call(equation: Any) -> bool:
    return bool(_inner(equation, [None] * len(equation.invars)))


def _inner(equation: Any, operands: Sequence[Value]) -> list[tuple[Any, list[Value]]]:
    """The jaxprs inside an operation, each with what its own inputs are."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        consts, whole = params["num_consts"], params["num_consts"] + params["num_carry"]
        given: list[Value] = [*operands[:consts], *[DATA] * params["num_carry"]]
        given += [_one_of(one) for one in operands[whole:]]
        return [(_open(params["jaxpr"]), given)]
    if name == "cond":
        return [(_open(branch), list(operands[1:])) for branch in params["branches"]]
    if name == "while":
        first, consts = params["cond_nconsts"], params["body_nconsts"]
        carried = len(operands) - first - consts
        given = [*operands[first : first + consts], *[DATA] * carried]
        return [(_open(params["body_jaxpr"]), given)]
    for value in params.values():
        part = _open(value)
        if hasattr(part, "eqns") and len(part.invars) == len(operands):
            return [(part, list(operands))]
    return []


def _open(closed: Any) -> Any:
    return getattr(closed, "jaxpr", closed)


def _one_of(stacked: Value) -> Value:
    """What a loop over the first axis of an array sees."""
    if not isinstance(stacked, Traced) or not stacked.axes:
        return stacked
    return Traced(stacked.path, stacked.axes[1:], stacked.alone + stacked.axes[0])


def _axes(leaf: Traced, places: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for place in places for axis in leaf.axes[place])


def _rearranged(
    equation: Any, operands: Sequence[Value], shapes: Mapping[str, Shape]
) -> Traced | None:
    """What the result is, where it holds the numbers of a leaf in other places."""
    name, params = equation.primitive.name, equation.params
    shape = tuple(equation.outvars[0].aval.shape)
    if name in ELEMENTWISE:
        alike = [
            one
            for one, variable in zip(operands, equation.invars, strict=True)
            if isinstance(one, Traced) and tuple(variable.aval.shape) == shape and shape
        ]
        # A kernel times a gain per unit that was spread over it is still the kernel.
        return max(alike, key=lambda one: sum(map(bool, one.axes)), default=None)
    leaf = operands[0]
    if not isinstance(leaf, Traced):
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
    return Traced(leaf.path, axes, leaf.alone)


def _regrouped(leaf: Traced, shape: Shape, sizes: Shape) -> tuple[tuple[int, ...], ...] | None:
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
