"""Classical momentum: the heavy ball."""

from typing import NamedTuple

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import moving_mean, scalar, widen, zeros
from initopt_jax.types import Array, PyTree, Transform


class MomentumState(NamedTuple):
    """`velocity`: decayed sum (or mean) of the updates so far, like the parameters."""

    velocity: PyTree


def scale_by_momentum(decay: ArrayLike = 0.9, *, ema: bool = False) -> optax.GradientTransformation:
    """Replaces updates `u` by their velocity, which starts at 0.

    `v <- decay * v + u`, or with `ema` `v <- decay * v + (1 - decay) * u`

    Args:
        decay: in [0, 1), concrete or traced.
        ema: an average of the updates instead of their sum.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete `decay` is outside [0, 1), or `ema` is not a bool.

    Reference:
        Sutskever, Martens, Dahl and Hinton (2013), eq. 1.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_momentum(0.75, ema=True)
    >>> updates, _ = transform.update(jnp.array([4.0, -8.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [1.0, -2.0]
    """
    checks.fraction("decay", decay)
    checks.flag("ema", ema)

    def accelerate(velocity: Array, update: Array) -> Array:
        if ema:
            return moving_mean(velocity, update, decay)
        old, new = widen(velocity, update)
        return (scalar(decay, old) * old + new).astype(velocity.dtype)

    def init(params: PyTree) -> MomentumState:
        return MomentumState(zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, MomentumState]:
        del params
        velocity = jax.tree.map(accelerate, state.velocity, updates)
        steps = jax.tree.map(lambda v, u: v.astype(u.dtype), velocity, updates)
        return steps, MomentumState(velocity)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def momentum(
    learning_rate: optax.ScalarOrSchedule, decay: ArrayLike = 0.9, *, ema: bool = False
) -> optax.GradientTransformation:
    """Gradient descent with classical (heavy-ball) momentum.

    `v <- decay * v - learning_rate * g`
    `theta <- theta + v`

    The learning rate enters the velocity, as in the paper: under a schedule, a gradient keeps the
    learning rate of its own step. With a constant one this equals `optax.sgd(..., momentum=decay)`,
    which multiplies afterwards.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        decay: the momentum coefficient, in [0, 1), concrete or traced; 0 gives `sgd`.
        ema: `v <- decay * v - (1 - decay) * learning_rate * g`, whose steps are as long as those of
            `sgd` whatever the decay, instead of up to `1 / (1 - decay)` times as long.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, `decay` is outside
            [0, 1), or `ema` is not a bool.

    Reference:
        Polyak (1964), Some methods of speeding up the convergence of iteration methods.
        Sutskever, Martens, Dahl and Hinton (2013), eq. 1 and 2.

    Deviations:
        None without `ema`. The variant `ema=True` is not in these papers.

    >>> import jax.numpy as jnp
    >>> transform = momentum(1.0, decay=0.5)
    >>> state = transform.init(jnp.zeros(1))
    >>> first, state = transform.update(jnp.ones(1), state)
    >>> second, state = transform.update(jnp.ones(1), state)
    >>> first.tolist(), second.tolist()
    ([-1.0], [-1.5])
    """
    return optax.chain(scale_by_learning_rate(learning_rate), scale_by_momentum(decay, ema=ema))


ENTRIES = (
    Transform(
        name="momentum",
        make=momentum,
        kind="sgd",
        formula="v <- decay * v - learning_rate * g; theta <- theta + v",
        reference="Polyak (1964); Sutskever et al. (2013), eq. 1-2",
    ),
)
