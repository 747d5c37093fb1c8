"""Momentum, classical or Nesterov's, that grows along the schedule of Sutskever et al."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.chain import chain
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.nesterov_1983 import behind
from initopt_jax.transforms.norms import working_dtype
from initopt_jax.transforms.numerics import scalar, widen, zeros
from initopt_jax.types import Array, EvaluatedTransform, PyTree, Transform


class SutskeverState(NamedTuple):
    """Steps so far, and what moves the parameters, like them.

    step_count: int32, stays at its maximum.
    velocity: `v`; with Nesterov's momentum `mu * v`, how far the parameters look ahead.
    """

    step_count: Array
    velocity: PyTree


def scale_by_sutskever_momentum(
    max_decay: ArrayLike = 0.99, interval: ArrayLike = 250.0, *, nesterov: bool = False
) -> optax.GradientTransformation:
    """Replaces updates `u` by a velocity whose decay grows.

    `mu_t = min(1 - 1 / (2 * (floor(t / interval) + 1)), max_decay)`, `t` from 0
    `v_{t+1} = mu_t * v_t + u`, and with `nesterov` the step `mu_{t+1} * v_{t+1} + u` in its place

    Args:
        max_decay: in [0, 1), concrete or traced.
        interval: above 0, concrete or traced.
        nesterov: look ahead.

    Returns:
        The transformation; an `EvaluatedTransform` with `nesterov`.

    Raises:
        ValueError: if a concrete number is outside its range, or `nesterov` is not a bool.

    Reference:
        Sutskever, Martens, Dahl and Hinton (2013), eq. 1 to 5.

    >>> transform = scale_by_sutskever_momentum()
    >>> state = transform.init(jnp.zeros(1))
    >>> for _ in range(2):
    ...     updates, state = transform.update(jnp.ones(1), state)
    >>> updates.tolist()
    [1.5]
    """
    checks.fraction("max_decay", max_decay)
    checks.positive("interval", interval)
    checks.flag("nesterov", nesterov)

    def decay_at(count: Array, dtype: Any) -> Array:
        t = count.astype(dtype)
        halvings = jnp.floor(t / scalar(interval, t)) + 1
        return jnp.minimum(1 - 1 / (2 * halvings), scalar(max_decay, t))

    def init(params: PyTree) -> SutskeverState:
        return SutskeverState(jnp.zeros((), jnp.int32), zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, SutskeverState]:
        del params, extra
        count = jnp.asarray(optax.safe_increment(state.step_count))
        decay = decay_at(count if nesterov else state.step_count, working_dtype(updates))

        def accelerate(velocity: Array, update: Array) -> Array:
            v, u = widen(velocity, update)
            return scalar(decay, v) * (v + u) if nesterov else scalar(decay, v) * v + u

        def step(velocity: Array, update: Array) -> Array:
            v, u = widen(accelerate(velocity, update), update)
            return (v + u if nesterov else v).astype(update.dtype)

        steps = jax.tree.map(step, state.velocity, updates)
        velocity = jax.tree.map(
            lambda v, u: accelerate(v, u).astype(v.dtype), state.velocity, updates
        )
        return steps, SutskeverState(count, velocity)

    if not nesterov:
        return on_real_leaves(optax.GradientTransformationExtraArgs(init, apply))

    def eval_params(state: Any, params: PyTree) -> PyTree:
        return behind(state.velocity, params)

    return on_real_leaves(EvaluatedTransform(init, apply, eval_params))


def sutskever_momentum(
    learning_rate: optax.ScalarOrSchedule,
    max_decay: ArrayLike = 0.99,
    interval: ArrayLike = 250.0,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Momentum with the schedule of Sutskever et al., classical or Nesterov's.

    `mu_t = min(1 - 2^(-1 - log2(floor(t / interval) + 1)), max_decay)`, `t` from 0
    `v_{t+1} = mu_t * v_t - learning_rate * g(theta_t)`
    `theta_{t+1} = theta_t + v_{t+1}`

    With `nesterov`, the gradient is that of `theta_t + mu_t * v_t`. These look-ahead points are
    what is trained; `theta` are the weights to evaluate.

    Args:
        learning_rate: the paper's epsilon; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        max_decay: the paper's mu_max, in [0, 1), concrete or traced.
        interval: steps from one value of `mu` to the next; above 0, concrete or traced.
        nesterov: Nesterov's momentum instead of the classical one.

    Returns:
        The transformation; with `nesterov` it has `eval_params`.

    Raises:
        ValueError: if a concrete number is outside its range, or `nesterov` is not a bool.

    Reference:
        Sutskever, Martens, Dahl and Hinton (2013), On the importance of initialization and momentum
        in deep learning, eq. 1 to 5.

    Deviations:
        The paper lowers `mu` to 0.9 for the last 1,000 steps of a run; that is left out. `interval`
        is 250 there. `2^(-1 - log2(x))` is computed as `1 / (2 * x)`.

    >>> transform = sutskever_momentum(1.0, nesterov=True)
    >>> y = jnp.zeros(1)
    >>> updates, state = transform.update(jnp.ones(1), transform.init(y), y)
    >>> updates.tolist(), transform.eval_params(state, y + updates).tolist()
    ([-1.5], [-1.0])
    """
    core = scale_by_sutskever_momentum(max_decay, interval, nesterov=nesterov)
    return chain(scale_by_learning_rate(learning_rate), core)


ENTRIES = (
    Transform(
        name="sutskever_momentum",
        make=sutskever_momentum,
        kind="sgd",
        formula=(
            "mu = min(1 - 2^(-1 - log2(floor(t / interval) + 1)), max_decay); "
            "v <- mu * v - learning_rate * g; theta <- theta + v"
        ),
        reference="Sutskever et al. (2013), eq. 1-5",
    ),
)
