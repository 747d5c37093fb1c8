"""Weight decay as a part of an optimizer's step."""

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.norms import needs_params
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.types import Array, PyTree


def add_weight_decay(name: str, weight_decay: ArrayLike) -> optax.GradientTransformation:
    """Adds to each update a multiple of the weights, and keeps its dtype.

    `u <- u + weight_decay * theta`

    Args:
        name: of the method, for the error.
        weight_decay: at least 0, concrete or traced.

    Returns:
        The transformation; it has no accumulators.

    Raises:
        ValueError: if a concrete `weight_decay` is negative or not a number; on `update`, if it is
            called without the weights.

    >>> import jax.numpy as jnp
    >>> transform = add_weight_decay("lion", 0.5)
    >>> weights = jnp.array([4.0])
    >>> transform.update(jnp.array([1.0]), transform.init(weights), weights)[0].tolist()
    [3.0]
    """
    checks.non_negative("weight_decay", weight_decay)

    def decay(update: Array, weights: Array) -> Array:
        u, w = widen(update, weights)
        return (u + scalar(weight_decay, u) * w).astype(update.dtype)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        needs_params(name, params)
        return jax.tree.map(decay, updates, params), state

    return on_real_leaves(optax.GradientTransformation(lambda params: optax.EmptyState(), apply))
