"""A network's kernels as matrices: a column per unit."""

import jax.numpy as jnp

from initopt_jax.initializers import Network
from initopt_jax.networks.network import leaves_of
from initopt_jax.types import Array, PyTree


def kernel_matrices(params: PyTree, network: Network) -> dict[str, Array]:
    """Every kernel as matrices [n, window * inputs, units], in order of use.

    A leaf that holds several kernels (groups of a convolution, a stack of layers) gives `n` of
    them; the units of one see the same inputs.

    Args:
        params: one network's weights.
        network: whose anatomy tells the axes.

    Returns:
        Path to matrices, float32 at least, in the order of `network.anatomy.kernels`.
    """
    leaves, found = leaves_of(params), {}
    for kernel in network.anatomy.kernels:
        parts = kernel.layout.take_apart(leaves[kernel.path])
        wide = jnp.result_type(jnp.float32, parts)
        found[kernel.path] = parts.reshape(len(parts), -1, parts.shape[-1]).astype(wide)
    return found
