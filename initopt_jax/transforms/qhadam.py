"""QHAdam: Adam whose moments give the new gradient a share of its own."""

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


def scale_by_qhadam(
    b1: ArrayLike = 0.995,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    nu1: ArrayLike = 0.7,
    nu2: ArrayLike = 1.0,
) -> optax.GradientTransformation:
    """Adam's update with means of the new gradient and of the moments in place of the moments.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `a = (1 - nu1) * g + nu1 * m / (1 - b1^t)`, `b = (1 - nu2) * g^2 + nu2 * v / (1 - b2^t)`
    `u = a / (sqrt(b) + eps)`, and 0 where the denominator is 0

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        nu1: in [0, 1], concrete or traced.
        nu2: in [0, 1], concrete or traced.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Ma and Yarats (2019), section 5.

    >>> transform = scale_by_qhadam(eps=1.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -1.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [0.8, -0.5]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.in_range("nu1", nu1, low=0, high=1)
    checks.in_range("nu2", nu2, low=0, high=1)

    def step(gradient: Array, mean: Array, mean_square: Array, count: Array) -> Array:
        g, m, v = widen(gradient, mean, mean_square)
        first, second = scalar(nu1, g), scalar(nu2, g)
        a = (1 - first) * g + first * m / one_minus_power(b1, count, m)
        b = (1 - second) * g * g + second * v / one_minus_power(b2, count, v)
        return normalized(a, jnp.sqrt(b) + scalar(eps, b), gradient).astype(gradient.dtype)

    return scale_by_moments(b1, b2, step)


def qhadam(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.995,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    nu1: ArrayLike = 0.7,
    nu2: ArrayLike = 1.0,
) -> optax.GradientTransformation:
    """Quasi-hyperbolic Adam (QHAdam).

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `a = (1 - nu1) * g + nu1 * m / (1 - b1^t)`, `b = (1 - nu2) * g^2 + nu2 * v / (1 - b2^t)`
    `theta <- theta - learning_rate * a / (sqrt(b) + eps)`

    With `nu1` and `nu2` 1 it is `adam`; with `nu1` 0 and `nu2` 1 RMSprop with a corrected mean
    square.

    Args:
        learning_rate: the paper's alpha; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        nu1: the share of the mean against the gradient, in [0, 1], concrete or traced.
        nu2: the share of the mean square against the squared gradient, in [0, 1], concrete or
            traced.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Ma and Yarats (2019), Quasi-hyperbolic momentum and Adam for deep learning, section 5 and
        the defaults of its practical suggestions.

    Deviations:
        None.

    >>> transform = qhadam(0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.5, 0.5]
    """
    return optax.chain(
        scale_by_qhadam(b1, b2, eps, nu1, nu2), scale_by_learning_rate(learning_rate)
    )


ENTRIES = (
    Transform(
        name="qhadam",
        make=qhadam,
        kind="adam",
        formula=(
            "a = (1 - nu1) * g + nu1 * m / (1 - b1^t); b = (1 - nu2) * g^2 + nu2 * v / (1 - b2^t); "
            "theta <- theta - learning_rate * a / (sqrt(b) + eps)"
        ),
        reference="Ma and Yarats (2019), section 5",
    ),
)
