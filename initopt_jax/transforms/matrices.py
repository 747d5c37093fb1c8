"""Inverse roots, orthogonal bases and products of matrices, without a call to LAPACK.

Batched LAPACK calls under `vmap` may wait for ever on CPU when two device threads make them. Here
are a Newton and a Gram-Schmidt method of elementwise arithmetic and products alone.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax.norms import norm, rescaled
from initopt_jax.transforms.numerics import scalar
from initopt_jax.types import Array

NEAR = 0.01  # from here on, each Newton step squares the error
LONGEST = 80  # Newton steps: even the smallest eigenvalue of float64 needs no more than 60
# The default precision of a GPU's products would leave errors of 1e-3.
product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def inverse_root(matrix: Array, root: int, ridge: ArrayLike = 0.0) -> Array:
    """`(matrix + ridge * I)^(-1 / root)` of a symmetric matrix without negative eigenvalues.

    `X <- X T`, `M <- T^root M` with `T = ((root + 1) I - M) / root`, until `M` is the identity; `X`
    is the root then

    What rounding may have left of the smallest eigenvalues could be negative, and would grow
    without bound: `4 sqrt(n)` units of rounding of the largest one are added to all. A matrix of
    zeros has the root 0, one with sums of rows that are not finite NaN.

    Args:
        matrix: [n, n].
        root: a whole number above 0; not traced.
        ridge: at least 0, concrete or traced.

    Reference:
        Guo and Higham (2006), A Schur-Newton method for the matrix pth root and its inverse,
        eq. 1.5.

    >>> found = inverse_root(jnp.diag(jnp.array([16.0, 81.0])), 4)
    >>> [round(x, 4) for x in jnp.diagonal(found).tolist()]
    [0.5, 0.3333]
    """
    size = len(matrix)
    identity = jnp.eye(size, dtype=matrix.dtype)
    matrix = matrix + scalar(ridge, matrix) * identity
    largest = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    rounding = float(jnp.finfo(matrix.dtype).eps)
    nothing = largest == 0
    # The eigenvalues of the first M lie between 0 and (root + 1) / 2.
    bound = jnp.where(nothing, 1, largest) * (2 / (root + 1))
    first = matrix / bound + (4 * size**0.5 * rounding * (root + 1) / 2) * identity

    def newton(both: tuple[Array, Array]) -> tuple[Array, Array]:
        x, m = both
        t = ((root + 1) * identity - m) / root
        return product(x, t), product(_power(t, root), m)

    def far(carry: tuple[Array, tuple[Array, Array]]) -> Array:
        count, (_, m) = carry
        off = m - identity
        return (count < LONGEST) & (jnp.sum(off * off) > NEAR**2)

    start = (jnp.int32(0), (identity, first))
    _, both = jax.lax.while_loop(far, lambda carry: (carry[0] + 1, newton(carry[1])), start)
    for _ in range(3 if rounding > 1e-10 else 4):
        both = newton(both)
    found = jnp.where(nothing, 0, both[0] * bound ** (-1 / root))
    return jnp.where(jnp.isfinite(largest), found, jnp.nan)


def _power(matrix: Array, exponent: int) -> Array:
    """A power of a matrix, by squares."""
    if exponent == 1:
        return matrix
    half = _power(matrix, exponent // 2)
    square = product(half, half)
    return product(square, matrix) if exponent % 2 else square


def orthonormal(matrix: Array) -> Array:
    """The `Q` of a QR factorization of a square matrix with a positive diagonal of `R`.

    Gram-Schmidt, each column twice, so that `Q` is orthogonal to rounding.

    Reference:
        Giraud, Langou and Rozloznik (2005), The loss of orthogonality in the Gram-Schmidt
        orthogonalization process, on doing it twice.

    >>> orthonormal(jnp.array([[2.0, 5.0], [0.0, 3.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def one_column(index: Array, basis: Array) -> Array:
        # Columns from `index` on are still 0, and project nothing.
        column = matrix[:, index]
        for _ in range(2):
            column = column - product(basis, product(basis.T, column))
            length = norm(column)
            column = column / jnp.where(length == 0, 1, length)
        return basis.at[:, index].set(column)

    return jax.lax.fori_loop(0, len(matrix), one_column, jnp.zeros_like(matrix))


def power_iteration(matrix: Array, basis: Array) -> Array:
    """`QR(matrix basis)`: a step of a basis [n, n] towards the eigenvectors of a symmetric matrix.

    A multiple of the identity is added to the matrix, `4 n` units of rounding of its trace: it
    changes no eigenvector, and keeps directions that the matrix takes to 0.

    >>> power_iteration(jnp.diag(jnp.array([2.0, 0.0])), jnp.eye(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    matrix, _ = rescaled(matrix)  # the same eigenvectors; its squares may not fit
    shift = 4 * len(matrix) * float(jnp.finfo(matrix.dtype).eps) * jnp.trace(matrix)
    return orthonormal(product(matrix, basis) + jnp.where(shift > 0, shift, 1) * basis)


def along(matrix: Array, tensor: Array, axis: int) -> Array:
    """A matrix [n, n] applied to one axis of a tensor.

    >>> along(jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([[1.0, 2.0]]), axis=1).tolist()
    [[2.0, 1.0]]
    """
    turned = jnp.moveaxis(tensor, axis, 0)
    flat = product(matrix, turned.reshape(len(matrix), -1))
    return jnp.moveaxis(flat.reshape(turned.shape), 0, axis)


def gram(tensor: Array, axis: int) -> Array:
    """The inner products [n, n] of a tensor's slices along one axis.

    >>> gram(jnp.array([[1.0, 2.0], [0.0, 3.0]]), axis=0).tolist()
    [[5.0, 6.0], [6.0, 9.0]]
    """
    flat = jnp.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
    return product(flat, flat.T)
