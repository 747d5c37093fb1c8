"""Trees compared: their forms, their bits, and their numbers within rounding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.conformance.finding import Broken
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree

# Of the largest number of a tree: mapped over lanes, or in batches of another size, sums are taken
# in another order. Gaps of the registered models reach 4e-6, where a normalization divides by the
# small spread of a few examples.
CLOSE = 1e-4


def as_numbers(leaf: Any) -> np.ndarray:
    """An array on the host; of random keys their words."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def differ(one: PyTree, other: PyTree) -> str:
    """The first leaf whose bits differ, or empty; trees of one form.

    >>> differ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0})
    'b'
    """
    for (path, left), (_, right) in zip(named_leaves(one), named_leaves(other), strict=True):
        # Bytes: NaN is NaN, and 0 is not -0.
        if as_numbers(left).tobytes() != as_numbers(right).tobytes():
            return path or "the array"
    return ""


def require_same_bits(what: str, expected: PyTree, found: PyTree) -> None:
    """Raises Broken where a bit differs."""
    if path := differ(expected, found):
        raise Broken(f"{what}: {path} has other bits")


def require_close(what: str, expected: PyTree, found: PyTree) -> None:
    """Raises Broken where numbers differ by more than `CLOSE` of the largest."""
    largest = gap = 0.0
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        left, right = (as_numbers(leaf).astype(np.float64) for leaf in (one, other))
        same = (left == right) | (np.isnan(left) & np.isnan(right))  # infinities too
        apart = np.subtract(left, right, where=~same, out=np.zeros(np.shape(same)))
        gap = float(np.maximum(gap, np.max(np.abs(apart), initial=0.0)))  # NaN stays
        largest = max(largest, float(np.max(np.abs(left), where=np.isfinite(left), initial=0.0)))
    if not gap <= CLOSE * largest:
        raise Broken(f"{what}: numbers differ by up to {gap:.3g}, of {largest:.3g}")


def require_same_form(what: str, expected: PyTree, found: PyTree) -> None:
    """Raises Broken where paths, shapes or dtypes differ, with the first that does."""
    before, after = _forms(expected), _forms(found)
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            missing = "not there"
            raise Broken(
                f"{what}: {path} is {after.get(path, missing)}, and should be "
                f"{before.get(path, missing)}"
            )


def _forms(tree: PyTree) -> dict[str, str]:
    return {
        path: f"{jnp.result_type(leaf).name}[{','.join(map(str, jnp.shape(leaf)))}]"
        for path, leaf in named_leaves(tree)
    }
