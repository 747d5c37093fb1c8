"""Optax's own transformations, run in the working dtype.

A traced float32 number times a bfloat16 update is float32, so that most of Optax changes dtypes on
the way; and it refuses strict dtype promotion where weights are of several.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.norms import working_dtype
from initopt_jax.types import PyTree


def in_working_dtype(
    make: Callable[..., optax.GradientTransformation], **numbers: ArrayLike
) -> optax.GradientTransformation:
    """Another's transformation, whose updates and state keep the dtypes of the weights.

    Updates and accumulators are widened, to float64 if any update is, else to float32; what comes
    back is rounded to the dtypes that went in.

    Args:
        make: `(**numbers) -> optax.GradientTransformation`, without extra arguments.
        numbers: its hyperparameters, concrete or traced.

    Returns:
        The transformation.

    >>> half = in_working_dtype(optax.scale, step_size=jnp.float32(0.5))
    >>> narrow = jnp.ones(2, jnp.bfloat16)
    >>> half.update(narrow, half.init(narrow))[0].dtype.name
    'bfloat16'
    """

    def made(dtype: Any) -> optax.GradientTransformation:
        return make(**{name: jnp.asarray(value, dtype) for name, value in numbers.items()})

    def init(params: PyTree) -> PyTree:
        return made(working_dtype(params)).init(params)

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        dtype = working_dtype(updates)
        wide, wide_state = _floats_as(dtype, (updates, state))
        moved, after = made(dtype).update(wide, wide_state, params)
        return jax.tree.map(
            lambda new, old: new.astype(old.dtype), (moved, after), (updates, state)
        )

    return on_real_leaves(optax.GradientTransformation(init, apply))


def _floats_as(dtype: Any, tree: PyTree) -> PyTree:
    """The tree with its floating leaves in a dtype; counts stay what they are."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
    )
