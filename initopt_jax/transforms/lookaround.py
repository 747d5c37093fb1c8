"""Gradients away from the weights, for methods that look around before they step."""

from collections.abc import Callable

import jax

from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.types import Array, PyTree


def needs_cost(name: str, value_fn: Callable[..., Array] | None, params: PyTree) -> Callable:
    """The loss of a step, where it and the weights to take it at are given.

    Raises:
        ValueError: if `value_fn` or `params` is None.

    >>> needs_cost("sam", None, {})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: sam needs the loss around the weights: call update(updates, state, params, ...
    """
    if value_fn is None or params is None:
        raise ValueError(
            f"{name} needs the loss around the weights: call update(updates, state, params, "
            "value_fn=cost) with `cost(params) -> scalar`"
        )
    return value_fn


def moved(params: PyTree, direction: PyTree, length: Array) -> PyTree:
    """`params + length * direction`, each leaf in its own dtype.

    >>> import jax.numpy as jnp
    >>> moved(jnp.ones(2), jnp.array([1.0, -1.0]), jnp.array(0.5)).tolist()
    [1.5, 0.5]
    """

    def move(weights: Array, along: Array) -> Array:
        w, d = widen(weights, along)
        return (w + scalar(length, w) * d).astype(weights.dtype)

    return jax.tree.map(move, params, direction)
