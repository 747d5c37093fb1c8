"""LayerScale: each residual branch is multiplied by small numbers, one per channel."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.model_level.attention import attention_layers
from initopt_jax.initializers.model_level.branches import closing_scales, require_scale
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def layer_scale(
    key: Array, params: PyTree, network: Network, *, start: ArrayLike | None = None
) -> tuple[PyTree, dict[str, Array]]:
    """Starts the channels' scales at the end of each residual branch at a small number.

    `x <- x + diag(s) F(x), s = 0.1 up to 18 layers, 1e-5 up to 24, 1e-6 beyond`

    Args:
        key: not used, nothing is drawn.
        params: first weights.
        network: the network; each branch has a leaf with a number per channel that multiplies it
            after its last kernel. Of several (a normalization, then LayerScale) the last one is
            set.
        start: of the scales, above 0, concrete or traced; by default from the number of layers:
            those with attention, or the branches of a network without.

    Returns:
        The weights, `depth` (layers) and `start`.

    Raises:
        ConfigError: if the network has no residual branch, or one of them no such scale.
        ValueError: if a concrete `start` is not above 0.

    Reference:
        Touvron, Cord, Sablayrolles, Synnaeve and Jégou (2021), Going deeper with image
        transformers, section 2.

    Deviations:
        The paper gives depths 18, 24 and "deeper"; 19 to 23 layers take the number of 24. The
        scales themselves are the architecture's.
    """
    del key
    require_branches("layer_scale", network)
    depth = sum(layer.times for layer in attention_layers(network)) or network.anatomy.depth
    if start is None:
        start = 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6
    checks.positive("start", start)
    leaves = leaves_of(params)
    changed: dict[str, Array] = {}
    for branch in network.anatomy.branches:
        scales = closing_scales(leaves, branch, scalar=False)
        require_scale("layer_scale", "a scale per channel of each branch", branch, scales)
        changed[scales[-1]] = jnp.full_like(leaves[scales[-1]], start)
    info = {"depth": jnp.float32(depth), "start": jnp.asarray(start, jnp.float32)}
    return with_leaves(params, changed), info


ENTRIES = (
    ModelInitializer(
        name="layer_scale",
        refine=layer_scale,
        base="glorot_uniform",
        formula="x <- x + diag(s) F(x), s = 0.1 up to 18 layers, 1e-5 up to 24, 1e-6 beyond",
        reference="Touvron et al. (2021), section 2",
    ),
)
