"""Mimetic initialization: attention that starts as trained attention looks."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.errors import ConfigError
from initopt_jax.initializers.base import working_dtype
from initopt_jax.initializers.model_level.attention import AttentionLeaves, require_attention
from initopt_jax.keys import named_key
from initopt_jax.networks.network import Network, leaves_of, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def mimetic(
    key: Array,
    params: PyTree,
    network: Network,
    *,
    query_noise: ArrayLike = 0.7,
    query_identity: ArrayLike = 0.7,
    value_noise: ArrayLike = 0.4,
    value_identity: ArrayLike = 0.4,
) -> tuple[PyTree, dict[str, Array]]:
    """Draws attention so that tokens look for their like and subtract what they find.

    `W_Q W_K^T ~ a1 Z1 + b1 I` for each head, `W_V W_out ~ a2 Z2 - b2 I`, `Z ~ N(0, 1/d)`

    With the singular value decomposition `U S V^T` of the right sides, `W_Q = U sqrt(S)` and
    `W_K = V sqrt(S)` of the largest singular values, as many as a head has units; `W_V` and `W_out`
    likewise of all heads together, the first head having the largest.

    Args:
        key: of the layers; each has its own, by its path.
        params: first weights; all but the four kernels of each attention layer are kept.
        network: the network; attention is found by the names of its kernels, see
            `attention.attention_layers`. They need an axis for the heads.
        query_noise: a1, at least 0, concrete or traced.
        query_identity: b1, any number, concrete or traced.
        value_noise: a2, as a1.
        value_identity: b2, as b1.

    Returns:
        The weights, and for every layer `query_key/<path>` and `value_out/<path>`, the mean of the
        products' diagonals (over heads and the layers of a stack).

    Raises:
        ConfigError: if the network has no attention, its kernels have no axis for the heads, more
            units than features, or queries, keys, values and outputs of different features.
        ValueError: if a concrete noise is below 0, or an option is not a finite number.

    Reference:
        Trockman and Kolter (2023), Mimetic initialization of self-attention layers: the form by
        singular value decomposition.

    Deviations:
        The paper also starts positions as sinusoids, which is the model's. The constants are those
        of its vision models; attention of language models wants others.
    """
    checks.non_negative("query_noise", query_noise)
    checks.non_negative("value_noise", value_noise)
    checks.number("query_identity", query_identity)
    checks.number("value_identity", value_identity)
    noise, identity = (query_noise, value_noise), (query_identity, value_identity)
    leaves = leaves_of(params)
    changed: dict[str, Array] = {}
    info: dict[str, Array] = {}
    for layer in require_attention("mimetic", network):
        one = named_key(key, layer.path)
        drawn, diagonals = _drawn(one, network, layer, leaves, noise, identity)
        changed |= drawn
        info |= {f"{name}/{layer.path}": mean for name, mean in diagonals.items()}
    return with_leaves(params, changed), info


def _drawn(
    key: Array,
    network: Network,
    layer: AttentionLeaves,
    leaves: dict[str, Array],
    noise: tuple[ArrayLike, ArrayLike],
    identity: tuple[ArrayLike, ArrayLike],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The kernels of a layer, and the means of the diagonals of their products."""
    features, heads, units = _sizes(network, layer, leaves)
    layouts, dtype = network.anatomy.layouts, working_dtype(leaves[layer.query].dtype)
    stack = layouts[layer.query].kernels(leaves[layer.query].shape)
    first, second = jax.random.split(key)
    keys = jax.random.split(first, stack * heads)
    query, key_part = _products(keys, features, units, noise[0], identity[0], dtype)
    keys, opposite = jax.random.split(second, stack), -jnp.asarray(identity[1], dtype)
    value, out = _products(keys, features, heads * units, noise[1], opposite, dtype)
    drawn = {
        layer.query: _joined(query, heads),
        layer.key: _joined(key_part, heads),
        layer.value: value,
        layer.out: out.swapaxes(1, 2),
    }
    diagonals = {
        "query_key": (query * key_part).sum((1, 2)).mean() / features,
        "value_out": (value * out).sum((1, 2)).mean() / features,
    }
    return {
        path: layouts[path].put_together(kernels, leaves[path].shape)
        for path, kernels in drawn.items()
    }, diagonals


def _sizes(
    network: Network, layer: AttentionLeaves, leaves: dict[str, Array]
) -> tuple[int, int, int]:
    """Features, heads and units per head of a layer."""
    heads, features = [], []
    for path in (layer.query, layer.key, layer.value, layer.out):
        layout, shape = network.anatomy.layouts[path], leaves[path].shape
        inner, outer = layout.outputs, layout.inputs
        if path == layer.out:
            inner, outer = outer, inner
        heads.append(tuple(shape[axis] for axis in inner))
        features.append(tuple(shape[axis] for axis in outer))
    if len(heads[0]) != 2 or len(set(heads)) > 1:
        raise ConfigError(
            f"mimetic draws each head by itself, and the kernels of {layer.path!r} must all have "
            f"one axis for the heads and one for their units, got {heads}"
        )
    (count, units), width = heads[0], features[0]
    if len(set(features)) > 1 or len(width) > 1 or count * units > width[0]:
        raise ConfigError(
            f"mimetic needs queries, keys, values and outputs of the same features, at least as "
            f"many as all heads have units, and {layer.path!r} has {features} and {count} heads "
            f"of {units}"
        )
    return width[0], count, units


def _products(
    keys: Array, features: int, rank: int, noise: ArrayLike, identity: ArrayLike, dtype: Any
) -> tuple[Array, Array]:
    """Pairs `A, B` [n, features, rank], one per key, with `A B^T ~ noise Z + identity I`."""

    def one(key: Array) -> tuple[Array, Array]:
        normals = jax.random.normal(key, (features, features), dtype) * features**-0.5
        eye = jnp.eye(features, dtype=dtype)
        left, values, right = _decomposed(
            jnp.asarray(noise, dtype) * normals + jnp.asarray(identity, dtype) * eye
        )
        roots = jnp.sqrt(values[None, :rank])
        return left[:, :rank] * roots, right[:rank].T * roots

    return jax.lax.map(one, keys)


@jax.custom_batching.sequential_vmap
def _decomposed(matrix: Array) -> tuple[Array, Array, Array]:
    """`U, S, V^T`, one matrix at a time under `vmap` too: batches in LAPACK may hang or crash."""
    return tuple(jnp.linalg.svd(matrix, full_matrices=False))


def _joined(kernels: Array, heads: int) -> Array:
    """Kernels [n, features, heads * units] from those of single heads."""
    _, features, units = kernels.shape
    parted = kernels.reshape(-1, heads, features, units).swapaxes(1, 2)
    return parted.reshape(-1, features, heads * units)


ENTRIES = (
    ModelInitializer(
        name="mimetic",
        refine=mimetic,
        base="glorot_uniform",
        formula="W_Q W_K^T ~ a1 Z1 + b1 I per head, W_V W_out ~ a2 Z2 - b2 I, by SVD",
        reference="Trockman and Kolter (2023), Mimetic initialization of self-attention layers",
    ),
)
