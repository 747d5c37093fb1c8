"""Graves' RMSprop: centred, with momentum."""

import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import scale_by_momentum
from initopt_jax.transforms.rmsprop import scale_by_centered_rmsprop
from initopt_jax.types import Transform


def rmsprop_graves(
    learning_rate: optax.ScalarOrSchedule = 0.0001,
    decay: ArrayLike = 0.95,
    momentum: ArrayLike = 0.9,
    eps: ArrayLike = 0.0001,
) -> optax.GradientTransformation:
    """RMSprop in the form of Graves.

    `n <- decay * n + (1 - decay) * g^2`
    `m <- decay * m + (1 - decay) * g`
    `d <- momentum * d - learning_rate * g / sqrt(n - m^2 + eps)`
    `theta <- theta + d`

    Args:
        learning_rate: enters `d`; scalar of at least 0, concrete or traced, or an Optax schedule.
        decay: of both averages, in [0, 1), concrete or traced.
        momentum: of the steps, in [0, 1), concrete or traced.
        eps: inside the root, where it bounds the step of a weight whose gradients hardly vary; at
            least 0, concrete or traced.

    Returns:
        The transformation; the averages and `d` start at 0.

    Raises:
        ValueError: if a concrete learning rate or `eps` is negative or not a number, or `decay` or
            `momentum` is outside [0, 1).

    Reference:
        Graves (2013), Generating sequences with recurrent neural networks, eq. 38 to 45.

    Deviations:
        None; the defaults are the paper's.

    >>> import jax.numpy as jnp
    >>> transform = rmsprop_graves(1.0, decay=0.5, momentum=0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-2.0, 2.0]
    """
    checks.fraction("momentum", momentum)
    return optax.chain(
        scale_by_centered_rmsprop(decay, eps),
        scale_by_learning_rate(learning_rate),
        scale_by_momentum(momentum),
    )


ENTRIES = (
    Transform(
        name="rmsprop_graves",
        make=rmsprop_graves,
        kind="adam",
        formula=(
            "n <- decay * n + (1 - decay) * g^2; m <- decay * m + (1 - decay) * g; d <- momentum * "
            "d - learning_rate * g / sqrt(n - m^2 + eps); theta <- theta + d"
        ),
        reference="Graves (2013), eq. 38-45",
    ),
)
