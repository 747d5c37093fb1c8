"""Quasi-hyperbolic momentum: a mean of a plain step and one with momentum."""

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import MomentumState
from initopt_jax.transforms.numerics import moving_mean, scalar, widen, zeros
from initopt_jax.types import Array, PyTree, Transform


def scale_by_qhm(decay: ArrayLike = 0.999, nu: ArrayLike = 0.7) -> optax.GradientTransformation:
    """Replaces updates `u` by a mean of themselves and of their running mean.

    `m <- decay * m + (1 - decay) * u`, then `(1 - nu) * u + nu * m`

    Args:
        decay: in [0, 1), concrete or traced.
        nu: in [0, 1], concrete or traced.

    Returns:
        The transformation; `m` starts at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Ma and Yarats (2019), eq. 3 and 4.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_qhm(0.5, nu=0.5)
    >>> transform.update(jnp.array([4.0]), transform.init(jnp.zeros(1)))[0].tolist()
    [3.0]
    """
    checks.fraction("decay", decay)
    checks.in_range("nu", nu, low=0, high=1)

    def mix(update: Array, mean: Array) -> Array:
        u, m = widen(update, mean)
        share = scalar(nu, u)
        return ((1 - share) * u + share * m).astype(update.dtype)

    def init(params: PyTree) -> MomentumState:
        return MomentumState(zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, MomentumState]:
        del params
        mean = jax.tree.map(lambda m, u: moving_mean(m, u, decay), state.velocity, updates)
        return jax.tree.map(mix, updates, mean), MomentumState(mean)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def qhm(
    learning_rate: optax.ScalarOrSchedule, decay: ArrayLike = 0.999, nu: ArrayLike = 0.7
) -> optax.GradientTransformation:
    """Quasi-hyperbolic momentum (QHM).

    `m <- decay * m + (1 - decay) * g`
    `theta <- theta - learning_rate * ((1 - nu) * g + nu * m)`

    With `nu` 0 it is `sgd`, with 1 `momentum(ema=True)`, with `nu = decay` Nesterov's momentum at a
    learning rate of `(1 - decay)` times this one.

    Args:
        learning_rate: the paper's alpha; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        decay: the paper's beta, in [0, 1), concrete or traced.
        nu: the share of the mean, in [0, 1], concrete or traced.

    Returns:
        The transformation; `m` starts at 0, and is not corrected for it.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, `decay` is outside
            [0, 1), or `nu` outside [0, 1].

    Reference:
        Ma and Yarats (2019), Quasi-hyperbolic momentum and Adam for deep learning, eq. 3 and 4;
        defaults of section 3.

    Deviations:
        None.

    >>> import jax.numpy as jnp
    >>> transform = qhm(1.0, decay=0.5, nu=0.5)
    >>> transform.update(jnp.array([4.0]), transform.init(jnp.zeros(1)))[0].tolist()
    [-3.0]
    """
    return optax.chain(scale_by_qhm(decay, nu), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="qhm",
        make=qhm,
        kind="sgd",
        formula=(
            "m <- decay * m + (1 - decay) * g; "
            "theta <- theta - learning_rate * ((1 - nu) * g + nu * m)"
        ),
        reference="Ma and Yarats (2019), eq. 3-4",
    ),
)
