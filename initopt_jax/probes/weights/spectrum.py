"""Singular values of every kernel, and how many of them count."""

import jax
import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.initializers import Network
from initopt_jax.norms import rescaled
from initopt_jax.probes.leaves import together
from initopt_jax.probes.weights.kernels import kernel_matrices
from initopt_jax.types import Array, PyTree


def spectrum(params: PyTree, network: Network, *, k: int = 8) -> dict[str, Array]:
    """The largest singular values `s_i` of every kernel, its spectral norm, and two kinds of rank.

    `stable_rank = sum_i s_i^2 / s_1^2 = ||W||_F^2 / ||W||_2^2` and
    `effective_rank = exp(-sum_i p_i log p_i)` with `p_i = s_i / sum_j s_j`.

    The matrix of a kernel has a row per place of the window and input, and a column per unit. Of a
    leaf that holds several kernels (groups of a convolution, a stack of layers) the singular values
    are, place by place, the largest of all, and the ranks the mean. An error of a singular value
    is some units of rounding of the largest one: 1e-6 of it in float32.

    Args:
        params: one network's weights.
        network: whose kernels they are.
        k: how many singular values, at least 1; static.

    Returns:
        `singular_values` [kernel, singular], falling, NaN past the last one. `spectral_norm`
        [kernel], the first of them. `stable_rank` and `effective_rank` [kernel], 1 to the smaller
        side of the matrix, NaN for a matrix of zeros. All NaN for a kernel with a weight that is
        not finite.

    Raises:
        ValueError: `k` is no whole number above 0.

    Reference:
        Rudelson and Vershynin (2007), Sampling from large matrices: an approach through geometric
        functional analysis (there "numerical rank"). Roy and Vetterli (2007), The effective rank: a
        measure of effective dimensionality, definition 1.

    >>> import numpy as np
    >>> from initopt_jax.initializers import make_network
    >>> params = {"w": jnp.diag(jnp.array([3.0, 4.0]))}
    >>> data = np.ones((2, 2), np.float32)
    >>> network = make_network(lambda p, x: x @ p["w"], lambda o, t: o[:, 0], params, data, data)
    >>> found = spectrum(params, network, k=2)
    >>> found["singular_values"].tolist(), found["stable_rank"].tolist()
    ([[4.0, 3.0]], [1.5625])
    """
    checks.count("k", k)
    names = ("singular_values", "spectral_norm", "stable_rank", "effective_rank")
    matrices = list(kernel_matrices(params, network).values())
    if not matrices:
        return {name: jnp.zeros((0, k) if name == names[0] else 0) for name in names}
    found = together(lambda parts: _of_kernels(parts, k), matrices)
    return dict(zip(names, found, strict=True))


def _of_kernels(parts: Array, k: int) -> tuple[Array, Array, Array, Array]:
    values = jax.vmap(singular_values)(parts)
    largest, total = values[:, :1], jnp.sum(values, axis=1, keepdims=True)
    stable = jnp.mean(jnp.sum(jnp.square(values / largest), axis=1))
    shares = values / total
    entropy = -jnp.sum(jnp.where(shares == 0, 0, shares * jnp.log(shares)), axis=1)
    top = jnp.max(values[:, :k], axis=0)
    padded = jnp.pad(top, (0, k - len(top)), constant_values=jnp.nan)
    return padded, top[0], stable, jnp.mean(jnp.exp(entropy))


def singular_values(matrix: Array) -> Array:
    """All singular values of a matrix [m, n], falling; NaN where a weight is not finite.

    >>> singular_values(jnp.array([[0.0, 2.0], [1.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    finite = jnp.all(jnp.isfinite(matrix))
    scaled, scale = rescaled(jnp.where(finite, matrix, 0))
    return jnp.where(finite, scale * _svd(scaled), jnp.nan)


# One matrix after another: two device threads that hand whole batches to LAPACK may wait for each
# other for ever on CPU, and take longer when they do not.
@jax.custom_batching.sequential_vmap
def _svd(matrix: Array) -> Array:
    return jnp.linalg.svd(matrix, compute_uv=False)
