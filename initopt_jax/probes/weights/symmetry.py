"""The symmetry meter: how many units of a layer are copies of each other."""

import jax
import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.initializers import Network
from initopt_jax.networks.network import leaves_of
from initopt_jax.probes.leaves import together
from initopt_jax.probes.weights.kernels import kernel_matrices
from initopt_jax.types import Array, PyTree


def symmetry(params: PyTree, network: Network, *, tolerance: float = 1e-5) -> dict[str, Array]:
    """How many units of every layer are copies: why zeros and constants fail.

    Two units are copies where no incoming weight, bias included, differs by more than
    `tolerance * m`, `m` the largest magnitude among both units' weights. Copies compute the same,
    and as long as what they lead to treats them alike, they get the same gradients and stay copies:
    the layer has no more than its distinct units, however wide it is.

    A unit of a convolution is a channel, of attention one number of one head. Units are compared
    that see the same inputs: within a group of a convolution, and within a layer of a stack. The
    kernels of a recurrent cell are looked at one by one.

    Args:
        params: one network's weights.
        network: whose layers they are.
        tolerance: at least 0; the default is some hundred units of rounding of float32.

    Returns:
        `copies` [kernel], the number of units that equal an earlier unit of their layer: units
        minus distinct units. `symmetric_share` [kernel], 0 to 1, the share of units that have at
        least one copy. Both NaN for a layer with a weight that is not finite. `units` [kernel],
        how many the layer has.

    Raises:
        ValueError: `tolerance` is a negative number.

    Reference:
        Goodfellow, Bengio and Courville (2016), Deep Learning, section 8.4: initial weights must
        break the symmetry between units.

    >>> import numpy as np
    >>> from initopt_jax.initializers import make_network
    >>> params = {"w": jnp.array([[1.0, 1.0, 2.0], [0.5, 0.5, 0.5]])}
    >>> data = np.ones((2, 2), np.float32)
    >>> network = make_network(lambda p, x: x @ p["w"], lambda o, t: o[:, 0], params, data, data)
    >>> found = symmetry(params, network)
    >>> int(found["copies"][0]), round(float(found["symmetric_share"][0]), 3)
    (1, 0.667)
    """
    checks.non_negative("tolerance", tolerance)
    leaves, layers = leaves_of(params), []
    for path, parts in kernel_matrices(params, network).items():
        bias = network.anatomy.bias_of(path)
        layers.append(_with_bias(parts, leaves[bias] if bias else None))
    names = ("copies", "symmetric_share", "units")
    if not layers:
        return {name: jnp.zeros(0) for name in names}
    found = together(lambda units: _copies(units, tolerance), layers)
    return dict(zip(names, found, strict=True))


def _with_bias(parts: Array, bias: Array | None) -> Array:
    """Units [n, units, weights] with the bias among the weights, where there is one to each."""
    units = parts.transpose(0, 2, 1)
    many, each, _ = units.shape
    if bias is None or bias.size % each or (many * each) % bias.size:
        return units
    # Groups are the slow part of the outputs; layers of a stack may share a bias.
    own = jnp.resize(bias, (many, each, 1)).astype(units.dtype)
    return jnp.concatenate([units, own], axis=2)


def _copies(units: Array, tolerance: float) -> tuple[Array, Array, Array]:
    alike = jax.vmap(lambda one: _alike(one, tolerance))(units)
    many, each, _ = alike.shape
    earlier = jnp.tri(each, k=-1, dtype=bool)
    other = ~jnp.eye(each, dtype=bool)
    copies = jnp.sum(jnp.any(alike & earlier[None], axis=2), dtype=units.dtype)
    total = jnp.asarray(many * each, units.dtype)
    share = jnp.sum(jnp.any(alike & other[None], axis=2), dtype=units.dtype) / total
    finite = jnp.all(jnp.isfinite(units))
    return jnp.where(finite, copies, jnp.nan), jnp.where(finite, share, jnp.nan), total


def _alike(units: Array, tolerance: float) -> Array:
    """Which of the units [u, f] are alike, [u, u]."""
    size = jnp.max(jnp.abs(units), axis=1)
    gap = jnp.max(jnp.abs(units[:, None] - units[None]), axis=2)
    return gap <= tolerance * jnp.maximum(size[:, None], size[None])
