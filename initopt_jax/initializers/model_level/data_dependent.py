"""Data-dependent initialization: every unit starts with mean 0 and variance 1 on a batch."""

import math

import jax.numpy as jnp
import numpy as np

from initopt_jax.errors import ConfigError
from initopt_jax.networks.anatomy import Kernel
from initopt_jax.networks.layout import Layout
from initopt_jax.networks.network import Network, leaves_of, with_leaves
from initopt_jax.norms import standard_deviation
from initopt_jax.types import Array, ModelInitializer, PyTree, Shape

# A standard deviation of so many roundings of the mean is no spread of the data.
ROUNDINGS = 16


def data_dependent(key: Array, params: PyTree, network: Network) -> tuple[PyTree, dict[str, Array]]:
    """Scales and shifts every unit to mean 0 and variance 1 on a batch, layer by layer.

    `w <- w / sigma[x w]`, `b <- -mu[x w] / sigma[x w]`

    Mean and standard deviation are those of one unit's sums, over examples and places, as the
    layers before it leave them. A unit whose sums do not vary is left alone. A kernel without a
    bias is only scaled. In the paper's own terms, for weights `g v / |v|`: `g = 1 / sigma[t]` and
    `b = -mu[t] / sigma[t]` for `t = x v / |v|`; the length of `v` does not matter.

    Args:
        key: chooses the batch of 256 training examples.
        params: first weights; their scale does not matter.
        network: the network and its data.

    Returns:
        The weights, and of every kernel `variance/<path>` and `mean/<path>`: the mean over its
        units of their variance, and the root mean square of their means, as they were found.

    Raises:
        ConfigError: if a kernel lies inside a loop or stands beside others in one leaf, where its
            sums are not seen, its sums are made in parts, or there is no kernel.

    Reference:
        Salimans and Kingma (2016), Weight normalization, section 3, eq. 5 and 6.

    Deviations:
        The paper keeps `g` and `v` apart in training; here the weights are their product.
    """
    _require_sums(network)
    inputs, _ = network.batch(key)
    info = {}
    for kernel in network.anatomy.kernels:
        path = kernel.path
        sums = network.sums(params, inputs)[path]
        sums = sums.astype(jnp.promote_types(sums.dtype, jnp.float32))
        mean, deviation = sums.mean(0), standard_deviation(sums, axis=0)
        varies = deviation > ROUNDINGS * jnp.finfo(sums.dtype).eps * jnp.abs(mean)
        divisor = jnp.where(varies, deviation, 1.0)
        leaves = leaves_of(params)
        leaf = leaves[path]
        if mean.size != math.prod(leaf.shape[axis] for axis in kernel.layout.outputs):
            raise ConfigError(
                f"data_dependent takes each unit by itself, and the network as it is traced here "
                f"sums up {path!r} in {mean.size} columns; trace convolutions as single operations"
            )
        changed = {path: leaf / _along_units(divisor, kernel.layout, leaf.shape)}
        bias = network.anatomy.bias_of(path)
        if bias is not None and leaves[bias].size == mean.size:
            old = leaves[bias]
            changed[bias] = jnp.where(
                varies.reshape(old.shape), (-mean / divisor).reshape(old.shape), old
            )
        params = with_leaves(params, changed)
        info[f"variance/{path}"] = jnp.square(deviation).mean()
        info[f"mean/{path}"] = jnp.sqrt(jnp.square(mean).mean())
    return params, info


def _require_sums(network: Network) -> None:
    def hidden(kernel: Kernel) -> bool:
        return kernel.in_scan or bool(kernel.layout.batch_axes)

    kernels = network.anatomy.kernels
    if not kernels:
        raise ConfigError("data_dependent is about kernels, and this model has no kernel")
    unseen = [kernel.path for kernel in kernels if hidden(kernel)]
    if unseen:
        raise ConfigError(
            f"data_dependent measures each layer's sums by themselves, and those of {unseen[0]!r} "
            "are not seen: it is used inside a loop, or is several kernels in one leaf"
        )


def _along_units(values: Array, layout: Layout, shape: Shape) -> Array:
    """One number per unit, laid out to meet a leaf of this shape."""
    sizes = [shape[axis] for axis in layout.outputs]
    ordered = values.reshape(sizes).transpose(np.argsort(layout.outputs).tolist())
    return ordered.reshape(
        [size if axis in layout.outputs else 1 for axis, size in enumerate(shape)]
    )


ENTRIES = (
    ModelInitializer(
        name="data_dependent",
        refine=data_dependent,
        base="lecun_normal",
        formula="w <- w / sigma[x w]; b <- -mu[x w] / sigma[x w], unit by unit, on a batch",
        reference="Salimans and Kingma (2016), section 3, eq. 5 and 6",
    ),
)
