"""Gradient accumulation: one step of the optimizer for the mean gradient of several batches."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.chain import around
from initopt_jax.transforms.numerics import scalar, widen, zeros
from initopt_jax.types import Array, Modifier, PyTree


class AccumulateState(NamedTuple):
    """The optimizer's state, gradients waiting (int32), and their running mean."""

    inner: Any
    waiting: Array
    mean: PyTree


def accumulate(
    inner: optax.GradientTransformation, every: ArrayLike
) -> optax.GradientTransformation:
    """One step of the optimizer for every `every` gradients, with their mean; else no update.

    The optimizer's own count, and so its schedule, counts its steps, not the batches.

    Args:
        inner: the optimizer.
        every: gradients of one step; a whole number above 0, concrete or traced.

    Raises:
        ValueError: if a concrete `every` is below 1 or not a whole number.

    >>> twice = accumulate(optax.sgd(1.0), 2.0)
    >>> state = twice.init(jnp.zeros(1))
    >>> first, state = twice.update(jnp.array([1.0]), state)
    >>> second, state = twice.update(jnp.array([4.0]), state)
    >>> first.tolist(), second.tolist()
    ([-0.0], [-2.5])
    """
    checks.whole("every", every)

    def init(params: PyTree) -> AccumulateState:
        return AccumulateState(inner.init(params), jnp.zeros((), jnp.int32), zeros(params))

    def apply(
        updates: PyTree, state: AccumulateState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, AccumulateState]:
        waiting = state.waiting + 1

        def average(mean: Array, gradient: Array) -> Array:
            old, new = widen(mean, gradient)
            return (old + (new - old) / waiting.astype(old.dtype)).astype(mean.dtype)

        mean = jax.tree.map(average, state.mean, updates)
        due = waiting.astype(jnp.float32) >= jnp.asarray(every, jnp.float32)
        cast = jax.tree.map(lambda m, g: m.astype(g.dtype), mean, updates)
        moved, after = optax.with_extra_args_support(inner).update(
            cast, state.inner, params, **extra
        )
        return (
            jax.tree.map(lambda u: jnp.where(due, u, -jnp.zeros_like(u)), moved),
            AccumulateState(
                jax.tree.map(lambda new, old: jnp.where(due, new, old), after, state.inner),
                jnp.where(due, 0, waiting),
                jax.tree.map(lambda m: jnp.where(due, jnp.zeros_like(m), m), mean),
            ),
        )

    return around(inner, init, apply, lambda state: state.inner)


def every_so_often(count: Array, every: ArrayLike) -> Array:
    """Whether a step, counted from 1, is a multiple of `every`, a whole number that may be traced.

    >>> [bool(every_so_often(jnp.int32(count), 2.0)) for count in (1, 2, 3, 4)]
    [False, True, False, True]
    """
    period = jnp.maximum(scalar(every, jnp.zeros((), jnp.float32)).astype(jnp.int32), 1)
    return count % period == 0


ENTRIES = (
    Modifier(
        name="accumulate",
        place="wrapper",
        make=accumulate,
        formula="one step with the mean of `every` gradients",
        reference="the batch of `every` batches; e.g. Ott et al. (2018), section 3.2",
        pace="every",
        acts=lambda steps, every: int(steps // every),
        never="the weights would never move",
    ),
)
