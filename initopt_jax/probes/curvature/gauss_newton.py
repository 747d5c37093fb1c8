"""Largest eigenvalues of the Gauss-Newton matrix."""

import jax.numpy as jnp

from initopt_jax.initializers import Network
from initopt_jax.probes.curvature.hessian import ITERATIONS, top
from initopt_jax.probes.curvature.products import flatten, gauss_newton_product
from initopt_jax.probes.probe import Batch
from initopt_jax.types import Array, PyTree


def gauss_newton_top(
    network: Network,
    params: PyTree,
    batch: Batch,
    key: Array,
    *,
    k: int = 5,
    iterations: int = ITERATIONS,
) -> Array:
    """The largest eigenvalues of the Gauss-Newton matrix `G = J^T H_out J`, by Lanczos.

    `J` is the Jacobian of the outputs by the weights, `H_out` the Hessian of the mean loss by the
    outputs. G is the Hessian without the curvature of the network itself, has no negative
    eigenvalue where the loss is convex in the outputs, and equals the Fisher matrix for
    cross-entropy and squared errors.

    Args:
        network: the model and its loss.
        params: the weights.
        batch: inputs and targets.
        key: of the random start.
        k: how many.
        iterations: products with G; at least k.

    Returns:
        [k], descending; NaN beyond the number of weights, or where anything is not finite.

    Raises:
        ValueError: if `k` is not between 1 and `iterations`.

    Reference:
        Schraudolph (2002), section 3; Martens (2020), New insights and perspectives on the natural
        gradient method, section 8.

    >>> import jax
    >>> from initopt_jax.networks.network import make_network
    >>> x, y = jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1))
    >>> squares = lambda out, y: jnp.sum((out - y) ** 2, axis=-1) / 2
    >>> net = make_network(lambda w, x: x * w["w"], squares, {"w": jnp.ones((1,))}, x, y)
    >>> gauss_newton_top(net, {"w": jnp.ones((1,))}, Batch(x, y), jax.random.key(0), k=1).tolist()
    [5.0]
    """
    product, size = gauss_newton_product(
        lambda params: network.apply(params, batch.inputs),
        lambda outputs: jnp.mean(network.loss(outputs, batch.targets)),
        params,
    )
    return top(product, size, key, flatten(params)[0], k, iterations)
