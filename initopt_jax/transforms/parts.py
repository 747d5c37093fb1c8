"""What a method sees of a leaf: the kernels, layers or units that the leaf holds.

A method for matrices is written for one kernel `(*window, inputs, outputs)`, and a method for
layers for one layer. A leaf may hold many of them (a stack of layers, groups of a convolution,
packed projections), or one of another shape (heads of attention keep axes of their own). How the
network uses its leaves says so: layouts, as `initializers.layouts` gives them. Without layouts the
shape decides: a leaf is one kernel and one layer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax

from initopt_jax.errors import nearest
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, PyTree, Shape

By = Literal["kernel", "layer", "unit"]
KERNELS = ("dense", "convolution")
TABLES = ("embedding", "added")


class LeafLayout(Protocol):
    """How a network uses one leaf; `initializers.Layout` is one."""

    @property
    def kind(self) -> str:
        """`dense` or `convolution`; `vector`; `embedding` or `added`; else the shape decides."""
        ...

    @property
    def groups(self) -> int:
        """So many kernels in a row belong to one layer, as in a grouped convolution."""
        ...

    def take_apart(self, leaf: Any) -> Any:
        """The kernels [n, *window, inputs, outputs] of a leaf."""
        ...

    def put_together(self, kernels: Any, shape: Shape) -> Any:
        """The leaf of a shape from its kernels."""
        ...


@dataclass(frozen=True)
class Parts:
    """How one leaf falls into equal parts, each of which a method sees by itself.

    Attributes:
        kind: of the layer, as in `LeafLayout`; by the shape where that decides.
        whole: the shape of the leaf.
        shape: of one part.
        count: how many parts; a single one has no axis for it.
        layout: None where the leaf is its own one part.
    """

    kind: str
    whole: Shape
    shape: Shape
    count: int = 1
    layout: LeafLayout | None = None

    @property
    def stack(self) -> Shape:
        """The axis of the parts: (count,), or () for a single one."""
        return (self.count,) if self.count > 1 else ()

    def take(self, leaf: Array) -> Array:
        """The parts [*stack, *shape] of a leaf."""
        if self.layout is None:
            return leaf
        return self.layout.take_apart(leaf).reshape(self.stack + self.shape)

    def put(self, parts: Array) -> Array:
        """The leaf from its parts: the inverse of `take`."""
        if self.layout is None:
            return parts
        like = jax.ShapeDtypeStruct(self.whole, parts.dtype)
        kernels = parts.reshape(jax.eval_shape(self.layout.take_apart, like).shape)
        return self.layout.put_together(kernels, self.whole)

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of one part and what belongs to it, as one of all parts."""
        return jax.vmap(function) if self.count > 1 else function


def parts_of(by: By, layouts: PyTree | None, tree: PyTree) -> PyTree:
    """The parts of every leaf of a tree.

    Args:
        by: `kernel`: matrices, each `(*window, inputs, outputs)`; the rows of a table (an
            embedding, positions) make one matrix. `layer`: all that a layer holds, so that the
            groups of a convolution are one part. `unit`: kernels, and tables row by row.
        layouts: path to layout, or a tree like the weights; leaves that `tree` lacks may be among
            them. None: what shapes suggest.
        tree: of arrays or shapes.

    Returns:
        A tree like `tree` with a `Parts` for each leaf.

    Raises:
        ValueError: if layouts lack a leaf, or do not fit its shape.

    >>> import jax.numpy as jnp
    >>> parts_of("kernel", None, {"w": jnp.ones((3, 4))})["w"].shape
    (3, 4)
    """
    known = None if layouts is None else dict(named_leaves(layouts))
    found = [_parts(by, path, tuple(leaf.shape), known) for path, leaf in named_leaves(tree)]
    return jax.tree.unflatten(jax.tree.structure(tree), found)


def each_part(
    by: By, layouts: PyTree | None, function: Callable[..., Array], tree: PyTree, *others: PyTree
) -> PyTree:
    """A function of a part, applied to every part of all leaves; what it gives is put together.

    Args:
        by, layouts: see `parts_of`.
        function: `(part of tree, parts of others) -> part` of the same shape.
        tree: of arrays.
        others: trees of arrays of the same shapes.

    >>> import jax.numpy as jnp
    >>> each_part("layer", None, lambda g: g / jnp.sum(g), {"w": jnp.array([1.0, 3.0])})[
    ...     "w"
    ... ].tolist()
    [0.25, 0.75]
    """

    def of_leaf(parts: Parts, *leaves: Array) -> Array:
        return parts.put(parts.each(function)(*(parts.take(leaf) for leaf in leaves)))

    return jax.tree.map(of_leaf, parts_of(by, layouts, tree), tree, *others)


def _parts(by: By, path: str, shape: Shape, layouts: dict[str, Any] | None) -> Parts:
    by_shape = Parts("dense" if len(shape) > 1 else "vector", shape, shape)
    if layouts is None:
        return by_shape
    if path not in layouts:
        close = nearest(path, layouts)
        hint = f"; they have {close!r}" if close else ""
        raise ValueError(f"layouts have no entry for the leaf {path!r}{hint}")
    layout: LeafLayout = layouts[path]
    kind = getattr(layout, "kind", None)
    if kind is None:
        raise ValueError(
            f"layouts: the entry of {path!r} must be a Layout, as initializers.layouts gives it, "
            f"got {layout!r}"
        )
    if kind in TABLES and by != "unit":
        return Parts(kind, shape, shape)
    if kind not in (*KERNELS, "vector", *TABLES) or 0 in shape:
        return by_shape
    count, *one = _kernels(path, layout, shape)
    if kind in TABLES:
        one = [math.prod(one)]  # a row is a vector
    if by == "layer" and layout.groups > 1:
        count, one = count // layout.groups, [layout.groups, *one]
    if by == "layer" and count == 1:
        return Parts(kind, shape, shape)
    return Parts(kind, shape, tuple(one), count, layout)


def _kernels(path: str, layout: LeafLayout, shape: Shape) -> Shape:
    """The shape of all kernels of a leaf."""
    try:
        return jax.eval_shape(layout.take_apart, jax.ShapeDtypeStruct(shape, "float32")).shape
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"layouts: the entry of {path!r} does not fit its shape {shape}: {layout}"
        ) from error
