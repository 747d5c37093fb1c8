"""Schedule-free learning: gradients between the weights that step and their running average."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.adam import scale_by_adam
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.norms import needs_params, rate_at, working_dtype
from initopt_jax.transforms.numerics import ratio, scalar, widen
from initopt_jax.types import Array, EvaluatedTransform, PyTree, Transform


class ScheduleFreeState(NamedTuple):
    """The two sequences beside the weights `y` that are trained, in the working dtype.

    In bfloat16 the average would stand still as soon as the share of a step is less than 2^-9.

    step_count: int32, steps so far; stays at its maximum.
    squared_rates: the sum of the squared learning rates so far.
    z: the weights that step.
    x: their average, the weights to evaluate.
    direction: the state of what makes the direction of a step.
    """

    step_count: Array
    squared_rates: Array
    z: PyTree
    x: PyTree
    direction: Any


def _between(one: Array, other: Array, share: Array) -> Array:
    """`(1 - share) * one + share * other`."""
    part = scalar(share, one)
    return (1 - part) * one + part * other


def _copy(params: PyTree) -> PyTree:
    """The weights in their working dtype, in buffers of their own."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, widen(leaf)[0].dtype), params)


def schedule_free(
    direction: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    weight_decay: ArrayLike = 0.0,
) -> EvaluatedTransform:
    """Steps along a direction without a schedule, by averaging where the steps led.

    `z <- z - learning_rate * (d + weight_decay * y)`, `d` the direction for the gradient at `y`
    `x <- (1 - c) * x + c * z`, `c = learning_rate^2 / (sum of all learning_rate^2)`
    `y <- (1 - b1) * z + b1 * x`

    The weights that are trained are `y`; those to evaluate, `eval_params(state, y)`, are `x`. All
    three start at the same point.

    Args:
        direction: what makes `d` of the gradient, without momentum, sign and learning rate.
        learning_rate: the paper's gamma; scalar of at least 0, concrete or traced, or an Optax
            schedule (a warm-up).
        b1: the paper's beta, in [0, 1), concrete or traced.
        weight_decay: the paper's lambda; at least 0, concrete or traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky (2024), algorithm 1.

    >>> transform = schedule_free(optax.identity(), 0.5, b1=0.5)
    >>> y = jnp.array([1.0])
    >>> state = transform.init(y)
    >>> for _ in range(2):
    ...     updates, state = transform.update(jnp.ones(1), state, y)
    ...     y = y + updates
    >>> y.tolist(), transform.eval_params(state, y).tolist()
    ([0.125], [0.25])
    """
    checks.non_negative("learning_rate", learning_rate)
    checks.fraction("b1", b1)
    checks.non_negative("weight_decay", weight_decay)
    base = optax.with_extra_args_support(direction)

    def init(params: PyTree) -> ScheduleFreeState:
        return ScheduleFreeState(
            jnp.zeros((), jnp.int32),
            jnp.zeros((), working_dtype(params)),
            _copy(params),
            _copy(params),
            base.init(params),
        )

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, ScheduleFreeState]:
        needs_params("schedule_free", params)
        d, direction_state = base.update(updates, state.direction, params, **extra)
        rate = rate_at(learning_rate, state.step_count, state.squared_rates)
        total = state.squared_rates + rate * rate
        share = ratio(rate * rate, total)

        def step(z: Array, along: Array, at: Array) -> Array:
            u, y = along.astype(z.dtype), at.astype(z.dtype)
            return z - scalar(rate, z) * (u + scalar(weight_decay, z) * y)

        z = jax.tree.map(step, state.z, d, params)
        x = jax.tree.map(lambda x, z: _between(x, z, share), state.x, z)

        def update(z: Array, x: Array, y: Array, like: Array) -> Array:
            return (_between(z, x, scalar(b1, z)) - y.astype(z.dtype)).astype(like.dtype)

        moves = jax.tree.map(update, z, x, params, updates)
        count = jnp.asarray(optax.safe_increment(state.step_count))
        return moves, ScheduleFreeState(count, total, z, x, direction_state)

    def eval_params(state: ScheduleFreeState, params: PyTree) -> PyTree:
        return jax.tree.map(lambda x, y: x.astype(y.dtype), state.x, params)

    return on_real_leaves(EvaluatedTransform(init, apply, eval_params))


