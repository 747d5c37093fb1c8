"""Eigenvalues of a symmetric matrix that is known by its products with vectors."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from initopt_jax.norms import norm
from initopt_jax.probes.curvature.jacobi import jacobi
from initopt_jax.types import Array

Carry = tuple[Array, Array, Array]
NOISE = 8.0  # a new direction shorter than so many rounding errors of the matrix has no direction


class Tridiagonal(NamedTuple):
    """The matrix in the basis of a Krylov space: `T = V A V^T`.

    diagonal: [m].
    beside: [m - 1], the entries beside the diagonal, at least 0.
    basis: V, orthonormal rows [m, P].
    """

    diagonal: Array
    beside: Array
    basis: Array


def lanczos(product: Callable[[Array], Array], start: Array, steps: int) -> Tridiagonal:
    """Lanczos' iteration, each direction made orthogonal to all before, twice.

    `w = A v_j`, `T_jj = v_j . w`, `v_(j+1) = w - V^T V w` of length 1, `T_j(j+1) = |w - V^T V w|`

    Where nothing is left of w (the space spanned is invariant, or A is 0) the iteration goes on
    with a fresh direction and 0 beside the diagonal, so that eigenvalues outside are found, and
    those of higher multiplicity as often as they occur. A NaN makes everything NaN.

    Args:
        product: `v -> A v` for a symmetric A.
        start: [P], not 0; random, as an eigenvector orthogonal to it is found late or never.
        steps: m, at least 1; no more than P are made.

    Returns:
        The matrix `T`, whose outer eigenvalues approach those of A.

    Raises:
        ValueError: if `steps` is not positive.

    Reference:
        Golub and Van Loan (2013), Matrix computations, sections 10.1 and 10.3.

    >>> made = lanczos(lambda v: jnp.array([1.0, 2.0, 3.0]) * v, jnp.ones(3), 3)
    >>> eigenvalues(made).round(4).tolist()
    [1.0, 2.0, 3.0]
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    steps = min(steps, start.size)
    noise = NOISE * jnp.finfo(start.dtype).eps

    def orthogonal(vector: Array, basis: Array) -> Array:
        for _ in range(2):
            vector = vector - (basis @ vector) @ basis
        return vector

    def step(carry: Carry, number: Array) -> tuple[Carry, tuple[Array, Array]]:
        basis, vector, size = carry
        basis = basis.at[number].set(vector)
        image = product(vector)
        along = vector @ image
        rest = orthogonal(image, basis)
        length = norm(rest)
        size = jnp.maximum(size, norm(image))
        ended = length <= noise * size  # False for NaN, which then stays
        # Rolled, random numbers are other random numbers, and cost nothing to draw.
        fresh = orthogonal(jnp.roll(start, number + 1), basis)
        following = jnp.where(ended, _unit(fresh), rest / jnp.where(ended, 1, length))
        return (basis, following, size), (along, jnp.where(ended, 0, length))

    first = (jnp.zeros((steps, start.size), start.dtype), _unit(start), jnp.zeros((), start.dtype))
    (basis, _, _), (diagonal, beside) = jax.lax.scan(step, first, jnp.arange(steps))
    return Tridiagonal(diagonal, beside[:-1], basis)


def _unit(vector: Array) -> Array:
    """Of length 1; a vector of zeros stays."""
    length = norm(vector)
    return vector / jnp.where(length == 0, 1, length)


def spectrum(made: Tridiagonal) -> tuple[Array, Array]:
    """Eigenvalues of T, ascending [m], and the first component of each eigenvector [m].

    NaN where an entry is not finite.
    """
    matrix = jnp.diag(made.diagonal) + jnp.diag(made.beside, 1) + jnp.diag(made.beside, -1)
    values, first = jacobi(matrix, jnp.eye(1, len(matrix), dtype=matrix.dtype))
    return values, first[0]


def eigenvalues(made: Tridiagonal) -> Array:
    """Eigenvalues of T, ascending [m]; NaN where an entry is not finite."""
    return spectrum(made)[0]
