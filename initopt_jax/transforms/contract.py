"""What every transformation and modifier asks of weights and gradients: real floating numbers."""

from typing import Any, TypeVar

import optax

from initopt_jax.tree import require_real
from initopt_jax.types import EvaluatedTransform, PyTree

Transformation = TypeVar("Transformation", bound=optax.GradientTransformation)


def on_real_leaves(transform: Transformation) -> Transformation:
    """The same transformation, which refuses leaves that are not real floating numbers.

    Sums are formed in float32 or float64: of complex leaves the imaginary part would be lost.

    Raises:
        ValueError: on `init` and on `update`, naming the leaf and its dtype.

    >>> import jax.numpy as jnp
    >>> on_real_leaves(optax.sgd(0.1)).init({"w": jnp.ones(2, jnp.complex64)})
    ... # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: weights must be real floating numbers, and w is complex64; ...
    """

    def init(params: PyTree) -> Any:
        require_real("weights", params)
        return transform.init(params)

    def update(
        updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        require_real("gradients", updates)
        return transform.update(updates, state, params, **extra)

    made: Any
    if isinstance(transform, EvaluatedTransform):
        made = EvaluatedTransform(init, update, transform.eval_params)
    else:
        made = type(transform)(init, update)
    return made
