"""RMSprop: gradients divided by a running root mean square, or by a running standard deviation."""

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
    scalar,
    widen,
    zeros,
)
from initopt_jax.types import Array, PyTree, Transform


class RmspropState(NamedTuple):
    """`mean_square`: running mean of the squared gradients, like the parameters."""

    mean_square: PyTree


class CenteredRmspropState(NamedTuple):
    """Running mean and variance of the gradients, like the parameters."""

    mean: PyTree
    variance: PyTree


def scale_by_rmsprop(decay: ArrayLike = 0.9, eps: ArrayLike = 1e-8) -> optax.GradientTransformation:
    """Divides each gradient by its running root mean square.

    `n <- decay * n + (1 - decay) * g^2`
    `u = g / (sqrt(n) + eps)`, and 0 where the denominator is 0

    Args:
        decay: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.

    Returns:
        The transformation; `n` starts at 0.

    Raises:
        ValueError: if a concrete `decay` is outside [0, 1), or `eps` is negative or not finite.

    Reference:
        Tieleman and Hinton (2012), lecture 6e, slide 29.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_rmsprop(0.75, eps=1.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -2.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [1.3333, -1.0]
    """
    checks.fraction("decay", decay)
    checks.non_negative("eps", eps)

    def step(gradient: Array, mean_square: Array) -> Array:
        g, n = widen(gradient, mean_square)
        return normalized(g, jnp.sqrt(n) + scalar(eps, n), g).astype(gradient.dtype)

    def init(params: PyTree) -> RmspropState:
        return RmspropState(zeros(params))

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, RmspropState]:
        del params
        mean_square = jax.tree.map(
            lambda n, g: moving_mean_square(n, g, decay), state.mean_square, updates
        )
        return jax.tree.map(step, updates, mean_square), RmspropState(mean_square)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def scale_by_centered_rmsprop(
    decay: ArrayLike = 0.9, eps: ArrayLike = 1e-8, *, eps_in_root: bool = True
) -> optax.GradientTransformation:
    """Divides each gradient by its running standard deviation.

    `n <- decay * n + (1 - decay) * g^2`, `m <- decay * m + (1 - decay) * g`
    `u = g / sqrt(n - m^2 + eps)`, and 0 where the denominator is 0

    The state holds `m` and the variance `s = n - m^2`, which obeys, exactly,
    `s <- decay * (s + (1 - decay) * (g - m)^2)` with the `m` from before the step. So `s` is never
    negative, while the difference of two rounded moments can be.

    Args:
        decay: in [0, 1), concrete or traced.
        eps: at least 0, concrete or traced.
        eps_in_root: as above; else `u = g / (sqrt(n - m^2) + eps)`, as in PyTorch.

    Returns:
        The transformation; `n` and `m` start at 0.

    Raises:
        ValueError: if a concrete `decay` is outside [0, 1), or `eps` is negative or not finite.

    Reference:
        Graves (2013), eq. 38 to 40.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_centered_rmsprop(0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([4.0, -2.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [2.0, -2.0]
    """
    checks.fraction("decay", decay)
    checks.non_negative("eps", eps)

    def spread(variance: Array, mean: Array, gradient: Array) -> Array:
        s, m, g = widen(variance, mean, gradient)
        keep = scalar(decay, s)
        return (keep * (s + (1 - keep) * (g - m) ** 2)).astype(variance.dtype)

    def step(gradient: Array, variance: Array, mean: Array) -> Array:
        g, s, m = widen(gradient, variance, mean)
        floor = scalar(eps, s)
        root = jnp.sqrt(s + floor) if eps_in_root else jnp.sqrt(s) + floor
        return normalized(g, root, g - m).astype(gradient.dtype)

    def init(params: PyTree) -> CenteredRmspropState:
        return CenteredRmspropState(zeros(params), zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, CenteredRmspropState]:
        del params
        variance = jax.tree.map(spread, state.variance, state.mean, updates)
        mean = jax.tree.map(lambda m, g: moving_mean(m, g, decay), state.mean, updates)
        steps = jax.tree.map(step, updates, variance, state.mean)
        return steps, CenteredRmspropState(mean, variance)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def rmsprop(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    centered: bool = False,
) -> optax.GradientTransformation:
    """RMSprop.

    `n <- decay * n + (1 - decay) * g^2`
    `theta <- theta - learning_rate * g / (sqrt(n) + eps)`

    With `centered`, after Graves, `eps` stands inside the root:

    `n <- decay * n + (1 - decay) * g^2`
    `m <- decay * m + (1 - decay) * g`
    `theta <- theta - learning_rate * g / sqrt(n - m^2 + eps)`

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        decay: of the averages, in [0, 1), concrete or traced.
        eps: at least 0, concrete or traced. Graves uses 1e-4 for the centred form, in which it
            bounds the step where gradients hardly vary.
        centered: divide by the standard deviation instead of the root mean square.

    Returns:
        The transformation; the averages start at 0 and are not corrected for it, so that the first
        step is `1 / sqrt(1 - decay)` times the learning rate (`1 / sqrt(decay * (1 - decay))` times
        when centred).

    Raises:
        ValueError: if a concrete learning rate or `eps` is negative or not a number, `decay` is
            outside [0, 1), or `centered` is not a bool.

    Reference:
        Tieleman and Hinton (2012), Neural networks for machine learning, lecture 6e, slide 29.
        Graves (2013), Generating sequences with recurrent neural networks, eq. 38 to 45.

    Deviations:
        The slide has no `eps` (0 is allowed here, and a weight without gradient then stays) and
        does not say where the average starts. Graves adds a momentum, left out
        here: his method is `optax.chain(rmsprop(1e-4, 0.95, 1e-4, centered=True),
        scale_by_momentum(0.9))`.

    >>> import jax.numpy as jnp
    >>> transform = rmsprop(1.0, decay=0.75, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-2.0, 2.0]
    """
    checks.flag("centered", centered)
    core = scale_by_centered_rmsprop if centered else scale_by_rmsprop
    return optax.chain(core(decay, eps), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="rmsprop",
        make=rmsprop,
        kind="adam",
        formula=(
            "n <- decay * n + (1 - decay) * g^2; "
            "theta <- theta - learning_rate * g / (sqrt(n) + eps)"
        ),
        reference="Tieleman and Hinton (2012), lecture 6e, slide 29; Graves (2013), eq. 38-45",
    ),
)
