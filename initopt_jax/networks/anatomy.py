"""The parts of a network that model-level initializers speak of, read off its operations.

Kernels in order of use, where a bias or a scale belongs, which kernels see the inputs and which
make the outputs, and the residual branches: what is added to a shortcut around it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from initopt_jax.networks.fans import Fans
from initopt_jax.networks.layout import Layout
from initopt_jax.networks.programs import Program, compute, evaluate
from initopt_jax.networks.usage import DOTS, LOOPS, Follower, parts_of, prepare
from initopt_jax.networks.values import CONSTANT, Value
from initopt_jax.types import Array, PyTree, Shape

SUMS = (*DOTS, "conv_general_dilated")


@dataclass(frozen=True)
class Kernel:
    """A leaf that activations are multiplied with and summed over, at its first use.

    Attributes:
        path: of the leaf.
        layout: its axes.
        upstream: leaves that its inputs depend on; empty for a layer that sees the data. The kernel
            itself is one of them where a loop feeds its results back, as in a recurrent cell.
        in_scan: whether it is used inside a loop, such as a recurrent cell or a stack of layers.
    """

    path: str
    layout: Layout
    upstream: frozenset[str]
    in_scan: bool

    def fans(self, shape: Shape) -> Fans:
        """Fan-in and fan-out of one kernel of its leaf. Raises ValueError where none are known."""
        known = self.layout.fans(shape)
        if known is None:
            raise ValueError(f"the fans of {self.path!r} {shape} are not known")
        return known


@dataclass(frozen=True)
class Branch:
    """A residual branch: `x + branch(x)`.

    Attributes:
        leaves: all leaves that only the branch depends on, in order of use.
        kernels: those of them that are kernels, in order of use.
        scales: those of them that multiply activations element by element, in order of use.
        times: how many layers of the network it stands for: more than one in a stack run by a loop.
    """

    leaves: tuple[str, ...]
    kernels: tuple[str, ...]
    scales: tuple[str, ...]
    times: int


@dataclass(frozen=True)
class Anatomy:
    """The parts of a network.

    Attributes:
        layouts: of every leaf, by path.
        kernels: in order of use, embeddings not among them.
        branches: residual branches, in order.
        met: leaves that meet activations element by element: path to `add`, `mul` ...
        reached: leaves that the network's outputs depend on.
    """

    layouts: Mapping[str, Layout]
    kernels: tuple[Kernel, ...]
    branches: tuple[Branch, ...]
    met: Mapping[str, str]
    reached: frozenset[str]

    @property
    def depth(self) -> int:
        """Number of residual branches, those of a stack counted one by one."""
        return sum(branch.times for branch in self.branches)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Kernels that see the data, not what other leaves made of them."""
        return tuple(kernel.path for kernel in self.kernels if not kernel.upstream)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Kernels whose sums reach the outputs, and no other kernel on the way."""
        used = [kernel for kernel in self.kernels if kernel.path in self.reached]
        seen = frozenset[str]().union(*(kernel.upstream for kernel in used))
        return tuple(kernel.path for kernel in used if kernel.path not in seen)

    def bias_of(self, kernel: str) -> str | None:
        """The leaf that is added to a kernel's sums: a sibling by name, met after the kernel."""
        layer = kernel.rpartition("/")[0]
        before = next((one.upstream for one in self.kernels if one.path == kernel), frozenset())
        siblings = [path for path in self.met if path.rpartition("/")[0] == layer]
        added = (path for path in siblings if self.met[path].startswith("add"))
        return next((path for path in added if path not in before), None)


