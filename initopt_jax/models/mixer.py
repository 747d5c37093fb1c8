"""The MLP-Mixer: perceptrons across patches and across features in turn."""

from dataclasses import replace

from flax import linen as nn

from initopt_jax.models.adapter import from_linen
from initopt_jax.models.mlp import require_width
from initopt_jax.models.residual import Stream, StreamOptions, hidden_width, with_stream_options
from initopt_jax.models.sequences import as_patches
from initopt_jax.types import Array, Model

FORMULA = "x <- x + mlp(norm(x)^T)^T across patches; x <- x + mlp(norm(x)) across features"
REFERENCE = "Tolstikhin et al. 2021, MLP-Mixer: an all-MLP architecture for vision, eq. 1"


class _MixerBlock(nn.Module):
    """A perceptron across the places, then one across the features."""

    stream: Stream
    tokens: int
    hidden: int

    @nn.compact
    def __call__(self, values: Array) -> Array:
        """[B, N, D]."""

        def across(inputs: Array) -> Array:
            turned = inputs.swapaxes(1, 2)
            mixed = self.stream.perceptron(turned, self.tokens, "tokens_up", "tokens_down")
            return mixed.swapaxes(1, 2)

        values = self.stream.join(values, across, "tokens")
        return self.stream.join(
            values, lambda inputs: self.stream.perceptron(inputs, self.hidden), "mlp"
        )


class _Mixer(nn.Module):
    """`embed`, blocks `block_0` to `block_<n>`, `norm` (with pre-norm), `head` on the mean."""

    outputs: int
    patch: int
    depth: int
    tokens: int
    hidden: int
    stream: Stream

    @nn.compact
    def __call__(self, inputs: Array, train: bool = False) -> Array:
        """Outputs [B, K]."""
        stream = replace(self.stream, train=train)
        values = stream.dense(stream.width, "embed")(as_patches(inputs, self.patch))
        for index in range(self.depth):
            block = _MixerBlock(stream, self.tokens, self.hidden, name=f"block_{index}")
            values = block(values)
        if stream.norm == "pre":
            values = stream.normed(values, "norm")
        return nn.Dense(self.outputs, name="head", **stream.types)(values.mean(axis=1))


@with_stream_options
def mixer(
    common: StreamOptions,
    *,
    outputs: int,
    patch: int = 4,
    token_width: int = 16,
    mlp_ratio: float = 4,
) -> Model:
    """An MLP-Mixer on patches of pictures.

    `x <- x + W_2 phi(W_1 norm(x))` across the patches, then `x <- x + phi(norm(x) W_3) W_4` across
    the features, `depth` times; `z = mean(norm(x)) W + b`

    Parameters are `embed`, `block_0/{tokens_up, tokens_down, up, down}`,
    `block_0/{norm_tokens, norm_mlp}` and so on for every block, `norm` (with pre-norm) and `head`.
    Inputs are as for `vit`.

    Args:
        outputs: number of outputs K, at least 1.
        patch: height and width of a patch, at least 1; they must fill the pictures.
        width: features of every patch, at least 1.
        depth: number of blocks, at least 1.
        token_width: hidden units of the perceptrons across patches, at least 1.
        mlp_ratio: hidden units of those across features, per feature, above 0; rounded.
        activation: a name of `mlp.ACTIVATIONS`.
        norm: `pre`, `post` or `none`, as for `transformer`.
        residual_scale: as for `transformer`.
        shortcut_scale: likewise.
        gate: likewise.
        use_bias: likewise.
        dropout: share of a branch's results that is dropped in training.
        dtype: of the computation, as for `mlp`.

    Returns:
        The model. Its own `init` is Flax's: LeCun normal kernels and zero biases.

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) the inputs
            are no pictures or the patches do not fill them.

    Reference: Tolstikhin et al. 2021, MLP-Mixer: an all-MLP architecture for vision, eq. 1.

    >>> import jax, jax.numpy as jnp
    >>> model = mixer(outputs=10, patch=2, width=8, depth=1, token_width=6)
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> params["block_0"]["tokens_up"]["kernel"].shape, params["block_0"]["up"]["kernel"].shape
    ((16, 6), (8, 32))
    """
    require_width("outputs", outputs)
    require_width("patch", patch)
    require_width("token_width", token_width)
    stream = common.stream()
    module = _Mixer(
        outputs=int(outputs),
        patch=int(patch),
        depth=int(common.depth),
        tokens=int(token_width),
        hidden=hidden_width("mlp_ratio", mlp_ratio, stream.width),
        stream=stream,
    )
    return from_linen(module)
