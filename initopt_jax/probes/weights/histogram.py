"""How the weights of every leaf are distributed."""

import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.probes.leaves import each_leaf
from initopt_jax.types import Array, PyTree

# The width of the largest numbers would be infinite, and the inverse of half of it 0.
SCALE = 2.0**-4
# Neighbours are counted in different tables: a count waits for the one before where both are of one
# bin, which took three times as long in a leaf whose weights are nearly all alike.
TABLES = 4


def weight_histogram(params: PyTree, *, bins: int = 32) -> dict[str, Array]:
    """Counts of weights in bins of equal width between the smallest and the largest of a leaf.

    Bin `i` holds `low + i h <= w < low + (i + 1) h` with `h = (high - low) / bins`, the last one
    `high` as well. A leaf whose weights are all equal has them in its middle bin.

    Args:
        params: one network's weights; any floating dtype, at least one weight to a leaf.
        bins: how many, at least 1; static.

    Returns:
        `weight_histogram` [leaf, bin], whole numbers that add up to the leaf's size.
        `weight_range` [leaf, end], the smallest and the largest weight. Both NaN for a leaf with a
        weight that is not finite.

    Raises:
        ValueError: `bins` is no whole number above 0.

    >>> found = weight_histogram({"w": jnp.array([0.0, 0.1, 0.5, 2.0])}, bins=4)
    >>> found["weight_histogram"].tolist(), found["weight_range"].tolist()
    ([[2.0, 1.0, 0.0, 1.0]], [[0.0, 2.0]])
    """
    checks.count("bins", bins)
    counts, ends = each_leaf(lambda weights: _counted(weights, bins), params)
    return {"weight_histogram": counts, "weight_range": ends}


def _counted(weights: Array, bins: int) -> tuple[Array, Array]:
    low, high = jnp.min(weights), jnp.max(weights)
    width = SCALE * high - SCALE * low
    along = (SCALE * weights - SCALE * low) / jnp.where(width > 0, width, 1)
    place = jnp.where(width > 0, jnp.minimum(jnp.floor(along * bins), bins - 1), bins // 2)
    table = jnp.arange(weights.size, dtype=jnp.int32) % TABLES
    slots = bins * table + place.astype(jnp.int32)
    tables = jnp.zeros(TABLES * bins, jnp.int32).at[slots].add(1)
    counts = jnp.sum(tables.reshape(TABLES, bins), axis=0).astype(weights.dtype)
    finite = jnp.isfinite(low) & jnp.isfinite(high)
    ends = jnp.stack([low, high])
    return jnp.where(finite, counts, jnp.nan), jnp.where(finite, ends, jnp.nan)
