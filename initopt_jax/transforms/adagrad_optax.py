"""Adagrad with the defaults of Optax: a sum of squares that starts above 0."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.borrowed import in_working_dtype
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import normalized, scalar, widen
from initopt_jax.types import Array, PyTree, Transform


def adagrad_optax(
    learning_rate: optax.ScalarOrSchedule,
    eps: ArrayLike = 1e-7,
    initial_accumulator: ArrayLike = 0.1,
) -> optax.GradientTransformation:
    """Adagrad as Optax has it.

    `s <- s + g^2`, `s = initial_accumulator` at the start
    `theta <- theta - learning_rate * g / sqrt(s + eps)`, and no step where `s` is 0

    The update is Optax's `scale_by_rss`. While the sum of squared gradients is small against
    `initial_accumulator`, a step is about `learning_rate / sqrt(initial_accumulator)` times the
    gradient: gradient descent with about 3 times the learning rate.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        eps: inside the root; at least 0, concrete or traced.
        initial_accumulator: at least 0, concrete or traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete number is negative, not finite or not a number.

    Reference:
        Optax, optax.adagrad, after Duchi, Hazan and Singer (2011), Adaptive subgradient methods for
        online learning and stochastic optimization.

    Deviations:
        The paper starts `s` at 0 and has its delta outside the root: that is `adagrad`.

    >>> import jax.numpy as jnp
    >>> transform = adagrad_optax(0.5, eps=3.0, initial_accumulator=4.0)
    >>> updates, _ = transform.update(jnp.array([3.0]), transform.init(jnp.zeros(1)))
    >>> updates.tolist()
    [-0.375]
    """
    checks.non_negative("eps", eps)
    checks.non_negative("initial_accumulator", initial_accumulator)
    borrowed = in_working_dtype(
        optax.scale_by_rss, initial_accumulator_value=initial_accumulator, eps=eps
    )

    def checked(gradient: Array, update: Array, total: Array) -> Array:
        # Optax gives 0 where the sum left the range.
        g, s = widen(gradient, total)
        known = ~jnp.isnan(normalized(g, jnp.sqrt(s + scalar(eps, s)), g))
        return jnp.where(known, update, jnp.nan)

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        moved, after = borrowed.update(updates, state, params)
        return jax.tree.map(checked, updates, moved, after.sum_of_squares), after

    core = optax.GradientTransformation(borrowed.init, apply)
    return optax.chain(core, scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="adagrad_optax",
        make=adagrad_optax,
        kind="adam",
        origin="optax",
        formula="s <- s + g^2; theta <- theta - learning_rate * g / sqrt(s + eps)",
        reference="Optax, optax.adagrad; Duchi, Hazan and Singer (2011)",
    ),
)
