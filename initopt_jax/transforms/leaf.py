"""A learning rate for every leaf: updates multiplied by a number that goes with the leaf's path."""

from collections.abc import Mapping

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, PyTree


def scale_by_leaf(multipliers: Mapping[str, ArrayLike]) -> optax.GradientTransformation:
    """Multiplies the updates of each leaf by a number of its own, and keeps their dtype.

    `u_l <- multiplier_l * u_l`

    Chained after a whole optimizer, it gives every leaf its own learning rate; what the optimizer
    remembers does not change. A weight decay that the optimizer adds to its updates is multiplied
    as well.

    Args:
        multipliers: path to number, at least 0, concrete or traced; every leaf must have one.

    Returns:
        The transformation; it has no accumulators.

    Raises:
        ValueError: if a concrete number is not a finite number of at least 0; on `init`, if a leaf
            has no number or a number no leaf.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_leaf({"dense/bias": 1.0, "dense/kernel": 0.25})
    >>> updates = {"dense": {"bias": jnp.ones(1), "kernel": jnp.ones((1, 2))}}
    >>> scaled, _ = transform.update(updates, transform.init(updates))
    >>> scaled["dense"]["kernel"].tolist()
    [[0.25, 0.25]]
    """
    for path, value in multipliers.items():
        checks.non_negative(f"multipliers[{path!r}]", value)

    def init(params: PyTree) -> optax.EmptyState:
        paths = [path for path, _ in named_leaves(params)]
        bare = [path for path in paths if path not in multipliers]
        idle = [path for path in multipliers if path not in paths]
        if bare or idle:
            raise ValueError(
                f"multipliers must name every leaf and nothing else; leaves without a number: "
                f"{bare}, numbers without a leaf: {idle}"
            )
        return optax.EmptyState()

    def scale(path: str, update: Array) -> Array:
        (wide,) = widen(update)
        return (scalar(multipliers[path], wide) * wide).astype(update.dtype)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        del params
        scaled = [scale(path, update) for path, update in named_leaves(updates)]
        return jax.tree.unflatten(jax.tree.structure(updates), scaled), state

    return on_real_leaves(optax.GradientTransformation(init, apply))
