"""AdaBelief: Adam that divides by how far gradients are from their running mean."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.moments import AdamState
from initopt_jax.transforms.numerics import (
    moving_mean,
    normalized,
    one_minus_power,
    scalar,
    widen,
    zeros,
)
from initopt_jax.types import Array, PyTree, Transform


def scale_by_adabelief(
    b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8
) -> optax.GradientTransformation:
    """Replaces gradients by their running mean, divided by the root mean square distance from it.

    `m <- b1 * m + (1 - b1) * g`, `s <- b2 * s + (1 - b2) * (g - m)^2 + eps`
    `u = (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps)`, and 0 where the denominator is 0

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: at least 0, concrete or traced.

    Returns:
        The transformation; `m` and `s` (the `mean_square` of its state) start at 0.

    Raises:
        ValueError: if a concrete `b1` or `b2` is outside [0, 1), or `eps` is negative or not
            finite.

    Reference:
        Zhuang et al. (2020), algorithm 2.

    >>> transform = scale_by_adabelief(0.5, 0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -2.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [2.0, -2.0]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)

    def spread(belief: Array, mean: Array, gradient: Array) -> Array:
        s, m, g = widen(belief, mean, gradient)
        keep = scalar(b2, s)
        return (keep * s + (1 - keep) * (g - m) ** 2 + scalar(eps, s)).astype(belief.dtype)

    def step(gradient: Array, mean: Array, belief: Array, count: Array) -> Array:
        m, s, g = widen(mean, belief, gradient)
        change = g - m
        m = m / one_minus_power(b1, count, m)
        s = s / one_minus_power(b2, count, s)
        return normalized(m, jnp.sqrt(s) + scalar(eps, s), change).astype(gradient.dtype)

    def init(params: PyTree) -> AdamState:
        return AdamState(jnp.zeros((), jnp.int32), zeros(params), zeros(params))

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, AdamState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.step_count))
        mean = jax.tree.map(lambda m, g: moving_mean(m, g, b1), state.mean, updates)
        belief = jax.tree.map(spread, state.mean_square, mean, updates)
        steps = jax.tree.map(lambda g, m, s: step(g, m, s, count), updates, mean, belief)
        return steps, AdamState(count, mean, belief)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adabelief(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
) -> optax.GradientTransformation:
    """AdaBelief.

    `m <- b1 * m + (1 - b1) * g`
    `s <- b2 * s + (1 - b2) * (g - m)^2 + eps`
    `theta <- theta - learning_rate * (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps)`

    Args:
        learning_rate: the paper's alpha; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of `s`, in [0, 1), concrete or traced.
        eps: at least 0, concrete or traced. It is added to `s` in every step, so that the root of
            the corrected `s` is never below `sqrt(eps / (1 - b2))`, 0.003 with the defaults: that
            bounds the steps of weights whose gradients hardly vary.

    Returns:
        The transformation; `m` and `s` start at 0.

    Raises:
        ValueError: if a concrete learning rate or `eps` is negative or not a number, or `b1` or
            `b2` is outside [0, 1).

    Reference:
        Zhuang, Tang, Ding, Tatikonda, Dvornek, Papademetris and Duncan (2020), AdaBelief optimizer:
        adapting stepsizes by the belief in observed gradients, algorithm 2.

    Deviations:
        None. `optax.adabelief` has two numbers in place of `eps`, both 1e-16 by default.

    >>> transform = adabelief(0.5, b1=0.5, b2=0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-1.0, 1.0]
    """
    return optax.chain(scale_by_adabelief(b1, b2, eps), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="adabelief",
        make=adabelief,
        kind="adam",
        formula=(
            "m <- b1 * m + (1 - b1) * g; s <- b2 * s + (1 - b2) * (g - m)^2 + eps; theta <- theta "
            "- learning_rate * (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps)"
        ),
        reference="Zhuang et al. (2020), algorithm 2",
    ),
)
