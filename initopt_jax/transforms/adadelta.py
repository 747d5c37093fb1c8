"""Adadelta: steps in the units of the parameters, from two running averages."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import moving_mean_square, normalized, scalar, widen, zeros
from initopt_jax.types import Array, PyTree, Transform


class AdadeltaState(NamedTuple):
    """Running means of the squared gradients and of the squared steps, like the parameters."""

    mean_square_gradient: PyTree
    mean_square_step: PyTree


def scale_by_adadelta(rho: ArrayLike = 0.95, eps: ArrayLike = 1e-6) -> optax.GradientTransformation:
    """Multiplies each gradient by the ratio of the RMS of past steps to that of gradients.

    `E[g^2] <- rho * E[g^2] + (1 - rho) * g^2`
    `u = sqrt(E[u^2] + eps) / sqrt(E[g^2] + eps) * g`
    `E[u^2] <- rho * E[u^2] + (1 - rho) * u^2`

    Args:
        rho: in [0, 1), concrete or traced.
        eps: above 0, concrete or traced.

    Returns:
        The transformation; both averages start at 0.

    Raises:
        ValueError: if a concrete `rho` is outside [0, 1), or `eps` is not above 0.

    Reference:
        Zeiler (2012), algorithm 1.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_adadelta(rho=0.75, eps=0.01)
    >>> updates, _ = transform.update(jnp.array([4.0, -1.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [0.1998, -0.1961]
    """
    checks.fraction("rho", rho)
    checks.positive("eps", eps)

    def step(gradient: Array, mean_gradient: Array, mean_step: Array) -> Array:
        g, of_gradient, of_step = widen(gradient, mean_gradient, mean_step)
        floor = scalar(eps, g)
        move = normalized(g * jnp.sqrt(of_step + floor), jnp.sqrt(of_gradient + floor), g)
        return move.astype(gradient.dtype)

    def average(means: PyTree, values: PyTree) -> PyTree:
        return jax.tree.map(lambda mean, new: moving_mean_square(mean, new, rho), means, values)

    def init(params: PyTree) -> AdadeltaState:
        return AdadeltaState(zeros(params), zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, AdadeltaState]:
        del params
        of_gradient = average(state.mean_square_gradient, updates)
        steps = jax.tree.map(step, updates, of_gradient, state.mean_square_step)
        return steps, AdadeltaState(of_gradient, average(state.mean_square_step, steps))

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adadelta(
    learning_rate: optax.ScalarOrSchedule = 1.0, rho: ArrayLike = 0.95, eps: ArrayLike = 1e-6
) -> optax.GradientTransformation:
    """Adadelta.

    `E[g^2] <- rho * E[g^2] + (1 - rho) * g^2`
    `d = -sqrt(E[d^2] + eps) / sqrt(E[g^2] + eps) * g`
    `E[d^2] <- rho * E[d^2] + (1 - rho) * d^2`
    `theta <- theta + learning_rate * d`

    The first step of a weight is `-sqrt(eps) / sqrt((1 - rho) * g^2 + eps) * g`: `eps` sets how
    fast learning starts, and is not only a guard against division by 0.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        rho: the decay of both averages, in [0, 1), concrete or traced.
        eps: above 0, concrete or traced.

    Returns:
        The transformation; both averages start at 0.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, `rho` is outside
            [0, 1), or `eps` is not above 0.

    Reference:
        Zeiler (2012), ADADELTA: an adaptive learning rate method, algorithm 1.

    Deviations:
        The paper has no learning rate; 1 is the paper's method. `E[d^2]` averages the steps before
        they are multiplied by it.

    >>> import jax.numpy as jnp
    >>> transform = adadelta(rho=0.75, eps=0.75)
    >>> updates, _ = transform.update(jnp.ones(1), transform.init(jnp.zeros(1)))
    >>> round(float(updates[0]), 4)  # -sqrt(0.75) / sqrt(0.25 + 0.75)
    -0.866
    """
    return optax.chain(scale_by_adadelta(rho, eps), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="adadelta",
        make=adadelta,
        kind="adam",
        formula=(
            "d = -sqrt(E[d^2] + eps) / sqrt(E[g^2] + eps) * g; theta <- theta + learning_rate * d"
        ),
        reference="Zeiler (2012), algorithm 1",
    ),
)
