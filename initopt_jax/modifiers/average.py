"""Averages of the weights along the way: what is evaluated, while training goes on from its own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.modifiers.accumulate import every_so_often
from initopt_jax.transforms.chain import eval_params_of
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import (
    moving_mean,
    one_minus_power,
    scalar,
    widen,
    zeros,
)
from initopt_jax.types import Array, EvaluatedTransform, Modifier, PyTree


class AverageState(NamedTuple):
    """The optimizer's state, the average, steps so far and weights in the average (int32)."""

    inner: Any
    average: PyTree
    step_count: Array
    averaged: Array


def ema(inner: optax.GradientTransformation, decay: ArrayLike = 0.99) -> EvaluatedTransform:
    """Evaluates an exponential moving average of the weights; training does not see it.

    `a <- decay * a + (1 - decay) * theta`, evaluated as `a / (1 - decay^t)` so that it is an
    average of the weights after steps 1 to `t` alone; before the first step, the first weights.

    Args:
        inner: the optimizer.
        decay: in [0, 1), concrete or traced.

    Raises:
        ValueError: if a concrete `decay` is out of its range; on update, if no params are given.

    Reference:
        Polyak and Juditsky (1992) for averaging; the correction is that of Kingma and Ba (2015),
        section 7.2.

    >>> averaged = ema(optax.sgd(1.0), decay=0.5)
    >>> params = jnp.array([4.0])
    >>> updates, state = averaged.update(jnp.array([2.0]), averaged.init(params), params)
    >>> averaged.eval_params(state, params + updates).tolist()
    [2.0]
    """
    checks.fraction("decay", decay)

    def take_in(average: PyTree, params: PyTree, state: AverageState) -> tuple[PyTree, Array]:
        mixed = jax.tree.map(lambda mean, new: moving_mean(mean, new, decay), average, params)
        return mixed, state.averaged + 1

    def read(average: Array, count: Array) -> Array:
        (wide,) = widen(average)
        return (wide / one_minus_power(decay, jnp.maximum(count, 1), wide)).astype(average.dtype)

    return _averaging(inner, take_in, read)


def swa(
    inner: optax.GradientTransformation,
    steps: ArrayLike,
    start: ArrayLike = 0.75,
    every: ArrayLike = 1.0,
) -> EvaluatedTransform:
    """Evaluates the plain mean of the weights of the last steps; training does not see it.

    The weights after step `t` enter where `t > start * steps` and `t` is a multiple of `every`;
    before any has, the weights themselves are evaluated. Batch statistics are those of training.

    Args:
        inner: the optimizer.
        steps: of the whole run, concrete or traced.
        start: share of the steps without averaging; in [0, 1), concrete or traced.
        every: steps between two weights that enter; a whole number above 0, concrete or traced.

    Raises:
        ValueError: if a concrete number is out of its range; on update, if no params are given.

    Reference:
        Izmailov et al. (2018), Averaging weights leads to wider optima and better generalization,
        algorithm 1, without its cyclical rate (which is a schedule's to give).

    >>> averaged = swa(optax.sgd(1.0), steps=2, start=0.0)
    >>> params = jnp.array([4.0])
    >>> state = averaged.init(params)
    >>> for _ in range(2):
    ...     updates, state = averaged.update(jnp.array([1.0]), state, params)
    ...     params = params + updates
    >>> params.tolist(), averaged.eval_params(state, params).tolist()
    ([2.0], [2.5])
    """
    checks.fraction("start", start)
    checks.whole("every", every)

    def take_in(average: PyTree, params: PyTree, state: AverageState) -> tuple[PyTree, Array]:
        step = state.step_count + 1
        rest = scalar(start, jnp.zeros(())) * scalar(steps, jnp.zeros(()))
        due = (step.astype(rest.dtype) > rest) & every_so_often(step, every)
        count = state.averaged + due.astype(jnp.int32)

        def mix(mean: Array, new: Array) -> Array:
            old, value = widen(mean, new)
            moved = old + (value - old) / jnp.maximum(count, 1).astype(old.dtype)
            return jnp.where(due, moved, old).astype(mean.dtype)

        return jax.tree.map(mix, average, params), count

    return _averaging(inner, take_in, lambda average, count: average)


def _averaging(inner: optax.GradientTransformation, take_in: Any, read: Any) -> EvaluatedTransform:
    """The optimizer with an average beside it.

    Args:
        inner: the optimizer; if it has `eval_params` of its own, these are averaged.
        take_in: `(average, params after the step, state) -> (average, how many are in it)`.
        read: `(a leaf of the average, how many are in it) -> what to evaluate`.
    """

    def init(params: PyTree) -> AverageState:
        none = jnp.zeros((), jnp.int32)
        return AverageState(inner.init(params), zeros(params), none, none)

    def apply(
        updates: PyTree, state: AverageState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, AverageState]:
        if params is None:
            raise ValueError("an average of the weights needs the params in update")
        moved, after = optax.with_extra_args_support(inner).update(
            updates, state.inner, params, **extra
        )
        new = eval_params_of(inner, after, optax.apply_updates(params, moved))
        average, averaged = take_in(state.average, new, state)
        count = jnp.asarray(optax.safe_increment(state.step_count))
        return moved, AverageState(after, average, count, averaged)

    def eval_params(state: AverageState, params: PyTree) -> PyTree:
        own = eval_params_of(inner, state.inner, params)
        return jax.tree.map(
            lambda mean, leaf: jnp.where(state.averaged > 0, read(mean, state.averaged), leaf),
            state.average,
            own,
        )

    return on_real_leaves(EvaluatedTransform(init, apply, eval_params))


ENTRIES = (
    Modifier(
        name="ema",
        place="wrapper",
        make=ema,
        formula="evaluated: a / (1 - decay^t), a <- decay * a + (1 - decay) * theta",
        reference="Polyak and Juditsky (1992)",
    ),
    Modifier(
        name="swa",
        acts=lambda steps, start, every: int(steps // every - start * steps // every),
        never="no weights would enter the average",
        place="wrapper",
        make=swa,
        formula="evaluated: mean of theta_t over t > start * steps, t a multiple of every",
        reference="Izmailov et al. (2018), algorithm 1",
    ),
)
