"""Orthogonal weights, without a call to LAPACK.

A batched QR factorization under `vmap` may wait for ever on CPU when two device threads ask for it.
Here the reflections are drawn directly and multiplied by matrix products alone.
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import as_number, working_dtype
from initopt_jax.networks.fans import require_kernel
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape

# Reflections multiplied at a time: the more, the fewer passes over the matrix.
BLOCK = 64
SMALL = 16  # reflections whose factor is a short series; more would round too much
PANELS = 8
# The default precision of a GPU's products would leave errors of 1e-3.
_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def orthogonal(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """Uniformly (Haar) distributed orthogonal weights.

    `W^T W = gain^2 I` for at least as many rows as columns, else `W W^T = gain^2 I`

    Args:
        key: of this leaf.
        shape: of the leaf, at least two dimensions; taken as the matrix
            `(prod(shape[:-1]), shape[-1])`.
        dtype: of the leaf, floating.
        gain: the common singular value, above 0, concrete or traced.

    Returns:
        The leaf; in float32 the equation above holds within `1e-5 * gain^2` up to 1,000 rows.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, `dtype` is not a real
            floating dtype, or a concrete `gain` is not above 0.

    Reference:
        Saxe, McClelland and Ganguli (2014), Exact solutions to the nonlinear dynamics of learning
        in deep linear neural networks, section 3. Stewart (1980), The efficient generation of
        random orthogonal matrices, section 3: the product of random reflections.

    Deviations:
        Convolutions are flattened as above, as `jax.nn.initializers.orthogonal` does; the paper has
        none.

    >>> import jax
    >>> weights = orthogonal(jax.random.key(0), (5, 3), gain=2.0)
    >>> bool(abs(weights.T @ weights - 4 * jax.numpy.eye(3)).max() < 1e-5)
    True
    """
    checks.positive("gain", gain)
    _matrix_shape(shape)
    working = working_dtype(dtype)
    return _draw(key, as_number(gain, working), shape=tuple(shape), dtype=jnp.dtype(dtype))


def orthogonal_distribution(shape: Shape, *, gain: float = 1.0) -> DistributionSpec:
    """The distribution of `orthogonal`."""
    checks.positive("gain", gain)
    std = gain / math.sqrt(max(_matrix_shape(shape)))
    return DistributionSpec("orthogonal", std=std, low=-gain, high=gain, gain=gain)


def _matrix_shape(shape: Shape) -> tuple[int, int]:
    require_kernel(shape)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"shape must have at least two dimensions, none empty, to be orthogonal; got {shape}"
        )
    return math.prod(shape[:-1]), shape[-1]


# One program per shape: outside of `jit` every step would write the matrix anew.
@functools.partial(jax.jit, static_argnames=("shape", "dtype"))
def _draw(key: Array, gain: Array, *, shape: Shape, dtype: Any) -> Array:
    """The leaf; `gain` has the dtype that it is formed in."""
    rows, columns = _matrix_shape(shape)
    tall = max(rows, columns), min(rows, columns)
    matrix = _reflect(jax.random.normal(key, tall, gain.dtype))
    matrix = matrix if rows >= columns else matrix.T
    return (gain * matrix).reshape(shape).astype(dtype)


def _reflect(normals: Array) -> Array:
    """The Haar-distributed matrix [m, n] that a matrix [m, n] of normals stands for, m >= n.

    Its column `k`, entries `k` and below, is a random direction `x` of dimension `m - k`. The
    reflection `H_k` that takes `x` to the axis `e_k` and a sign make column `k` of
    `H_1 H_2 ... H_n` random in what the columns before it left over (Stewart, theorem 3.3).
    """
    m, n = normals.shape
    vectors, signs = _householder_vectors(normals)
    vectors = jnp.pad(vectors, ((0, 0), (0, -n % BLOCK)))  # a zero vector reflects nothing
    blocks = vectors.reshape(m, -1, BLOCK).transpose(1, 0, 2)

    def apply_block(matrix: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        left, right = block
        return matrix - _product(left, _product(right.T, matrix)), None

    lefts = _product(blocks, _block_factor(blocks))
    matrix = jnp.eye(m, n, dtype=normals.dtype)
    for first, last in reversed(_panels(len(blocks))):
        # Later reflections left the rows and columns before theirs as those of the identity.
        start = first * BLOCK
        own = lefts[first:last, start:], blocks[first:last, start:]
        corner = matrix[start:, start:]
        if last - first == 1:
            corner, _ = apply_block(corner, (own[0][0], own[1][0]))
        else:
            corner, _ = jax.lax.scan(apply_block, corner, own, reverse=True)
        matrix = matrix.at[start:, start:].set(corner)
    return matrix * signs


def _panels(blocks: int) -> list[tuple[int, int]]:
    """Parts of the blocks that are multiplied in one loop, (first, last).

    More would save more products, and take longer to compile.
    """
    count = min(blocks, PANELS)
    edges = [blocks * part // count for part in range(count + 1)]
    return list(itertools.pairwise(edges))


def _householder_vectors(normals: Array) -> tuple[Array, Array]:
    """Vectors `v` [m, n] of reflections `I - v v^T`, `|v|^2 = 2`, and the columns' signs [1, n].

    `v = x + sign(x_1) |x| e_1` does not cancel; its reflection gives `-sign(x_1) x / |x|`.
    """
    m, n = normals.shape
    x = jnp.tril(normals)
    first = jnp.diagonal(x)[None, :]
    signs = jnp.where(first < 0, 1, -1).astype(x.dtype)
    length = jnp.sqrt(jnp.sum(x * x, axis=0, keepdims=True))
    v = x - signs * length * jnp.eye(m, n, dtype=x.dtype)
    norm = jnp.sqrt(jnp.sum(v * v, axis=0, keepdims=True))
    # The norm is 0 where a last, single normal is exactly 0: then the sign alone is the draw.
    return v * (math.sqrt(2) / jnp.where(norm == 0, 1, norm)), signs


def _block_factor(blocks: Array) -> Array:
    """The `T` of `H_1 ... H_b = I - V T V^T` for blocks V [k, m, b].

    `T^-1 = I + N` with `N` the strict upper triangle of `V^T V` (Joffrain et al. 2006, Accumulating
    Householder transformations, revisited, for `|v|^2 = 2`). For a few reflections `N^s = 0` gives
    `T = (I - N) (I + N^2) (I + N^4) ...`; with more, the powers grow and cancel, so that these
    small factors are joined: `T = [[T_1, -T_1 N_12 T_2], [0, T_2]]`.
    """
    gram = _product(jnp.swapaxes(blocks, -1, -2), blocks)
    parts = [gram[:, i : i + SMALL, i : i + SMALL] for i in range(0, BLOCK, SMALL)]
    power = jnp.triu(jnp.stack(parts), 1)
    small = jnp.broadcast_to(jnp.eye(SMALL, dtype=blocks.dtype), power.shape) - power
    for _ in range(int(math.log2(SMALL)) - 1):
        power = _product(power, power)
        small = small + _product(small, power)
    factors = list(small)
    while len(factors) > 1:
        size = BLOCK // len(factors)
        pairs = zip(factors[::2], factors[1::2], strict=True)
        factors = [
            _joined(one, other, gram[:, i : i + size, i + size : i + 2 * size])
            for i, (one, other) in zip(range(0, BLOCK, 2 * size), pairs, strict=True)
        ]
    return factors[0]


def _joined(one: Array, other: Array, between: Array) -> Array:
    """The factor of two blocks after each other, `between` being `V_1^T V_2`."""
    corner = -_product(one, _product(between, other))
    upper = jnp.concatenate([one, corner], axis=-1)
    lower = jnp.concatenate([jnp.zeros_like(one), other], axis=-1)
    return jnp.concatenate([upper, lower], axis=-2)


ENTRIES = (
    Initializer(
        name="orthogonal",
        draw=orthogonal,
        distribution=orthogonal_distribution,
        formula="W^T W = gain^2 I (or W W^T), Haar-distributed",
        reference="Saxe, McClelland and Ganguli (2014), section 3",
    ),
)
