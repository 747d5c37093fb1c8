"""Adam: running means of the gradient and of its square, corrected for their start at 0."""

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


def scale_by_adam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    bias_correction: bool = True,
) -> optax.GradientTransformation:
    """Replaces gradients by their running mean, divided by their running root mean square.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`, and 0 where the denominator is 0

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        bias_correction: divide the moments by `1 - b1^t` and `1 - b2^t`.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete `b1` or `b2` is outside [0, 1), `eps` is negative or not finite,
            or `bias_correction` is not a bool.

    Reference:
        Kingma and Ba (2015), algorithm 1.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_adam(eps=1.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -1.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [0.8, -0.5]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.flag("bias_correction", bias_correction)

    def step(gradient: Array, mean: Array, mean_square: Array, count: Array) -> Array:
        m, v = widen(mean, mean_square)
        if bias_correction:
            m = m / one_minus_power(b1, count, m)
            v = v / one_minus_power(b2, count, v)
        return normalized(m, jnp.sqrt(v) + scalar(eps, v), gradient).astype(gradient.dtype)

    return scale_by_moments(b1, b2, step)


def adam(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    bias_correction: bool = True,
) -> optax.GradientTransformation:
    """Adam.

    `m <- b1 * m + (1 - b1) * g`
    `v <- b2 * v + (1 - b2) * g^2`
    `theta <- theta - learning_rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`

    Args:
        learning_rate: the paper's alpha; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        bias_correction: without it, the first step is `(1 - b1) / sqrt(1 - b2)` times the learning
            rate (3.2 times with the defaults) instead of once.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete learning rate or `eps` is negative or not a number, `b1` or `b2`
            is outside [0, 1), or `bias_correction` is not a bool.

    Reference:
        Kingma and Ba (2015), Adam: a method for stochastic optimization, algorithm 1.

    Deviations:
        None with `bias_correction`.

    >>> import jax.numpy as jnp
    >>> transform = adam(0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.5, 0.5]
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, bias_correction=bias_correction),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="adam",
        make=adam,
        kind="adam",
        formula=(
            "m <- b1 * m + (1 - b1) * g; v <- b2 * v + (1 - b2) * g^2; theta <- theta - "
            "learning_rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)"
        ),
        reference="Kingma and Ba (2015), algorithm 1",
    ),
)
