"""The multi-layer perceptron: dense layers with one activation between them."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from initopt_jax.checks import LARGEST
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.models.adapter import from_linen
from initopt_jax.types import Array, Model


def _identity(inputs: Array) -> Array:
    return inputs


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "hard_tanh": jax.nn.hard_tanh,
    "identity": _identity,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "tanh": jnp.tanh,
}
DTYPES = ("bfloat16", "float32", "float64")

MOST_LAYERS = 1_000  # each is traced by itself: a program of more takes minutes to make
FORMULA = "h_0 = x; h_{i+1} = phi(h_i W_i + b_i); z = h_n W_n + b_n"
REFERENCE = "Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors"


class _Mlp(nn.Module):
    """Layers `dense_0` to `dense_<n>`, the last without activation.

    Attributes:
        code: the layer that is linear too, and whose network gives back its inputs; None for none.
    """

    widths: tuple[int, ...]
    activation: Callable[[Array], Array]
    use_bias: bool
    dtype: Any
    param_dtype: Any
    code: int | None = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Outputs [B, K] of a batch [B, ...], flattened."""
        values = inputs.reshape(inputs.shape[0], -1)
        if self.code is not None and values.shape[1] != self.widths[-1]:
            raise ConfigError(
                f"an autoencoder gives back its inputs: {values.shape[1]} features need as many "
                f"outputs, not {self.widths[-1]}; the targets must be the inputs"
            )
        for index, width in enumerate(self.widths):
            if index > 0 and index - 1 != self.code:
                values = self.activation(values)
            values = nn.Dense(
                width,
                use_bias=self.use_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"dense_{index}",
            )(values)
        return values


def mlp(
    *,
    outputs: int,
    hidden: Sequence[int] = (64, 64),
    activation: str = "tanh",
    use_bias: bool = True,
    dtype: str = "float32",
) -> Model:
    """A multi-layer perceptron on flattened inputs: `h_{i+1} = phi(h_i W_i + b_i)`, linear outputs.

    Parameters are `dense_0/kernel` [D, hidden[0]], `dense_0/bias`, and so on; the output layer is
    `dense_<n>` after `n` hidden ones. They are float32 (float64 with `dtype="float64"`).

    Args:
        outputs: number of outputs K, at least 1.
        hidden: width of each hidden layer, at least 1; empty for none.
        activation: a name of `ACTIVATIONS`. `gelu` is the exact one, `leaky_relu` has slope 0.01.
        use_bias: whether layers have a bias.
        dtype: of the computation: `float32`, `bfloat16`, or `float64` where x64 is enabled. In a
            study of another precision than float32 it is that precision's.

    Returns:
        The model. Its own `init` draws LeCun normal kernels and zero biases (Flax's default).

    Raises:
        ConfigError: an argument is out of range or a name is unknown.

    Reference: Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating
        errors, Nature 323.

    >>> model = mlp(outputs=10, hidden=(32,), activation="relu")
    >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 8, 8)))
    >>> params["dense_0"]["kernel"].shape, params["dense_1"]["kernel"].shape
    ((64, 32), (32, 10))
    """
    return perceptron(
        outputs=outputs, hidden=hidden, activation=activation, use_bias=use_bias, dtype=dtype
    )


def perceptron(
    *,
    outputs: int,
    hidden: Sequence[int],
    activation: str,
    use_bias: bool,
    dtype: str,
    code: int | None = None,
) -> Model:
    """The `mlp`, or with `code` the autoencoder whose hidden layer of that number is linear."""
    require_width("outputs", outputs)
    if not isinstance(hidden, list | tuple):
        raise ConfigError(f"hidden must be a list of layer widths, got {hidden!r}")
    require_depth("the number of layers", len(hidden) + 1)
    for index, width in enumerate(hidden):
        require_width(f"hidden[{index}]", width)
    require_choice("activation", activation, ACTIVATIONS)
    if not isinstance(use_bias, bool):
        raise ConfigError(f"use_bias must be true or false, got {use_bias!r}")
    compute = compute_dtype(dtype)
    module = _Mlp(
        widths=(*(int(width) for width in hidden), int(outputs)),
        activation=ACTIVATIONS[activation],
        use_bias=use_bias,
        dtype=compute,
        param_dtype=jnp.promote_types(compute, jnp.float32),
        code=code,
    )
    return from_linen(module)


def require_width(name: str, value: Any) -> None:
    """Refuse a layer width that is no integer of at least 1, with a ConfigError that says so."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}")
    if int(value) > LARGEST:
        raise ConfigError(f"{name} must be at most {LARGEST}, got {value}")


def require_depth(name: str, value: Any) -> None:
    """Refuse a number of layers that is none, or more than a program can be made of."""
    require_width(name, value)
    if value > MOST_LAYERS:
        raise ConfigError(
            f"{name} must be at most {MOST_LAYERS:,}, since each layer is a part of the program; "
            f"got {value:,}"
        )


def require_choice(name: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a name that is not among those known, with a ConfigError that says which are."""
    if value not in (names := list(known)):
        raise ConfigError(unknown_name(name, value, names))


def compute_dtype(name: str) -> Any:
    """The dtype of a name in `DTYPES`.

    Raises:
        ConfigError: the name is unknown, or float64 is asked for without x64.

    >>> compute_dtype("bfloat16").name
    'bfloat16'
    """
    require_choice("dtype", name, DTYPES)
    if name == "float64" and not jax.config.read("jax_enable_x64"):
        raise ConfigError(
            "dtype float64 needs a study of precision float64 (outside studies: JAX_ENABLE_X64=1)"
        )
    return jnp.dtype(name)
