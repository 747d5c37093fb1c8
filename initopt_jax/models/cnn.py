"""The convolutional network: convolutions with pooling, then dense layers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.models.adapter import from_linen
from initopt_jax.models.convolution import conv_general_dilated
from initopt_jax.models.mlp import ACTIVATIONS, compute_dtype, require_width
from initopt_jax.models.pooling import average_pool, max_pool
from initopt_jax.types import Array, Model

CONVOLUTIONS = ("auto", "patches", "stock")
PADDINGS = ("same", "valid")
POOLINGS: dict[str, Callable[[Array, int], Array]] = {"average": average_pool, "max": max_pool}
LAYOUT = ("CHWN", "HWIO", "CHWN")  # what the fast convolution uses inside: no transposing copies

# Piecewise linear and never falling, in float arithmetic too: max(phi(z + b)) is phi(max(z) + b) to
# the bit. (XLA's tanh falls by an ulp here and there.)
MONOTONE = ("hard_tanh", "identity", "leaky_relu", "relu")

FORMULA = "h_{i+1} = pool(phi(h_i * K_i + b_i)); then the mlp on the flattened h_n"
REFERENCE = "LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to documents"


class _Convolution(nn.Module):
    """One layer on [C, H, W, B]: `pool(phi(x * K + b))`."""

    features: int
    kernel: int
    padding: str
    pool: Callable[[Array], Array]
    pool_first: bool
    activation: Callable[[Array], Array]
    use_bias: bool
    convolution: str
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, pictures: Array) -> Array:
        """[F, H', W', B]."""
        shape = (self.kernel, self.kernel, pictures.shape[0], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, self.param_dtype)
        values = conv_general_dilated(
            pictures.astype(self.dtype),
            kernel.astype(self.dtype),
            (1, 1),
            self.padding.upper(),
            dimension_numbers=LAYOUT,
            convolution=self.convolution,
        )
        if self.pool_first:  # the rest then passes over a fraction of the numbers
            values = self.pool(values)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
            values = values + bias.astype(self.dtype)[:, None, None, None]
        values = self.activation(values)
        return values if self.pool_first else self.pool(values)


class _Cnn(nn.Module):
    """Layers `conv_0` to `conv_<m>`, then `dense_0` to `dense_<n>`, the last without activation."""

    channels: tuple[int, ...]
    widths: tuple[int, ...]
    activation: Callable[[Array], Array]
    layer: Callable[..., _Convolution]
    use_bias: bool
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Outputs [B, K] of a batch of pictures."""
        values = as_pictures(inputs).transpose(3, 1, 2, 0)
        for index, features in enumerate(self.channels):
            values = self.layer(features=features, name=f"conv_{index}")(values)
            if 0 in values.shape:
                raise ConfigError(
                    f"nothing is left of the pictures {inputs.shape[1:]} after conv_{index}; use "
                    "fewer channels, a smaller kernel or pool, or padding same"
                )
        values = values.transpose(1, 2, 0, 3).reshape(-1, inputs.shape[0]).T  # rows: h, w, c
        for index, width in enumerate(self.widths):
            if index > 0:
                values = self.activation(values)
            values = nn.Dense(
                width,
                use_bias=self.use_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                dot_general=_of_columns if index == 0 else None,
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
    padding: str = "same",
    pooling: str = "max",
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
        padding: `same` or `valid`.
        pooling: `max` or `average`.
        use_bias: whether layers have a bias.
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
    require_width("pool", pool)
    _require_widths("channels", "channel counts", channels)
    _require_widths("hidden", "layer widths", hidden)
    if not channels:
        raise ConfigError("channels must name at least one convolution; use the mlp without any")
    for name, value, known in (
        ("activation", activation, ACTIVATIONS),
        ("padding", padding, PADDINGS),
        ("pooling", pooling, POOLINGS),
        ("convolution", convolution, CONVOLUTIONS),
    ):
        if value not in known:
            raise ConfigError(unknown_name(name, value, known))
    if not isinstance(use_bias, bool):
        raise ConfigError(f"use_bias must be true or false, got {use_bias!r}")
    compute = compute_dtype(dtype)
    shared: dict[str, Any] = {
        "activation": ACTIVATIONS[activation],
        "use_bias": use_bias,
        "dtype": compute,
        "param_dtype": jnp.promote_types(compute, jnp.float32),
    }
    layer = partial(
        _Convolution,
        kernel=int(kernel),
        padding=padding,
        pool=partial(_pooled, POOLINGS[pooling], int(pool)),
        pool_first=pooling == "max" and activation in MONOTONE,
        convolution=convolution,
        **shared,
    )
    widths = (*(int(width) for width in hidden), int(outputs))
    return from_linen(_Cnn(tuple(map(int, channels)), widths, layer=layer, **shared))


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


def _require_widths(name: str, what: str, values: Any) -> None:
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{name} must be a list of {what}, got {values!r}")
    for index, value in enumerate(values):
        require_width(f"{name}[{index}]", value)
