"""RAdam: Adam whose steps are rectified while its mean square has seen few gradients."""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.moments import scale_by_moments
from initopt_jax.transforms.numerics import (
    normalized,
    one_minus_power,
    scalar,
    widen,
)
from initopt_jax.types import Array, Transform


def average_length(decay: ArrayLike, count: Array, like: Array) -> Array:
    """`2 / (1 - b) - 1 - 2 * t * b^t / (1 - b^t)` for the decay `b` and `t` steps.

    The length of a plain mean that is about as old as a running one. With `h = -log(b)` and
    `x = t * h` the last term is `2 * t / (exp(x) - 1)`. For `x` below 1 both parts are near
    `2 / h`, and their difference is taken by the series of `q(x) = 1 / (exp(x) - 1) - 1 / x + 1/2`:
    it is `t - 2 * t * q(x) + 2 * q(h)`.

    >>> [round(float(average_length(0.999, jnp.array(t), jnp.zeros(()))), 3) for t in (1, 5, 9999)]
    [1.0, 4.996, 1998.121]
    """
    b = scalar(decay, like)
    t = count.astype(like.dtype)
    h = -jnp.log1p(-(1 - b))
    x = t * h
    early = t - 2 * t * _series(x) + 2 * _series(h)
    late = 2 / (1 - b) - 1 - 2 * t / jnp.expm1(x)
    return jnp.where(x < 1, early, late)


def _series(x: Array) -> Array:
    """`1 / (exp(x) - 1) - 1 / x + 1/2` by Bernoulli numbers, to 1e-16 of it for x up to 1."""
    total = jnp.zeros_like(x)
    for coefficient in reversed(SERIES):
        total = coefficient + x * x * total
    return x * total


# B_2k / (2k)! for k from 1; each is 39 times smaller than the one before.
SERIES = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
    43867 / 5109094217170944000,
    -174611 / 802857662698291200000,
)


def scale_by_radam(
    b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8
) -> optax.GradientTransformation:
    """Adam's update times a rectification, and the running mean alone in the first steps.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `p = p_max - 2 * t * b2^t / (1 - b2^t)`, `p_max = 2 / (1 - b2) - 1`
    `r = sqrt((p - 4) * (p - 2) * p_max / ((p_max - 4) * (p_max - 2) * p))`
    `u = r * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)` if `p > 4`, else `m / (1 - b1^t)`

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete `b1` or `b2` is outside [0, 1), or `eps` is negative or not
            finite.

    Reference:
        Liu et al. (2020), algorithm 2.

    >>> transform = scale_by_radam()
    >>> updates, _ = transform.update(jnp.array([4.0, -2.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [4.0, -2.0]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)

    def step(gradient: Array, mean: Array, mean_square: Array, count: Array) -> Array:
        m, v = widen(mean, mean_square)
        m = m / one_minus_power(b1, count, m)
        v = v / one_minus_power(b2, count, v)
        p, p_max = average_length(b2, count, v), 2 / (1 - scalar(b2, v)) - 1
        late = p > 4
        r = jnp.sqrt((p - 4) / (p_max - 4) * ((p - 2) / (p_max - 2)) * (p_max / p))
        rectified = r * normalized(m, jnp.sqrt(v) + scalar(eps, v), gradient)
        return jnp.where(late, rectified, m).astype(gradient.dtype)

    return scale_by_moments(b1, b2, step)


def radam(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
) -> optax.GradientTransformation:
    """Rectified Adam.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `p = p_max - 2 * t * b2^t / (1 - b2^t)`, `p_max = 2 / (1 - b2) - 1`
    `r = sqrt((p - 4) * (p - 2) * p_max / ((p_max - 4) * (p_max - 2) * p))`
    `theta <- theta - learning_rate * r * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)` if
    `p > 4`, else `theta <- theta - learning_rate * m / (1 - b1^t)`

    With the default `b2` the first 4 steps are those of momentum, in proportion to the gradients.
    With a `b2` of up to 0.6 all are: `p_max` is then at most 4.

    Args:
        learning_rate: the paper's alpha; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced. 0 is the
            paper's.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete learning rate or `eps` is negative or not a number, or `b1` or
            `b2` is outside [0, 1).

    Reference:
        Liu, Jiang, He, Chen, Liu, Gao and Han (2020), On the variance of the adaptive learning rate
        and beyond, algorithm 2.

    Deviations:
        The paper has no `eps`. PyTorch and `optax.radam` rectify from `p` of 5 on instead of 4,
        with the default `b2` one step later; `optax.radam` has `p` as a difference that float32
        knows to 1e-4 only.

    >>> transform = radam(0.5)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-1.5, 0.05]
    """
    return optax.chain(scale_by_radam(b1, b2, eps), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="radam",
        make=radam,
        kind="adam",
        formula=(
            "theta <- theta - learning_rate * r * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps), "
            "r from p_max = 2 / (1 - b2) - 1, p = p_max - 2 * t * b2^t / (1 - b2^t); while "
            "p <= 4: theta <- theta - learning_rate * m / (1 - b1^t)"
        ),
        reference="Liu et al. (2020), algorithm 2",
    ),
)
