"""Weights for networks of sines."""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import scaled_uniform
from initopt_jax.initializers.uniform import uniform_distribution
from initopt_jax.networks.fans import weight_fans
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def siren(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    omega: ArrayLike = 30.0,
    gain: ArrayLike = 1.0,
    first: bool = False,
) -> Array:
    """Uniform weights for layers `sin(omega (h W + b))`.

    `W ~ U[-a, a), a = gain * sqrt(6 / fan_in) / omega`; in the first layer `a = gain / fan_in`

    Sines of a normal input of variance 1 are close to arcsine distributed with variance 1/2, and
    weights of variance `2 / (fan_in omega^2)` turn many of those into a normal of variance 1 again,
    once `omega` has multiplied it. The first layer spreads inputs from [-1, 1] over many periods.

    Args:
        key: of this leaf.
        shape: of the leaf, at least one dimension, none of them empty.
        dtype: of the leaf, floating.
        omega: the factor inside of the sine, above 0, concrete or traced; not used with `first`.
        gain: multiplies the weights; above 0, concrete or traced.
        first: whether the layer sees the network's inputs. A rule places it, such as
            `dense_0/kernel`.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has no fans, `dtype` is not a real floating dtype, a concrete `omega`
            or `gain` is not above 0, or `first` is not a flag.

    Reference:
        Sitzmann, Martel, Bergman, Lindell and Wetzstein (2020), Implicit neural representations
        with periodic activation functions, section 3.2, theorem 1.8 of the supplement.

    Deviations:
        `gain` is not in the paper. Where the sine has no factor, as the activation `sin` of
        `models.mlp`, the same network is `omega=1`, and `first=True, gain=30` for the first layer.
        The variance is not 1 to the end: sin(z) of a normal z has less than 1/2, and with depth the
        pre-activations settle at the root 0.797 of `q = 1 - exp(-2 q)`.

    >>> import jax
    >>> weights = siren(jax.random.key(0), (600, 100))
    >>> round(30 * float(weights.max()), 2)
    0.1
    """
    return scaled_uniform(key, shape, dtype, _bound(shape, omega, gain, first))


def siren_distribution(
    shape: Shape, *, omega: float = 30.0, gain: float = 1.0, first: bool = False
) -> DistributionSpec:
    """The distribution of `siren`."""
    return uniform_distribution(shape, scale=_bound(shape, omega, gain, first))


def _bound(shape: Shape, omega: Any, gain: Any, first: bool) -> Any:
    checks.positive("omega", omega)
    checks.positive("gain", gain)
    checks.flag("first", first)
    fan_in, _ = weight_fans(shape)
    return gain / fan_in if first else gain * math.sqrt(6 / fan_in) / omega


ENTRIES = (
    Initializer(
        name="siren",
        draw=siren,
        distribution=siren_distribution,
        formula="W ~ U[-a, a), a = gain sqrt(6 / fan_in) / omega; first layer a = gain / fan_in",
        reference="Sitzmann et al. (2020), section 3.2",
    ),
)
