"""Lengths of leaves and of whole trees, and numbers that go with them, in the working dtype."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from initopt_jax.transforms.numerics import ratio, scalar, widen
from initopt_jax.types import Array, PyTree


def working_dtype(tree: PyTree) -> Any:
    """float64 if any leaf of a tree is, else float32: what numbers about all weights are kept in.

    >>> working_dtype({"w": jnp.ones(2, jnp.bfloat16)}).__name__
    'float32'
    """
    wide = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(tree))
    return jnp.float64 if wide else jnp.float32


def inner(one: PyTree, other: PyTree) -> Array:
    """The inner product of two trees, in their working dtype.

    >>> float(inner({"a": jnp.array([1.0, 2.0])}, {"a": jnp.array([3.0, 4.0])}))
    11.0
    """
    dtype = working_dtype((one, other))
    products = jax.tree.map(lambda a, b: jnp.sum(a.astype(dtype) * b.astype(dtype)), one, other)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def tree_norm(tree: PyTree) -> Array:
    """The Euclidean norm of all leaves together.

    >>> float(tree_norm([jnp.array([3.0]), jnp.array(4.0)]))
    5.0
    """
    return jnp.sqrt(inner(tree, tree))


def leaf_norm(leaf: Array) -> Array:
    """The Euclidean norm of one leaf."""
    (wide,) = widen(leaf)
    return jnp.sqrt(jnp.sum(wide * wide))


def root_mean_square(leaf: Array) -> Array:
    """The root of the mean of a leaf's squares; 0 for a leaf without elements.

    >>> float(root_mean_square(jnp.array([7.0, 1.0])))
    5.0
    """
    (wide,) = widen(leaf)
    return jnp.sqrt(jnp.sum(wide * wide) / max(leaf.size, 1))


def trust_ratio(weights: Array, update: Array) -> Array:
    """`weights / update` of two norms, and 1 where one is 0: weights of 0 may leave it.

    >>> trust_ratio(jnp.array([3.0, 0.0, 3.0]), jnp.array([2.0, 2.0, 0.0])).tolist()
    [1.5, 1.0, 1.0]
    """
    return jnp.where((weights == 0) | (update == 0), 1, ratio(weights, update))


def rate_at(learning_rate: optax.ScalarOrSchedule, count: Array, like: Array) -> Array:
    """The learning rate after `count` steps, in the dtype of an array.

    >>> float(rate_at(lambda count: 0.5**count, jnp.array(2), jnp.zeros(())))
    0.25
    """
    value: Any = learning_rate(count) if callable(learning_rate) else learning_rate
    return scalar(value, like)


def needs_params(name: str, params: PyTree) -> None:
    """Refuses an update without the weights.

    Raises:
        ValueError: if `params` is None.

    >>> needs_params("lamb", None)
    Traceback (most recent call last):
    ValueError: lamb needs the weights: call update(updates, state, params)
    """
    if params is None:
        raise ValueError(f"{name} needs the weights: call update(updates, state, params)")
