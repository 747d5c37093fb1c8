"""Momentum as PyTorch has it: new gradients may count for less, and the rate comes last."""

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


class DampenedMomentumState(NamedTuple):
    """Steps so far (int32, stays at its maximum), and the velocity, like the parameters."""

    step_count: Array
    velocity: PyTree


def scale_by_dampened_momentum(
    decay: ArrayLike = 0.9, dampening: ArrayLike = 0.0
) -> optax.GradientTransformation:
    """Replaces updates `u` by their velocity, whose first value is the first update.

    `v <- u` in the first step, then `v <- decay * v + (1 - dampening) * u`

    Args:
        decay: in [0, 1), concrete or traced.
        dampening: in [0, 1], concrete or traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        PyTorch, torch.optim.SGD.

    >>> transform = scale_by_dampened_momentum(0.5, dampening=0.5)
    >>> state = transform.init(jnp.zeros(1))
    >>> first, state = transform.update(jnp.ones(1), state)
    >>> second, state = transform.update(jnp.ones(1), state)
    >>> first.tolist(), second.tolist()
    ([1.0], [1.0])
    """
    checks.fraction("decay", decay)
    checks.in_range("dampening", dampening, low=0, high=1)

    def accelerate(velocity: Array, update: Array, first: Array) -> Array:
        v, u = widen(velocity, update)
        weight = jnp.where(first, 1, 1 - scalar(dampening, v))
        return (scalar(decay, v) * v + weight * u).astype(velocity.dtype)

    def init(params: PyTree) -> DampenedMomentumState:
        return DampenedMomentumState(jnp.zeros((), jnp.int32), zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, DampenedMomentumState]:
        del params
        first = state.step_count == 0
        velocity = jax.tree.map(lambda v, u: accelerate(v, u, first), state.velocity, updates)
        steps = jax.tree.map(lambda v, u: v.astype(u.dtype), velocity, updates)
        count = jnp.asarray(optax.safe_increment(state.step_count))
        return steps, DampenedMomentumState(count, velocity)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def momentum_dampened(
    learning_rate: optax.ScalarOrSchedule, decay: ArrayLike = 0.9, dampening: ArrayLike = 0.0
) -> optax.GradientTransformation:
    """Gradient descent with PyTorch's momentum.

    `v <- g` in the first step, then `v <- decay * v + (1 - dampening) * g`
    `theta <- theta - learning_rate * v`

    The learning rate multiplies the whole velocity: when a schedule lowers it, past gradients are
    lowered too, while in `momentum` each keeps the rate of its own step.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        decay: PyTorch's `momentum`, in [0, 1), concrete or traced.
        dampening: in [0, 1], concrete or traced. 0 is the heavy ball; with `dampening = decay` the
            velocity is a mean of the gradients, which starts at the first of them.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, `decay` is outside
            [0, 1), or `dampening` outside [0, 1].

    Reference:
        PyTorch, torch.optim.SGD. Polyak (1964), Some methods of speeding up the convergence of
        iteration methods.

    Deviations:
        None from PyTorch. Polyak has no dampening.

    >>> transform = momentum_dampened(1.0, decay=0.5, dampening=0.75)
    >>> state = transform.init(jnp.zeros(1))
    >>> first, state = transform.update(jnp.ones(1), state)
    >>> second, state = transform.update(jnp.ones(1), state)
    >>> first.tolist(), second.tolist()
    ([-1.0], [-0.75])
    """
    return optax.chain(
        scale_by_dampened_momentum(decay, dampening), scale_by_learning_rate(learning_rate)
    )


ENTRIES = (
    Transform(
        name="momentum_dampened",
        make=momentum_dampened,
        kind="sgd",
        formula=(
            "v <- g at first, then v <- decay * v + (1 - dampening) * g; "
            "theta <- theta - learning_rate * v"
        ),
        reference="PyTorch, torch.optim.SGD; Polyak (1964)",
    ),
)
