"""The learning rate as a transformation of its own: the last factor, and the sign."""

import jax
import optax

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.types import Array, PyTree


def scale_by_learning_rate(
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """Multiplies updates by minus the learning rate, and keeps their dtype.

    `u <- -learning_rate * u`

    A schedule is Optax's own `optax.scale_by_learning_rate`. A number is not: there a traced
    float32 scalar would turn bfloat16 updates into float32.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule
            `count -> scalar`, whose first count is 0.

    Returns:
        The transformation; its state holds the count for a schedule, and nothing for a number.

    Raises:
        ValueError: if a concrete learning rate is not a finite number of at least 0.

    >>> transform = scale_by_learning_rate(0.5)
    >>> updates, _ = transform.update(jax.numpy.ones(2), transform.init(jax.numpy.ones(2)))
    >>> updates.tolist()
    [-0.5, -0.5]
    """
    checks.non_negative("learning_rate", learning_rate)
    if callable(learning_rate):
        return on_real_leaves(optax.scale_by_learning_rate(learning_rate))

    def scale(update: Array) -> Array:
        (wide,) = widen(update)
        return (-scalar(learning_rate, wide) * wide).astype(update.dtype)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        del params
        return jax.tree.map(scale, updates), state

    return on_real_leaves(optax.GradientTransformation(lambda params: optax.EmptyState(), apply))