def anatomy(apply: Callable[..., Any], params: PyTree, *inputs: Any) -> Anatomy:
    """The parts of the network `apply(params, *inputs)`; nothing is computed.

    A residual branch is found where two results are added and one of them depends on everything
    that the other does and more (an identity shortcut), or where both have leaves of their own and
    one has more kernels than the other (a projection shortcut; not inside loops). A sum whose
    shortcut passed a recurrent kernel is a gate, not a branch. Weights that are applied several
    times without a loop count once.

    Args:
        apply: `(params, *inputs) -> anything`.
        params: arrays, or shapes as of `jax.eval_shape`.
        inputs: likewise; a batch of more than one example.

    >>> import jax.numpy as jnp
    >>> def apply(params, x):
    ...     return x @ params["in"] + jnp.tanh(x @ params["in"] @ params["a"]) @ params["b"]
    >>> found = anatomy(
    ...     apply, {name: jnp.ones((4, 4)) for name in ("a", "b", "in")}, jnp.ones((2, 4))
    ... )
    >>> found.branches[0].kernels, found.inputs
    (('a', 'b'), ('in',))
    """
    program, shapes, given = prepare(apply, params, *inputs)
    surveyor = _Surveyor(shapes)
    results = evaluate(program, given, surveyor)
    surveyor.finish(results)
    return surveyor.anatomy(frozenset[str]().union(*(one.leaves for one in results)))


class _Addition(NamedTuple):
    """A sum of two results: leaves of the branch, layers it stands for, whether it is sure."""

    own: frozenset[str]
    times: int
    sure: bool


class _Surveyor(Follower):
    """Follows leaves and notes kernels and branches on the way."""

    def __init__(self, shapes: Mapping[str, Shape]):
        super().__init__(shapes)
        self.order: list[str] = []  # leaves by first use
        self.upstream: dict[str, tuple[frozenset[str], bool]] = {}
        self.additions: list[_Addition] = []
        self.loops: list[int] = []  # lengths of the loops around the present operation
        self.recurrent: set[str] = set()  # kernels whose results are their inputs a round later

    def inside(self, equation: Any, part: Program, given: Sequence[Value]) -> list[Value]:
        in_loop = equation.primitive.name in LOOPS
        if in_loop:
            self.loops.append(equation.params.get("length", 1))
        results = evaluate(part, given, self)
        if in_loop:
            self.loops.pop()
        return results

    def use(self, equation: Any, operands: Sequence[Value]) -> None:
        known = set(self.notes.uses)
        super().use(equation, operands)
        name = equation.primitive.name
        for path in (path for one in operands for path in sorted(one.paths)):
            if path not in self.order and any(one.data for one in operands):
                self.order.append(path)
        if name in SUMS:
            for path in self.notes.new_kernels(known):
                others = [one for one in operands if path not in one.paths]
                upstream = frozenset[str]().union(*(one.leaves for one in others))
                # One of a stack that the loop runs through is another one in every round.
                sliced = any(one.is_picked for one in operands)
                if any(one.carried for one in others) and not sliced:
                    self.recurrent.add(path)
                    upstream |= {path}
                self.upstream[path] = upstream, bool(self.loops)
        elif name in ("add", "add_any") and all(one.data for one in operands):
            self._addition(*(one.leaves for one in operands))

    def _addition(self, left: frozenset[str], right: frozenset[str]) -> None:
        own, other = left - right, right - left
        stream = frozenset[str]().union(*(addition.own for addition in self.additions))
        if (left & right & self.recurrent) - stream:
            return
        sure = True
        if own and other:
            # What earlier branches made is the stream that this one is added to: parallel branches.
            if own <= stream or other <= stream:
                own = other if own <= stream else own
            else:
                counts = [sum(path in self.upstream for path in side) for side in (own, other)]
                if self.loops or counts[0] == counts[1] or 0 in counts:
                    return
                own, sure = own if counts[0] > counts[1] else other, False
        else:
            own = own or other
        if any(path in self.upstream for path in own):
            # A sum inside a branch is no branch beside it.
            self.additions = [one for one in self.additions if one.sure or not one.own < own]
            self.additions.append(_Addition(own, math.prod(self.loops), sure))

    def anatomy(self, reached: frozenset[str]) -> Anatomy:
        layouts = self.layouts()
        kernels = tuple(
            Kernel(path, layouts[path], *self.upstream[path])
            for path in self.notes.uses
            if path in self.upstream and layouts[path].kind != "unknown"
        )
        branches = []
        for addition in self.additions:
            leaves = tuple(path for path in self.order if path in addition.own)
            branches.append(
                Branch(
                    leaves=leaves,
                    kernels=tuple(path for path in leaves if path in self.upstream),
                    scales=tuple(path for path in leaves if self.notes.met.get(path) == "mul"),
                    times=addition.times,
                )
            )
        return Anatomy(layouts, kernels, tuple(branches), dict(self.notes.met), reached)


