"""Normalization of pictures [C, H, W, B]: over the batch, over groups of channels, over all."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.types import Array

NORMS = ("batch", "group", "layer", "none")
DECAY = 0.9  # of running statistics
EPS = 1e-5
GROUPS = 32


def require_norm(norm: Any) -> None:
    """Refuse an unknown kind of normalization, with a ConfigError."""
    if norm not in NORMS:
        raise ConfigError(unknown_name("norm", norm, NORMS))


def require_groups(groups: int, channels: int) -> None:
    """Refuse groups that do not divide the channels, with a ConfigError that says which do."""
    if channels % groups:
        fitting = [number for number in range(1, channels + 1) if channels % number == 0]
        raise ConfigError(
            f"groups must divide the channels of every layer: {channels} channels are not "
            f"{groups} equal groups; {', '.join(map(str, fitting))} would do"
        )


class Norm(nn.Module):
    """`gamma_c (x - mu) / sqrt(var + eps) + beta_c`, one network's pictures [C, H, W, B].

    `batch`: mean and variance of a channel over the batch and all places; in evaluation the running
    ones, `r <- decay r + (1 - decay) statistic`, which are kept in `batch_stats`. `group`: of one
    example over a group of channels and all places; `layer` is one group. Variances are those of
    the sample itself (divided by n), the running one too. Statistics are float32 at least.

    Attributes:
        kind: `batch`, `group` or `layer`.
        groups: of `group`.
        param_dtype: of scale and bias.

    References: Ioffe & Szegedy 2015, Batch normalization, algorithm 1; Wu & He 2018, Group
        normalization, eq. 1 to 4; Ba, Kiros & Hinton 2016, Layer normalization, eq. 3.
    """

    kind: str
    groups: int = GROUPS
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pictures: Array, *, train: bool) -> Array:
        """The same shape and dtype."""
        channels, height, width, batch = pictures.shape
        scale = self.param("scale", nn.initializers.ones, (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), self.param_dtype)
        values = pictures.astype(jnp.promote_types(pictures.dtype, jnp.float32))
        if self.kind == "batch":
            mean, variance = self._of_batch(values, train)
            factor = scale * lax.rsqrt(variance + EPS)
            spread = (..., None, None, None)
            made = (values - mean[spread]) * factor[spread] + bias[spread]
            return made.astype(pictures.dtype)
        groups = 1 if self.kind == "layer" else self.groups
        require_groups(groups, channels)
        parted = values.reshape(groups, -1, batch)
        centred = parted - parted.mean(axis=1, keepdims=True)
        factor = lax.rsqrt(jnp.square(centred).mean(axis=1, keepdims=True) + EPS)
        normal = (centred * factor).reshape(channels, height, width, batch)
        spread = (..., None, None, None)
        return (normal * scale[spread] + bias[spread]).astype(pictures.dtype)

    def _of_batch(self, values: Array, train: bool) -> tuple[Array, Array]:
        """Mean and variance of every channel: the batch's own in training, else the running."""
        channels = values.shape[0]
        running = {
            name: self.variable("batch_stats", name, start, (channels,), values.dtype)
            for name, start in (("mean", jnp.zeros), ("var", jnp.ones))
        }
        if not train:
            return running["mean"].value, running["var"].value
        mean = values.mean(axis=(1, 2, 3))
        # From the deviations: a difference of large squares would lose the variance of channels
        # whose mean is large.
        variance = jnp.square(values - mean[:, None, None, None]).mean(axis=(1, 2, 3))
        if not self.is_initializing():
            for name, found in (("mean", mean), ("var", variance)):
                old = running[name].value
                running[name].value = DECAY * old + (1 - DECAY) * lax.stop_gradient(found)
        return mean, variance
