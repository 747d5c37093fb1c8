"""Yogi: a mean square that falls no faster than gradients allow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import moving_mean, normalized, scalar, widen, zeros
from initopt_jax.types import Array, PyTree, Transform


class YogiState(NamedTuple):
    """Running mean of the gradient, and what stands for its mean square, like the parameters."""

    mean: PyTree
    mean_square: PyTree


def scale_by_yogi(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-3,
    initial_accumulator: ArrayLike = 0.0,
) -> optax.GradientTransformation:
    """Adam whose mean square moves by `(1 - b2) * g^2`, whatever its own size.

    `m <- b1 * m + (1 - b1) * g`, `v <- v - (1 - b2) * sign(v - g^2) * g^2`
    `u = m / (sqrt(v) + eps)`, and 0 where the denominator is 0

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        initial_accumulator: `v` at the start; at least 0, concrete or traced.

    Returns:
        The transformation; `m` starts at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Zaheer, Reddi, Sachan, Kale and Kumar (2018), algorithm 2.

    >>> transform = scale_by_yogi(0.5, 0.75, eps=1.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -2.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [0.6667, -0.5]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.non_negative("initial_accumulator", initial_accumulator)

    def follow(mean_square: Array, gradient: Array) -> Array:
        v, g = widen(mean_square, gradient)
        square = g * g
        moved = v - (1 - scalar(b2, v)) * jnp.sign(v - square) * square
        return moved.astype(mean_square.dtype)

    def step(gradient: Array, mean: Array, mean_square: Array) -> Array:
        m, v = widen(mean, mean_square)
        return normalized(m, jnp.sqrt(v) + scalar(eps, v), gradient).astype(gradient.dtype)

    def init(params: PyTree) -> YogiState:
        first = jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator, dtype=p.dtype), params)
        return YogiState(zeros(params), first)

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, YogiState]:
        del params
        mean = jax.tree.map(lambda m, g: moving_mean(m, g, b1), state.mean, updates)
        mean_square = jax.tree.map(follow, state.mean_square, updates)
        return jax.tree.map(step, updates, mean, mean_square), YogiState(mean, mean_square)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def yogi(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-3,
    initial_accumulator: ArrayLike = 0.0,
) -> optax.GradientTransformation:
    """Yogi.

    `m <- b1 * m + (1 - b1) * g`
    `v <- v - (1 - b2) * sign(v - g^2) * g^2`
    `theta <- theta - learning_rate * m / (sqrt(v) + eps)`

    Where gradients become small, Adam forgets `v` by a factor of `b2` per step, and its steps grow;
    Yogi's `v` falls by `(1 - b2) * g^2` only.

    Args:
        learning_rate: the paper's eta; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced. 0.001 is the paper's.
        initial_accumulator: `v` at the start; at least 0, concrete or traced. The paper's
            algorithm has 0; its experiments start from squared gradients of a large batch.

    Returns:
        The transformation; `m` starts at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Zaheer, Reddi, Sachan, Kale and Kumar (2018), Adaptive methods for nonconvex optimization,
        algorithm 2.

    Deviations:
        None. `optax.yogi` corrects both moments for a start at 0, where they start at 1e-6.

    >>> transform = yogi(0.5, b1=0.5, b2=0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.5, 0.5]
    """
    return optax.chain(
        scale_by_yogi(b1, b2, eps, initial_accumulator), scale_by_learning_rate(learning_rate)
    )


ENTRIES = (
    Transform(
        name="yogi",
        make=yogi,
        kind="adam",
        formula=(
            "m <- b1 * m + (1 - b1) * g; v <- v - (1 - b2) * sign(v - g^2) * g^2; "
            "theta <- theta - learning_rate * m / (sqrt(v) + eps)"
        ),
        reference="Zaheer et al. (2018), algorithm 2",
    ),
)
