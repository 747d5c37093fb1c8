"""Matching the units of two networks: which permutation of the one is nearest to the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from initopt_jax.networks.anatomy import Anatomy, Kernel, anatomy
from initopt_jax.networks.layout import Layout
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree

Apply = Callable[[PyTree, Any], Any]
Order = npt.NDArray[np.int64]
MOST_ROUNDS = 100
LOOSE = 1e3  # units in the last place by which sums in another order may differ, of a net's outputs


@dataclass(frozen=True)
class HiddenLayer:
    """A layer whose units can change places.

    Attributes:
        kernel: path of the leaf that makes its units.
        beside: leaves with a number per unit: its bias, scales and shifts of a normalization.
        reader: the kernel that sums over its units.
        units: how many there are.
    """

    kernel: str
    beside: tuple[str, ...]
    reader: str
    units: int


class Matched(NamedTuple):
    """A network whose units were put in another's order.

    Attributes:
        params: the second network, permuted; it computes what it did.
        permutations: by path of the kernel, [units]: which unit of the second stands at each place.
    """

    params: PyTree
    permutations: dict[str, Order]


def hidden_layers(apply: Apply, params: PyTree, inputs: Any) -> tuple[HiddenLayer, ...]:
    """The layers of a chain of kernels whose units can be permuted freely, in order.

    A chain: each kernel sums over what the one before it made and nothing else, as in multilayer
    perceptrons and plain stacks of convolutions; between two of them stand biases, scales of a
    normalization and functions of one unit at a time. After the reading the network is run once
    with its units permuted, and refused where it does not compute the same.

    Args:
        apply: `(params, inputs) -> outputs`, in operations that can be looked into.
        params: of the network.
        inputs: a few examples [n, ...], at least two.

    Raises:
        ValueError: units cannot be permuted by this reading, and why: residual branches, attention,
            recurrence, groups, several readers, dropout (its fixed draw drops places, not units).

    Reference:
        Ainsworth, Hayase, Srinivasa (2023), Git Re-Basin: Merging Models modulo Permutation
        Symmetries, section 2.

    >>> import jax.numpy as jnp
    >>> params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
    >>> (layer,) = hidden_layers(
    ...     lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"], params, jnp.ones((2, 3))
    ... )
    >>> layer.kernel, layer.reader, layer.units
    ('a', 'b', 4)
    """
    found = anatomy(apply, params, inputs)
    leaves = {path: np.asarray(leaf) for path, leaf in named_leaves(params)}
    layers = tuple(_chain(found, leaves))
    _refuse_other(apply, params, inputs, layers, found.layouts)
    return layers


def match_units(
    apply: Apply,
    first: PyTree,
    second: PyTree,
    inputs: Any,
    *,
    seed: int = 0,
    most_rounds: int = MOST_ROUNDS,
) -> Matched:
    """The second network with its units in the order in which they are nearest to the first's.

    Weight matching: over permutations P of the units of every hidden layer, maximize
    `sum over leaves of <A, P(B)>`, which is the same as to minimize `||A - P(B)||`. Layer by layer
    in a random order the best permutation given the others is found (a linear assignment), until no
    layer gains. Computed on the host in float64.

    Args:
        apply: `(params, inputs) -> outputs`, in operations that can be looked into.
        first: weights of a network.
        second: of another one of the same shapes.
        inputs: a few examples [n, ...], at least two, on which the permuted network is checked.
        seed: of the order of layers.
        most_rounds: rounds over the layers at most; each gain ends in finitely many.

    Returns:
        The permuted second network and the permutations. Where weights are not finite, nothing is
        permuted.

    Raises:
        ValueError: the units of this network cannot be permuted freely; see `hidden_layers`.

    Reference:
        Ainsworth, Hayase, Srinivasa (2023), Git Re-Basin, section 3.2, algorithm 1.

    Deviations:
        The paper starts from no permutation. Here a second start matches the layers in order, each
        by its incoming weights alone, and the better of the two ends is taken: a permuted copy of
        the first network is then found exactly, which coordinate ascent alone may miss.

    >>> import jax.numpy as jnp
    >>> def apply(p, x):
    ...     return jnp.tanh(x @ p["a"]) @ p["b"]
    >>> first = {"a": jnp.array([[1.0, 2.0]]), "b": jnp.array([[3.0], [4.0]])}
    >>> second = {"a": jnp.array([[2.0, 1.0]]), "b": jnp.array([[4.0], [3.0]])}
    >>> match_units(apply, first, second, jnp.ones((2, 1))).params["a"].tolist()
    [[1.0, 2.0]]
    """
    layouts = anatomy(apply, second, inputs).layouts
    layers = hidden_layers(apply, second, inputs)
    held, given = (
        {path: np.asarray(leaf, np.float64) for path, leaf in named_leaves(tree)}
        for tree in (first, second)
    )
    same = {layer.kernel: np.arange(layer.units) for layer in layers}
    if not all(np.isfinite(leaf).all() for leaf in (*held.values(), *given.values())):
        return Matched(second, same)
    pair = _Pair(held, given, layers, layouts)
    ends = [
        pair.ascended(start, np.random.default_rng(seed), most_rounds)
        for start in (same, pair.forward())
    ]
    best = max(ends, key=pair.likeness)
    return Matched(permuted(second, layers, layouts, best), best)


def permuted(
    params: PyTree,
    layers: Sequence[HiddenLayer],
    layouts: Mapping[str, Layout],
    permutations: Mapping[str, Order],
) -> PyTree:
    """A network with the units of its hidden layers in another order: the same function.

    Args:
        params: of the network.
        layers: see `hidden_layers`.
        layouts: of the leaves, by path.
        permutations: by path of the kernel, [units]: which unit comes to stand at each place.

    >>> layer, last = Layout("dense", inputs=(0,), outputs=(1,)), HiddenLayer("a", (), "b", 2)
    >>> params = {"a": np.array([[1.0, 2.0]]), "b": np.array([[3.0], [4.0]])}
    >>> found = permuted(params, [last], {"a": layer, "b": layer}, {"a": np.array([1, 0])})
    >>> found["a"].tolist(), found["b"].tolist()
    ([[2.0, 1.0]], [[4.0], [3.0]])
    """
    leaves = {path: np.asarray(leaf) for path, leaf in named_leaves(params)}
    changed = _permuted(leaves, layers, layouts, permutations)
    return jax.tree.unflatten(jax.tree.structure(params), list(changed.values()))


# --- reading the chain ---------------------------------------------------------------------------


def _chain(found: Anatomy, leaves: Mapping[str, np.ndarray]) -> list[HiddenLayer]:
    kernels = [kernel for kernel in found.kernels if kernel.path in found.reached]
    _refuse_shape(found, kernels)
    layers = []
    for place, (own, reader) in enumerate(pairwise(kernels)):
        before = {kernel.path for kernel in kernels[: place + 1]}
        units = _count(leaves[own.path], own.layout.outputs)
        inputs = _count(leaves[reader.path], reader.layout.inputs)
        if {path for path in reader.upstream if path in {k.path for k in kernels}} != before:
            raise _refused(f"{reader.path!r} does not read what {own.path!r} made")
        if inputs % units:
            raise _refused(f"{reader.path!r} has {inputs} inputs, and {own.path!r} {units} units")
        beside = sorted(reader.upstream - own.upstream - {own.path} - before)
        beside = [path for path in beside if leaves[path].size > 1]
        for path in beside:
            if leaves[path].size != units:
                shape = leaves[path].shape
                raise _refused(f"{path!r} of shape {shape} has not one number per unit")
        layers.append(HiddenLayer(own.path, tuple(beside), reader.path, units))
    return layers


def _refuse_shape(found: Anatomy, kernels: Sequence[Kernel]) -> None:
    """Refuse what is no chain of plain kernels by its parts alone."""
    if found.branches:
        raise _refused("it has residual branches")
    if any(layout.kind == "embedding" for layout in found.layouts.values()):
        raise _refused("it begins with an embedding")
    if not kernels:
        raise _refused("it has no kernels")
    for kernel in kernels:
        if kernel.in_scan:
            raise _refused(f"{kernel.path!r} is used in a loop")
        if kernel.layout.groups > 1 or kernel.layout.batch_axes:
            raise _refused(f"{kernel.path!r} holds several kernels")


def _refused(why: str) -> ValueError:
    return ValueError(
        f"the units of this network cannot be permuted freely: {why}. Matching takes chains of "
        "dense layers and convolutions, such as mlp and cnn"
    )


def _count(leaf: np.ndarray, axes: Sequence[int]) -> int:
    return int(np.prod([leaf.shape[axis] for axis in axes]))


def _refuse_other(
    apply: Apply,
    params: PyTree,
    inputs: Any,
    layers: Sequence[HiddenLayer],
    layouts: Mapping[str, Layout],
) -> None:
    """Refuse a network whose function changes when the units that were read off are permuted.

    Numbers of its own stand in for weights: those of a constant start would hide any change.
    """
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(
        lambda leaf: (
            rng.standard_normal(leaf.shape).astype(leaf.dtype)
            / np.sqrt(max(leaf.size // max(leaf.shape[-1:] or (1,)), 1), dtype=leaf.dtype)
        ),
        params,
    )
    shuffled = {layer.kernel: rng.permutation(layer.units) for layer in layers}
    run = jax.jit(apply)
    before = np.asarray(run(drawn, inputs))
    after = np.asarray(run(permuted(drawn, layers, layouts, shuffled), inputs))
    room = LOOSE * np.finfo(before.dtype).eps * max(float(np.abs(before).max()), 1e-3)
    if not np.abs(before - after).max() <= room:
        raise _refused(
            "its outputs change with them (flattened with units not last, dropout, or a "
            "normalization over groups of units)"
        )


# --- the leaves along a layer's units ------------------------------------------------------------


def _made(leaf: np.ndarray, layout: Layout) -> np.ndarray:
    """A kernel as [rest, units] by the units that it makes."""
    kernel = layout.take_apart(leaf)
    return kernel.reshape(-1, kernel.shape[-1])


def _read(leaf: np.ndarray, layout: Layout, units: int) -> np.ndarray:
    """A kernel as [places, units, outputs] by the units that it reads, the units last of a place.

    Flattened maps [height, width, units] are read place by place.
    """
    kernel = layout.take_apart(leaf)
    return kernel.reshape(-1, units, kernel.shape[-1])


def _permuted(
    leaves: Mapping[str, np.ndarray],
    layers: Sequence[HiddenLayer],
    layouts: Mapping[str, Layout],
    permutations: Mapping[str, Order],
) -> dict[str, np.ndarray]:
    changed = dict(leaves)
    for layer in layers:
        order = permutations[layer.kernel]
        for path in (layer.kernel, layer.reader):
            leaf, layout = changed[path], layouts[path]
            apart = layout.take_apart(leaf)
            if path == layer.kernel:
                moved = apart[..., order]
            else:
                moved = _read(leaf, layout, layer.units)[:, order].reshape(apart.shape)
            changed[path] = layout.put_together(moved, leaf.shape)
        for path in layer.beside:
            changed[path] = changed[path].reshape(-1)[order].reshape(changed[path].shape)
    return changed


@dataclass(frozen=True)
class _Pair:
    """Two networks by their leaves, in float64, and the layers whose units are matched."""

    held: Mapping[str, np.ndarray]
    given: Mapping[str, np.ndarray]
    layers: Sequence[HiddenLayer]
    layouts: Mapping[str, Layout]

    def likeness(self, permutations: Mapping[str, Order]) -> float:
        """`sum over leaves of <A, P(B)>`."""
        found = _permuted(self.given, self.layers, self.layouts, permutations)
        return float(sum(np.vdot(leaf, found[path]) for path, leaf in self.held.items()))

    def gains(
        self, layer: HiddenLayer, found: Mapping[str, np.ndarray], *, reader: bool = True
    ) -> np.ndarray:
        """[units, units]: what unit j of the second network brings at the place of unit i."""
        layouts = self.layouts
        one, other = (_made(net[layer.kernel], layouts[layer.kernel]) for net in (self.held, found))
        gains = one.T @ other
        for path in layer.beside:
            gains += np.outer(self.held[path].ravel(), found[path].ravel())
        if reader:
            ones, others = (
                _read(net[layer.reader], layouts[layer.reader], layer.units)
                for net in (self.held, found)
            )
            gains += np.einsum("piu,pju->ij", ones, others, optimize=True)
        return gains

    def forward(self) -> dict[str, Order]:
        """Layers matched in order, each by what comes in."""
        orders = {layer.kernel: np.arange(layer.units) for layer in self.layers}
        for layer in self.layers:
            found = _permuted(self.given, self.layers, self.layouts, orders)
            orders[layer.kernel] = _assigned(self.gains(layer, found, reader=False))
        return orders

    def ascended(
        self, orders: Mapping[str, Order], rng: np.random.Generator, most_rounds: int
    ) -> dict[str, Order]:
        """Coordinate ascent until no layer gains."""
        orders = dict(orders)
        for _ in range(most_rounds):
            gained = False
            for place in rng.permutation(len(self.layers)):
                layer = self.layers[place]
                found = _permuted(self.given, self.layers, self.layouts, orders)
                gains = self.gains(layer, found)
                better = _assigned(gains)
                # Equal up to rounding is no gain: ties would change places for ever.
                least = np.trace(gains) + 1e-12 * np.abs(gains).sum()
                if gains[np.arange(layer.units), better].sum() > least:
                    orders[layer.kernel] = orders[layer.kernel][better]
                    gained = True
            if not gained:
                break
        return orders


def _assigned(gains: np.ndarray) -> Order:
    return linear_sum_assignment(gains, maximize=True)[1].astype(np.int64)
