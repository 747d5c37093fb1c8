"""Gradient flow: the path that gradient descent takes with steps of no length."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.lookaround import moved, needs_cost
from initopt_jax.transforms.norms import rate_at, working_dtype
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.types import Array, PyTree, Transform


class GradientFlowState(NamedTuple):
    """Steps so far (int32, stays at its maximum)."""

    step_count: Array


def _slope(slopes: tuple[PyTree, ...]) -> PyTree:
    """`(k1 + 2 k2 + 2 k3 + k4) / 6`, in the dtypes of the leaves."""

    def mean(*of_leaf: Array) -> Array:
        k1, k2, k3, k4 = widen(*of_leaf)
        return ((k1 + 2 * k2 + 2 * k3 + k4) / 6).astype(of_leaf[0].dtype)

    return jax.tree.map(mean, *slopes)


def _advance(
    gradient: Callable[[PyTree], PyTree], params: PyTree, first: PyTree, step: Array
) -> PyTree:
    """The mean slope of one step of the classical method of Runge and Kutta."""
    second = gradient(moved(params, first, -step / 2))
    third = gradient(moved(params, second, -step / 2))
    fourth = gradient(moved(params, third, -step))
    return _slope((first, second, third, fourth))


def gradient_flow(
    learning_rate: optax.ScalarOrSchedule, substeps: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Follows `d theta / d time = -gradient` by the classical Runge-Kutta method of order 4.

    `k1 = g(theta)`, `k2 = g(theta - h / 2 * k1)`
    `k3 = g(theta - h / 2 * k2)`, `k4 = g(theta - h * k3)`
    `theta <- theta - h * (k1 + 2 k2 + 2 k3 + k4) / 6` with `h = learning_rate / substeps`, as often

    What gradient descent does with small learning rates, as a ground truth for small networks: the
    error falls as `h^4`. On a quadratic whose largest curvature is `lambda` it is stable for
    `h < 2.785 / lambda`.

    Args:
        learning_rate: the time of one step; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        substeps: steps of Runge and Kutta in one step, a whole number above 0; not traced.

    Returns:
        The transformation; its updates need the weights and the extra argument `value_fn`, and take
        four gradients a substep.

    Raises:
        ValueError: if a concrete learning rate is negative or not finite, or `substeps` is not a
            whole number above 0; on `update`, if it is called without the weights or without
            `value_fn`.

    Reference:
        Kutta (1901), Beitrag zur naeherungsweisen Integration totaler Differentialgleichungen.
        Saxe, McClelland and Ganguli (2014), Exact solutions to the nonlinear dynamics of learning
        in deep linear neural networks, for the flow.

    Deviations:
        None.

    >>> transform = gradient_flow(1.0, substeps=4)
    >>> weights = jnp.array([1.0])
    >>> state = transform.init(weights)
    >>> updates, _ = transform.update(weights, state, weights, value_fn=lambda w: w @ w / 2)
    >>> bool(jnp.abs(weights + updates - jnp.exp(-1.0))[0] < 2e-5)
    True
    """
    checks.non_negative("learning_rate", learning_rate)
    checks.count("substeps", substeps)

    def init(params: PyTree) -> GradientFlowState:
        del params
        return GradientFlowState(jnp.zeros((), jnp.int32))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, GradientFlowState]:
        cost = needs_cost("gradient_flow", extra.get("value_fn"), params)
        rate = rate_at(learning_rate, state.step_count, jnp.zeros((), working_dtype(params)))
        step = rate / substeps

        def gradient(at: PyTree) -> PyTree:
            found = jax.grad(cost)(at)
            return jax.tree.map(lambda new, old: new.astype(old.dtype), found, updates)

        def substep(_: Array, total: PyTree) -> PyTree:
            at = moved(params, total, -step)
            return moved(total, _advance(gradient, at, gradient(at), step), jnp.ones_like(step))

        total = _advance(gradient, params, updates, step)
        if substeps > 1:  # the sum of the slopes: added to the weights once, it is rounded once
            total = jax.lax.fori_loop(1, substeps, substep, total)
        return _scaled(total, -step), GradientFlowState(
            jnp.asarray(optax.safe_increment(state.step_count))
        )

    return on_real_leaves(optax.GradientTransformationExtraArgs(init, apply))


def _scaled(tree: PyTree, factor: Array) -> PyTree:
    def scale(leaf: Array) -> Array:
        (wide,) = widen(leaf)
        return (scalar(factor, wide) * wide).astype(leaf.dtype)

    return jax.tree.map(scale, tree)


ENTRIES = (
    Transform(
        name="gradient_flow",
        looks_around=True,
        make=gradient_flow,
        formula=(
            "theta <- theta - h * (k1 + 2 k2 + 2 k3 + k4) / 6, h = learning_rate / substeps: "
            "d theta / d time = -g by Runge-Kutta of order 4, g over the whole training set"
        ),
        reference="Kutta (1901)",
        full_batch=True,
    ),
)