def schedule_free_sgd(
    learning_rate: optax.ScalarOrSchedule = 1.0,
    b1: ArrayLike = 0.9,
    weight_decay: ArrayLike = 0.0,
) -> EvaluatedTransform:
    """Schedule-free gradient descent.

    `z <- z - learning_rate * (g + weight_decay * y)`, `g` the gradient at `y`
    `x <- (1 - c) * x + c * z`, `c = learning_rate^2 / (sum of all learning_rate^2)`
    `y <- (1 - b1) * z + b1 * x`; `theta` is `y` in training, `x` for evaluation

    Args:
        learning_rate: the paper's gamma; scalar of at least 0, concrete or traced, or an Optax
            schedule (a warm-up). With a constant one, `x` is the plain mean of all `z`.
        b1: the paper's beta, in [0, 1), concrete or traced; 0 averages the path of `sgd`.
        weight_decay: the paper's lambda; at least 0, concrete or traced.

    Returns:
        The transformation; its updates need the weights, and it has `eval_params`.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky (2024), The road less scheduled,
        eq. 3 to 5, with the weights of algorithm 1.

    Deviations:
        None. The warm-up of the paper is a schedule. `optax.contrib.schedule_free_sgd` weighs by
        the largest learning rate so far, and finds `x` from `y` and `z` by a division by `b1`.

    >>> transform = schedule_free_sgd(0.5)
    >>> y = jnp.array([1.0])
    >>> updates, state = transform.update(jnp.ones(1), transform.init(y), y)
    >>> transform.eval_params(state, y + updates).tolist()
    [0.5]
    """
    return schedule_free(optax.identity(), learning_rate, b1, weight_decay)


def schedule_free_adam(
    learning_rate: optax.ScalarOrSchedule = 0.0025,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0.0,
) -> EvaluatedTransform:
    """Schedule-free Adam.

    `v <- b2 * v + (1 - b2) * g^2`, `g` the gradient at `y`
    `z <- z - learning_rate * (g / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * y)`
    `x <- (1 - c) * x + c * z`, `c = learning_rate^2 / (sum of all learning_rate^2)`
    `y <- (1 - b1) * z + b1 * x`; `theta` is `y` in training, `x` for evaluation

    Args:
        learning_rate: the paper's gamma; scalar of at least 0, concrete or traced, or an Optax
            schedule (a warm-up).
        b1: the paper's beta_1, in place of momentum; in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        weight_decay: the paper's lambda; at least 0, concrete or traced.

    Returns:
        The transformation; its updates need the weights, and it has `eval_params`.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky (2024), The road less scheduled,
        algorithm 1.

    Deviations:
        None. The warm-up of the paper is a schedule. `optax.contrib.schedule_free_adamw` weighs by
        the largest learning rate so far, and finds `x` from `y` and `z` by a division by `b1`.

    >>> transform = schedule_free_adam(0.5, eps=0.0)
    >>> y = jnp.array([1.0])
    >>> updates, state = transform.update(jnp.array([7.0]), transform.init(y), y)
    >>> transform.eval_params(state, y + updates).tolist()
    [0.5]
    """
    return schedule_free(scale_by_adam(0.0, b2, eps), learning_rate, b1, weight_decay)


_AVERAGED = (
    "x <- (1 - c) * x + c * z, c = learning_rate^2 / (sum of learning_rate^2); "
    "y <- (1 - b1) * z + b1 * x"
)

ENTRIES = (
    Transform(
        name="schedule_free_sgd",
        make=schedule_free_sgd,
        formula=(
            f"z <- z - learning_rate * (g + weight_decay * y); {_AVERAGED}; "
            "theta <- theta + (y - theta), evaluated at x"
        ),
        reference="Defazio et al. (2024), eq. 3-5",
    ),
    Transform(
        name="schedule_free_adam",
        make=schedule_free_adam,
        formula=(
            "z <- z - learning_rate * (g / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * y); "
            f"{_AVERAGED}; theta <- theta + (y - theta), evaluated at x"
        ),
        reference="Defazio et al. (2024), algorithm 1",
    ),
)
