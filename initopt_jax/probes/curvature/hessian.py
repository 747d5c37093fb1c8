"""Outer eigenvalues of the Hessian and its trace."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.norms import rescaled
from initopt_jax.probes.curvature.lanczos import eigenvalues, lanczos
from initopt_jax.probes.curvature.products import Product, flatten, hessian_product
from initopt_jax.types import Array, PyTree

Loss = Callable[[PyTree, Any], Array]
ITERATIONS = 40


def top(product: Product, size: int, key: Array, like: Array, k: int, iterations: int) -> Array:
    """The k algebraically largest eigenvalues, descending; NaN where there are fewer.

    Args:
        product: with the matrix.
        size: P, its rows.
        key: of the random start.
        like: an array of the dtype to work in.
        k: how many.
        iterations: of Lanczos.

    Raises:
        ValueError: if there are more eigenvalues than iterations, or not one.
    """
    checks.count("k", k)
    checks.count("iterations", iterations)
    if k > iterations:
        raise ValueError(f"k must be between 1 and iterations ({iterations}), not {k}")
    made = lanczos(product, jax.random.normal(key, (size,), like.dtype), iterations)
    found = eigenvalues(made)[::-1][:k]
    return jnp.pad(found, (0, k - len(found)), constant_values=jnp.nan)


def hessian_top(
    loss: Loss, params: PyTree, batch: Any, key: Array, *, k: int = 5, iterations: int = ITERATIONS
) -> Array:
    """The algebraically largest eigenvalues of the Hessian `H = d^2 L / d theta^2`, by Lanczos.

    Args:
        loss: `(params, batch) -> scalar`.
        params: the weights.
        batch: handed to the loss.
        key: of the random start.
        k: how many.
        iterations: products with H; at least k. The outermost eigenvalues converge first.

    Returns:
        [k], descending; NaN beyond the number of weights, or where anything is not finite.

    Raises:
        ValueError: if `k` is not between 1 and `iterations`.

    Reference:
        Golub and Van Loan (2013), Matrix computations, section 10.1; Ghorbani, Krishnan and Xiao
        (2019), An investigation into neural net optimization via Hessian eigenvalue density.

    >>> valley = lambda w, scale: scale * (2 * w["x"] ** 2 + w["y"] ** 2) / 2
    >>> w = {"x": jnp.ones(()), "y": jnp.ones(())}
    >>> hessian_top(valley, w, 3.0, jax.random.key(0), k=2).round(4).tolist()
    [6.0, 3.0]
    """
    product, size = hessian_product(loss, params, batch)
    return top(product, size, key, flatten(params)[0], k, iterations)


def hessian_ends(
    loss: Loss, params: PyTree, batch: Any, key: Array, *, iterations: int = ITERATIONS
) -> dict[str, Array]:
    """The largest and the smallest eigenvalue of the Hessian; a negative one: a saddle's way out.

    Args:
        loss: `(params, batch) -> scalar`.
        params: the weights.
        batch: handed to the loss.
        key: of the random start.
        iterations: products with H.

    Returns:
        `hessian_largest` and `hessian_smallest`, numbers.

    Reference:
        Golub and Van Loan (2013), section 10.1.

    >>> saddle = lambda w, scale: scale * (w[0] ** 2 - 3 * w[1] ** 2) / 2
    >>> ends = hessian_ends(saddle, jnp.zeros(2), 1.0, jax.random.key(0))
    >>> round(float(ends["hessian_largest"]), 4), round(float(ends["hessian_smallest"]), 4)
    (1.0, -3.0)
    """
    product, size = hessian_product(loss, params, batch)
    start = jax.random.normal(key, (size,), flatten(params)[0].dtype)
    checks.count("iterations", iterations)
    found = eigenvalues(lanczos(product, start, iterations))
    return {"hessian_largest": found[-1], "hessian_smallest": found[0]}


def hessian_trace(
    loss: Loss, params: PyTree, batch: Any, key: Array, *, probes: int = 32
) -> dict[str, Array]:
    """The trace of the Hessian by Hutchinson's estimator: the mean of `z^T H z`, z of random signs.

    Args:
        loss: `(params, batch) -> scalar`.
        params: the weights.
        batch: handed to the loss.
        key: of the signs.
        probes: how many z, at least 2; the error falls with the root of it.

    Returns:
        `hessian_trace`, and `hessian_trace_error`, the standard error of that mean.

    Raises:
        ValueError: if there are fewer than 2 probes.

    Reference:
        Hutchinson (1990), A stochastic estimator of the trace of the influence matrix, eq. 4.

    >>> valley = lambda w, scale: scale * (2 * w[0] ** 2 + w[1] ** 2) / 2
    >>> found = hessian_trace(valley, jnp.zeros(2), 1.0, jax.random.key(0))
    >>> float(found["hessian_trace"]), float(found["hessian_trace_error"])
    (3.0, 0.0)
    """
    checks.count("probes", probes)
    if probes < 2:
        raise ValueError(f"probes must be at least 2, not {probes}")
    product, size = hessian_product(loss, params, batch)
    signs = jax.random.rademacher(key, (probes, size), flatten(params)[0].dtype)
    forms = jax.lax.map(lambda z: z @ product(z), signs)
    scaled, scale = rescaled(forms)
    error = scale * jnp.std(scaled, ddof=1) / jnp.sqrt(jnp.asarray(probes, forms.dtype))
    return {"hessian_trace": jnp.mean(forms), "hessian_trace_error": error}
