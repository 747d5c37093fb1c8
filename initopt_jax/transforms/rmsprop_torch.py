"""RMSprop as PyTorch has it: `eps` outside the root, centred or not, with momentum or without."""

import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import scale_by_momentum
from initopt_jax.transforms.rmsprop import scale_by_centered_rmsprop, scale_by_rmsprop
from initopt_jax.types import Transform


def rmsprop_torch(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    decay: ArrayLike = 0.99,
    eps: ArrayLike = 1e-8,
    momentum: ArrayLike = 0.0,
    centered: bool = False,
) -> optax.GradientTransformation:
    """RMSprop as PyTorch has it.

    `n <- decay * n + (1 - decay) * g^2`
    `b <- momentum * b + g / (sqrt(n) + eps)`
    `theta <- theta - learning_rate * b`

    With `centered`, `m <- decay * m + (1 - decay) * g`, and `n - m^2` in place of `n`.

    Args:
        learning_rate: multiplies the whole of `b`; scalar of at least 0, concrete or traced, or an
            Optax schedule.
        decay: PyTorch's `alpha`, in [0, 1), concrete or traced.
        eps: outside the root, centred or not; at least 0, concrete or traced.
        momentum: in [0, 1), concrete or traced.
        centered: divide by the standard deviation instead of the root mean square.

    Returns:
        The transformation; the averages and `b` start at 0.

    Raises:
        ValueError: if a concrete learning rate or `eps` is negative or not a number, `decay` or
            `momentum` is outside [0, 1), or `centered` is not a bool.

    Reference:
        PyTorch, torch.optim.RMSprop, after Tieleman and Hinton (2012), Neural networks for machine
        learning, lecture 6e, slide 29.

    Deviations:
        None from PyTorch, except that a weight without any gradient stays where `eps` is 0.

    >>> import jax.numpy as jnp
    >>> transform = rmsprop_torch(1.0, decay=0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-2.0, 2.0]
    """
    checks.fraction("momentum", momentum)
    checks.flag("centered", centered)
    if centered:
        core = scale_by_centered_rmsprop(decay, eps, eps_in_root=False)
    else:
        core = scale_by_rmsprop(decay, eps)
    return optax.chain(core, scale_by_momentum(momentum), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="rmsprop_torch",
        make=rmsprop_torch,
        kind="adam",
        formula=(
            "n <- decay * n + (1 - decay) * g^2; b <- momentum * b + g / (sqrt(n) + eps); "
            "theta <- theta - learning_rate * b"
        ),
        reference="PyTorch, torch.optim.RMSprop; Tieleman and Hinton (2012), lecture 6e, slide 29",
    ),
)
