"""Eigenvalues of small symmetric matrices in plain JAX.

`jnp.linalg.eigh` of a tile, called from two device threads at once, was seen never to return on
CPU, from matrices of 20 rows on; nothing here leaves XLA.
"""

import jax
import jax.numpy as jnp

from initopt_jax.norms import rescaled
from initopt_jax.types import Array

MOST_SWEEPS = 30
Sides = tuple[Array, Array]


def jacobi(matrix: Array, carried: Array) -> tuple[Array, Array]:
    """Eigenvalues by Jacobi's rotations, every row once at a time in half as many pairs.

    Each rotation makes one entry beside the diagonal 0. A sweep meets every pair of rows once, in
    the order of a tournament: the rows stand in two lines, opposite ones are a pair, and between
    rounds all but the first move on by one place around. After a sweep all stand where they were.

    Args:
        matrix: symmetric, [m, m].
        carried: [r, m], rows that are turned along: of the identity, they become rows of the
            eigenvectors.

    Returns:
        Eigenvalues [m], ascending, and `carried @ eigenvectors` [r, m]. NaN where an entry of the
        matrix is not finite.

    Reference:
        Golub and Van Loan (2013), Matrix computations, section 8.5; Brent and Luk (1985).

    >>> values, first = jacobi(jnp.array([[2.0, 1.0], [1.0, 2.0]]), jnp.array([[1.0, 0.0]]))
    >>> values.round(4).tolist(), jnp.square(first).round(4).tolist()
    ([1.0, 3.0], [[0.5, 0.5]])
    """
    size = len(matrix)
    good = jnp.isfinite(matrix).all()
    odd = size % 2  # a row of zeros makes the number even; it never turns
    scaled, scale = rescaled(jnp.where(good, matrix, 0))
    turned = jnp.pad(scaled, ((0, odd), (0, odd)))
    carried = jnp.pad(carried, ((0, 0), (0, odd)))
    # Beside the diagonal, less than rounding leaves of the matrix's own norm.
    small = jnp.finfo(matrix.dtype).eps * jnp.linalg.norm(turned)

    def beside(turned: Array) -> Array:
        return jnp.linalg.norm(turned - jnp.diag(jnp.diag(turned)))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        turned, _, sweeps = state
        return (beside(turned) > small) & (sweeps < MOST_SWEEPS)

    def sweep(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        turned, carried, sweeps = state
        rounds = size + odd - 1
        turned, carried = jax.lax.fori_loop(0, rounds, lambda _, s: _round(*s), (turned, carried))
        return turned, carried, sweeps + 1

    turned, carried, _ = jax.lax.while_loop(unfinished, sweep, (turned, carried, jnp.int32(0)))
    values, carried = scale * jnp.diag(turned)[:size], carried[:, :size]
    order = jnp.argsort(values)
    return (
        jnp.where(good, values[order], jnp.nan),
        jnp.where(good, carried[:, order], jnp.nan),
    )


def _round(turned: Array, carried: Array) -> tuple[Array, Array]:
    """Turn opposite rows against each other, columns alike, and move all but the first on."""
    half = len(turned) // 2
    diagonal, across = jnp.diag(turned), jnp.diag(turned[:half, half:])
    twice = jnp.where(across == 0, 1, 2 * across)
    slope = (diagonal[half:] - diagonal[:half]) / twice
    # The smaller root of t^2 + 2 slope t - 1 = 0; `hypot` does not overflow.
    tangent = jnp.where(slope < 0, -1, 1) / (jnp.abs(slope) + jnp.hypot(slope, 1.0))
    tangent = jnp.where(across == 0, 0, tangent).astype(turned.dtype)
    cosine = 1 / jnp.sqrt(1 + jnp.square(tangent))
    cosine, sine = cosine[None], (tangent * cosine)[None]

    def columns(array: Array) -> Array:
        near, far = array[:, :half], array[:, half:]
        near, far = cosine * near - sine * far, sine * near + cosine * far
        near, far = _moved_on(near, far)
        return jnp.concatenate([near, far], axis=1)

    return columns(columns(turned).T), columns(carried)


def _moved_on(near: Array, far: Array) -> Sides:
    if near.shape[1] == 1:
        return near, far
    return (
        jnp.concatenate([near[:, :1], far[:, :1], near[:, 1:-1]], axis=1),
        jnp.concatenate([far[:, 1:], near[:, -1:]], axis=1),
    )
