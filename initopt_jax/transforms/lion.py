"""Lion: the sign of a momentum that gives the new gradient a weight of its own."""

import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.borrowed import in_working_dtype
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.weight_decay import add_weight_decay
from initopt_jax.types import Transform


def lion(
    learning_rate: optax.ScalarOrSchedule = 0.0001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    weight_decay: ArrayLike = 0.0,
) -> optax.GradientTransformation:
    """Lion.

    `c = b1 * m + (1 - b1) * g`
    `theta <- theta - learning_rate * (sign(c) + weight_decay * theta)`, `sign(0) = 0`
    `m <- b2 * m + (1 - b2) * g`

    The update is Optax's `scale_by_lion`. Every step is as long as the learning rate, so that the
    paper takes one 3 to 10 times smaller than for AdamW, and a decay as much larger.

    Args:
        learning_rate: the size of every step; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: the momentum's share in the sign, in [0, 1), concrete or traced.
        b2: decay of the momentum, in [0, 1), concrete or traced.
        weight_decay: the paper's lambda, multiplied by the learning rate; at least 0, concrete or
            traced.

    Returns:
        The transformation; `m` starts at 0. Its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Chen, Liang, Huang, Real, Wang, Pham, Dong, Luong, Hsieh, Lu and Le (2023), Symbolic
        discovery of optimization algorithms, algorithm 2.

    Deviations:
        None. The paper has no default for its lambda; here it is 0 (in `optax.lion` 0.001).

    >>> import jax.numpy as jnp
    >>> transform = lion(0.5, weight_decay=0.25)
    >>> weights = jnp.array([2.0, 0.0])
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(weights), weights)
    >>> updates.tolist()
    [-0.75, 0.5]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    return optax.chain(
        in_working_dtype(optax.scale_by_lion, b1=b1, b2=b2),
        add_weight_decay("lion", weight_decay),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="lion",
        make=lion,
        kind="adam",
        origin="optax",
        formula=(
            "theta <- theta - learning_rate * (sign(b1 * m + (1 - b1) * g) + weight_decay * theta);"
            " m <- b2 * m + (1 - b2) * g"
        ),
        reference="Chen et al. (2023), algorithm 2",
    ),
)
