"""Fixup: residual networks without normalization whose updates do not grow with depth."""

import jax.numpy as jnp

from initopt_jax.initializers.model_level.branches import closing, heads, is_added
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def fixup(key: Array, params: PyTree, network: Network) -> tuple[PyTree, dict[str, Array]]:
    """Zeroes each branch's last layer and the head; scales the branch's other kernels by depth.

    `W_head = 0; in each branch W_m = 0, W_i <- W_i L^(-1 / (2 m - 2)), i < m`

    `L` is the number of branches, `m` of kernels in the branch. Starts from He-normal weights;
    kernels outside the branches, such as projections of a shortcut, keep them.

    Args:
        key: not used, nothing is drawn.
        params: He-normal first weights.
        network: the network.

    Returns:
        The weights, `depth`, and `factor/<path>` of every kernel that was scaled.

    Raises:
        ConfigError: if the network has no residual branch.

    Reference:
        Zhang, Dauphin and Ma (2019), Fixup initialization: residual learning without normalization,
        section 3, rules 1 and 2.

    Deviations:
        Rule 3 is the architecture's: the model must have no normalization, a scalar multiplier that
        starts at 1 in every branch, and scalar biases that start at 0 before each convolution,
        dense layer and activation. `m` counts kernels, so attention has four. A head that shares
        its leaf with the embedding is not zeroed.
    """
    del key
    require_branches("fixup", network)
    depth, leaves = network.anatomy.depth, leaves_of(params)
    changed: dict[str, Array] = {}
    info = {"depth": jnp.float32(depth)}
    for branch in network.anatomy.branches:
        *others, last = branch.kernels
        for path in others:
            factor = depth ** (-1 / (2 * len(branch.kernels) - 2))
            changed[path] = leaves[path] * factor
            info[f"factor/{path}"] = jnp.float32(factor)
        for path in (last, *(path for path in closing(branch) if is_added(network, path))):
            changed[path] = jnp.zeros_like(leaves[path])
    changed.update({path: jnp.zeros_like(leaves[path]) for path in heads(network)})
    return with_leaves(params, changed), info


ENTRIES = (
    ModelInitializer(
        name="fixup",
        refine=fixup,
        base="he_normal",
        formula="W_head = 0; in each of L branches W_m = 0, W_i <- W_i L^(-1 / (2 m - 2))",
        reference="Zhang, Dauphin and Ma (2019), section 3",
    ),
)
