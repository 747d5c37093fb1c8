"""RMSprop as PyTorch has it: `eps` outside the root, centred or not, with momentum or without."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import scale_by_momentum
from initopt_jax.transforms.numerics import moving_mean, ratio, scalar, widen, zeros
from initopt_jax.transforms.rmsprop import CenteredRmspropState, scale_by_rmsprop
from initopt_jax.types import Array, PyTree, Transform


def scale_by_deviation(
    decay: ArrayLike = 0.99, eps: ArrayLike = 1e-8
) -> optax.GradientTransformation:
    """Divides each gradient by its running standard deviation, `eps` outside the root.

    `n <- decay * n + (1 - decay) * g^2`, `m <- decay * m + (1 - decay) * g`
    `u = g / (sqrt(n - m^2) + eps)`, and 0 where the denominator is 0

    The state holds `m` and `n - m^2`, by the recursion of `scale_by_centered_rmsprop`.

    Args:
        decay: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.

    Returns:
        The transformation; `n` and `m` start at 0.

    Raises:
        ValueError: if a concrete `decay` is outside [0, 1), or `eps` is negative or not finite.

    Reference:
        PyTorch, torch.optim.RMSprop with `centered=True`.

    >>> transform = scale_by_deviation(0.5, eps=1.0)
    >>> updates, _ = transform.update(jnp.array([6.0, -2.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [1.5, -1.0]
    """
    checks.fraction("decay", decay)
    checks.non_negative("eps", eps)

    def spread(variance: Array, mean: Array, gradient: Array) -> Array:
        s, m, g = widen(variance, mean, gradient)
        keep = scalar(decay, s)
        return (keep * (s + (1 - keep) * (g - m) ** 2)).astype(variance.dtype)

    def step(gradient: Array, variance: Array) -> Array:
        g, s = widen(gradient, variance)
        return ratio(g, jnp.sqrt(s) + scalar(eps, s)).astype(gradient.dtype)

    def init(params: PyTree) -> CenteredRmspropState:
        return CenteredRmspropState(zeros(params), zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, CenteredRmspropState]:
        del params
        variance = jax.tree.map(spread, state.variance, state.mean, updates)
        mean = jax.tree.map(lambda m, g: moving_mean(m, g, decay), state.mean, updates)
        return jax.tree.map(step, updates, variance), CenteredRmspropState(mean, variance)

    return optax.GradientTransformation(init, apply)


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

    >>> transform = rmsprop_torch(1.0, decay=0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-2.0, 2.0]
    """
    checks.fraction("momentum", momentum)
    checks.flag("centered", centered)
    core = scale_by_deviation if centered else scale_by_rmsprop
    return optax.chain(
        core(decay, eps), scale_by_momentum(momentum), scale_by_learning_rate(learning_rate)
    )


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
