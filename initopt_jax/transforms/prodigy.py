"""Prodigy: Adam that estimates its own learning rate from how far the weights have come."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.norms import inner, needs_params, rate_at, working_dtype
from initopt_jax.transforms.numerics import (
    moving_mean,
    moving_mean_square,
    normalized,
    ratio,
    scalar,
    widen,
    zeros,
)
from initopt_jax.types import Array, PyTree, Transform


class ProdigyState(NamedTuple):
    """What Prodigy remembers.

    step_count: int32, steps so far; stays at its maximum.
    distance: the estimate `d` of the distance to the solution.
    progress: the mean `r` of the weighted inner products of gradients and the way back.
    start: the first weights; first and second moment and the weighted gradients `s`, like them.
    """

    step_count: Array
    distance: Array
    progress: Array
    start: PyTree
    mean: PyTree
    mean_square: PyTree
    weighted: PyTree


def prodigy(
    learning_rate: optax.ScalarOrSchedule = 1.0,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    initial_distance: ArrayLike = 1e-6,
) -> optax.GradientTransformation:
    """Prodigy: Adam whose learning rate is an estimate of the distance to the solution.

    `m <- b1 * m + (1 - b1) * d * g`, `v <- b2 * v + (1 - b2) * d^2 * g^2`
    `r <- b3 * r + (1 - b3) * learning_rate * d^2 * <g, theta_0 - theta>`, `b3 = sqrt(b2)`
    `s <- b3 * s + (1 - b3) * learning_rate * d^2 * g`
    `theta <- theta - learning_rate * d * m / (sqrt(v) + d * eps)`, then `d <- max(d, r / |s|_1)`

    The inner product and the norm are over all leaves.

    Args:
        learning_rate: the paper's gamma, which multiplies the estimate; scalar of at least 0,
            concrete or traced, or an Optax schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        initial_distance: the paper's d_0, below the true distance; above 0, concrete or traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Mishchenko and Defazio (2023), Prodigy: an expeditiously adaptive parameter-free learner,
        algorithm 4.

    Deviations:
        None. `optax.contrib.prodigy` corrects for the start of the moments at 0, divides the sums
        by `d_0`, and takes the new `d` in `d * eps`.

    >>> transform = prodigy(b1=0.0, b2=0.75, eps=0.0, initial_distance=0.25)
    >>> weights = jnp.array([1.0, -2.0])
    >>> updates, _ = transform.update(jnp.array([8.0, -3.0]), transform.init(weights), weights)
    >>> updates.tolist()
    [-0.5, 0.5]
    """
    checks.non_negative("learning_rate", learning_rate)
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.positive("initial_distance", initial_distance)

    def init(params: PyTree) -> ProdigyState:
        dtype = working_dtype(params)
        return ProdigyState(
            step_count=jnp.zeros((), jnp.int32),
            distance=jnp.array(initial_distance, dtype),
            progress=jnp.zeros((), dtype),
            start=jax.tree.map(jnp.copy, params),
            mean=zeros(params),
            mean_square=zeros(params),
            weighted=zeros(params),
        )

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, ProdigyState]:
        needs_params("prodigy", params)
        d = state.distance
        rate = rate_at(learning_rate, state.step_count, d)
        b3 = jnp.sqrt(scalar(b2, d))
        weight = (1 - b3) * rate * d * d

        def scaled(gradient: Array) -> Array:
            (g,) = widen(gradient)
            return scalar(d, g) * g

        def weigh(total: Array, gradient: Array) -> Array:
            s, g = widen(total, gradient)
            return (scalar(b3, s) * s + scalar(weight, s) * g).astype(total.dtype)

        def way_back(start: Array, weights: Array) -> Array:
            old, new = widen(start, weights)
            return old - new

        def step(gradient: Array, mean: Array, mean_square: Array) -> Array:
            m, v = widen(mean, mean_square)
            size = jnp.sqrt(v) + scalar(d, v) * scalar(eps, v)
            return (-scalar(rate * d, m) * normalized(m, size, gradient)).astype(gradient.dtype)

        mean = jax.tree.map(lambda m, g: moving_mean(m, scaled(g), b1), state.mean, updates)
        mean_square = jax.tree.map(
            lambda v, g: moving_mean_square(v, scaled(g), b2), state.mean_square, updates
        )
        weighted = jax.tree.map(weigh, state.weighted, updates)
        back = jax.tree.map(way_back, state.start, params)
        progress = b3 * state.progress + weight * inner(updates, back).astype(d.dtype)
        length = inner(jax.tree.map(jnp.sign, weighted), weighted).astype(d.dtype)
        return jax.tree.map(step, updates, mean, mean_square), ProdigyState(
            step_count=jnp.asarray(optax.safe_increment(state.step_count)),
            distance=jnp.maximum(d, ratio(progress, length)),
            progress=progress,
            start=state.start,
            mean=mean,
            mean_square=mean_square,
            weighted=weighted,
        )

    return on_real_leaves(optax.GradientTransformation(init, apply))


ENTRIES = (
    Transform(
        name="prodigy",
        make=prodigy,
        formula=(
            "Adam's m and v of d * g; theta <- theta - learning_rate * d * m / (sqrt(v) + d * eps);"
            " d <- max(d, r / |s|_1), r and s decayed sums of learning_rate * d^2 times "
            "<g, theta_0 - theta> and g"
        ),
        reference="Mishchenko and Defazio (2023), algorithm 4",
    ),
)
