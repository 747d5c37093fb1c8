"""L-BFGS: Newton's direction from the last few changes of the gradient, and a line search."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.lookaround import needs_cost
from initopt_jax.transforms.norms import rate_at
from initopt_jax.types import Array, PyTree, Transform


class LbfgsState(NamedTuple):
    """Steps so far (int32, stays at its maximum), and Optax's state for one vector of weights."""

    step_count: Array
    inner: Any


def lbfgs(
    learning_rate: optax.ScalarOrSchedule = 1.0,
    *,
    memory: int = 10,
    line_search: bool = True,
    max_search_steps: int = 20,
) -> optax.GradientTransformationExtraArgs:
    """L-BFGS, with a zoom line search.

    `d = -learning_rate * H g`, `H` the inverse curvature by the last `memory` pairs of
    `s = theta_t - theta_(t-1)` and `y = g_t - g_(t-1)`
    `theta <- theta + a * d`, with `a = 1` if it satisfies the conditions of Wolfe, else searched

    For the whole training set: between mini-batches, `y` is noise.

    Args:
        learning_rate: the first step that the search tries, in units of the quasi-Newton step, and
            without a search the step itself; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        memory: the paper's m, a whole number above 0; not traced.
        line_search: look for a step that satisfies the strong conditions of Wolfe (sufficient
            decrease 1e-4, curvature 0.9).
        max_search_steps: gradients of one search at most, a whole number above 0; not traced.

    Returns:
        The transformation; its updates need the weights and the extra argument `value_fn`.

    Raises:
        ValueError: if a concrete learning rate is negative or not finite, `line_search` is not a
            bool, or another is not a whole number above 0; on `update`, if it is called without the
            weights or without `value_fn`.

    Reference:
        Liu and Nocedal (1989), On the limited memory BFGS method for large scale optimization,
        algorithm 2.1, scaled by M3 (`s^T y / y^T y`). Nocedal and Wright (2006), Numerical
        optimization, algorithms 3.5, 3.6 and 7.4.

    Deviations:
        The arithmetic is that of `optax.lbfgs`, on one vector of all weights in the working dtype.
        The first direction is the gradient, scaled to a length of at most 1, where the paper has
        any. A search that fails takes the best step that it has seen.

    >>> cost = lambda w: jnp.sum(jnp.array([1.0, 10.0]) * w**2) / 2
    >>> transform, weights = lbfgs(), jnp.array([3.0, 1.0])
    >>> state = transform.init(weights)
    >>> for _ in range(8):
    ...     gradient = jax.grad(cost)(weights)
    ...     updates, state = transform.update(gradient, state, weights, value_fn=cost)
    ...     weights = weights + updates
    >>> bool(cost(weights) < 1e-8)
    True
    """
    checks.non_negative("learning_rate", learning_rate)
    checks.count("memory", memory)
    checks.flag("line_search", line_search)
    checks.count("max_search_steps", max_search_steps)
    search = optax.scale_by_zoom_linesearch(max_search_steps, initial_guess_strategy="one")
    direction = optax.scale_by_lbfgs(memory)

    def init(params: PyTree) -> LbfgsState:
        weights = _flat(params)
        states = direction.init(weights), search.init(weights) if line_search else ()
        return LbfgsState(jnp.zeros((), jnp.int32), jax.tree.map(_own, states))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, LbfgsState]:
        cost = needs_cost("lbfgs", extra.get("value_fn"), params)
        weights, gradient = _flat(params), _flat(updates)
        pairs, searched = state.inner
        along, pairs = direction.update(gradient, pairs, weights)
        rate = rate_at(learning_rate, state.step_count, weights)
        along = -rate * jnp.asarray(along, weights.dtype)
        # Optax makes no step of a gradient whose squared length is infinite.
        along = jnp.where(jnp.isinf(gradient @ gradient), jnp.nan, along)
        if line_search:
            value = _vector_cost(cost, params)
            along, searched = search.update(
                along, searched, weights, value=value(weights), grad=gradient, value_fn=value
            )
        new = LbfgsState(
            jnp.asarray(optax.safe_increment(state.step_count)),
            jax.tree.map(lambda new, old: new.astype(old.dtype), (pairs, searched), state.inner),
        )
        return _unflat(jnp.asarray(along), updates), new

    return on_real_leaves(optax.GradientTransformationExtraArgs(init, apply))


def _own(leaf: Any) -> Array:
    """An array of Optax's first state: in a buffer of its own, to be donated, of a firm dtype."""
    return jnp.array(leaf, jnp.asarray(leaf).dtype)


def _flat(tree: PyTree) -> Array:
    """All leaves as one vector, in JAX's own float: Optax makes arrays of it beside them."""
    dtype = jnp.zeros(()).dtype
    return jnp.concatenate([leaf.reshape(-1).astype(dtype) for leaf in jax.tree.leaves(tree)])


def _unflat(vector: Array, like: PyTree) -> PyTree:
    """A vector as leaves of the shapes and dtypes of a tree."""
    leaves, structure = jax.tree.flatten(like)
    start, parts = 0, []
    for leaf in leaves:
        part = vector[start : start + leaf.size]
        parts.append(part.reshape(leaf.shape).astype(leaf.dtype))
        start += leaf.size
    return structure.unflatten(parts)


def _vector_cost(cost: Callable[..., Array], params: PyTree) -> Callable[[Array], Array]:
    return lambda vector: cost(_unflat(vector, params)).astype(vector.dtype)


ENTRIES = (
    Transform(
        name="lbfgs",
        looks_around=True,
        make=lbfgs,
        formula=(
            "d = -learning_rate * H g, H from the last pairs of s = theta_t - theta_(t-1) and "
            "y = g_t - g_(t-1); theta <- theta + a * d, a by a Wolfe line search; g over the whole "
            "training set"
        ),
        reference="Liu and Nocedal (1989), algorithm 2.1",
        full_batch=True,
        origin="optax",
    ),
)
