"""Transformers: a causal one on sequences, and one on patches of pictures."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from initopt_jax.errors import ConfigError
from initopt_jax.models.adapter import from_linen
from initopt_jax.models.mlp import require_choice, require_width
from initopt_jax.models.residual import (
    Block,
    Stream,
    StreamOptions,
    hidden_width,
    with_stream_options,
)
from initopt_jax.models.sequences import (
    as_patches,
    as_sequence,
    as_tokens,
    sinusoids,
)
from initopt_jax.types import Array, Model

POSITIONS = ("learned", "none", "sinusoidal")
POOLS = ("class", "mean")
ATTENTION_SCALES = ("inverse", "sqrt")

FORMULA = "x <- x + attention(norm(x)); x <- x + mlp(norm(x)); z = norm(x_T) W + b"
REFERENCE = "Vaswani et al. 2017, Attention is all you need; pre-norm: Xiong et al. 2020"
VIT_FORMULA = "patches W + positions; x <- x + attention(norm(x)); x <- x + mlp(norm(x))"
VIT_REFERENCE = "Dosovitskiy et al. 2021, An image is worth 16x16 words, section 3.1"


class _Transformer(nn.Module):
    """`embed`, `positions`, blocks `block_0` to `block_<n>`, `norm` (with pre-norm), `head`.

    Attributes:
        outputs: number of outputs K.
        depth: number of blocks.
        heads, hidden, inverse: of the blocks.
        stream: shared settings.
        positions: a name of `POSITIONS`.
        vocabulary: number of tokens; None for inputs that are numbers.
        length: see `as_sequence`.
        patch: height and width of patches; None for sequences, whose last place is read out.
        pool: of patches: their mean, or a place of its own (`class`).
    """

    outputs: int
    depth: int
    heads: int
    hidden: int
    inverse: bool
    stream: Stream
    positions: str
    vocabulary: int | None = None
    length: int | None = None
    patch: int | None = None
    pool: str = "mean"

    @nn.compact
    def __call__(self, inputs: Array, train: bool = False) -> Array:
        """Outputs [B, K]."""
        stream = replace(self.stream, train=train)
        values = self._embedded(inputs, stream)
        if self.patch and self.pool == "class":
            start, shape = nn.initializers.zeros, (1, stream.width)
            own = self.param("class_token", start, shape, stream.types["param_dtype"])
            own = jnp.broadcast_to(own.astype(values.dtype)[None], (len(values), *shape))
            values = jnp.concatenate([own, values], axis=1)
        values = stream.dropped(self._placed(values, stream))
        for index in range(self.depth):
            values = Block(
                stream,
                self.heads,
                self.hidden,
                causal=self.patch is None,
                inverse=self.inverse,
                name=f"block_{index}",
            )(values)
        if stream.norm == "pre":
            values = stream.normed(values, "norm")
        if self.patch is None:
            values = values[:, -1]
        else:
            values = values[:, 0] if self.pool == "class" else values.mean(axis=1)
        return nn.Dense(self.outputs, name="head", **stream.types)(values)

    def _embedded(self, inputs: Array, stream: Stream) -> Array:
        """[B, T, D]."""
        if self.vocabulary is not None:
            table = nn.Embed(self.vocabulary, stream.width, name="embed", **stream.types)
            return table(as_tokens(inputs))
        if self.patch is not None:
            inputs = as_patches(inputs, self.patch)
        else:
            inputs = as_sequence(inputs, self.length)
        return stream.dense(stream.width, "embed")(inputs)

    def _placed(self, values: Array, stream: Stream) -> Array:
        """With what tells the places apart."""
        if self.positions == "none":
            return values
        shape = values.shape[1:]
        if self.positions == "learned":
            start = nn.initializers.normal(0.02)
            table = self.param("positions", start, shape, stream.types["param_dtype"])
        else:
            table = jnp.asarray(sinusoids(*shape))
        return values + table.astype(values.dtype)[None]


@with_stream_options
def transformer(
    common: StreamOptions,
    *,
    outputs: int,
    heads: int = 4,
    mlp_ratio: float = 4,
    positions: str = "learned",
    attention_scale: str = "sqrt",
    vocabulary: int | None = None,
    length: int | None = None,
) -> Model:
    """A causal Transformer on sequences; what its last place knows is read out.

    `x <- alpha x + s F(norm(x))` (pre-norm) or `x <- norm(alpha x + s F(x))` (post-norm), with F
    causal attention, then a perceptron, `depth` times; `z = x_T W + b`, of `norm(x_T)` with
    pre-norm.

    Parameters are `embed`, `positions` [T, width], `block_0/attention/{query, key, value, out}`
    with an axis for the heads, `block_0/{up, down}`, `block_0/{norm_attention, norm_mlp}` and so on
    for every block, `norm` (with pre-norm) and `head`.

    Args:
        outputs: number of outputs K, at least 1.
        width: features of the stream, a multiple of `heads`.
        depth: number of blocks, at least 1.
        heads: of each attention, at least 1.
        mlp_ratio: hidden units of the perceptrons per feature, above 0; rounded.
        activation: of the perceptrons, a name of `mlp.ACTIVATIONS`.
        norm: `pre`, `post` or `none`.
        positions: `learned` (a table), `sinusoidal` (fixed) or `none`.
        vocabulary: inputs are the numbers 0 to vocabulary - 1 of tokens, [B, T] or [B, T, 1], and
            `embed` is a table (data of this kind want `normalize: false`; a number outside gives
            NaN). By default inputs are sequences of vectors, and `embed` is a dense layer.
        length: the number of steps, where the inputs' shape does not say it; see
            `sequences.as_sequence`. Not with a vocabulary.
        residual_scale: s, any number.
        shortcut_scale: alpha, any number, or `deep_norm` for `(2 depth)^(1/4)`, which the
            initializer of that name asks for together with post-norm.
        gate: a trained factor at the end of each branch, at first 1: `scalar`, `channels` or
            `none`. The initializers `rezero` and `layer_scale` start it at other numbers.
        attention_scale: of products of queries and keys with d features per head: `sqrt` for
            `1 / sqrt(d)`, `inverse` for `1 / d`, which the parametrization `mup` asks for.
        use_bias: whether dense layers but `head` have a bias.
        dropout: share of a branch's results, and of the embedded inputs, that is dropped in
            training; at least 0 and below 1. Not of the attention weights.
        dtype: of the computation, as for `mlp`; the softmax is float32 at least.

    Returns:
        The model. Its own `init` is Flax's: LeCun normal kernels and zero biases.

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) the inputs
            are no sequences.

    Reference: Vaswani et al. 2017, Attention is all you need (post-norm, sinusoids); Xiong et al.
        2020, On layer normalization in the Transformer architecture (pre-norm); Yang, Hu et al.
        2022, Tensor programs V, definition 4.1 (`1 / d`).

    >>> import jax
    >>> model = transformer(outputs=5, vocabulary=11, width=8, heads=2, depth=1)
    >>> params, _ = model.init(jax.random.key(0), jnp.zeros((1, 6)))
    >>> params["embed"]["embedding"].shape, params["positions"].shape
    ((11, 8), (6, 8))
    >>> params["block_0"]["attention"]["query"]["kernel"].shape
    (8, 2, 4)
    """
    if vocabulary is not None:
        require_width("vocabulary", vocabulary)
        if length is not None:
            raise ConfigError("length cannot be given with a vocabulary: every token is a step")
    if length is not None:
        require_width("length", length)
    shared = _checked(common, outputs, heads, mlp_ratio, attention_scale, positions)
    return from_linen(_Transformer(vocabulary=vocabulary, length=length, **shared))


@with_stream_options
def vit(
    common: StreamOptions,
    *,
    outputs: int,
    patch: int = 4,
    pool: str = "class",
    heads: int = 4,
    mlp_ratio: float = 4,
    positions: str = "learned",
    attention_scale: str = "sqrt",
) -> Model:
    """A Transformer on patches of pictures.

    The patches, each a vector that a dense layer takes in, are a sequence in which every place sees
    every other; blocks as those of `transformer`. `z = x W + b`, x the mean of all places or that
    of a place of its own which holds no patch.

    Parameters are as those of `transformer`, and `class_token` [1, width] with `pool: class`.
    Inputs are [B, H, W, C]; [B, H, W] has one channel, and [B, D] is read as square pictures.

    Args:
        outputs: number of outputs K, at least 1.
        patch: height and width of a patch, at least 1; they must fill the pictures.
        width: as for `transformer`.
        depth: likewise.
        heads: likewise.
        mlp_ratio: likewise.
        pool: `class` or `mean`.
        activation: as for `transformer`.
        norm: likewise.
        positions: likewise.
        residual_scale: likewise.
        shortcut_scale: likewise.
        gate: likewise.
        attention_scale: likewise.
        use_bias: likewise.
        dropout: likewise.
        dtype: likewise.

    Returns:
        The model. Its own `init` is Flax's, with the class token at 0.

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) the inputs
            are no pictures or the patches do not fill them.

    Reference: Dosovitskiy et al. 2021, An image is worth 16x16 words, section 3.1.

    >>> import jax
    >>> model = vit(outputs=10, patch=4, width=8, heads=2, depth=1)
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> params["embed"]["kernel"].shape, params["positions"].shape
    ((48, 8), (5, 8))
    """
    require_width("patch", patch)
    require_choice("pool", pool, POOLS)
    shared = _checked(common, outputs, heads, mlp_ratio, attention_scale, positions)
    return from_linen(_Transformer(patch=int(patch), pool=pool, **shared))


def _checked(
    common: StreamOptions,
    outputs: int,
    heads: int,
    mlp_ratio: float,
    attention_scale: str,
    positions: str,
) -> dict[str, Any]:
    """What both kinds are made with."""
    stream = common.stream()
    require_width("outputs", outputs)
    require_width("heads", heads)
    if stream.width % heads:
        raise ConfigError(f"heads must divide the width {stream.width}, got {heads}")
    require_choice("attention_scale", attention_scale, ATTENTION_SCALES)
    require_choice("positions", positions, POSITIONS)
    return {
        "outputs": int(outputs),
        "depth": int(common.depth),
        "heads": int(heads),
        "hidden": hidden_width("mlp_ratio", mlp_ratio, stream.width),
        "inverse": attention_scale == "inverse",
        "stream": stream,
        "positions": positions,
    }
