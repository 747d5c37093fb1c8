"""Numbers that go with whole leaves and trees, in the working dtype."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from initopt_jax.norms import norm, rescaled
from initopt_jax.transforms.numerics import ratio, scalar
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


def as_long_as(weights: Array, update: Array) -> Array:
    """`|weights| / |update| * update`; the update itself where a norm is 0: weights may leave 0.

    >>> as_long_as(jnp.array([3.0, 4.0]), jnp.array([0.0, 1e-30])).tolist()
    [0.0, 5.0]
    >>> as_long_as(jnp.zeros(2), jnp.array([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    direction, _ = rescaled(update)
    of_weights, of_update = norm(weights), norm(direction)
    still = (of_weights == 0) | (of_update == 0)
    return jnp.where(still, update, ratio(of_weights, of_update) * direction)


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
