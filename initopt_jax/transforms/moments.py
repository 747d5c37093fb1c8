"""What Adam and its relatives share: two running moments, and an update made of them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import moving_mean, moving_mean_square, zeros
from initopt_jax.types import Array, PyTree


class AdamState(NamedTuple):
    """Steps so far (int32, stays at its maximum), and the two moments, like the parameters."""

    step_count: Array
    mean: PyTree
    mean_square: PyTree


def scale_by_moments(
    b1: ArrayLike, b2: ArrayLike, step: Callable[[Array, Array, Array, Array], Array]
) -> optax.GradientTransformation:
    """Makes updates of the running mean of the gradients and of that of their squares.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`, `u = step(g, m, v, t)`

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        step: `(gradient, mean, mean_square, count) -> update` of one leaf; `count` is from 1.

    Returns:
        The transformation; both moments start at 0.

    >>> transform = scale_by_moments(0.5, 0.75, lambda g, m, v, count: m + v)
    >>> transform.update(jnp.array([2.0]), transform.init(jnp.zeros(1)))[0].tolist()
    [2.0]
    """

    def init(params: PyTree) -> AdamState:
        return AdamState(jnp.zeros((), jnp.int32), zeros(params), zeros(params))

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, AdamState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.step_count))
        mean = jax.tree.map(lambda m, g: moving_mean(m, g, b1), state.mean, updates)
        mean_square = jax.tree.map(
            lambda v, g: moving_mean_square(v, g, b2), state.mean_square, updates
        )
        steps = jax.tree.map(lambda g, m, v: step(g, m, v, count), updates, mean, mean_square)
        return steps, AdamState(count, mean, mean_square)

    return on_real_leaves(optax.GradientTransformation(init, apply))
