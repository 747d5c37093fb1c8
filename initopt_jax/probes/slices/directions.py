"""Directions in the space of weights to look along: trees of the weights' own shapes."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from initopt_jax.errors import nearest
from initopt_jax.initializers import Layout
from initopt_jax.networks.layout import standard_layout
from initopt_jax.norms import norm, norm_in, scale_of
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, PyTree


def inner(first: PyTree, second: PyTree) -> Array:
    """The inner product of two trees, `sum of a_i b_i` over all numbers of all leaves.

    Args:
        first: any floating leaves.
        second: of the same shapes.

    Returns:
        A scalar, float32 at least.

    >>> float(inner({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 4.0])}))
    11.0
    """
    wide = jnp.result_type(jnp.float32, *jax.tree.leaves(first))
    products = jax.tree.map(lambda a, b: jnp.sum(a.astype(wide) * b.astype(wide)), first, second)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def moved(params: PyTree, *steps: tuple[Array | float, PyTree]) -> PyTree:
    """`params + sum of t d` over pairs of a step's length t and a direction d.

    >>> moved({"w": jnp.ones(2)}, (2.0, {"w": jnp.ones(2)}))["w"].tolist()
    [3.0, 3.0]
    """
    for length, direction in steps:
        params = jax.tree.map(
            lambda leaf, way, t=length: (leaf + t * way).astype(leaf.dtype), params, direction
        )
    return params


def direction_between(first: PyTree, second: PyTree) -> PyTree:
    """The direction `second - first` from one network's weights to another's.

    >>> direction_between({"w": jnp.ones(2)}, {"w": jnp.array([1.0, 4.0])})["w"].tolist()
    [0.0, 3.0]
    """
    return jax.tree.map(lambda a, b: b - a, first, second)


def random_direction(params: PyTree, key: Array) -> PyTree:
    """Independent standard normal numbers in the shapes of the weights.

    Args:
        params: of one network.
        key: of the draw.

    Returns:
        A tree like `params`.

    >>> random_direction({"w": jnp.ones((2, 3))}, jax.random.key(0))["w"].shape
    (2, 3)
    """
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.normal(one, leaf.shape, leaf.dtype)
        for one, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def filter_normalized(
    direction: PyTree, params: PyTree, layouts: Mapping[str, Layout] | None = None
) -> PyTree:
    """A direction in which every filter is as long as the filter of the weights.

    `d_ij <- d_ij ||w_ij|| / ||d_ij||` for the filter j of layer i: all that one unit sums over.
    The loss of a network does not change where a layer is scaled up and the next one down; without
    this, slices of two networks of different scale could not be compared. A unit without weights
    has no direction. Rows of a table (an embedding, positions) count as filters.

    Args:
        direction: a tree like `params`, such as a random one.
        params: of one network.
        layouts: which axes of a leaf are its units, by path (`network.anatomy.layouts`); by default
            the last axis of every leaf.

    Returns:
        A tree like `params`; zero in biases and in scales of normalization, as in the paper's
        figures (its `ignore=biasbn`): these are leaves with one number per unit.

    Raises:
        ValueError: `layouts` lacks a leaf.

    Reference:
        Li, Xu, Taylor, Studer, Goldstein (2018), Visualizing the Loss Landscape of Neural Nets,
        section 4.

    >>> params = {"bias": jnp.ones(2), "kernel": jnp.array([[3.0, 0.0], [4.0, 0.0]])}
    >>> found = filter_normalized(jax.tree.map(jnp.ones_like, params), params)
    >>> jnp.allclose(found["kernel"][:, 0], 12.5**0.5).item(), found["kernel"][:, 1].tolist()
    (True, [0.0, 0.0])
    """
    scaled = [
        _normalized(path, way, leaf, _layout_of(path, leaf, layouts))
        for (path, leaf), way in zip(named_leaves(params), jax.tree.leaves(direction), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(params), scaled)


def filter_direction(
    params: PyTree, key: Array, layouts: Mapping[str, Layout] | None = None
) -> PyTree:
    """A random direction with the filters' own norms: `filter_normalized(random_direction)`.

    Arguments, result and reference as there.

    >>> params = {"kernel": 2 * jnp.ones((4, 3))}
    >>> found = filter_direction(params, jax.random.key(0))
    >>> jnp.linalg.norm(found["kernel"], axis=0).round(4).tolist()
    [4.0, 4.0, 4.0]
    """
    return filter_normalized(random_direction(params, key), params, layouts)


def orthonormal(first: PyTree, second: PyTree) -> tuple[PyTree, PyTree]:
    """Two directions of length 1 at right angles that span the plane of two given ones.

    Gram-Schmidt: `u = a / ||a||`, `v = b - <b, u> u`, then `v / ||v||`, the second projection done
    twice so that rounding leaves no part of u.

    Args:
        first: a direction; the first of the result points the same way.
        second: another one. Parallel ones span no plane: the second of the result is then zero, or
            what rounding left.

    Reference:
        Golub and Van Loan (2013), Matrix Computations, section 5.2.8.

    >>> a, b = orthonormal({"w": jnp.array([2.0, 0.0])}, {"w": jnp.array([1.0, 3.0])})
    >>> a["w"].tolist(), b["w"].tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """
    one = _unit(first)
    for _ in range(2):
        share = inner(second, one)
        second = jax.tree.map(lambda b, u, s=share: (b - s * u).astype(b.dtype), second, one)
    return one, _unit(second)


def orthonormal_pair(params: PyTree, key: Array) -> tuple[PyTree, PyTree]:
    """Two random directions of length 1 at right angles.

    >>> a, b = orthonormal_pair({"w": jnp.ones((3, 4))}, jax.random.key(0))
    >>> bool(abs(inner(a, b)) < 1e-6), bool(abs(inner(a, a) - 1) < 1e-6)
    (True, True)
    """
    first, second = jax.random.split(key)
    return orthonormal(random_direction(params, first), random_direction(params, second))


def _unit(direction: PyTree) -> PyTree:
    leaves = jax.tree.leaves(direction)
    scale = scale_of(*leaves)
    length = norm_in(scale, *leaves)
    factor = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), length)  # NaN stays NaN
    return jax.tree.map(lambda leaf: (leaf / scale * factor).astype(leaf.dtype), direction)


def _layout_of(path: str, leaf: Array, layouts: Mapping[str, Layout] | None) -> Layout:
    if layouts is None:
        return standard_layout(leaf.shape)
    if path not in layouts:
        close = nearest(path, layouts)
        hint = f"; it has {close!r}" if close else ""
        raise ValueError(f"layouts has no entry for the leaf {path!r}{hint}")
    return layouts[path]


def _normalized(path: str, direction: Array, leaf: Array, layout: Layout) -> Array:
    if direction.shape != leaf.shape:
        raise ValueError(
            f"direction has shape {direction.shape} at {path!r}, and the weights {leaf.shape}"
        )
    if layout.kind == "vector":
        return jnp.zeros_like(leaf)
    ways, weights = layout.take_apart(direction), layout.take_apart(leaf)
    rows = layout.kind in ("embedding", "added")
    summed = tuple(range(1, weights.ndim)) if rows else tuple(range(1, weights.ndim - 1))
    if not leaf.size:
        return jnp.zeros_like(leaf)
    own, wanted = (norm(part, axis=summed) for part in (ways, weights))
    scale = jnp.where(own > 0, wanted / jnp.where(own > 0, own, 1), own)
    return layout.put_together((ways * scale).astype(leaf.dtype), leaf.shape)
