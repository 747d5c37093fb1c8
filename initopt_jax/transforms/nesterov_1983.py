"""Nesterov's first accelerated method, whose momentum grows by a recursion of its own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from initopt_jax.transforms.chain import chain
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.norms import working_dtype
from initopt_jax.transforms.numerics import scalar, widen, zeros
from initopt_jax.types import Array, EvaluatedTransform, PyTree, Transform


class Nesterov1983State(NamedTuple):
    """`a`: the recursion's number, in the working dtype; `offset`: `y - x`, like the parameters."""

    a: Array
    offset: PyTree


def scale_by_nesterov_1983() -> EvaluatedTransform:
    """Turns updates `u` at the points `y` into the way to the next of these points.

    `x_k = y_k + u`, `a_{k+1} = (1 + sqrt(4 * a_k^2 + 1)) / 2`, `a_0 = 1`
    `y_{k+1} = x_k + (a_k - 1) / a_{k+1} * (x_k - x_{k-1})`

    The state holds `w_k = y_k - x_{k-1}`, for which `w_{k+1} = (a_k - 1) / a_{k+1} * (w_k + u)` and
    `y_{k+1} - y_k = w_{k+1} + u`.

    Returns:
        The transformation; `eval_params(state, y)` is `x`.

    Reference:
        Nesterov (1983), theorem 1.

    >>> transform = scale_by_nesterov_1983()
    >>> updates, _ = transform.update(jnp.array([4.0]), transform.init(jnp.zeros(1)))
    >>> updates.tolist()
    [4.0]
    """

    def init(params: PyTree) -> Nesterov1983State:
        return Nesterov1983State(jnp.ones((), working_dtype(params)), zeros(params))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, Nesterov1983State]:
        del params, extra
        following = (1 + jnp.sqrt(4 * state.a**2 + 1)) / 2
        decay = (state.a - 1) / following

        def ahead(offset: Array, update: Array) -> Array:
            w, u = widen(offset, update)
            return scalar(decay, w) * (w + u)

        def step(offset: Array, update: Array) -> Array:
            w, u = widen(ahead(offset, update), update)
            return (w + u).astype(update.dtype)

        steps = jax.tree.map(step, state.offset, updates)
        offset = jax.tree.map(lambda w, u: ahead(w, u).astype(w.dtype), state.offset, updates)
        return steps, Nesterov1983State(following, offset)

    def eval_params(state: Any, params: PyTree) -> PyTree:
        return behind(state.offset, params)

    return on_real_leaves(EvaluatedTransform(init, apply, eval_params))


def behind(offset: PyTree, params: PyTree) -> PyTree:
    """The points from which `params` look ahead: `y - offset`, in the dtype of `y`."""

    def back(ahead: Array, by: Array) -> Array:
        y, w = widen(ahead, by)
        return (y - w).astype(ahead.dtype)

    return jax.tree.map(back, params, offset)


def nesterov_1983(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Nesterov's accelerated method of 1983, with a step size that is given.

    `x_k = y_k - learning_rate * g(y_k)`
    `a_{k+1} = (1 + sqrt(4 * a_k^2 + 1)) / 2`, `a_0 = 1`
    `y_{k+1} = x_k + (a_k - 1) / a_{k+1} * (x_k - x_{k-1})`

    The momentum coefficient `(a_k - 1) / a_{k+1}` goes from 0 to 1, about as `1 - 3 / k`. For a
    convex loss of smoothness L and `learning_rate <= 1 / L`, the loss of `x_k` is within
    `2 * L * |x_0 - x*|^2 / (k + 2)^2` of its minimum. `theta` is `y` in training.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.

    Returns:
        The transformation; it has `eval_params`: the points `x`, to which the bound applies.

    Raises:
        ValueError: if a concrete learning rate is not a finite number of at least 0.

    Reference:
        Nesterov (1983), A method of solving a convex programming problem with convergence rate
        O(1/k^2), the method of theorem 1.

    Deviations:
        The paper halves its step size until the loss falls enough; here it is the learning rate.

    >>> transform = nesterov_1983(0.5)
    >>> y = jnp.array([1.0])
    >>> state = transform.init(y)
    >>> for _ in range(2):
    ...     updates, state = transform.update(jnp.ones(1), state, y)
    ...     y = y + updates
    >>> [round(float(point[0]), 4) for point in (transform.eval_params(state, y + 1), y)]
    [1.0, -0.1409]
    """
    return chain(scale_by_learning_rate(learning_rate), scale_by_nesterov_1983())


ENTRIES = (
    Transform(
        name="nesterov_1983",
        make=nesterov_1983,
        kind="sgd",
        formula=(
            "x = y - learning_rate * g; a' = (1 + sqrt(4 * a^2 + 1)) / 2; y <- x + (a - 1) / a' * "
            "(x - last x); theta <- theta + (y - theta), evaluated at x"
        ),
        reference="Nesterov (1983), theorem 1",
    ),
)
