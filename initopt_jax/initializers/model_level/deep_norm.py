"""DeepNorm's weights: what feeds a very deep post-normalized Transformer starts small."""

import jax.numpy as jnp

from initopt_jax.initializers.model_level.attention import blocks
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def deep_norm(key: Array, params: PyTree, network: Network) -> tuple[PyTree, dict[str, Array]]:
    """Scales values, attention outputs and feed-forward kernels by a gain that falls with depth.

    `W <- beta W, beta = (8 N)^(-1/4)`, for a model with `x <- norm(alpha x + F(x)),
    alpha = (2 N)^(1/4)`

    Starts from Glorot-normal weights. Queries and keys, and what lies outside the branches, keep
    them. `N` is the number of layers, each with attention and a feed-forward part.

    Args:
        key: not used, nothing is drawn.
        params: Glorot-normal first weights.
        network: an encoder or a decoder; attention is found by the names of its kernels, see
            `attention.attention_layers`.

    Returns:
        The weights, `layers` (N), `beta`, and `alpha`, which the model must have.

    Raises:
        ConfigError: if the network has no residual branch or no attention, or is an encoder with a
            decoder, whose constants differ.

    Reference:
        Wang, Ma, Dong, Huang, Zhang and Wei (2022), DeepNet: scaling Transformers to 1,000 layers,
        figure 2 (the table of constants; encoder-only and decoder-only are the same).

    Deviations:
        `alpha` on the shortcut and the normalization after the sum are the architecture's: the
        model has to be written with `alpha = (2 N)^(1/4)`. Encoder-decoder models, with
        `0.87 (N^4 M)^(-1/16)` and `(12 M)^(-1/4)`, are refused.
    """
    del key
    require_branches("deep_norm", network)
    layers, scaled = blocks("deep_norm", network)
    alpha, beta = (2 * layers) ** 0.25, (8 * layers) ** -0.25
    leaves = leaves_of(params)
    info = {"layers": layers, "alpha": alpha, "beta": beta}
    return (
        with_leaves(params, {path: leaves[path] * beta for path in scaled}),
        {name: jnp.float32(number) for name, number in info.items()},
    )


ENTRIES = (
    ModelInitializer(
        name="deep_norm",
        refine=deep_norm,
        base="glorot_normal",
        formula="W <- (8 N)^(-1/4) W for values, outputs and feed-forward kernels of N layers",
        reference="Wang et al. (2022), figure 2",
    ),
)
