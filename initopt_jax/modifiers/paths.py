"""What some leaves get and others do not: a learning rate of their own, or no step at all."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.tree import chosen_leaves, first_match, named_leaves
from initopt_jax.types import Array, EvaluatedTransform, Modifier, PyTree


def rates(by_path: Mapping[str, ArrayLike]) -> optax.GradientTransformation:
    """Multiplies the updates of leaves by a number of their own: `u_l <- rate_l * u_l`.

    Args:
        by_path: shell-style pattern to a number of at least 0, concrete or traced; the first
            pattern that matches a leaf counts, and leaves that none matches keep their updates.

    Raises:
        ValueError: if a concrete number is negative or not a number; on `init`, if a pattern
            matches no leaf.

    >>> scale = rates({"*bias": 2.0})
    >>> updates = {"bias": jnp.ones(1), "kernel": jnp.ones(1)}
    >>> {
    ...     path: float(leaf[0])
    ...     for path, leaf in scale.update(updates, scale.init(updates))[0].items()
    ... }
    {'bias': 2.0, 'kernel': 1.0}
    """
    for pattern, rate in by_path.items():
        checks.non_negative(f"by_path[{pattern!r}]", rate)

    def init(params: PyTree) -> optax.EmptyState:
        chosen_leaves("by_path", tuple(by_path), params)
        return optax.EmptyState()

    def scale(path: str, update: Array) -> Array:
        found = first_match(path, list(by_path.items()))
        (wide,) = widen(update)
        return (scalar(found[1], wide) * wide).astype(update.dtype) if found else update

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        del params
        scaled = [scale(path, update) for path, update in named_leaves(updates)]
        return jax.tree.unflatten(jax.tree.structure(updates), scaled), state

    return on_real_leaves(optax.GradientTransformation(init, apply))


def freeze(
    inner: optax.GradientTransformation, paths: str | tuple[str, ...]
) -> optax.GradientTransformation:
    """Keeps leaves as they are: the optimizer sees no gradient of them, and they get no update.

    Args:
        inner: the optimizer.
        paths: shell-style patterns of the leaves that stay, e.g. `dense_0/*`.

    Raises:
        ValueError: on `init`, if a pattern matches no leaf.

    >>> frozen = freeze(optax.sgd(1.0), "*bias")
    >>> gradient = {"bias": jnp.ones(1), "kernel": jnp.ones(1)}
    >>> updates, _ = frozen.update(gradient, frozen.init(gradient), gradient)
    >>> {path: float(leaf[0]) for path, leaf in updates.items()}
    {'bias': 0.0, 'kernel': -1.0}
    """

    def still(tree: PyTree) -> PyTree:
        chosen = chosen_leaves("paths", paths, tree)
        return jax.tree.map(lambda no, leaf: jnp.zeros_like(leaf) if no else leaf, chosen, tree)

    def init(params: PyTree) -> Any:
        chosen_leaves("paths", paths, params)
        return inner.init(params)

    def apply(
        updates: PyTree, state: Any, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        if "grad" in extra:
            extra["grad"] = still(extra["grad"])
        moved, state = optax.with_extra_args_support(inner).update(
            still(updates), state, params, **extra
        )
        return still(moved), state

    if not isinstance(inner, EvaluatedTransform):
        return on_real_leaves(optax.GradientTransformationExtraArgs(init, apply))

    def eval_params(state: Any, params: PyTree) -> PyTree:
        chosen = chosen_leaves("paths", paths, params)
        own = inner.eval_params(state, params)
        return jax.tree.map(lambda no, leaf, new: leaf if no else new, chosen, params, own)

    return on_real_leaves(EvaluatedTransform(init, apply, eval_params))


ENTRIES = (
    Modifier(
        name="rates",
        place="post-transform",
        make=rates,
        formula="u_l <- rate_l * u_l for each leaf l that a pattern of by_path matches",
        reference="layer-wise learning rates, e.g. Howard and Ruder (2018), section 3.2",
    ),
    Modifier(
        name="freeze",
        place="wrapper",
        make=freeze,
        formula="g_l <- 0 and u_l <- 0 for each leaf l that a pattern of paths matches",
        reference="Yosinski et al. (2014), section 3",
    ),
)
