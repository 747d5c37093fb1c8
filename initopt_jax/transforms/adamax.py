"""Adamax: Adam with a decaying maximum in place of the mean square."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import (
    moving_mean,
    one_minus_power,
    ratio,
    scalar,
    widen,
    zeros,
)
from initopt_jax.types import Array, PyTree, Transform


class AdamaxState(NamedTuple):
    """Steps so far (int32, stays at its maximum), mean and decaying maximum of the gradients."""

    step_count: Array
    mean: PyTree
    largest: PyTree


def scale_by_adamax(b1: ArrayLike = 0.9, b2: ArrayLike = 0.999) -> optax.GradientTransformation:
    """Replaces gradients by their running mean, divided by a decaying maximum of their sizes.

    `m <- b1 * m + (1 - b1) * g`, `w <- max(b2 * w, |g|)`
    `u = m / (1 - b1^t) / w`, and 0 where `w` is 0

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.

    Returns:
        The transformation; `m` and `w` start at 0.

    Raises:
        ValueError: if a concrete `b1` or `b2` is outside [0, 1).

    Reference:
        Kingma and Ba (2015), algorithm 2.

    >>> transform = scale_by_adamax(0.5, 0.5)
    >>> state = transform.init(jnp.zeros(1))
    >>> for gradient in (4.0, 1.0):
    ...     updates, state = transform.update(jnp.array([gradient]), state)
    >>> round(float(updates[0]), 4)  # (4 / 4 + 1 / 2) / 0.75 / 2
    1.0
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)

    def grow(largest: Array, gradient: Array) -> Array:
        w, g = widen(largest, gradient)
        return jnp.maximum(scalar(b2, w) * w, jnp.abs(g)).astype(largest.dtype)

    def step(gradient: Array, mean: Array, largest: Array, count: Array) -> Array:
        m, w = widen(mean, largest)
        return ratio(m / one_minus_power(b1, count, m), w).astype(gradient.dtype)

    def init(params: PyTree) -> AdamaxState:
        return AdamaxState(jnp.zeros((), jnp.int32), zeros(params), zeros(params))

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, AdamaxState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.step_count))
        mean = jax.tree.map(lambda m, g: moving_mean(m, g, b1), state.mean, updates)
        largest = jax.tree.map(grow, state.largest, updates)
        steps = jax.tree.map(lambda g, m, w: step(g, m, w, count), updates, mean, largest)
        return steps, AdamaxState(count, mean, largest)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adamax(
    learning_rate: optax.ScalarOrSchedule = 0.002,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
) -> optax.GradientTransformation:
    """Adamax: Adam with the infinity norm.

    `m <- b1 * m + (1 - b1) * g`
    `w <- max(b2 * w, |g|)`
    `theta <- theta - learning_rate / (1 - b1^t) * m / w`

    Args:
        learning_rate: the paper's alpha, which no step exceeds by much; scalar of at least 0,
            concrete or traced, or an Optax schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the maximum, in [0, 1), concrete or traced.

    Returns:
        The transformation; `m` and `w` start at 0.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, or `b1` or `b2` is
            outside [0, 1).

    Reference:
        Kingma and Ba (2015), Adam: a method for stochastic optimization, algorithm 2.

    Deviations:
        None; a weight without any gradient stays. PyTorch and `optax.adamax` add an eps to `|g|`.

    >>> transform = adamax(0.5)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.5, 0.5]
    """
    return optax.chain(scale_by_adamax(b1, b2), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="adamax",
        make=adamax,
        kind="adam",
        formula=(
            "m <- b1 * m + (1 - b1) * g; w <- max(b2 * w, |g|); "
            "theta <- theta - learning_rate / (1 - b1^t) * m / w"
        ),
        reference="Kingma and Ba (2015), algorithm 2",
    ),
)
