"""How far the weights have come from where they started."""

import jax.numpy as jnp

from initopt_jax.norms import norm
from initopt_jax.probes.leaves import each_leaf
from initopt_jax.types import Array, PyTree


def distance(params: PyTree, start: PyTree) -> dict[str, Array]:
    """Distance from the first weights, `||W - W_0||_F`, and which signs differ, per leaf.

    `relative_distance = ||W - W_0|| / ||W_0||`

    Args:
        params: one network's weights; any floating dtype, measured in float32 at least.
        start: its first weights, the same tree.

    Returns:
        `distance` [leaf], at least 0. `relative_distance` [leaf], NaN where the start is 0.
        `sign_changes` [leaf], the share, 0 to 1, of weights whose sign (-1, 0 or 1) is not that of
        the start: a weight that leaves 0 counts. NaN where a weight is NaN.

    Reference:
        Nagarajan and Kolter (2019), Generalization in deep networks: the role of distance from
        initialization. Zhou, Lan, Liu and Yosinski (2019), Deconstructing lottery tickets: zeros,
        signs, and the supermask, on signs.

    >>> found = distance({"w": jnp.array([3.0, -4.0])}, {"w": jnp.array([3.0, 1.0])})
    >>> found["distance"].tolist(), found["sign_changes"].tolist()
    ([5.0], [0.5])
    """
    moved, length, changes = each_leaf(_moved, params, start)
    return {
        "distance": moved,
        "relative_distance": jnp.where(length == 0, jnp.nan, moved / length),
        "sign_changes": changes,
    }


def _moved(end: Array, first: Array) -> tuple[Array, Array, Array]:
    lost = jnp.isnan(end) | jnp.isnan(first)
    changes = jnp.mean(jnp.where(lost, jnp.nan, jnp.sign(end) != jnp.sign(first)))
    return norm(end - first), norm(first), changes
