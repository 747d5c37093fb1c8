"""Gradient descent, stochastic or with the whole training set."""

import optax

from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.types import Transform


def sgd(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Gradient descent.

    `theta <- theta - learning_rate * g`

    With `g` the gradient over the whole training set it is Cauchy's method, registered as `gd`;
    with `g` over a mini-batch it is that of Robbins and Monro, registered as `sgd`. On a quadratic
    whose largest curvature is `lambda` it converges for `learning_rate < 2 / lambda`.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.

    Returns:
        The transformation; it has no accumulators.

    Raises:
        ValueError: if a concrete learning rate is not a finite number of at least 0.

    Reference:
        Cauchy (1847), Methode generale pour la resolution des systemes d'equations simultanees.
        Robbins and Monro (1951), A stochastic approximation method.

    Deviations:
        Robbins and Monro let the learning rate fall as 1/t; here that takes a schedule.

    >>> import jax.numpy as jnp
    >>> transform = sgd(0.5)
    >>> updates, _ = transform.update(jnp.array([2.0, -4.0]), transform.init(jnp.zeros(2)))
    >>> updates.tolist()
    [-1.0, 2.0]
    """
    return scale_by_learning_rate(learning_rate)


ENTRIES = (
    Transform(
        name="gd",
        make=sgd,
        kind="sgd",
        formula="theta <- theta - learning_rate * g, g over the whole training set",
        reference="Cauchy (1847)",
        full_batch=True,
    ),
    Transform(
        name="sgd",
        make=sgd,
        kind="sgd",
        formula="theta <- theta - learning_rate * g, g over a mini-batch",
        reference="Robbins and Monro (1951)",
    ),
)
