"""How a network uses each of its leaves, read off its own operations.

Fan-in and fan-out belong to the layer, not to the shape: `(8, 16, 64)` may be a convolution of
width 8, the output projection of eight heads, or eight kernels of an einsum. So the network is
traced, and every leaf followed, entry by entry, to the first operation that sums over it. This
works for any function: Flax, another library, or plain JAX. What is not followed is said.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from initopt_jax.networks.layout import Layout
from initopt_jax.networks.notes import Notes
from initopt_jax.networks.programs import Program, evaluate, opened, program_of, programs_in
from initopt_jax.networks.uses import Meeting
from initopt_jax.networks.values import (
    CONSTANT,
    DATA,
    ELEMENTWISE,
    REARRANGING,
    SUMMING,
    Value,
    changed,
    elementwise,
    product_of,
    rearranged,
)
from initopt_jax.networks.views import Lost, whole
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree, Shape

LOOPS = ("scan", "while")
DOTS = ("dot_general", "ragged_dot_general")


def layouts(apply: Callable[..., Any], params: PyTree, *inputs: Any) -> dict[str, Layout]:
    """The layout of every leaf by what `apply` does with it.

    - A product (`dot_general`): contracted axes are inputs, free ones outputs, batch axes number
      kernels that stand alone. A bilinear form `x W y` has the inputs of the sum that is computed
      first: those of `x`, or all pairs.
    - A convolution: by its dimension numbers and groups. Transposed with strides, a unit sums over
      `window inputs / strides` numbers on average, which is its fan-in here; PyTorch and Keras
      leave the strides out and take the outputs for the inputs.
    - Leaves that are cut, stacked, indexed or picked by number (experts) before they meet data:
      each part is a kernel.
    - Products of weights before data (low rank, masks, gains): each leaf by its own sum in the
      chain `x U V`, whichever product is computed first.
    - Rows picked by number that are used as activations: an embedding.
    - A leaf that is only added to activations or scales them: `vector`, or `added` where it has
      several axes; the fans of a bias are those of its layer.
    - Anything else: `unknown`, with the reason.

    Where a leaf is used more than once (tied weights), the first use counts; `also` tells the next.

    Args:
        apply: `(params, *inputs) -> anything`.
        params: arrays, or shapes as of `jax.eval_shape`; nothing is computed.
        inputs: likewise; a batch of more than one example.

    Returns:
        Path to layout, for all leaves.

    Example: the output projection of attention, eight heads of 16 to 64 outputs.

    >>> import jax, jax.numpy as jnp
    >>> params = {"out": jax.ShapeDtypeStruct((8, 16, 64), "float32")}
    >>> def apply(params, heads):
    ...     return jnp.einsum("btnd,nde->bte", heads, params["out"])
    >>> found = layouts(apply, params, jax.ShapeDtypeStruct((2, 5, 8, 16), "float32"))
    >>> found["out"].fans((8, 16, 64))
    (128, 64)
    """
    program, shapes, given = prepare(apply, params, *inputs)
    follower = Follower(shapes)
    follower.finish(evaluate(program, given, follower))
    return follower.layouts()


def prepare(
    apply: Callable[..., Any], params: PyTree, *inputs: Any
) -> tuple[Program, dict[str, Shape], list[Value]]:
    """The operations of `apply`, the shapes of the leaves, and what the operations are given."""
    shapes = {path: tuple(leaf.shape) for path, leaf in named_leaves(params)}
    program = program_of(apply, params, *inputs)
    given = [
        Value(frozenset([path]), terms=((whole(path, shape),),)) for path, shape in shapes.items()
    ]
    return program, shapes, given + [DATA] * (len(program.jaxpr.invars) - len(given))


class Follower:
    """One pass over the operations, in order; notes what each leaf is used for.

    Attributes:
        shapes: of the leaves, by path.
        notes: what was seen.
    """

    def __init__(self, shapes: Mapping[str, Shape]):
        self.shapes = shapes
        self.notes = Notes()
        self._bonds = itertools.count()

    def finish(self, results: Sequence[Value]) -> None:
        """Note what becomes of leaves that the network returns."""
        for result in results:
            self.notes.activation(result)
            if result.is_weights:
                self.notes.lose(result.paths, "the network returns it as it is")

    def layouts(self) -> dict[str, Layout]:
        """The layout of every leaf."""
        return {path: self.notes.layout(path, self.shapes) for path in self.shapes}

    def constant(self, value: Any) -> Value:
        """Neither weights nor data."""
        del value
        return CONSTANT

    def read(self, known: Value, times: int) -> Value:
        """A product that several operations read is not summed by one of them."""
        return replace(known, products=()) if known.products and times > 1 else known

    def visit(self, equation: Any, operands: Sequence[Value]) -> list[Value]:
        """What the results of an operation are."""
        leaves = frozenset[str]().union(*(one.leaves for one in operands))
        data = any(one.data for one in operands)
        carried = any(one.carried for one in operands)
        results = [Value(leaves, data, carried)] * len(equation.outvars)
        parts = parts_of(equation, operands)
        ends = [self.inside(equation, part, given) for part, given in parts]
        if equation.primitive.name in LOOPS:
            ((_, given),) = parts
            self._handed_on(equation.primitive.name, operands[-len(given) :], given)
            return results
        if parts and all(len(one) == len(results) for one in ends):
            return [_either(several, operands) for several in zip(*ends, strict=True)]
        if parts:
            return results
        self.use(equation, operands)
        # An operation without results is there for its effect: it prints, or checks.
        return self.made(equation, operands, results) if results else results

    def inside(self, equation: Any, part: Program, given: Sequence[Value]) -> list[Value]:
        """Follow into an operation that holds others."""
        del equation
        return evaluate(part, given, self)

    def _handed_on(self, name: str, before: Sequence[Value], inside: Sequence[Value]) -> None:
        """Note leaves that a loop starts from and mixes with data, round by round."""
        for one, other in zip(before, inside, strict=True):
            if one.terms and other.is_activation:
                if one.is_rows:
                    self.notes.activation(one)
                else:
                    self.notes.meet(one, name)

    def use(self, equation: Any, operands: Sequence[Value]) -> None:
        """Note what an operation does with the leaves among its operands."""
        name, params = equation.primitive.name, equation.params
        if name in DOTS:
            self._dot(equation, operands)
        elif name == "conv_general_dilated":
            self._convolution(params, operands)
        elif name == "reduce_sum" and operands[0].products:
            self.notes.summed_by_hand(operands[0], params["axes"])
        elif name in ELEMENTWISE:
            self.notes.entry_by_entry(name, operands)
        elif name not in REARRANGING or any(one.is_activation for one in _moved(name, operands)):
            for one in _moved(name, operands):
                if one.is_rows:
                    self.notes.activation(one)
                elif one.is_weights and name in REARRANGING:
                    self.notes.meet(one, name)
                elif one.is_weights:
                    self.notes.lose(one.paths, f"its numbers pass through {name}")

    def made(self, equation: Any, operands: Sequence[Value], results: list[Value]) -> list[Value]:
        """The results of an operation with what is left of the leaves in them."""
        name, base = equation.primitive.name, results[0]
        moved = _moved(name, operands)
        try:
            if name in REARRANGING:
                many = len(results)
                terms: Sequence[Any] = [()] * many
                products: Sequence[Any] = [()] * many
                if not any(one.is_activation for one in moved) and any(o.terms for o in moved):
                    terms = rearranged(equation, operands)
                elif operands[0].products and len(moved) == 1:
                    only = [replace(operands[0], terms=operands[0].products), *operands[1:]]
                    products = rearranged(equation, only)
                sums = operands[0].sums if len(moved) == 1 else ()
                data = base.data or (name == "gather" and _many(equation) and bool(terms[0]))
                return [
                    replace(base, data=data, terms=terms[i], products=products[i], sums=sums)
                    for i in range(many)
                ]
            if name in ELEMENTWISE and len(results) == 1:
                return [self._entries(equation, operands, base)]
            followed = all(one.is_weights or not (one.leaves or one.data) for one in operands)
            if name == "dot_general" and followed and any(one.terms for one in operands):
                return [replace(base, terms=product_of(equation, operands, next(self._bonds)))]
            if name in (*DOTS, "conv_general_dilated"):
                return [replace(base, sums=self.notes.kernels_in(operands))]
        except Lost as lost:
            paths = frozenset[str]().union(*(one.paths for one in operands))
            self.notes.lose(paths, str(lost))
        return results

    def _entries(self, equation: Any, operands: Sequence[Value], base: Value) -> Value:
        """The result of an operation entry by entry."""
        name = equation.primitive.name
        cases = operands[1:] if name == "select_n" else operands
        active = [one for one in cases if one.is_activation]
        if any(one.is_rows for one in cases) and not self.notes.still_rows(name, cases):
            weights = [one for one in operands if one.is_rows]
            is_product = name == "mul" and len(weights) == len(active) == 1
            return replace(base, products=weights[0].terms) if is_product else base
        if not active:
            if any(one.terms for one in operands):
                return replace(base, terms=elementwise(equation, operands))
            return base
        weights = [one for one in operands if one.terms]
        products = ()
        if name == "mul" and len(weights) == len(active) == 1:
            shape = tuple(equation.outvars[0].aval.shape)
            products = changed(
                weights[0].terms, lambda v: v if len(v.axes) == len(shape) else v.spread(shape, ())
            )
        elif len(active) == 1 and not weights:
            products = active[0].products if name in ("convert_element_type", "copy") else ()
        scaled = name in ("mul", "div", "convert_element_type", "neg") and not weights
        others = any(one.leaves and not one.data for one in operands)
        if scaled and not others and len(active) == 1 and operands[0].data:
            return replace(base, products=products, sums=active[0].sums)
        if name in SUMMING and all(one.sums or not one.data for one in operands):
            sums = tuple(dict.fromkeys(path for one in active for path in one.sums))
            return replace(base, products=products, sums=sums)
        return replace(base, products=products)

    def _dot(self, equation: Any, operands: Sequence[Value]) -> None:
        params = equation.params
        groups: Sequence[int] = ()
        if equation.primitive.name == "dot_general":
            contracted, batched = params["dimension_numbers"]
        else:
            numbers = params["ragged_dot_dimension_numbers"]
            contracted, batched = numbers.dot_dimension_numbers
            groups = numbers.rhs_group_dimensions
        for side in (0, 1):
            one, other = operands[side], operands[1 - side]
            sums = contracted[side]
            batch_axes = (*batched[side], *(groups if side else ()))
            free = [a for a in range(len(equation.invars[side].aval.shape))
                    if a not in (*sums, *batch_axes)]  # fmt: skip
            meeting = Meeting("dense", (), sums, free, batch_axes)
            if one.is_weights and other.data:
                self.notes.sum(one, meeting)
            elif one.is_rows and other.is_activation:
                self.notes.sum_of_rows(one, meeting)
            elif one.is_rows:
                self.notes.activation(one)

    def _convolution(self, params: Any, operands: Sequence[Value]) -> None:
        pictures, kernel = operands
        units, features, *window = params["dimension_numbers"].rhs_spec
        self.notes.activation(pictures)
        if not pictures.data:
            self.notes.lose(pictures.paths | kernel.paths, "it is convolved before it meets data")
        elif params["batch_group_count"] != 1:
            self.notes.lose(kernel.paths, "it is convolved in groups of the batch")
        elif kernel.terms:
            kind = "convolution" if window else "dense"
            thinned = math.prod(params["lhs_dilation"] or (1,))
            groups = params["feature_group_count"]
            meeting = Meeting(kind, window, [features], [units], [], groups, thinned)
            self.notes.sum(kernel, meeting)


def _moved(name: str, operands: Sequence[Value]) -> Sequence[Value]:
    """The operands that an operation rearranges; the others say where to."""
    first = name in REARRANGING and name not in ("concatenate", "stack", "pad")
    return operands[:1] if first else operands


def _many(equation: Any) -> bool:
    """Whether a `gather` takes more than one place."""
    return math.prod(equation.invars[1].aval.shape[:-1]) > 1


def _either(several: Sequence[Value], operands: Sequence[Value]) -> Value:
    """What one of several branches makes; one branch is no choice."""
    first = several[0]
    if len(several) == 1:
        return first
    terms = [term for one in several for term in one.terms]
    alike = all(bool(one.terms) or not one.leaves for one in several)
    return Value(
        frozenset[str]().union(*(one.leaves for one in several)),
        any(one.data for one in several) or operands[0].data,
        any(one.carried for one in several),
        tuple(dict.fromkeys(terms)) if alike else (),
    )


def parts_of(equation: Any, operands: Sequence[Value]) -> list[tuple[Program, list[Value]]]:
    """The programs inside an operation, each with what its own inputs are."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        consts, last = scan_counts(equation)
        part = opened(params["jaxpr"])
        rows = [_one_of(one) for one in operands[last:]]
        carried = _carried(part, operands[:consts], operands[consts:last], rows)
        return [(part, [*operands[:consts], *carried, *rows])]
    if name == "cond":
        return [(opened(branch), list(operands[1:])) for branch in params["branches"]]
    if name == "while":
        first = params["cond_nconsts"]
        last = first + params["body_nconsts"]
        part = opened(params["body_jaxpr"])
        carried = _carried(part, operands[first:last], operands[last:], [])
        return [(part, [*operands[first:last], *carried])]
    for part in programs_in(equation):
        if len(part.jaxpr.invars) == len(operands):
            return [(part, list(operands))]
    return []


