"""Aggregated momentum: the mean of several velocities, each with a decay of its own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import scalar, widen, zeros
from initopt_jax.types import Array, PyTree, Transform


class AggmoState(NamedTuple):
    """`velocities`: decayed sums of the updates so far, each like the parameters."""

    velocities: tuple[PyTree, ...]


def scale_by_aggmo(velocities: int = 3, scale: ArrayLike = 0.1) -> optax.GradientTransformation:
    """Replaces updates `u` by the mean of several of their velocities.

    `v_i <- (1 - scale^i) * v_i + u` for `i` from 0 to `velocities - 1`, then the mean of all `v_i`

    Args:
        velocities: how many, above 0; concrete.
        scale: above 0 and below 1, concrete or traced.

    Returns:
        The transformation; velocities start at 0.

    Raises:
        ValueError: if `velocities` is not a whole number above 0, or a concrete `scale` is outside
            its range.

    Reference:
        Lucas, Sun, Zemel and Grosse (2019), section 3.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_aggmo(2, scale=0.5)
    >>> state = transform.init(jnp.zeros(1))
    >>> for _ in range(2):
    ...     updates, state = transform.update(jnp.ones(1), state)
    >>> updates.tolist()
    [1.25]
    """
    checks.count("velocities", velocities, most=100)
    checks.probability("scale", scale)

    def accelerate(number: int, velocity: Array, update: Array) -> Array:
        v, u = widen(velocity, update)
        return ((1 - scalar(scale, v) ** number) * v + u).astype(velocity.dtype)

    def mean(update: Array, *moving: Array) -> Array:
        total = sum(widen(*moving), jnp.zeros((), widen(update)[0].dtype))
        return (total / velocities).astype(update.dtype)

    def init(params: PyTree) -> AggmoState:
        return AggmoState(tuple(zeros(params) for _ in range(velocities)))

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, AggmoState]:
        del params
        moved = tuple(
            jax.tree.map(lambda v, u, i=number: accelerate(i, v, u), velocity, updates)
            for number, velocity in enumerate(state.velocities)
        )
        return jax.tree.map(mean, updates, *moved), AggmoState(moved)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def aggmo(
    learning_rate: optax.ScalarOrSchedule, velocities: int = 3, scale: ArrayLike = 0.1
) -> optax.GradientTransformation:
    """Aggregated momentum (AggMo).

    `v_i <- beta_i * v_i - g`, `beta_i = 1 - scale^i` for `i` from 0 to `velocities - 1`
    `theta <- theta + learning_rate / velocities * (v_0 + v_1 + ...)`

    With the defaults the decays are 0, 0.9 and 0.99: the large ones build up speed, the small ones
    damp the oscillations that come with it.

    Args:
        learning_rate: the paper's gamma; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        velocities: the paper's K, above 0; a whole number, never swept. 1 gives `sgd`.
        scale: the paper's a, above 0 and below 1, concrete or traced.

    Returns:
        The transformation; velocities start at 0.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, `velocities` is not a
            whole number above 0, or `scale` is not between 0 and 1.

    Reference:
        Lucas, Sun, Zemel and Grosse (2019), Aggregated momentum: stability through passive damping,
        section 3, with its exponential decays.

    Deviations:
        None.

    >>> import jax.numpy as jnp
    >>> transform = aggmo(1.0, velocities=2, scale=0.5)
    >>> state = transform.init(jnp.zeros(1))
    >>> for _ in range(2):
    ...     updates, state = transform.update(jnp.ones(1), state)
    >>> updates.tolist()
    [-1.25]
    """
    return optax.chain(scale_by_aggmo(velocities, scale), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="aggmo",
        make=aggmo,
        kind="sgd",
        formula=(
            "v_i <- (1 - scale^i) * v_i - g for i < velocities; "
            "theta <- theta + learning_rate * mean of v_i"
        ),
        reference="Lucas, Sun, Zemel and Grosse (2019), section 3",
    ),
)