def kernel_sums(apply: Callable[..., Any], params: PyTree, *inputs: Any) -> dict[str, Array]:
    """What every kernel makes of its inputs, before a bias or an activation.

    Args:
        apply: `(params, *inputs) -> anything`.
        params: of the network.
        inputs: of the network.

    Returns:
        Path of the kernel to its sums [n, outputs], in order of use: every place, example and
        time step is a row; the columns are its units, in the order of the leaf's output axes.
        Kernels inside loops, and those with axes that stand alone, are left out.

    >>> import jax.numpy as jnp
    >>> x, params = jnp.ones((2, 3)), {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 5))}
    >>> sums = kernel_sums(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], params, x)
    >>> {path: array.shape for path, array in sums.items()}
    {'a': (2, 4), 'b': (2, 5)}
    """
    program, shapes, given = prepare(apply, params, *inputs)
    numbers = jax.tree.leaves((params, *inputs))
    visitor = _Sums(shapes)
    evaluate(program, [_Number(*one) for one in zip(given, numbers, strict=True)], visitor)
    return visitor.sums


class _Number(NamedTuple):
    """An array on the way through a network: what is known of it, and its numbers."""

    value: Value
    number: Any


class _Sums:
    """A visitor that computes on the way, and keeps what kernels make of their inputs."""

    def __init__(self, shapes: Mapping[str, Shape]):
        self.follower = Follower(shapes)
        self.sums: dict[str, Array] = {}

    def constant(self, value: Any) -> _Number:
        return _Number(CONSTANT, value)

    def read(self, known: _Number, times: int) -> _Number:
        return known._replace(value=self.follower.read(known.value, times))

    def visit(self, equation: Any, operands: Sequence[_Number]) -> list[_Number]:
        name, notes = equation.primitive.name, self.follower.notes
        values = [one.value for one in operands]
        parts = [] if name in (*LOOPS, "cond") else parts_of(equation, values)
        if parts:
            part, given = parts[0]
            numbers = [_Number(v, one.number) for v, one in zip(given, operands, strict=True)]
            inside = evaluate(part, numbers, self)
            if len(inside) == len(equation.outvars):
                return inside
        before = set(notes.uses)
        results = self.follower.visit(equation, values)
        outcome = compute(equation, [one.number for one in operands])
        if name in SUMS:
            for path in notes.new_kernels(before):
                if notes.is_one_kernel(path, values, self.follower.shapes[path]):
                    self.sums[path] = _units_last(equation, values, path, outcome[0])
        return [_Number(*made) for made in zip(results, outcome, strict=True)]


def _units_last(equation: Any, operands: Sequence[Value], path: str, sums: Array) -> Array:
    """The sums as [n, outputs]."""
    units = unit_axes(equation, operands, path, sums.ndim)
    rows = [axis for axis in range(sums.ndim) if axis not in units]
    ordered = sums.transpose(*rows, *units)
    return ordered.reshape(-1, math.prod(sums.shape[axis] for axis in units))


def unit_axes(
    equation: Any, operands: Sequence[Value], path: str, dimensions: int
) -> tuple[int, ...]:
    """The axes of a kernel's sums that number its units; the others are examples and places."""
    if equation.primitive.name == "conv_general_dilated":
        return (equation.params["dimension_numbers"].out_spec[1],)
    contracted, batched = equation.params["dimension_numbers"]
    left = path in operands[0].paths
    side = 0 if left else 1
    shared = len(batched[0])
    free = len(equation.invars[side].aval.shape) - len(contracted[side]) - shared
    first = shared if left else dimensions - free
    return (*range(shared), *range(first, first + free))