def scan_counts(equation: Any) -> tuple[int, int]:
    """Inputs of a `scan` that every round gets alike; and these with what rounds hand on.

    By ranks, since JAX 0.11 no longer names the counts: only what is stacked loses an axis.
    """
    body = opened(equation.params["jaxpr"]).jaxpr
    both = _of_equal_rank(equation.invars, body.invars)
    return both - _of_equal_rank(equation.outvars, body.outvars), both


def _of_equal_rank(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many variables of a `scan` have as many axes outside as inside its body."""
    pairs = zip(outside, inside, strict=True)
    return sum(len(one.aval.shape) == len(other.aval.shape) for one, other in pairs)


def _carried(
    body: Program, consts: Sequence[Value], first: Sequence[Value], rows: Sequence[Value]
) -> list[Value]:
    """What a round of a loop gets from the one before: a count stays one, weights may stay so."""
    known = [replace(one, carried=True, products=(), sums=()) for one in first]
    for _ in range(len(known) + 1):
        ends = evaluate(body, [*consts, *known, *rows], Follower({}))
        after = [
            replace(
                one,
                data=one.data or end.data,
                terms=one.terms if one.terms == end.terms else (),
            )
            for one, end in zip(known, ends, strict=False)
        ]
        if after == known:
            return known
        known = after
    return known


def _one_of(stacked: Value) -> Value:
    """What a loop over the first axis of an array sees."""
    terms = changed(
        stacked.terms, lambda view: view.picked_along(0, 1).squeezed([0]) if view.axes else view
    )
    return replace(stacked, terms=terms, products=())
