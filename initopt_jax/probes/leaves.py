"""Measurements of leaf after leaf."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.types import Array, PyTree

MANY = 4  # arrays of one shape, from which on it pays to stack them


def each_leaf(measure: Callable[..., Any], *trees: PyTree) -> Any:
    """`measure` of every leaf, flat, with those at its place in other trees; results [leaf, ...].

    Many leaves of one size are measured together, so that a deep network takes little longer to
    compile than one of a few layers.

    Args:
        measure: `(vector, ...) -> arrays`, the same forms for every leaf.
        trees: of arrays, the same sizes; any floating dtype, measured in float32 at least.

    >>> each_leaf(jnp.max, {"a": jnp.ones((2, 3)), "b": jnp.array([4.0, 5.0])}).tolist()
    [1.0, 5.0]
    """
    lists = [jax.tree.leaves(tree) for tree in trees]
    wide = jnp.result_type(jnp.float32, *(leaf for leaves in lists for leaf in leaves))
    flat = [[leaf.astype(wide).ravel() for leaf in leaves] for leaves in lists]
    return together(measure, *flat)


def together(measure: Callable[..., Any], *lists: Sequence[Array]) -> Any:
    """`measure` of every array with those at its place in other lists; arrays [n, ...].

    Many arrays of one shape are measured together.

    >>> together(
    ...     jnp.sum, [jnp.ones(3), jnp.ones(2), jnp.zeros(3), jnp.ones(3), jnp.ones(3)]
    ... ).tolist()
    [3.0, 2.0, 0.0, 3.0, 3.0]
    """
    groups: dict[Any, list[int]] = {}
    for place, arrays in enumerate(zip(*lists, strict=True)):
        groups.setdefault(tuple(array.shape for array in arrays), []).append(place)
    found, order = [], []
    for places in groups.values():
        if len(places) < MANY:
            alone = [measure(*(arrays[place] for arrays in lists)) for place in places]
            found += [jax.tree.map(lambda part: part[None], one) for one in alone]
        else:
            stacks = (jnp.stack([arrays[place] for place in places]) for arrays in lists)
            found.append(jax.vmap(measure)(*stacks))
        order += places
    back = np.argsort(order)
    straight = order == sorted(order)
    return jax.tree.map(
        lambda *parts: jnp.concatenate(parts) if straight else jnp.concatenate(parts)[back], *found
    )
