"""The convolutional network: convolutions with pooling, then dense layers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from initopt_jax.errors import ConfigError
from initopt_jax.models.adapter import from_linen
from initopt_jax.models.convolution import conv_general_dilated
from initopt_jax.models.mlp import (
    ACTIVATIONS,
    compute_dtype,
    require_choice,
    require_depth,
    require_width,
)
from initopt_jax.models.normalization import GROUPS, Norm, require_groups, require_norm
from initopt_jax.models.pooling import average_pool, max_pool
from initopt_jax.types import Array, Model

CONVOLUTIONS = ("auto", "patches", "stock")
PADDINGS = ("same", "valid")
POOLINGS: dict[str, Callable[[Array, int], Array]] = {"average": average_pool, "max": max_pool}
MOST_KERNEL = 128  # the fast form has a slice for each place of a kernel
LAYOUT = ("CHWN", "HWIO", "CHWN")  # what the fast convolution uses inside: no transposing copies

# Piecewise linear and never falling, in float arithmetic too: max(phi(z + b)) is phi(max(z) + b) to
# the bit. (XLA's tanh falls by an ulp here and there.)
MONOTONE = ("hard_tanh", "identity", "leaky_relu", "relu")

FORMULA = "h_{i+1} = pool(phi(h_i * K_i + b_i)); then the mlp on the flattened h_n"
REFERENCE = "LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to documents"


class _Convolution(nn.Module):
    """One layer on [C, H, W, B]: `pool(phi(norm(x * K + b)))`."""

    features: int
    padding: str
    stride: int
    kernel: int
    norm: Callable[..., Norm] | None
    pool: Callable[[Array], Array]
    pool_first: bool
    activation: Callable[[Array], Array]
    use_bias: bool
    convolution: str
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, pictures: Array, train: bool) -> Array:
        """[F, H', W', B]."""
        shape = (self.kernel, self.kernel, pictures.shape[0], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, self.param_dtype)
        values = conv_general_dilated(
            pictures.astype(self.dtype),
            kernel.astype(self.dtype),
            (self.stride, self.stride),
            self.padding.upper(),
            dimension_numbers=LAYOUT,
            convolution=self.convolution,
        )
        if self.pool_first:  # the rest then passes over a fraction of the numbers
            values = self.pool(values)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
            values = values + bias.astype(self.dtype)[:, None, None, None]
        if self.norm is not None:
            values = self.norm(name="norm")(values, train=train)
        values = self.activation(values)
        return values if self.pool_first else self.pool(values)


class _Cnn(nn.Module):
    """Layers `conv_0` to `conv_<m>`, then `dense_0` to `dense_<n>`, the last without activation."""

    channels: tuple[tuple[int, str, int], ...]  # with padding and stride
    dropout: float
    widths: tuple[int, ...]
    activation: Callable[[Array], Array]
    layer: Callable[..., _Convolution]
    use_bias: bool
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        """Outputs [B, K] of a batch of pictures."""
        values = as_pictures(inputs).transpose(3, 1, 2, 0)
        for index, (features, padding, stride) in enumerate(self.channels):
            layer = self.layer(features, padding, stride, name=f"conv_{index}")
            values = layer(values, train)
            if 0 in values.shape:
                raise ConfigError(
                    f"nothing is left of the pictures {inputs.shape[1:]} after conv_{index}; use "
                    "fewer channels, a smaller kernel, pool or stride, or padding same"
                )
        values = values.transpose(1, 2, 0, 3).reshape(-1, inputs.shape[0]).T  # rows: h, w, c
        for index, width in enumerate(self.widths):
            if index > 0:
                values = self.activation(values)
            if self.dropout:
                values = nn.Dropout(self.dropout, deterministic=not train)(values)
            values = nn.Dense(
                width,
                use_bias=self.use_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                dot_general=_of_columns if index == 0 and not self.dropout else None,
                name=f"dense_{index}",
            )(values)
        return values


def cnn(
    *,
    outputs: int,
    channels: Sequence[int] = (16, 32),
    kernel: int = 3,
    pool: int = 2,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    padding: str | Sequence[str] = "same",
    pooling: str = "max",
    strides: int | Sequence[int] = 1,
    norm: str = "none",
    groups: int = GROUPS,
    dropout: float = 0.0,
    use_bias: bool = True,
    dtype: str = "float32",
    convolution: str = "auto",
) -> Model:
    """Convolutions, each with activation and pooling, then dense layers.

    `h_{i+1} = pool(phi(h_i * K_i + b_i))`, then the perceptron of `mlp` on the flattened pictures,
    in the order row, column, channel.

    Parameters are `conv_0/kernel` [kernel, kernel, C, channels[0]], `conv_0/bias`, and so on, then
    `dense_0/kernel` as in `mlp`. Inputs are [B, H, W, C]; [B, H, W] has one channel, and [B, D] is
    read as square pictures of one channel, row by row.

    Args:
        outputs: number of outputs K, at least 1.
        channels: of each convolution, at least 1; at least one convolution.
        kernel: height and width of the kernels, at least 1.
        pool: height and width of the pooling windows, at least 1; 1 for none. They do not overlap;
            rows and columns that fill no window are dropped.
        hidden: width of each hidden dense layer, at least 1; empty for none.
        activation: a name of `mlp.ACTIVATIONS`, used after convolutions and hidden layers.
        padding: `same` or `valid`, one for all convolutions or a list with one for each.
        pooling: `max` or `average`.
        strides: steps between the windows of convolutions, at least 1; one number or a list.
        norm: after each convolution, before the activation: `batch`, `group`, `layer` or `none`;
            see `normalization.Norm`. Parameters are `conv_0/norm/scale` and `bias`.
        groups: of `norm: group`; divides all `channels`.
        dropout: the share, 0 to below 1, of inputs of each dense layer that a training step drops;
            the others are divided by 1 - dropout.
        use_bias: whether layers have a bias of their own; with a normalization, that of
            convolutions has no effect and is left out.
        dtype: of the computation, as for `mlp`.
        convolution: how convolutions are computed: `auto` by the rule of
            `convolution.choose_form`, `patches` by matrix products, `stock` by XLA's convolution.

    Returns:
        The model. Its own `init` draws LeCun normal kernels and zero biases (Flax's default).

    Raises:
        ConfigError: an argument is out of range, a name is unknown, or (when called) the inputs
            are no pictures or too small.

    Reference: LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document
        recognition, Proceedings of the IEEE 86.

    >>> import jax
    >>> model = cnn(outputs=10, channels=(4, 8))
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> params["conv_1"]["kernel"].shape, params["dense_0"]["kernel"].shape
    ((3, 3, 4, 8), (392, 64))
    """
    require_width("outputs", outputs)
    require_width("kernel", kernel)
    if kernel > MOST_KERNEL:
        raise ConfigError(f"kernel must be at most {MOST_KERNEL}, got {kernel}")
    require_width("pool", pool)
    _require_widths("channels", "channel counts", channels)
    _require_widths("hidden", "layer widths", hidden)
    if not channels:
        raise ConfigError("channels must name at least one convolution; use the mlp without any")
    for name, value, known in (
        ("activation", activation, ACTIVATIONS),
        ("pooling", pooling, POOLINGS),
        ("convolution", convolution, CONVOLUTIONS),
    ):
        require_choice(name, value, known)
    if not isinstance(use_bias, bool):
        raise ConfigError(f"use_bias must be true or false, got {use_bias!r}")
    paddings = _of_each("padding", padding, len(channels), _require_padding)
    steps = _of_each("strides", strides, len(channels), require_width)
    make_norm = _norm_of(norm, groups, channels)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be a number from 0 to below 1, got {dropout!r}")
    compute = compute_dtype(dtype)
    shared: dict[str, Any] = {
        "activation": ACTIVATIONS[activation],
        "dtype": compute,
        "param_dtype": jnp.promote_types(compute, jnp.float32),
    }
    layer = partial(
        _Convolution,
        kernel=int(kernel),
        norm=make_norm,
        use_bias=use_bias and make_norm is None,
        pool=partial(_pooled, POOLINGS[pooling], int(pool)),
        pool_first=pooling == "max" and activation in MONOTONE,
        convolution=convolution,
        **shared,
    )
    widths = (*(int(width) for width in hidden), int(outputs))
    layers = tuple(zip(map(int, channels), paddings, steps, strict=True))
    made = _Cnn(layers, float(dropout), widths, layer=layer, use_bias=use_bias, **shared)
    return from_linen(made)


def as_pictures(inputs: Array) -> Array:
    """A batch as pictures [B, H, W, C].

    Args:
        inputs: [B, H, W, C], [B, H, W] or [B, side * side].

    Raises:
        ConfigError: any other shape.

    >>> as_pictures(jnp.ones((5, 64))).shape
    (5, 8, 8, 1)
    """
    if inputs.ndim == 4:
        return inputs
    if inputs.ndim == 3:
        return inputs[..., None]
    side = math.isqrt(inputs.shape[-1])
    if inputs.ndim != 2 or side**2 != inputs.shape[-1]:
        raise ConfigError(
            f"a cnn takes pictures [H, W, C], [H, W] or square ones as [H * W], got examples of "
            f"shape {inputs.shape[1:]}; reshape them, or use the mlp"
        )
    return inputs.reshape(-1, side, side, 1)


def _of_columns(inputs: Array, kernel: Array, _: Any, precision: Any = None) -> Array:
    """`inputs @ kernel` for inputs that are a transposed array, contracted as they lie.

    Written as usual, XLA fuses the transposition into the pooling before it and writes the pooled
    numbers one by one, far apart: a seventh of a training step.
    """
    return lax.dot_general(inputs.T, kernel, (((0,), (0,)), ((), ())), precision=precision)


def _pooled(pool: Callable[[Array, int], Array], window: int, pictures: Array) -> Array:
    return pictures if window == 1 else pool(pictures, window)


def _of_each(name: str, given: Any, count: int, require: Callable[[str, Any], None]) -> list[Any]:
    """One value per convolution, from one for all or a list."""
    if not isinstance(given, list | tuple):
        require(name, given)
        return [given] * count
    if len(given) != count:
        raise ConfigError(f"{name} must be one value or {count}, one per convolution, got {given}")
    for index, value in enumerate(given):
        require(f"{name}[{index}]", value)
    return list(given)


def _require_padding(name: str, value: Any) -> None:
    require_choice(name, value, PADDINGS)


def _norm_of(norm: str, groups: int, channels: Sequence[int]) -> Callable[..., Norm] | None:
    """What makes a layer's normalization; None where there is none."""
    require_norm(norm)
    require_width("groups", groups)
    if norm == "group":
        for count in channels:
            require_groups(groups, count)
    return None if norm == "none" else partial(Norm, norm, groups)


def _require_widths(name: str, what: str, values: Any) -> None:
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{name} must be a list of {what}, got {values!r}")
    if values:
        require_depth(f"the number of {what}", len(values))
    for index, value in enumerate(values):
        require_width(f"{name}[{index}]", value)
