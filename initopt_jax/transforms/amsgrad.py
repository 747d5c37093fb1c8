"""AMSGrad: Adam whose mean square may grow and never falls."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import (
    moving_mean,
    moving_mean_square,
    normalized,
    one_minus_power,
    scalar,
    widen,
    zeros,
)
from initopt_jax.types import Array, PyTree, Transform


class AmsgradState(NamedTuple):
    """Steps so far (int32, stays at its maximum), two moments and the largest second moment."""

    step_count: Array
    mean: PyTree
    mean_square: PyTree
    largest: PyTree


def scale_by_amsgrad(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    """Replaces gradients by their running mean, divided by the largest root mean square so far.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`, `w <- max(w, v)`
    `u = m / (sqrt(w) + eps)`, and 0 where the denominator is 0

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        bias_correction: divide `m` by `1 - b1^t` and `w` by `1 - b2^t`.

    Returns:
        The transformation; moments start at 0.

    Raises:
        ValueError: if a concrete `b1` or `b2` is outside [0, 1), `eps` is negative or not finite,
            or `bias_correction` is not a bool.

    Reference:
        Reddi, Kale and Kumar (2018), algorithm 2.

    >>> transform = scale_by_amsgrad(0.5, 0.75, eps=1.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -2.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [0.6667, -0.5]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.flag("bias_correction", bias_correction)

    def step(gradient: Array, mean: Array, largest: Array, count: Array) -> Array:
        m, w = widen(mean, largest)
        if bias_correction:
            m = m / one_minus_power(b1, count, m)
            w = w / one_minus_power(b2, count, w)
        return normalized(m, jnp.sqrt(w) + scalar(eps, w), gradient).astype(gradient.dtype)

    def init(params: PyTree) -> AmsgradState:
        return AmsgradState(jnp.zeros((), jnp.int32), zeros(params), zeros(params), zeros(params))

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, AmsgradState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.step_count))
        mean = jax.tree.map(lambda m, g: moving_mean(m, g, b1), state.mean, updates)
        mean_square = jax.tree.map(
            lambda v, g: moving_mean_square(v, g, b2), state.mean_square, updates
        )
        largest = jax.tree.map(jnp.maximum, state.largest, mean_square)
        steps = jax.tree.map(lambda g, m, w: step(g, m, w, count), updates, mean, largest)
        return steps, AmsgradState(count, mean, mean_square, largest)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def amsgrad(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    """AMSGrad.

    `m <- b1 * m + (1 - b1) * g`
    `v <- b2 * v + (1 - b2) * g^2`, `w <- max(w, v)`
    `theta <- theta - learning_rate * m / (sqrt(w) + eps)`

    With `bias_correction`, `m / (1 - b1^t)` and `w / (1 - b2^t)` take the places of `m` and `w`, as
    in PyTorch.

    Args:
        learning_rate: the paper's alpha; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced. 0 is the paper's.
        bias_correction: PyTorch's variant. Without it, the first step is
            `(1 - b1) / sqrt(1 - b2)` times the learning rate (3.2 times with the defaults).

    Returns:
        The transformation; moments start at 0.

    Raises:
        ValueError: if a concrete learning rate or `eps` is negative or not a number, `b1` or `b2`
            is outside [0, 1), or `bias_correction` is not a bool.

    Reference:
        Reddi, Kale and Kumar (2018), On the convergence of Adam and beyond, algorithm 2, no
        projection.

    Deviations:
        The paper has no `eps`, and lets `b1` and the learning rate fall in its theorem; the rate
        may follow a schedule. `optax.amsgrad` takes the maximum of `v / (1 - b2^t)`, which is
        neither the paper's nor PyTorch's.

    >>> transform = amsgrad(0.5, b1=0.5, b2=0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.5, 0.5]
    """
    return optax.chain(
        scale_by_amsgrad(b1, b2, eps, bias_correction=bias_correction),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="amsgrad",
        make=amsgrad,
        kind="adam",
        formula=(
            "m <- b1 * m + (1 - b1) * g; v <- b2 * v + (1 - b2) * g^2; w <- max(w, v); "
            "theta <- theta - learning_rate * m / (sqrt(w) + eps)"
        ),
        reference="Reddi, Kale and Kumar (2018), algorithm 2",
    ),
)
