"""Residual networks for small pictures."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from initopt_jax.errors import ConfigError
from initopt_jax.models.adapter import from_linen
from initopt_jax.models.cnn import CONVOLUTIONS, LAYOUT, as_pictures
from initopt_jax.models.convolution import conv_general_dilated
from initopt_jax.models.mlp import ACTIVATIONS, compute_dtype, require_choice, require_width
from initopt_jax.models.normalization import GROUPS, Norm, require_groups, require_norm
from initopt_jax.models.pooling import max_pool
from initopt_jax.types import Array, Model

DEPTHS = (9, 18, 20, 32, 44, 56)
SHORTCUTS = ("A", "B")
ORDERS = ("post", "pre")
WIDTHS = {9: 64, 18: 64}  # of the papers; 16 for the others

FORMULA = (
    "h <- phi(shortcut(h) + a norm(phi(norm(h * K_1)) * K_2)); then the mean and a dense layer"
)
REFERENCE = "He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition, section 4.2"


class _Parts(NamedTuple):
    """What all layers of a network share."""

    activation: Callable[[Array], Array]
    norm: str
    groups: int
    residual_scale: float
    shortcut: str
    convolution: str
    dtype: Any
    param_dtype: Any
    train: bool = False


def _convolved(
    parts: _Parts, values: Array, features: int, name: str, *, kernel: int = 3, stride: int = 1
) -> Array:
    shared = (parts.convolution, parts.dtype, parts.param_dtype, parts.norm == "none")
    return _PaddedConvolution(features, kernel, stride, *shared, name=name)(values)


def _normed(parts: _Parts, values: Array, name: str) -> Array:
    if parts.norm == "none":
        return values
    return Norm(parts.norm, parts.groups, parts.param_dtype, name=name)(values, train=parts.train)


class _PaddedConvolution(nn.Module):
    """A convolution on [C, H, W, B] whose padding keeps the size up to strides, as PyTorch's."""

    features: int
    kernel: int
    stride: int
    convolution: str
    dtype: Any
    param_dtype: Any
    use_bias: bool

    @nn.compact
    def __call__(self, values: Array) -> Array:
        """[F, H', W', B]."""
        shape = (self.kernel, self.kernel, values.shape[0], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, self.param_dtype)
        margin = (self.kernel // 2, self.kernel // 2)
        made = conv_general_dilated(
            values.astype(self.dtype),
            kernel.astype(self.dtype),
            (self.stride, self.stride),
            (margin, margin),
            dimension_numbers=LAYOUT,
            convolution=self.convolution,
        )
        if not self.use_bias:
            return made
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        return made + bias.astype(self.dtype)[:, None, None, None]


class _ResNetBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut."""

    features: int
    stride: int
    parts: _Parts
    order: str

    @nn.compact
    def __call__(self, values: Array) -> Array:
        """[F, H / stride, W / stride, B]."""
        parts, pre = self.parts, self.order == "pre"
        start = parts.activation(_normed(parts, values, "norm_1")) if pre else values
        made = _convolved(parts, start, self.features, "conv_1", stride=self.stride)
        made = _normed(parts, made, "norm_2" if pre else "norm_1")
        made = _convolved(parts, parts.activation(made), self.features, "conv_2")
        made = made if pre else _normed(parts, made, "norm_2")
        if parts.residual_scale != 1:
            made = made * jnp.asarray(parts.residual_scale, made.dtype)
        total = self._shortcut(values, start) + made
        return total if pre else parts.activation(total)

    def _shortcut(self, values: Array, start: Array) -> Array:
        """Values as they are where their shape is that of the branch; else by option A or B."""
        parts, more = self.parts, self.features - values.shape[0]
        if self.stride == 1 and more == 0:
            return values
        if parts.shortcut == "A":
            thinned = values[:, :: self.stride, :: self.stride]
            ahead = more // 2
            return jnp.pad(thinned, ((ahead, more - ahead), (0, 0), (0, 0), (0, 0)))
        source = start if self.order == "pre" else values
        made = _convolved(parts, source, self.features, "shortcut", kernel=1, stride=self.stride)
        return made if self.order == "pre" else _normed(parts, made, "shortcut_norm")


class _ResNet(nn.Module):
    """A stem, stages of blocks, the mean over places, `head`."""

    stages: tuple[int, ...]
    width: int
    order: str
    parts: _Parts
    outputs: int

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        """Outputs [B, K] of a batch of pictures."""
        parts = self.parts._replace(train=train)
        values = _pictures(inputs, 2 ** (len(self.stages) - 1), parts.dtype)
        values = _convolved(parts, values, self.width, "stem")
        if self.order == "post":
            values = parts.activation(_normed(parts, values, "stem_norm"))
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                values = _ResNetBlock(
                    features=self.width * 2**stage,
                    stride=2 if stage and not block else 1,
                    parts=parts,
                    order=self.order,
                    name=f"stage_{stage}_block_{block}",
                )(values)
        if self.order == "pre":
            values = parts.activation(_normed(parts, values, "last_norm"))
        return _head(parts, values.mean(axis=(1, 2)).T, self.outputs)


class _ResNet9(nn.Module):
    """Four layers of one convolution, the first and the last two pools, two residual blocks."""

    width: int
    parts: _Parts
    outputs: int

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        """Outputs [B, K] of a batch of pictures."""
        parts = self.parts._replace(train=train)

        def layer(values: Array, features: int, name: str, *, pool: bool = False) -> Array:
            values = _convolved(parts, values, features, f"{name}_conv")
            values = parts.activation(_normed(parts, values, f"{name}_norm"))
            return max_pool(values, 2) if pool else values

        def residual(values: Array, name: str) -> Array:
            made = layer(layer(values, len(values), f"{name}_1"), len(values), f"{name}_2")
            if parts.residual_scale != 1:
                made = made * jnp.asarray(parts.residual_scale, made.dtype)
            return values + made

        values = layer(_pictures(inputs, 8, parts.dtype), self.width, "stem")
        values = residual(layer(values, 2 * self.width, "layer_1", pool=True), "residual_1")
        values = layer(values, 4 * self.width, "layer_2", pool=True)
        values = residual(layer(values, 8 * self.width, "layer_3", pool=True), "residual_3")
        return _head(parts, values.max(axis=(1, 2)).T, self.outputs)


def _pictures(inputs: Array, least: int, dtype: Any) -> Array:
    """The batch as [C, H, W, B]; refused where halving leaves nothing."""
    values = as_pictures(inputs)
    if min(values.shape[1:3]) < least:
        raise ConfigError(
            f"this resnet halves pictures until {least} pixels are one, and these are "
            f"{values.shape[1]} x {values.shape[2]}; use larger pictures or the cnn"
        )
    return values.transpose(3, 1, 2, 0).astype(dtype)


def _head(parts: _Parts, values: Array, outputs: int) -> Array:
    return nn.Dense(outputs, dtype=parts.dtype, param_dtype=parts.param_dtype, name="head")(values)


def resnet(
    *,
    outputs: int,
    depth: int = 20,
    width: int | None = None,
    activation: str = "relu",
    norm: str = "batch",
    groups: int = GROUPS,
    residual_scale: float = 1.0,
    shortcut: str = "B",
    order: str = "post",
    dtype: str = "float32",
    convolution: str = "auto",
) -> Model:
    """A residual network for small pictures: `h <- phi(shortcut(h) + a F(h))`.

    - `depth` 20, 32, 44, 56: three stages of (depth - 2) / 6 blocks each, of width, 2 width and
      4 width channels; stages after the first begin with stride 2.
    - 18: four stages of two blocks, with a 3 x 3 stem without pooling, as is usual on CIFAR.
    - 9: stem, layer and pool, residual block, layer and pool, layer and pool, residual block, the
      largest number over all places; `width` to 8 `width` channels. Its activation comes before
      the addition.

    Parameters are `stem/kernel`, `stage_0_block_0/conv_1/kernel`, ..., `head/kernel`. Convolutions
    have a bias only where there is no normalization. Running statistics of `norm: batch` are in the
    model state.

    Args:
        outputs: number of outputs K, at least 1.
        depth: one of DEPTHS.
        width: channels of the first stage, at least 1; by default 64 for depths 9 and 18, else 16.
        activation: a name of `mlp.ACTIVATIONS`.
        norm: `batch`, `group`, `layer` or `none`.
        groups: of `norm: group`; divides the channels of every layer.
        residual_scale: a, that multiplies every branch.
        shortcut: where a block changes shape: `A`, every second pixel and zeros for new channels;
            `B`, a convolution of 1 x 1. Depth 9 has no such block.
        order: `post`, activation after the addition, or `pre`, normalization and activation before
            each convolution (not for depth 9).
        dtype: of the computation, as for `mlp`.
        convolution: as for `cnn`.

    Returns:
        The model. Its own `init` draws He normal kernels, zero biases and scales of one.

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) the inputs are
            no pictures or too small.

    Reference:
        He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition, section 4.2;
        `order: pre`: the same, Identity mappings in deep residual networks, figure 4e. Depth 9:
        Page 2018, How to train your ResNet.

    Deviations:
        In depth 9 the outputs are not multiplied by 0.125, which belongs to its learning rate.

    >>> import jax
    >>> model = resnet(outputs=10, depth=9, width=2)
    >>> params, state = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((2, 8, 8, 3)))
    >>> params["layer_3_conv"]["kernel"].shape, state["batch_stats"]["stem_norm"]["mean"].shape
    ((3, 3, 8, 16), (2,))
    """
    if depth not in DEPTHS or isinstance(depth, bool):
        raise ConfigError(f"depth must be one of {', '.join(map(str, DEPTHS))}, got {depth!r}")
    width = WIDTHS.get(depth, 16) if width is None else width
    for name, value in (("outputs", outputs), ("width", width), ("groups", groups)):
        require_width(name, value)
    for name, value, known in (
        ("activation", activation, ACTIVATIONS),
        ("shortcut", shortcut, SHORTCUTS),
        ("order", order, ORDERS),
        ("convolution", convolution, CONVOLUTIONS),
    ):
        require_choice(name, value, known)
    require_norm(norm)
    if norm == "group":
        require_groups(groups, width)  # later layers have multiples of it
    if isinstance(residual_scale, bool) or not isinstance(residual_scale, int | float):
        raise ConfigError(f"residual_scale must be a number, got {residual_scale!r}")
    compute = compute_dtype(dtype)
    parts = _Parts(
        ACTIVATIONS[activation], norm, groups, float(residual_scale), shortcut, convolution,
        compute, jnp.promote_types(compute, jnp.float32),
    )  # fmt: skip
    if depth == 9:
        if order == "pre":
            raise ConfigError("order pre is for depths above 9; a ResNet-9 has it as it is")
        return from_linen(_ResNet9(width, parts, outputs))
    stages = (2,) * 4 if depth == 18 else ((depth - 2) // 6,) * 3
    make = partial(_ResNet, stages=stages, width=width, order=order, parts=parts)
    return from_linen(make(outputs=outputs))
