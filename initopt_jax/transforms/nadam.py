"""Nadam: Adam with Nesterov's momentum, in its paper's form and in those of two libraries."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.moments import scale_by_moments
from initopt_jax.transforms.norms import working_dtype
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


class NadamState(NamedTuple):
    """What Nadam remembers.

    step_count: int32, steps so far; stays at its maximum.
    product: of the momentum coefficients so far, a number in the working dtype.
    mean: running mean of the gradients, like the parameters.
    mean_square: running mean of their squares, like the parameters.
    """

    step_count: Array
    product: Array
    mean: PyTree
    mean_square: PyTree


def scale_by_nadam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    momentum_decay: ArrayLike = 0.004,
    *,
    torch: bool = False,
) -> optax.GradientTransformation:
    """Adam's update with a look-ahead mean, and a momentum that grows.

    `mu_t = b1 * (1 - 0.96^(t * momentum_decay) / 2)`, `M_t = mu_1 * ... * mu_t`
    `m <- mu_t * m + (1 - mu_t) * g`, `n <- b2 * n + (1 - b2) * g^2`
    `a = mu_{t+1} * m / (1 - M_{t+1}) + (1 - mu_t) * g / (1 - M_t)`
    `u = a / (sqrt(b2 * n / (1 - b2^t)) + eps)`, and 0 where the denominator is 0

    With `torch`, `m <- b1 * m + (1 - b1) * g`, and the root is that of `n / (1 - b2^t)`.

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        momentum_decay: at least 0, concrete or traced.
        torch: PyTorch's form.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete number is outside its range, or `torch` is not a bool.

    Reference:
        Dozat (2016), algorithm 2. PyTorch, torch.optim.NAdam.

    >>> transform = scale_by_nadam(b1=0.0, b2=0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [1.4142, -1.4142]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.non_negative("momentum_decay", momentum_decay)
    checks.flag("torch", torch)

    def momentum_at(count: Array, dtype: Any) -> Array:
        t = count.astype(dtype)
        return scalar(b1, t) * (1 - 0.96 ** (t * scalar(momentum_decay, t)) / 2)

    def init(params: PyTree) -> NadamState:
        one = jnp.ones((), working_dtype(params))
        return NadamState(jnp.zeros((), jnp.int32), one, zeros(params), zeros(params))

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, NadamState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.step_count))
        dtype = state.product.dtype
        now, following = momentum_at(count, dtype), momentum_at(count + 1, dtype)
        product = state.product * now

        def step(gradient: Array, mean: Array, mean_square: Array) -> Array:
            g, m, n = widen(gradient, mean, mean_square)
            of_mean = scalar(following / (1 - product * following), g)
            of_gradient = scalar((1 - now) / (1 - product), g)
            n = (1 if torch else scalar(b2, n)) * n / one_minus_power(b2, count, n)
            a = of_mean * m + of_gradient * g
            return normalized(a, jnp.sqrt(n) + scalar(eps, n), g).astype(gradient.dtype)

        mean = jax.tree.map(
            lambda m, g: moving_mean(m, g, b1 if torch else now), state.mean, updates
        )
        mean_square = jax.tree.map(
            lambda n, g: moving_mean_square(n, g, b2), state.mean_square, updates
        )
        steps = jax.tree.map(step, updates, mean, mean_square)
        return steps, NadamState(count, product, mean, mean_square)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def nadam(
    learning_rate: optax.ScalarOrSchedule = 0.002,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    momentum_decay: ArrayLike = 0.004,
    torch: bool = False,
) -> optax.GradientTransformation:
    """Nadam with its paper's growing momentum.

    `mu_t = b1 * (1 - 0.96^(t * momentum_decay) / 2)`, `M_t = mu_1 * ... * mu_t`
    `m <- mu_t * m + (1 - mu_t) * g`, `n <- b2 * n + (1 - b2) * g^2`
    `a = mu_{t+1} * m / (1 - M_{t+1}) + (1 - mu_t) * g / (1 - M_t)`
    `theta <- theta - learning_rate * a / (sqrt(b2 * n / (1 - b2^t)) + eps)`

    With `torch`, as PyTorch has it, `m <- b1 * m + (1 - b1) * g`, and the root is that of
    `n / (1 - b2^t)`.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        b1: to which the momentum grows from its half, in [0, 1), concrete or traced.
        b2: the paper's nu, decay of the mean square; in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        momentum_decay: at least 0, concrete or traced; 0.004 is the paper's 1 / 250. With 0 the
            momentum stays at half of `b1`.
        torch: PyTorch's form.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete number is outside its range, or `torch` is not a bool.

    Reference:
        Dozat (2016), Incorporating Nesterov momentum into Adam, algorithm 2, with the schedule of
        its experiments. PyTorch, torch.optim.NAdam.

    Deviations:
        None without `torch`. `optax.nadam` has a constant momentum: that is `nadam_optax`.

    >>> transform = nadam(0.5, b1=0.0, b2=0.25, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-1.0, 1.0]
    """
    return optax.chain(
        scale_by_nadam(b1, b2, eps, momentum_decay, torch=torch),
        scale_by_learning_rate(learning_rate),
    )


