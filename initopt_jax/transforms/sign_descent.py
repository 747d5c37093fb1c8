"""Steps of the same size for every weight: the sign of the gradient, or of its running mean."""

import optax
from jax.typing import ArrayLike

from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import scale_by_momentum
from initopt_jax.types import Transform


def sign_descent(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Sign descent (signSGD).

    `theta <- theta - learning_rate * sign(g)`, `sign(0) = 0`

    The update is Optax's `scale_by_sign`. Near a minimum each weight jumps from one side to the
    other by the learning rate, which must fall for it to settle.

    Args:
        learning_rate: the paper's delta, the size of every step; scalar of at least 0, concrete or
            traced, or an Optax schedule.

    Returns:
        The transformation; it has no accumulators.

    Raises:
        ValueError: if a concrete learning rate is not a finite number of at least 0.

    Reference:
        Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), signSGD: compressed optimisation for
        non-convex problems, algorithm 1.

    Deviations:
        None; one worker.

    >>> import jax.numpy as jnp
    >>> transform = sign_descent(0.5)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> updates.tolist()
    [-0.5, 0.5]
    """
    sign = on_real_leaves(optax.scale_by_sign())
    return optax.chain(sign, scale_by_learning_rate(learning_rate))


def signum(
    learning_rate: optax.ScalarOrSchedule, decay: ArrayLike = 0.9
) -> optax.GradientTransformation:
    """Sign descent with momentum (Signum).

    `m <- decay * m + (1 - decay) * g`
    `theta <- theta - learning_rate * sign(m)`, `sign(0) = 0`

    Args:
        learning_rate: the paper's delta, the size of every step; scalar of at least 0, concrete or
            traced, or an Optax schedule.
        decay: the paper's beta, in [0, 1), concrete or traced; 0 gives `sign_descent`.

    Returns:
        The transformation; `m` starts at 0.

    Raises:
        ValueError: if a concrete learning rate is negative or not a number, or `decay` is outside
            [0, 1).

    Reference:
        Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), signSGD: compressed optimisation for
        non-convex problems, algorithm 2.

    Deviations:
        None; one worker.

    >>> import jax.numpy as jnp
    >>> transform = signum(0.5)
    >>> state = transform.init(jnp.zeros(2))
    >>> for gradient in ([3.0, -0.1], [-1.0, -0.1]):
    ...     updates, state = transform.update(jnp.array(gradient), state)
    >>> updates.tolist()
    [-0.5, 0.5]
    """
    return optax.chain(
        scale_by_momentum(decay, ema=True),
        optax.scale_by_sign(),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="sign_descent",
        make=sign_descent,
        kind="adam",
        origin="optax",
        formula="theta <- theta - learning_rate * sign(g)",
        reference="Bernstein et al. (2018), algorithm 1",
    ),
    Transform(
        name="signum",
        make=signum,
        kind="adam",
        formula="m <- decay * m + (1 - decay) * g; theta <- theta - learning_rate * sign(m)",
        reference="Bernstein et al. (2018), algorithm 2",
    ),
)
