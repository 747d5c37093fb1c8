"""The distribution of the Hessian's eigenvalues, by stochastic Lanczos quadrature."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.probes.curvature.lanczos import lanczos, spectrum
from initopt_jax.probes.curvature.products import flatten, hessian_product
from initopt_jax.types import Array, PyTree


def hessian_density(
    loss: Callable[[PyTree, Any], Array],
    params: PyTree,
    batch: Any,
    key: Array,
    *,
    draws: int = 4,
    iterations: int = 60,
) -> dict[str, Array]:
    """The density of the Hessian's eigenvalues as weighted points.

    For a vector z of random signs Lanczos gives nodes t_i and weights w_i (squared first components
    of the eigenvectors of T) with `sum_i w_i f(t_i) = z^T f(H) z / P`, exact for polynomials f up
    to degree `2 * iterations - 1`; its mean over z is the mean of f over the eigenvalues. The
    outermost nodes are eigenvalues.

    Args:
        loss: `(params, batch) -> scalar`.
        params: the weights, P in all.
        batch: handed to the loss.
        key: of the random signs.
        draws: vectors z.
        iterations: of Lanczos, for each.

    Returns:
        `density_nodes` [draws, iterations], ascending, and `density_weights`, which add up to 1 in
        each draw; points beyond P have the weight 0 and stand at the largest node.

    Raises:
        ValueError: if there is no draw or no iteration.

    Reference:
        Ghorbani, Krishnan and Xiao (2019), algorithm 1 and section 2; Golub and Welsch (1969).

    >>> valley = lambda w, scale: scale * (2 * w[0] ** 2 + w[1] ** 2) / 2
    >>> found = hessian_density(valley, jnp.zeros(2), 1.0, jax.random.key(0), iterations=2)
    >>> found["density_nodes"][0].round(4).tolist(), found["density_weights"][0].round(4).tolist()
    ([1.0, 2.0], [0.5, 0.5])
    """
    checks.count("draws", draws)
    checks.count("iterations", iterations)
    product, size = hessian_product(loss, params, batch)
    signs = jax.random.rademacher(key, (draws, size), flatten(params)[0].dtype)

    def quadrature(sign: Array) -> tuple[Array, Array]:
        nodes, first = spectrum(lanczos(product, sign, iterations))
        return nodes, jnp.square(first)

    nodes, weights = jax.lax.map(quadrature, signs)
    beyond = ((0, 0), (0, iterations - nodes.shape[1]))
    return {
        "density_nodes": jnp.pad(nodes, beyond, mode="edge"),
        "density_weights": jnp.pad(weights, beyond),
    }


def smooth_density(nodes: Array, weights: Array, grid: Array, width: Array | float) -> Array:
    """A density on a grid: `rho(t) = mean over draws of sum_i w_i N(t; t_i, width)`.

    Args:
        nodes: [draws, m].
        weights: [draws, m].
        grid: [n], where.
        width: standard deviation of the Gaussians, above 0.

    Returns:
        [n]; its integral is 1.

    Reference:
        Ghorbani, Krishnan and Xiao (2019), section 2.

    >>> node, weight = jnp.zeros((1, 1)), jnp.ones((1, 1))
    >>> round(float(smooth_density(node, weight, jnp.zeros(1), 1.0)[0]), 4)
    0.3989
    """
    apart = (grid[:, None, None] - nodes[None]) / width
    bells = jnp.exp(-jnp.square(apart) / 2) / (width * jnp.sqrt(2 * jnp.pi))
    return jnp.mean(jnp.sum(weights[None] * bells, axis=2), axis=1)
