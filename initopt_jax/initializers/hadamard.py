"""Weights of one magnitude whose signs are those of a Hadamard matrix."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import working_dtype
from initopt_jax.initializers.centre import matrix_shape
from initopt_jax.initializers.exact import exact_distribution
from initopt_jax.networks.fans import fans
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def hadamard(key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0) -> Array:
    """The corner of a Hadamard matrix, scaled to keep the size of the inputs' sums.

    `W = gain / sqrt(fan_in) * H[:fan_in, :outputs]`, `H_1 = [1]`,
    `H_2n = [[H_n, H_n], [H_n, -H_n]]`

    Every unit has incoming weights of norm `gain`, and their mean square is `gain^2 / fan_in`. With
    `n` the least power of two that is not below fan-in:

    - up to `n` outputs: no two units are equal. For `fan_in = n` they are orthogonal,
      `W^T W = gain^2 I`; for another fan-in nearly so, as a corner of `H` is not orthogonal;
    - more outputs: unit `j` equals unit `j + n`, and their weights stay equal in training if their
      outgoing weights are equal too. A power of two of outputs still has orthogonal rows.

    Unit 0 sums its inputs with equal signs.

    Args:
        key: not used.
        shape: of the leaf, at least two dimensions; taken as the matrix
            `(prod(shape[:-1]), shape[-1])`, as `orthogonal` does.
        dtype: of the leaf, floating.
        gain: norm of a unit's incoming weights, above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, `dtype` is not a real
            floating dtype, or a concrete `gain` is not above 0.

    Reference:
        Sylvester (1867), Thoughts on inverse orthogonal matrices, simultaneous sign-successions,
        and tessellated pavements in two or more colours: the recursion. Zhao, Schäfer and
        Anandkumar (2022), ZerO initialization, definition 1, for networks.

    Deviations:
        Zhao et al. use it only where a layer widens, with another factor: see `zero_hadamard`.

    >>> import jax
    >>> hadamard(jax.random.key(0), (4, 3)).tolist()
    [[0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5], [0.5, -0.5, -0.5]]
    """
    del key
    checks.positive("gain", gain)
    working = working_dtype(dtype)
    _, columns = matrix_shape(shape)
    rows, _ = fans(shape)
    scale = jnp.asarray(gain, working) / math.sqrt(rows)
    return (scale * sylvester(rows, columns, working)).reshape(shape).astype(dtype)


def hadamard_distribution(shape: Shape, *, gain: float = 1.0) -> DistributionSpec:
    """The distribution of `hadamard`."""
    checks.positive("gain", gain)
    _, columns = matrix_shape(shape)
    rows, _ = fans(shape)
    return exact_distribution(
        (gain / math.sqrt(rows) * sylvester_host(rows, columns)).reshape(shape)
    )


def sylvester(rows: int, columns: int, dtype: Any) -> Array:
    """The corner of a large enough Hadamard matrix of Sylvester's, weights +1 and -1.

    Its entry `ij` is `-1` to the number of binary digits in which both `i` and `j` have a 1.

    >>> sylvester(2, 2, "float32").tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    common = jnp.arange(rows)[:, None] & jnp.arange(columns)[None, :]
    return (1 - 2 * (jax.lax.population_count(common) & 1)).astype(dtype)


def sylvester_host(rows: int, columns: int) -> np.ndarray:
    """`sylvester` in float64 on the host, for distributions.

    >>> sylvester_host(2, 2).tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    common = np.arange(rows)[:, None] & np.arange(columns)
    return 1.0 - 2.0 * (np.bitwise_count(common) & 1)


ENTRIES = (
    Initializer(
        name="hadamard",
        draw=hadamard,
        distribution=hadamard_distribution,
        formula="W = gain / sqrt(fan_in) * H[:fan_in, :outputs], H of Sylvester",
        reference="Sylvester (1867); Zhao, Schäfer and Anandkumar (2022), definition 1",
    ),
)
