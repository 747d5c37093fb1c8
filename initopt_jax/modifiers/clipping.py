"""Gradients cut to size, entry by entry, leaf by leaf, or all together."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.norms import norm, norm_in, scale_of
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.transforms.parts import each_part
from initopt_jax.types import Array, Modifier, PyTree


def clip_by_value(max_value: ArrayLike) -> optax.GradientTransformation:
    """Cuts every entry to `[-max_value, max_value]`.

    Args:
        max_value: at least 0, concrete or traced.

    Raises:
        ValueError: if a concrete `max_value` is negative or not a number.

    Reference:
        Graves (2013), section 4.1.

    >>> clip = clip_by_value(1.0)
    >>> clip.update(jnp.array([3.0, -0.5]), clip.init(None))[0].tolist()
    [1.0, -0.5]
    """
    checks.non_negative("max_value", max_value)

    def cut(leaf: Array) -> Array:
        (wide,) = widen(leaf)
        most = scalar(max_value, wide)
        return jnp.clip(wide, -most, most).astype(leaf.dtype)

    return _stateless(lambda updates, params: jax.tree.map(cut, updates))


def clip_by_global_norm(max_norm: ArrayLike) -> optax.GradientTransformation:
    """Shortens the gradient of the whole network to a norm: `g * min(1, max_norm / ||g||)`.

    Right for gradients of any size, also where `||g||` itself is beyond the range of float32. An
    infinite entry leaves no direction: like NaN, it makes all entries NaN, and the lane diverges.

    Args:
        max_norm: at least 0, concrete or traced.

    Raises:
        ValueError: if a concrete `max_norm` is negative or not a number.

    Reference:
        Pascanu, Mikolov and Bengio (2013), algorithm 1.

    >>> clip = clip_by_global_norm(1.0)
    >>> clipped, _ = clip.update({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, clip.init(None))
    >>> [round(float(leaf[0]), 2) for leaf in clipped.values()]
    [0.6, 0.8]
    """
    checks.non_negative("max_norm", max_norm)

    def cut(updates: PyTree, params: PyTree) -> PyTree:
        del params
        leaves = jax.tree.leaves(updates)
        scale = scale_of(*leaves)
        length = norm_in(scale, *leaves)
        return jax.tree.map(lambda leaf: _shortened(leaf, length, scale, max_norm), updates)

    return _stateless(cut)


def clip_by_leaf_norm(max_norm: ArrayLike) -> optax.GradientTransformation:
    """Shortens the gradient of each leaf by itself: `g_l * min(1, max_norm / ||g_l||)`.

    For gradients of any size; an infinite or NaN entry makes its leaf NaN.

    Args:
        max_norm: at least 0, concrete or traced.

    Raises:
        ValueError: if a concrete `max_norm` is negative or not a number.

    Reference:
        Pascanu, Mikolov and Bengio (2013), algorithm 1, leaf by leaf.

    >>> clip = clip_by_leaf_norm(1.0)
    >>> clipped, _ = clip.update({"a": jnp.array([3.0]), "b": jnp.array([0.5])}, clip.init(None))
    >>> [float(leaf[0]) for leaf in clipped.values()]
    [1.0, 0.5]
    """
    checks.non_negative("max_norm", max_norm)

    def cut(leaf: Array) -> Array:
        scale = scale_of(leaf)
        return _shortened(leaf, norm_in(scale, leaf), scale, max_norm)

    return _stateless(lambda updates, params: jax.tree.map(cut, updates))


def adaptive_clip(
    clipping: ArrayLike = 0.01, eps: ArrayLike = 1e-3, *, layouts: PyTree | None = None
) -> optax.GradientTransformation:
    """Shortens the gradient of each unit to a share of the norm of the unit's weights.

    `g_i <- g_i * min(1, clipping * max(||w_i||, eps) / ||g_i||)` for the weights `w_i` that lead
    to unit `i`: all entries of a kernel (*window, inputs, outputs) with the same output; all
    entries of a leaf of fewer than two axes. With `layouts`, kernels and units are those of the
    network (each of a stack of layers, the groups of a convolution, heads flattened), and the rows
    of a table (an embedding, positions) count as units. For gradients of any size; an infinite or
    NaN entry makes its unit NaN.

    Args:
        clipping: at least 0, concrete or traced.
        eps: what the norm of weights counts at least; above 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Raises:
        ValueError: if a concrete number is out of its range; on update, if no params are given.

    Reference:
        Brock, De, Smith and Simonyan (2021), eq. 3.

    >>> clip = adaptive_clip(0.5)
    >>> weights, gradient = jnp.array([[3.0, 1.0], [4.0, 0.0]]), jnp.full((2, 2), 3.0)
    >>> clipped, _ = clip.update(gradient, clip.init(weights), weights)
    >>> [[round(x, 3) for x in row] for row in clipped.tolist()]
    [[1.768, 0.354], [1.768, 0.354]]
    """
    checks.non_negative("clipping", clipping)
    checks.positive("eps", eps)

    def cut(leaf: Array, weights: Array) -> Array:
        g, w = widen(leaf, weights)
        axes = tuple(range(g.ndim - 1)) if g.ndim > 1 else None
        most = scalar(clipping, g) * jnp.maximum(norm(w, axis=axes), eps)
        scale = scale_of(g, axis=axes)
        return _shortened(leaf, norm_in(scale, g, axis=axes), scale, most)

    def clip(updates: PyTree, params: PyTree) -> PyTree:
        if params is None:
            raise ValueError("adaptive_clip needs the params in update")
        return each_part("unit", layouts, cut, updates, params)

    return _stateless(clip)


def _shortened(leaf: Array, length: Array, scale: Array, most: ArrayLike) -> Array:
    """The leaf times `most / (length * scale)`, its norm, where that is above `most`.

    The norm is taken apart, as a gradient whose entries fit may have one that does not. NaN where
    an entry is infinite or NaN: such a gradient has no direction.
    """
    wide, length, scale = widen(leaf, length, scale)
    limit = scalar(most, wide)
    longer = length > limit / scale
    factor = limit / jnp.where(length > 0, length, 1)
    short = jnp.where(longer, factor * (wide / scale), wide)
    return jnp.where(jnp.isfinite(length), short, jnp.nan).astype(leaf.dtype)


def _stateless(change: Callable[[PyTree, PyTree], PyTree]) -> optax.GradientTransformation:
    def update(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        return change(updates, params), state

    return on_real_leaves(optax.GradientTransformation(lambda params: optax.EmptyState(), update))


ENTRIES = (
    Modifier(
        name="clip_by_value",
        place="pre-transform",
        make=clip_by_value,
        formula="g <- min(max(g, -max_value), max_value)",
        reference="Graves (2013), section 4.1",
    ),
    Modifier(
        name="clip_by_global_norm",
        place="pre-transform",
        make=clip_by_global_norm,
        formula="g <- g * min(1, max_norm / ||g||)",
        reference="Pascanu, Mikolov and Bengio (2013), algorithm 1",
    ),
    Modifier(
        name="clip_by_leaf_norm",
        place="pre-transform",
        make=clip_by_leaf_norm,
        formula="g_l <- g_l * min(1, max_norm / ||g_l||) for each leaf l",
        reference="Pascanu, Mikolov and Bengio (2013), algorithm 1",
    ),
    Modifier(
        name="adaptive_clip",
        place="pre-transform",
        make=adaptive_clip,
        formula="g_i <- g_i * min(1, clipping * max(||w_i||, eps) / ||g_i||) for each unit i",
        reference="Brock, De, Smith and Simonyan (2021), eq. 3",
    ),
)
