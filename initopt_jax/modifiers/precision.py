"""Accumulators in float32 for weights in a narrower dtype."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from initopt_jax.transforms.chain import around
from initopt_jax.types import Modifier, PyTree


def float32_state(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer sees weights and gradients in float32, and keeps its accumulators there.

    Its updates come back in the dtype of the gradients. Leaves in float64 stay so. In bfloat16, an
    average with a decay of 0.999 does not move: its changes are smaller than half a spacing.

    Args:
        inner: the optimizer.

    >>> wide = float32_state(optax.trace(decay=0.9))
    >>> weights = jnp.ones(2, jnp.bfloat16)
    >>> updates, state = wide.update(weights, wide.init(weights), weights)
    >>> updates.dtype.name, jax.tree.leaves(state)[0].dtype.name
    ('bfloat16', 'float32')
    """

    def lift(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), tree)

    def apply(
        updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        if "grad" in extra:
            extra["grad"] = lift(extra["grad"])
        wide = None if params is None else lift(params)
        moved, state = optax.with_extra_args_support(inner).update(
            lift(updates), state, wide, **extra
        )
        return jax.tree.map(lambda new, old: new.astype(old.dtype), moved, updates), state

    return around(inner, lambda params: inner.init(lift(params)), apply, lambda state: state)


ENTRIES = (
    Modifier(
        name="float32_state",
        place="wrapper",
        make=float32_state,
        formula="the optimizer's accumulators in float32, whatever the dtype of the weights",
        reference="Micikevicius et al. (2018), section 3.1",
    ),
)
