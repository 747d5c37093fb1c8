"""What is known of an array inside a network: which leaves it is made of, and how."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from initopt_jax.networks.uses import Term
from initopt_jax.networks.views import Axis, Lost, Run, View, whole

# What changes no place of a number: the axes of the operands are those of the result.
ELEMENTWISE = {
    "abs", "add", "add_any", "convert_element_type", "copy", "copy_p", "cos", "div", "exp",
    "integer_pow", "log", "logistic", "max", "min", "mul", "neg", "optimization_barrier", "pow",
    "reduce_precision", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient",
    "sub", "tanh",
}  # fmt: skip
LINEAR = {"convert_element_type", "copy", "copy_p", "neg", "reduce_precision", "stop_gradient"}
SUMMING = {"add", "add_any", "sub"}
REARRANGING = {
    "broadcast_in_dim", "concatenate", "dynamic_slice", "gather", "pad", "reshape", "rev", "slice",
    "split", "squeeze", "stack", "transpose",
}  # fmt: skip
MANY = 64  # products that a sum of weights may consist of


@dataclass(frozen=True)
class Value:
    """What is known of an array.

    Attributes:
        leaves: paths of all leaves that it depends on.
        data: whether it depends on the network's inputs. Rows that an array of numbers picks from
            a leaf count as data too: whether they are, or are kernels, their use tells.
        carried: whether it depends on what a loop around it hands from one round to the next.
        terms: where it is made of leaves and constants alone: a sum of products of them.
        products: leaves of which each is multiplied with activations, entry by entry, and nothing
            else has happened to the result.
        sums: kernels whose sums it holds, with nothing done to them but scaling.
    """

    leaves: frozenset[str] = frozenset()
    data: bool = False
    carried: bool = False
    terms: tuple[Term, ...] = ()
    products: tuple[Term, ...] = ()
    sums: tuple[str, ...] = ()

    @property
    def paths(self) -> frozenset[str]:
        """The leaves of its terms."""
        return frozenset(view.path for term in self.terms for view in term if view.path)

    @property
    def is_weights(self) -> bool:
        """Whether it is made of leaves alone, in a way that was followed."""
        return bool(self.terms) and not self.data

    @property
    def is_rows(self) -> bool:
        """Whether it is weights that data, or an array of numbers, picked."""
        return bool(self.terms) and self.data

    @property
    def is_activation(self) -> bool:
        """Whether data went into it otherwise."""
        return self.data and not self.terms

    @property
    def is_picked(self) -> bool:
        """Whether one of several kernels of a leaf was picked."""
        return any(view.picked for term in self.terms for view in term)


CONSTANT, DATA = Value(), Value(data=True)


def changed(terms: Sequence[Term], change: Callable[[View], View | None]) -> tuple[Term, ...]:
    """Terms after the same change to all of their factors; without those that it left empty."""
    made = (tuple(map(change, term)) for term in terms)
    return tuple(tuple(filter(None, term)) for term in made if None not in term)


def rearranged(equation: Any, operands: Sequence[Value]) -> list[tuple[Term, ...]]:
    """The terms of an operation's results, where it moves numbers about.

    Raises:
        Lost: it moves them in a way that is not followed.
    """
    name, params, terms = equation.primitive.name, equation.params, operands[0].terms
    shape = tuple(equation.outvars[0].aval.shape)
    if name in ("concatenate", "stack"):
        return [_side_by_side(equation, operands)]
    if name == "split":
        return _split(equation, terms)
    if 0 in shape:
        raise Lost("a part without entries is taken of it")
    return [changed(terms, _change(equation, name, params, shape))]


def _change(equation: Any, name: str, params: Any, shape: tuple[int, ...]) -> Any:
    """What an operation on one array does to each factor."""
    if name == "transpose":
        return lambda view: view.transposed(params["permutation"])
    if name == "squeeze":
        return lambda view: view.squeezed(params["dimensions"])
    if name == "rev":
        return lambda view: view.turned(params["dimensions"])
    if name == "broadcast_in_dim":
        return lambda view: view.spread(shape, params["broadcast_dimensions"])
    if name == "reshape":
        order = params.get("dimensions")  # a permutation that comes first
        return lambda view: (view.transposed(order) if order else view).reshaped(shape)
    if name == "slice":
        starts, stops = params["start_indices"], params["limit_indices"]
        return lambda view: view.sliced(starts, stops, params["strides"] or [1] * len(starts))
    if name == "pad":
        return lambda view: _padded(view, params["padding_config"])
    if name == "dynamic_slice":
        return lambda view: _picked(view, params["slice_sizes"])
    return lambda view: _gathered(view, equation)


def _picked(view: View, sizes: Sequence[int]) -> View:
    for place, size in enumerate(sizes):
        view = view.picked_along(place, size)
    return view


def _padded(view: View, config: Sequence[tuple[int, int, int]]) -> View | None:
    cut = view
    if any(low < 0 or high < 0 for low, high, _ in config):
        starts = [max(0, -low) for low, _, _ in config]
        sizes = [axis.size for axis in view.axes]
        stops = [size - max(0, -high) for size, (_, high, _) in zip(sizes, config, strict=True)]
        cut = view.sliced(starts, stops, [1] * len(starts))
    if cut is None:
        return None
    for place, (low, high, between) in enumerate(config):
        size = cut.axes[place].size
        if between:
            raise Lost("zeros are put between its entries")
        if low > 0 or high > 0:
            cut = cut.among(place, max(0, low), size + max(0, low) + max(0, high))
    return cut


def _gathered(view: View, equation: Any) -> View:
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    rows = equation.invars[1].aval.shape[:-1]  # the axes of the array of numbers
    paired = dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims,
                      strict=True))  # fmt: skip
    for place, size in enumerate(sizes):
        view = view if place in paired else view.picked_along(place, size)
    gone = {*numbers.collapsed_slice_dims, *paired}
    kept = iter([axis for place, axis in enumerate(view.axes) if place not in gone])
    of_rows = [Axis((Run(size, 0),), 0, size) for size in rows]
    for place, row in paired.items():
        of_rows[row] = view.axes[place]
    spread = iter(of_rows)
    count = len(equation.outvars[0].aval.shape)
    axes = tuple(next(kept if a in numbers.offset_dims else spread) for a in range(count))
    return replace(view, axes=axes)


def _split(equation: Any, terms: Sequence[Term]) -> list[tuple[Term, ...]]:
    place, start, parts = equation.params["axis"], 0, []
    sizes = equation.invars[0].aval.shape
    for size in map(int, equation.params["sizes"]):
        starts, stops = [0] * len(sizes), list(sizes)
        starts[place], stops[place] = start, start + size
        steps = [1] * len(sizes)
        parts.append(changed(terms, lambda v, a=starts, b=stops, s=steps: v.sliced(a, b, s)))
        start += size
    return parts


def _side_by_side(equation: Any, operands: Sequence[Value]) -> tuple[Term, ...]:
    stacked = equation.primitive.name == "stack"
    place = equation.params["axis" if stacked else "dimension"]
    size, start, found = equation.outvars[0].aval.shape[place], 0, []
    for value, variable in zip(operands, equation.invars, strict=True):
        own = list(variable.aval.shape)
        if stacked:
            own.insert(place, 1)

        def change(view: View, own: list[int] = own, start: int = start) -> View:
            if stacked:
                view = view.spread(tuple(own), [axis for axis in range(len(own)) if axis != place])
            return view.among(place, start, size)

        found += changed(value.terms, change)
        start += own[place]
    return _few(found)


def elementwise(equation: Any, operands: Sequence[Value]) -> tuple[Term, ...]:
    """The terms of what an operation makes of weights and constants, entry by entry.

    Raises:
        Lost: it is no sum of products of leaves.
    """
    name, shape = equation.primitive.name, tuple(equation.outvars[0].aval.shape)
    cases = operands[1:] if name == "select_n" else operands
    variables = equation.invars[1:] if name == "select_n" else equation.invars
    spread = [
        changed(one.terms, lambda view: view.spread(shape, range(len(view.axes))))
        if len(variable.aval.shape) == len(shape)
        else changed(one.terms, lambda view: view.spread(shape, ()))
        for one, variable in zip(cases, variables, strict=True)
    ]
    made = [terms for terms in spread if terms]
    if name == "div":
        if not spread[0]:
            raise Lost("something is divided by it")
        return spread[0]
    if name == "mul" and len(made) == 2 and made[0] != made[1]:
        return _few([_product(*pair) for pair in itertools.product(*made)])
    terms = _few(list(dict.fromkeys(itertools.chain.from_iterable(made))))
    if name in LINEAR or (name == "mul" and len(made) == 1):
        return terms
    if name in SUMMING or name == "select_n":
        shifted = len(made) < len(cases) and name in SUMMING
        return changed(terms, lambda view: replace(view, plain=False)) if shifted else terms
    if any(len(term) > 1 for term in terms):
        raise Lost(f"its product with other weights passes through {name}")
    return changed(terms, lambda view: replace(view, plain=False))


def product_of(equation: Any, operands: Sequence[Value], bond: int) -> tuple[Term, ...]:
    """The terms of a product of weights with weights or constants (`dot_general`)."""
    contracted, batched = equation.params["dimension_numbers"]
    shapes = [tuple(variable.aval.shape) for variable in equation.invars]
    sides = [
        one.terms or ((whole("", shape),),) for one, shape in zip(operands, shapes, strict=True)
    ]
    free = [
        [axis for axis in range(len(shape)) if axis not in (*sums, *batch_axes)]
        for shape, sums, batch_axes in zip(shapes, contracted, batched, strict=True)
    ]

    def placed(side: int) -> Callable[[View], View]:
        before = [] if side == 0 else [shapes[0][axis] for axis in free[0]]
        after = [] if side == 1 else [shapes[1][axis] for axis in free[1]]

        def change(view: View) -> View:
            shared = [view.axes[axis] for axis in batched[side]]
            own = [view.axes[axis] for axis in free[side]]
            others = [[Axis((Run(n, 0),), 0, n) for n in sizes] for sizes in (before, after)]
            bonds = ((bond, view.runs(contracted[side])),) if contracted[side] else ()
            axes = (*shared, *others[0], *own, *others[1])
            return replace(view, axes=axes, bonds=view.bonds + bonds)

        return change

    left, right = (changed(terms, placed(side)) for side, terms in enumerate(sides))
    return _few([_product(*pair) for pair in itertools.product(left, right)])


def _product(left: Term, right: Term) -> Term:
    both = {view.path for view in left if view.path} & {view.path for view in right if view.path}
    if both:
        raise Lost("it is multiplied with itself")
    return left + right


def _few(terms: Sequence[Term]) -> tuple[Term, ...]:
    if len(terms) > MANY:
        raise Lost(f"it is part of a sum of more than {MANY} products")
    return tuple(terms)
