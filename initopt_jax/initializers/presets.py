"""What the frameworks draw when nothing is asked for: their distributions, from our keys.

None has options; the same with a gain is `variance_scaling`.
"""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import scaled_uniform
from initopt_jax.initializers.glorot import glorot_uniform, glorot_uniform_distribution
from initopt_jax.initializers.uniform import uniform_distribution
from initopt_jax.initializers.variance_scaling import (
    variance_scaling,
    variance_scaling_distribution,
)
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape

# a = sqrt(3) std: a gain of 1 / sqrt(3) makes a = 1 / sqrt(fan_in).
_TORCH_GAIN = 1 / math.sqrt(3)


def flax_default(key: Array, shape: Shape, dtype: Any = jnp.float32) -> Array:
    """Kernels of `flax.linen` and `flax.nnx` layers: LeCun's variance, truncated normal.

    `W ~ N(0, s^2)` given `|W| <= 2 s`, with `s = sqrt(1 / fan_in) / 0.8796`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.

    Returns:
        The leaf. The layers' biases are `zeros`.

    Raises:
        ValueError: if `shape` has no fans or `dtype` is not a real floating dtype.

    Reference:
        Flax 0.12 (2025), `linen.linear.default_kernel_init`, which is
        `jax.nn.initializers.lecun_normal()`.

    Deviations:
        None for dense layers and convolutions. Flax flattens the kernels of `DenseGeneral` first.

    >>> import jax
    >>> weights = flax_default(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 3), round(float(weights.max()), 3)
    (0.05, 0.114)
    """
    return variance_scaling(key, shape, dtype, distribution="truncated_normal")


def flax_default_distribution(shape: Shape) -> DistributionSpec:
    """The distribution of `flax_default`."""
    return variance_scaling_distribution(shape, distribution="truncated_normal")


def torch_default(key: Array, shape: Shape, dtype: Any = jnp.float32) -> Array:
    """Weights of `torch.nn.Linear` and the convolutions.

    `W ~ U[-a, a), a = 1 / sqrt(fan_in)`, with variance `1 / (3 fan_in)`

    Args:
        key: of this leaf.
        shape: of the leaf in Flax's layout, at least one dimension, none of them empty.
        dtype: of the leaf, floating.

    Returns:
        The leaf. The layers' biases are drawn alike, see `torch_default_bias`.

    Raises:
        ValueError: if `shape` has no fans or `dtype` is not a real floating dtype.

    Reference:
        PyTorch 2 (2023), `nn.Linear.reset_parameters`: `kaiming_uniform_(weight, a=sqrt(5))`, whose
        bound is `sqrt(6 / ((1 + 5) fan_in))`. LeCun, Bottou, Orr and Müller (1998) have three times
        the variance; Glorot and Bengio (2010), eq. 1, call this the commonly used heuristic.

    >>> import jax
    >>> weights = torch_default(jax.random.key(0), (400, 100))
    >>> round(float(weights.std()), 4), round(float(weights.max()), 3)
    (0.0289, 0.05)
    """
    return variance_scaling(key, shape, dtype, gain=_TORCH_GAIN, distribution="uniform")


def torch_default_distribution(shape: Shape) -> DistributionSpec:
    """The distribution of `torch_default`."""
    return variance_scaling_distribution(shape, gain=_TORCH_GAIN, distribution="uniform")


def torch_default_bias(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, fan_in: ArrayLike
) -> Array:
    """Biases of `torch.nn.Linear` and the convolutions.

    `b ~ U[-a, a), a = 1 / sqrt(fan_in)`

    A bias does not know the fan-in of its layer, and no number fits all: it has to be given, one
    rule per layer. Hence it has no entry in the registry; a config names it
    `initopt_jax.initializers:torch_default_bias`.

    Args:
        key: of this leaf.
        shape: of the leaf.
        dtype: of the leaf, floating.
        fan_in: of the layer's kernel, above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `dtype` is not a real floating dtype, or a concrete `fan_in` is not above 0.

    Reference:
        PyTorch 2 (2023), `nn.Linear.reset_parameters`.

    >>> import jax
    >>> biases = torch_default_bias(jax.random.key(0), (1000,), fan_in=400)
    >>> round(float(biases.max()), 3)
    0.05
    """
    checks.positive("fan_in", fan_in)
    return scaled_uniform(key, shape, dtype, fan_in**-0.5)


def torch_default_bias_distribution(shape: Shape, *, fan_in: float) -> DistributionSpec:
    """The distribution of `torch_default_bias`."""
    checks.positive("fan_in", fan_in)
    return uniform_distribution(shape, scale=fan_in**-0.5)


# Where the registry has no entry, this is where the audit finds the distribution.
torch_default_bias.__dict__["distribution"] = torch_default_bias_distribution


def keras_default(key: Array, shape: Shape, dtype: Any = jnp.float32) -> Array:
    """Kernels of `keras.layers.Dense` and the convolutions: `glorot_uniform`.

    `W ~ U[-a, a), a = sqrt(6 / (fan_in + fan_out))`

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.

    Returns:
        The leaf, `glorot_uniform` of the same key. The layers' biases are `zeros`.

    Raises:
        ValueError: if `shape` has no fans or `dtype` is not a real floating dtype.

    Reference:
        Keras 3 (2023), `keras.initializers.GlorotUniform`, the default `kernel_initializer`.

    >>> import jax
    >>> weights = keras_default(jax.random.key(0), (400, 100))
    >>> round(float(weights.max()), 3)
    0.11
    """
    return glorot_uniform(key, shape, dtype)


def keras_default_distribution(shape: Shape) -> DistributionSpec:
    """The distribution of `keras_default`."""
    return glorot_uniform_distribution(shape)


ENTRIES = (
    Initializer(
        name="flax_default",
        draw=flax_default,
        distribution=flax_default_distribution,
        formula="W ~ N(0, s^2) given |W| <= 2 s, s = sqrt(1 / fan_in) / 0.8796",
        reference="Flax 0.12, linen.linear.default_kernel_init",
    ),
    Initializer(
        name="torch_default",
        draw=torch_default,
        distribution=torch_default_distribution,
        formula="W ~ U[-a, a), a = 1 / sqrt(fan_in)",
        reference="PyTorch 2, nn.Linear.reset_parameters",
    ),
    Initializer(
        name="keras_default",
        draw=keras_default,
        distribution=keras_default_distribution,
        formula="W ~ U[-a, a), a = sqrt(6 / (fan_in + fan_out))",
        reference="Keras 3, keras.initializers.GlorotUniform",
    ),
)
