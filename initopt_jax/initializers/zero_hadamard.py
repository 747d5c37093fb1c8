"""ZerO: the identity, and Hadamard matrices where a layer widens."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from initopt_jax.initializers.base import working_dtype
from initopt_jax.initializers.centre import at_centre, centre, matrix_shape
from initopt_jax.initializers.exact import exact_distribution
from initopt_jax.initializers.hadamard import sylvester, sylvester_host
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def zero_hadamard(key: Array, shape: Shape, dtype: Any = jnp.float32) -> Array:
    """ZerO, zeros and ones up to a factor; named so that nobody takes it for `zeros`.

    `W = I*` for at most as many outputs as inputs, else `W = c H[:inputs, :outputs]` with
    `c = 2^(-(m - 1) / 2)`, `m = ceil(log2(outputs))`; of a convolution, at the centre of the window

    `I*` is the partial identity, `H` the Hadamard matrix of order `2^m` (see `hadamard`). Through
    partial identities alone, a layer that widens would leave units without a signal, and rectified
    features of inputs [B, P] would have a rank of at most `P`; those behind a Hadamard matrix may
    have any rank up to the least power of two that is not below `P`.

    Args:
        key: not used.
        shape: of the leaf, at least two dimensions: `(inputs, outputs)` or
            `(..window.., inputs, outputs)`.
        dtype: of the leaf, floating.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, or `dtype` is not a
            real floating dtype.

    Reference:
        Zhao, Schäfer and Anandkumar (2022), ZerO initialization: initializing neural networks with
        only zeros and ones, algorithms 1 (dense) and 2 (convolutions).

    Deviations:
        `c` is that of the paper; its published code has `2^(-m / 2)`, by which the rows have norm 1
        and not `sqrt(2)` for a power of two of outputs. The paper also sets the last convolution of
        a residual branch, and the output layer, to 0: give those a rule with `zeros`. An even
        window's centre is `(k - 1) // 2`, see `identity`.

    >>> import jax
    >>> zero_hadamard(jax.random.key(0), (3, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    >>> zero_hadamard(jax.random.key(0), (1, 2)).tolist()
    [[1.0, 1.0]]
    """
    del key
    working = working_dtype(dtype)
    rows, columns = matrix_shape(shape)
    if columns > rows:
        matrix = _factor(columns) * sylvester(rows, columns, working)
    else:
        matrix = jnp.eye(rows, columns, dtype=working)
    return at_centre(matrix.astype(dtype), shape)


def zero_hadamard_distribution(shape: Shape) -> DistributionSpec:
    """The distribution of `zero_hadamard`."""
    rows, columns = matrix_shape(shape)
    widens = columns > rows
    value = np.zeros(shape)
    value[centre(shape)] = (
        _factor(columns) * sylvester_host(rows, columns) if widens else np.eye(rows, columns)
    )
    return exact_distribution(value)


def _factor(outputs: int) -> float:
    # The bit length of n - 1 is the ceiling of log2(n), without rounding.
    return 2.0 ** (-((outputs - 1).bit_length() - 1) / 2)


ENTRIES = (
    Initializer(
        name="zero_hadamard",
        draw=zero_hadamard,
        distribution=zero_hadamard_distribution,
        formula="W = I, or 2^(-(m - 1) / 2) H_m where the layer widens to at most 2^m outputs",
        reference="Zhao, Schäfer and Anandkumar (2022), algorithm 1",
    ),
)
