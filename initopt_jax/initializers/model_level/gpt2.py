"""GPT-2: small normal weights, smaller ones where a residual branch ends."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import scaled_normal
from initopt_jax.keys import named_key
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def gpt2(
    key: Array, params: PyTree, network: Network, *, stddev: ArrayLike = 0.02
) -> tuple[PyTree, dict[str, Array]]:
    """Draws kernels and embeddings anew, with less variance where a branch joins its shortcut.

    `W ~ N(0, stddev^2)`, and `N(0, stddev^2 / N)` for the last kernel of each of the N branches

    Args:
        key: of the weights; each leaf has its own, by its path.
        params: first weights; biases, scales and tables that are added (a parameter of positions)
            are kept.
        network: the network.
        stddev: above 0, concrete or traced.

    Returns:
        The weights, `depth` (N) and `factor` (`1 / sqrt(N)`).

    Raises:
        ConfigError: if the network has no residual branch.
        ValueError: if a concrete `stddev` is not above 0.

    Reference:
        Radford, Wu, Child, Luan, Amodei and Sutskever (2019), Language models are unsupervised
        multitask learners, section 2.3 (the factor). Radford, Narasimhan, Salimans and Sutskever
        (2018), Improving language understanding by generative pre-training, section 4.1
        (`N(0, 0.02)`).

    Deviations:
        None in the papers' words. N counts attention and perceptron of a block as two, as "residual
        layers" is read by most; the released code never scaled, and drew positions with 0.01.
    """
    checks.positive("stddev", stddev)
    require_branches("gpt2", network)
    found, leaves = network.anatomy, leaves_of(params)
    factor = 1 / math.sqrt(found.depth)
    ends = {branch.kernels[-1] for branch in found.branches}
    drawn = [kernel.path for kernel in found.kernels]
    drawn += [path for path, layout in found.layouts.items() if layout.kind == "embedding"]
    changed: dict[str, Array] = {}
    for path in drawn:
        deviation = stddev * (factor if path in ends else 1.0)
        leaf = leaves[path]
        changed[path] = scaled_normal(named_key(key, path), leaf.shape, leaf.dtype, deviation)
    info = {"depth": jnp.float32(found.depth), "factor": jnp.float32(factor)}
    return with_leaves(params, changed), info


ENTRIES = (
    ModelInitializer(
        name="gpt2",
        refine=gpt2,
        base="normal",
        formula="W ~ N(0, 0.02^2); the last kernel of each of N branches times 1 / sqrt(N)",
        reference="Radford et al. (2019), section 2.3",
    ),
)
