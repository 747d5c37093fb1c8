"""Lookahead: fast weights that explore, slow weights that follow every few steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.modifiers.accumulate import every_so_often
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.types import Array, EvaluatedTransform, Modifier, PyTree


class LookaheadState(NamedTuple):
    """The optimizer's state, the slow weights, and steps so far (int32)."""

    inner: Any
    slow: PyTree
    step_count: Array


def lookahead(
    inner: optax.GradientTransformation, every: ArrayLike = 5.0, slow_step: ArrayLike = 0.5
) -> EvaluatedTransform:
    """Every `every` steps, the slow weights move towards the fast ones, which start there again.

    `slow <- slow + slow_step * (theta - slow)`, then `theta <- slow`; the optimizer's own state
    goes on. The slow weights are evaluated.

    Args:
        inner: the optimizer of the fast weights, which are the parameters.
        every: the paper's k, a whole number above 0, concrete or traced.
        slow_step: the paper's alpha, from 0 to 1, concrete or traced.

    Raises:
        ValueError: if a concrete number is out of its range; on update, if no params are given; if
            `inner` has `eval_params` of its own.

    Reference:
        Zhang, Lucas, Hinton and Ba (2019), Lookahead optimizer: k steps forward, 1 step back,
        algorithm 1.

    >>> slowly = lookahead(optax.sgd(1.0), every=2.0)
    >>> params = jnp.array([4.0])
    >>> state = slowly.init(params)
    >>> for _ in range(2):
    ...     updates, state = slowly.update(jnp.array([1.0]), state, params)
    ...     params = params + updates
    >>> params.tolist(), slowly.eval_params(state, params).tolist()
    ([3.0], [3.0])
    """
    checks.whole("every", every)
    checks.in_range("slow_step", slow_step, 0, 1)
    if isinstance(inner, EvaluatedTransform):
        raise ValueError("lookahead cannot stand around what has weights of its own to evaluate")

    def init(params: PyTree) -> LookaheadState:
        own = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
        return LookaheadState(inner.init(params), own, jnp.zeros((), jnp.int32))

    def apply(
        updates: PyTree, state: LookaheadState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, LookaheadState]:
        if params is None:
            raise ValueError("lookahead needs the params in update")
        moved, after = optax.with_extra_args_support(inner).update(
            updates, state.inner, params, **extra
        )
        count = jnp.asarray(optax.safe_increment(state.step_count))
        due = every_so_often(count, every)

        def follow(slow: Array, leaf: Array, update: Array) -> Array:
            s, p, u = widen(slow, leaf, update)
            return jnp.where(due, s + scalar(slow_step, s) * (p + u - s), s).astype(slow.dtype)

        def back(slow: Array, leaf: Array, update: Array) -> Array:
            s, p, u = widen(slow, leaf, update)
            return jnp.where(due, s - p, u).astype(update.dtype)

        slow = jax.tree.map(follow, state.slow, params, moved)
        steps = jax.tree.map(back, slow, params, moved)
        return steps, LookaheadState(after, slow, count)

    def eval_params(state: LookaheadState, params: PyTree) -> PyTree:
        del params
        return state.slow

    return on_real_leaves(EvaluatedTransform(init, apply, eval_params))


ENTRIES = (
    Modifier(
        name="lookahead",
        acts=lambda steps, every: int(steps // every),
        never="the slow weights, which are evaluated, would never move",
        place="wrapper",
        make=lookahead,
        formula="every k steps: slow <- slow + slow_step * (theta - slow); theta <- slow",
        reference="Zhang, Lucas, Hinton and Ba (2019), algorithm 1",
    ),
)
