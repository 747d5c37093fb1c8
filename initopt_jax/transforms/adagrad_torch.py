"""Adagrad as PyTorch has it: with a learning rate that falls."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.adagrad import scale_by_adagrad
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.types import Array, PyTree, Transform


class InverseTimeState(NamedTuple):
    """`step_count`: steps so far, int32, stays at its maximum."""

    step_count: Array


def scale_by_inverse_time(lr_decay: ArrayLike = 0.0) -> optax.GradientTransformation:
    """Divides the updates of step `t`, from 1, by a number that grows with it.

    `u <- u / (1 + (t - 1) * lr_decay)`

    Args:
        lr_decay: at least 0, concrete or traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete `lr_decay` is negative or not finite.

    Reference:
        PyTorch, torch.optim.Adagrad.

    >>> transform = scale_by_inverse_time(1.0)
    >>> first, state = transform.update(jnp.ones(1), transform.init(jnp.ones(1)))
    >>> second, _ = transform.update(jnp.ones(1), state)
    >>> first.tolist(), second.tolist()
    ([1.0], [0.5])
    """
    checks.non_negative("lr_decay", lr_decay)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, InverseTimeState]:
        del params

        def divide(update: Array) -> Array:
            (u,) = widen(update)
            time = state.step_count.astype(u.dtype)
            return (u / (1 + time * scalar(lr_decay, u))).astype(update.dtype)

        count = jnp.asarray(optax.safe_increment(state.step_count))
        return jax.tree.map(divide, updates), InverseTimeState(count)

    def init(params: PyTree) -> InverseTimeState:
        del params
        return InverseTimeState(jnp.zeros((), jnp.int32))

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adagrad_torch(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    lr_decay: ArrayLike = 0.0,
    eps: ArrayLike = 1e-10,
    initial_accumulator: ArrayLike = 0.0,
) -> optax.GradientTransformation:
    """Adagrad as PyTorch has it.

    `s <- s + g^2`
    `theta <- theta - learning_rate / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)`, `t` from 1

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        lr_decay: at least 0, concrete or traced; 0 leaves the learning rate as it is.
        eps: outside the root; at least 0, concrete or traced.
        initial_accumulator: `s` at the start; at least 0, concrete or traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete number is negative, not finite or not a number.

    Reference:
        PyTorch, torch.optim.Adagrad, after Duchi, Hazan and Singer (2011), Adaptive subgradient
        methods for online learning and stochastic optimization.

    Deviations:
        None from PyTorch, except that a weight without any gradient stays where `eps` is 0. With
        `lr_decay` 0 it is `adagrad`, with another default of `eps`.

    >>> transform = adagrad_torch(0.5, lr_decay=1.0, eps=1.0)
    >>> updates, _ = transform.update(jnp.array([3.0]), transform.init(jnp.zeros(1)))
    >>> updates.tolist()
    [-0.375]
    """
    return optax.chain(
        scale_by_adagrad(eps, initial_accumulator),
        scale_by_inverse_time(lr_decay),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="adagrad_torch",
        make=adagrad_torch,
        kind="adam",
        formula=(
            "s <- s + g^2; theta <- theta - "
            "learning_rate / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)"
        ),
        reference="PyTorch, torch.optim.Adagrad; Duchi, Hazan and Singer (2011)",
    ),
)
