"""Nesterov's accelerated gradient, in the form that takes its gradient where the parameters are."""

from typing import NamedTuple

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import scalar, widen, zeros
from initopt_jax.types import Array, PyTree, Transform


class NesterovState(NamedTuple):
    """`velocity`: decayed sum of the updates so far, like the parameters."""

    velocity: PyTree


def scale_by_nesterov(decay: ArrayLike = 0.9) -> optax.GradientTransformation:
    """Replaces updates `u` by their velocity, looked ahead by one step.

    `v <- decay * v + u`, then `u <- decay * v + u`

    Args:
        decay: in [0, 1), concrete or traced.

    Returns:
        The transformation; the velocity starts at 0.

    Raises:
        ValueError: if a concrete `decay` is outside [0, 1).

    Reference:
        Bengio, Boulanger-Lewandowski and Pascanu (2012), section 3.5.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_nesterov(0.5)
    >>> updates, _ = transform.update(jnp.array([4.0, -8.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [6.0, -12.0]
    """
    checks.fraction("decay", decay)

    def ahead(velocity: Array, update: Array) -> Array:
        wide, new = widen(velocity, update)
        return scalar(decay, wide) * wide + new

    def init(params: PyTree) -> NesterovState:
        return NesterovState(zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, NesterovState]:
        del params
        velocity = jax.tree.map(lambda v, u: ahead(v, u).astype(v.dtype), state.velocity, updates)
        steps = jax.tree.map(lambda v, u: ahead(v, u).astype(u.dtype), velocity, updates)
        return steps, NesterovState(velocity)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def nesterov(
    learning_rate: optax.ScalarOrSchedule, decay: ArrayLike = 0.9
) -> optax.GradientTransformation:
    """Nesterov's accelerated gradient.

    `v <- decay * v - learning_rate * g`
    `theta <- theta + decay * v - learning_rate * g`

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        decay: the momentum coefficient, in [0, 1), concrete or traced; 0 gives `sgd`.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, or `decay` is outside
            [0, 1).

    Reference:
        Nesterov (1983). Sutskever, Martens, Dahl and Hinton (2013), eq. 3 and 4.
        Bengio, Boulanger-Lewandowski and Pascanu (2012), section 3.5, for this form.

    Deviations:
        Sutskever takes the gradient at `theta + decay * v`, away from the parameters. Here `theta`
        *is* that look-ahead point; Sutskever's parameters are `theta - decay * v` with the stored
        velocity `v`. Both start at the same point and draw the same trajectory, a constant decay
        given; the learning rate may follow a schedule.

    >>> import jax.numpy as jnp
    >>> transform = nesterov(1.0, decay=0.5)
    >>> updates, _ = transform.update(jnp.ones(1), transform.init(jnp.zeros(1)))
    >>> updates.tolist()
    [-1.5]
    """
    return optax.chain(scale_by_learning_rate(learning_rate), scale_by_nesterov(decay))


ENTRIES = (
    Transform(
        name="nesterov",
        make=nesterov,
        kind="sgd",
        formula=(
            "v <- decay * v - learning_rate * g; theta <- theta + decay * v - learning_rate * g"
        ),
        reference="Nesterov (1983); Sutskever et al. (2013), eq. 3-4",
    ),
)
