"""AdamW: Adam with decoupled weight decay, in the form of the libraries and in the paper's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.adam import scale_by_adam
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.norms import needs_params, rate_at
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.transforms.weight_decay import add_weight_decay
from initopt_jax.types import Array, PyTree, Transform


class DecayedState(NamedTuple):
    """`step_count`: steps so far, int32, stays at its maximum."""

    step_count: Array


def decay_and_multiply(
    weight_decay: ArrayLike = 0.0, multiplier: optax.ScalarOrSchedule = 1.0
) -> optax.GradientTransformation:
    """Takes a share of the weights off each update, then multiplies what results.

    `u <- multiplier * (u - weight_decay * theta)`

    Args:
        weight_decay: at least 0, concrete or traced.
        multiplier: scalar of at least 0, concrete or traced, or an Optax schedule.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is negative or not a number; on `update`, if it is called
            without the weights.

    Reference:
        Loshchilov and Hutter (2019), algorithm 2, line 12.

    >>> transform = decay_and_multiply(0.5, multiplier=2.0)
    >>> weights = jnp.array([4.0])
    >>> transform.update(jnp.array([1.0]), transform.init(weights), weights)[0].tolist()
    [-2.0]
    """
    checks.non_negative("weight_decay", weight_decay)
    checks.non_negative("multiplier", multiplier)

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, DecayedState]:
        needs_params("adamw_paper", params)

        def decay(update: Array, weights: Array) -> Array:
            u, w = widen(update, weights)
            rate = rate_at(multiplier, state.step_count, u)
            return (rate * (u - scalar(weight_decay, u) * w)).astype(update.dtype)

        count = jnp.asarray(optax.safe_increment(state.step_count))
        return jax.tree.map(decay, updates, params), DecayedState(count)

    def init(params: PyTree) -> DecayedState:
        del params
        return DecayedState(jnp.zeros((), jnp.int32))

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adamw(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0.01,
) -> optax.GradientTransformation:
    """AdamW as PyTorch and Optax have it: the learning rate multiplies the decay too.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`
    `theta <- theta - learning_rate * (u + weight_decay * theta)`

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        weight_decay: at least 0, concrete or traced. 0.01 is PyTorch's default, 0.0001 Optax's.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Loshchilov and Hutter (2019), Decoupled weight decay regularization, algorithm 2.

    Deviations:
        The paper's decay is multiplied by the schedule, not by the learning rate: that is
        `adamw_paper`. With the paper's schedule eta, alpha and lambda, this is the same method with
        `learning_rate = eta * alpha` and `weight_decay = lambda / alpha`.

    >>> transform = adamw(0.5, eps=0.0, weight_decay=0.25)
    >>> weights = jnp.array([2.0, 0.0])
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(weights), weights)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.75, 0.5]
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps),
        add_weight_decay("adamw", weight_decay),
        scale_by_learning_rate(learning_rate),
    )


def adamw_paper(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0.00001,
    multiplier: optax.ScalarOrSchedule = 1.0,
) -> optax.GradientTransformation:
    """AdamW as its paper has it: the decay does not depend on the learning rate.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`
    `theta <- theta - multiplier * (learning_rate * u + weight_decay * theta)`

    Args:
        learning_rate: the paper's alpha; scalar of at least 0, concrete or traced, or an Optax
            schedule, which then leaves the decay as it is.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        weight_decay: the paper's lambda, the share of a weight that a step takes off; at least 0,
            concrete or traced.
        multiplier: the paper's eta_t, of step and decay; scalar of at least 0, concrete or traced,
            or an Optax schedule.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Loshchilov and Hutter (2019), Decoupled weight decay regularization, algorithm 2.

    Deviations:
        None; in a config, a schedule is that of the learning rate, not of the multiplier. The paper
        has no default for lambda; here it takes off as much as the defaults of
        `adamw`.

    >>> transform = adamw_paper(0.5, eps=0.0, weight_decay=0.25)
    >>> weights = jnp.array([2.0, 0.0])
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(weights), weights)
    >>> [round(x, 4) for x in updates.tolist()]
    [-1.0, 0.5]
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps),
        scale_by_learning_rate(learning_rate),
        decay_and_multiply(weight_decay, multiplier),
    )


_ADAM = "u = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)"

ENTRIES = (
    Transform(
        name="adamw",
        make=adamw,
        kind="adam",
        formula=f"{_ADAM}; theta <- theta - learning_rate * (u + weight_decay * theta)",
        reference="Loshchilov and Hutter (2019), algorithm 2, as in PyTorch and Optax",
    ),
    Transform(
        name="adamw_paper",
        make=adamw_paper,
        kind="adam",
        formula=(
            f"{_ADAM}; theta <- theta - multiplier * (learning_rate * u + weight_decay * theta)"
        ),
        reference="Loshchilov and Hutter (2019), algorithm 2",
    ),
)
