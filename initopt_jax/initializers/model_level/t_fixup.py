"""T-Fixup: Transformers without normalization and warm-up."""

import jax.numpy as jnp

from initopt_jax.initializers.base import scaled_normal
from initopt_jax.initializers.model_level.attention import blocks
from initopt_jax.keys import named_key
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def t_fixup(key: Array, params: PyTree, network: Network) -> tuple[PyTree, dict[str, Array]]:
    """Draws embeddings small, and scales values, attention outputs and feed-forward kernels.

    `E ~ N(0, 1/d) (9 N)^(-1/4)`, `W <- 0.67 N^(-1/4) W`

    Starts from Glorot weights. Queries and keys, and what lies outside the branches, keep them.
    `N` is the number of layers, each with attention and a feed-forward part.

    Args:
        key: of the embeddings; each leaf has its own, by its path.
        params: Glorot-uniform first weights.
        network: an encoder, or a decoder alone; attention is found by the names of its kernels, see
            `attention.attention_layers`.

    Returns:
        The weights, `layers` (N), `factor` (of kernels) and `embedding_factor`.

    Raises:
        ConfigError: if the network has no residual branch or no attention, or is an encoder with a
            decoder.

    Reference:
        Huang, Pérez, Ba and Volkovs (2020), Improving Transformer optimization through better
        initialization, section 3.2.

    Deviations:
        The model must have no normalization: that is the architecture's. The paper's decoder, with
        `(9 N)^(-1/4)` on its kernels, looks at an encoder; one alone has the blocks of an encoder
        and gets its factor. Where there is no embedding, as for image patches, the kernels outside
        the branches that see the data are multiplied by `(9 N)^(-1/4)` instead.
    """
    require_branches("t_fixup", network)
    layers, scaled = blocks("t_fixup", network)
    factor, embedding_factor = 0.67 * layers**-0.25, (9 * layers) ** -0.25
    found, leaves = network.anatomy, leaves_of(params)
    changed = {path: leaves[path] * factor for path in scaled}
    tables = [path for path, layout in found.layouts.items() if layout.kind == "embedding"]
    for path in tables:
        leaf, (width,) = leaves[path], found.layouts[path].outputs
        deviation = embedding_factor * leaf.shape[width] ** -0.5
        changed[path] = scaled_normal(named_key(key, path), leaf.shape, leaf.dtype, deviation)
    inside = {path for branch in found.branches for path in branch.kernels}
    for path in () if tables else found.inputs:
        if path not in inside:
            changed[path] = leaves[path] * embedding_factor
    info = {"layers": layers, "factor": factor, "embedding_factor": embedding_factor}
    return (
        with_leaves(params, changed),
        {name: jnp.float32(number) for name, number in info.items()},
    )


ENTRIES = (
    ModelInitializer(
        name="t_fixup",
        refine=t_fixup,
        base="glorot_uniform",
        formula="E ~ N(0, 1/d) (9 N)^(-1/4); W <- 0.67 N^(-1/4) W (values, outputs, feed-forward)",
        reference="Huang, Pérez, Ba and Volkovs (2020), section 3.2",
    ),
)
