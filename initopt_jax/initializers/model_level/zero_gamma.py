"""Zero gamma: the last normalization of each residual branch starts with scale 0."""

import jax.numpy as jnp

from initopt_jax.initializers.model_level.branches import closing_scales, require_scale
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def zero_gamma(key: Array, params: PyTree, network: Network) -> tuple[PyTree, dict[str, Array]]:
    """Starts the scale of the normalization that ends each residual branch at 0.

    `x <- x + gamma norm(F(x)) + beta, gamma = 0`

    Every block is the identity at first, as long as the normalization's bias starts at 0.

    Args:
        key: not used, nothing is drawn.
        params: first weights.
        network: the network; each branch has a normalization with a scale after its last kernel. Of
            several scales per channel (a normalization, then LayerScale) the first one is set.

    Returns:
        The weights, and `depth`, the number of branches.

    Raises:
        ConfigError: if the network has no residual branch, or one of them no such scale. One before
            the last kernel, as in pre-normalized blocks, will not do: at 0 it would hide the inputs
            from the kernels after it.

    Reference:
        Goyal, Dollár, Girshick, Noordhuis, Wesolowski, Kyrola, Tulloch, Jia and He (2017),
        Accurate, large minibatch SGD: training ImageNet in 1 hour, section 5.1.

    Deviations:
        The paper's normalization is over the batch; here it may be any that has a scale.
    """
    del key
    require_branches("zero_gamma", network)
    leaves = leaves_of(params)
    changed: dict[str, Array] = {}
    for branch in network.anatomy.branches:
        scales = closing_scales(leaves, branch, scalar=False)
        require_scale("zero_gamma", "the scale of each branch's last normalization", branch, scales)
        changed[scales[0]] = jnp.zeros_like(leaves[scales[0]])
    return with_leaves(params, changed), {"depth": jnp.float32(network.anatomy.depth)}


ENTRIES = (
    ModelInitializer(
        name="zero_gamma",
        refine=zero_gamma,
        base="he_normal",
        formula="x <- x + gamma norm(F(x)) + beta, gamma = 0",
        reference="Goyal et al. (2017), section 5.1",
    ),
)