def scale_by_constant_nadam(
    b1: ArrayLike = 0.9, b2: ArrayLike = 0.999, eps: ArrayLike = 1e-8
) -> optax.GradientTransformation:
    """Adam's update with a look-ahead mean, and a momentum that stays.

    `m <- b1 * m + (1 - b1) * g`, `n <- b2 * n + (1 - b2) * g^2`
    `a = b1 * m / (1 - b1^(t + 1)) + (1 - b1) * g / (1 - b1^t)`
    `u = a / (sqrt(n / (1 - b2^t)) + eps)`, and 0 where the denominator is 0

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Optax, optax.nadam, after Dozat (2016), algorithm 2.

    >>> transform = scale_by_constant_nadam(b1=0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [1.3333, -1.3333]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)

    def step(gradient: Array, mean: Array, mean_square: Array, count: Array) -> Array:
        g, m, n = widen(gradient, mean, mean_square)
        decay = scalar(b1, g)
        a = decay * m / one_minus_power(b1, count + 1, m)
        a = a + (1 - decay) * g / one_minus_power(b1, count, g)
        n = n / one_minus_power(b2, count, n)
        return normalized(a, jnp.sqrt(n) + scalar(eps, n), g).astype(gradient.dtype)

    return scale_by_moments(b1, b2, step)


def nadam_optax(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
) -> optax.GradientTransformation:
    """Nadam as Optax has it: with a constant momentum.

    `m <- b1 * m + (1 - b1) * g`, `n <- b2 * n + (1 - b2) * g^2`
    `a = b1 * m / (1 - b1^(t + 1)) + (1 - b1) * g / (1 - b1^t)`
    `theta <- theta - learning_rate * a / (sqrt(n / (1 - b2^t)) + eps)`

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.

    Returns:
        The transformation; both moments start at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Optax, optax.nadam, after Dozat (2016), Incorporating Nesterov momentum into Adam,
        algorithm 2.

    Deviations:
        The paper has `b2 * n` in the root, and a momentum that may change: that is `nadam`. Optax
        computes the same as this; `1 - b2^t` keeps four digits of float32 there.

    >>> transform = nadam_optax(0.75, b1=0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, -0.1]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-1.0, 1.0]
    """
    return optax.chain(scale_by_constant_nadam(b1, b2, eps), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="nadam",
        make=nadam,
        kind="adam",
        formula=(
            "mu_t = b1 * (1 - 0.96^(t * momentum_decay) / 2); m <- mu_t * m + (1 - mu_t) * g; "
            "theta <- theta - learning_rate * (mu_{t+1} * m / (1 - mu_1 * ... * mu_{t+1}) + "
            "(1 - mu_t) * g / (1 - mu_1 * ... * mu_t)) / (sqrt(b2 * n / (1 - b2^t)) + eps)"
        ),
        reference="Dozat (2016), algorithm 2; PyTorch, torch.optim.NAdam",
    ),
    Transform(
        name="nadam_optax",
        make=nadam_optax,
        kind="adam",
        formula=(
            "theta <- theta - learning_rate * (b1 * m / (1 - b1^(t + 1)) + "
            "(1 - b1) * g / (1 - b1^t)) / (sqrt(n / (1 - b2^t)) + eps)"
        ),
        reference="Optax, optax.nadam; Dozat (2016), algorithm 2",
    ),
)
