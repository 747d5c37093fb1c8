"""Adagrad: steps divided by the root of the sum of all squared gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import normalized, scalar, widen
from initopt_jax.types import Array, PyTree, Transform


class AdagradState(NamedTuple):
    """`sum_of_squares`: of the gradients so far, like the parameters."""

    sum_of_squares: PyTree


def scale_by_adagrad(
    eps: ArrayLike = 1e-8, initial_accumulator: ArrayLike = 0.0
) -> optax.GradientTransformation:
    """Divides each gradient by the root of the sum of its squares so far.

    `s <- s + g^2`, `u = g / (eps + sqrt(s))`, and 0 where the denominator is 0

    Args:
        eps: at least 0, concrete or traced.
        initial_accumulator: `s` at the start; at least 0, concrete or traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete `eps` or `initial_accumulator` is negative or not finite.

    Reference:
        Duchi, Hazan and Singer (2011), figure 1.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_adagrad(eps=1.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -1.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [0.8, -0.5]
    """
    checks.non_negative("eps", eps)
    checks.non_negative("initial_accumulator", initial_accumulator)

    def add_square(total: Array, gradient: Array) -> Array:
        wide, g = widen(total, gradient)
        return (wide + g * g).astype(total.dtype)

    def step(gradient: Array, total: Array) -> Array:
        g, s = widen(gradient, total)
        return normalized(g, scalar(eps, s) + jnp.sqrt(s), g).astype(gradient.dtype)

    def init(params: PyTree) -> AdagradState:
        return AdagradState(
            jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator, dtype=p.dtype), params)
        )

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, AdagradState]:
        del params
        total = jax.tree.map(add_square, state.sum_of_squares, updates)
        return jax.tree.map(step, updates, total), AdagradState(total)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adagrad(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    eps: ArrayLike = 1e-8,
    initial_accumulator: ArrayLike = 0.0,
) -> optax.GradientTransformation:
    """Adagrad with a diagonal matrix.

    `s <- s + g^2`
    `theta <- theta - learning_rate * g / (eps + sqrt(s))`

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        eps: the paper's delta, outside the root; at least 0, concrete or traced. With 0, a weight
            that has seen no gradient stays where it is.
        initial_accumulator: `s` at the start; at least 0, concrete or traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete number is negative, not finite or not a number.

    Reference:
        Duchi, Hazan and Singer (2011), Adaptive subgradient methods for online learning and
        stochastic optimization, figure 1 (ADAGRAD with diagonal matrices), no regularizer, no
        projection.

    Deviations:
        None with the default `initial_accumulator` of 0 (`optax.adagrad` starts at 0.1, with which
        small gradients are hardly rescaled).

    >>> import jax.numpy as jnp
    >>> transform = adagrad(0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> updates.tolist()
    [-0.5, 0.5]
    """
    return optax.chain(
        scale_by_adagrad(eps, initial_accumulator), scale_by_learning_rate(learning_rate)
    )


ENTRIES = (
    Transform(
        name="adagrad",
        make=adagrad,
        kind="adam",
        formula="s <- s + g^2; theta <- theta - learning_rate * g / (eps + sqrt(s))",
        reference="Duchi, Hazan and Singer (2011), figure 1",
    ),
)
