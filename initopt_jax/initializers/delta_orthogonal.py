"""Orthogonal convolutions that look at one point."""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.centre import around_centre, at_centre, centre_of, matrix_shape
from initopt_jax.initializers.orthogonal import orthogonal
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def delta_orthogonal(
    key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0
) -> Array:
    """An orthogonal matrix at the centre of the window, zeros around it.

    `W_centre W_centre^T = gain^2 I` for at most as many inputs as outputs, else
    `W_centre^T W_centre = gain^2 I`; `W = 0` elsewhere

    With at most as many inputs as outputs, the convolution keeps the norm of every signal, up to
    `gain`, whatever its frequency; `orthogonal`, taken over the whole window, does not. A dense
    layer gets what `orthogonal` draws, bit for bit.

    Args:
        key: of this leaf.
        shape: of the leaf, at least two dimensions: `(inputs, outputs)` or
            `(..window.., inputs, outputs)`.
        dtype: of the leaf, floating.
        gain: the common singular value, above 0, concrete or traced.

    Returns:
        The leaf; the equation holds as closely as that of `orthogonal`.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, `dtype` is not a real
            floating dtype, or a concrete `gain` is not above 0.

    Reference:
        Xiao, Bahri, Sohl-Dickstein, Schoenholz and Pennington (2018), Dynamical isometry and a mean
        field theory of CNNs, algorithm 1.

    Deviations:
        The paper, and `jax.nn.initializers.delta_orthogonal`, ask for at most as many inputs as
        outputs. `gain` is not in algorithm 1.

    >>> import jax
    >>> weights = delta_orthogonal(jax.random.key(0), (3, 3, 2, 5))
    >>> bool(abs(weights[1, 1] @ weights[1, 1].T - jax.numpy.eye(2)).max() < 1e-5)
    True
    >>> float(abs(weights).sum() - abs(weights[1, 1]).sum())
    0.0
    """
    return at_centre(orthogonal(key, matrix_shape(shape), dtype, gain=gain), shape)


def delta_orthogonal_distribution(shape: Shape, *, gain: float = 1.0) -> DistributionSpec:
    """The distribution of `delta_orthogonal`."""
    checks.positive("gain", gain)
    return DistributionSpec(
        "orthogonal",
        std=gain / math.sqrt(max(matrix_shape(shape))),
        low=-gain,
        high=gain,
        gain=gain,
        drawn=centre_of,
        arranged=around_centre,
    )


ENTRIES = (
    Initializer(
        name="delta_orthogonal",
        draw=delta_orthogonal,
        distribution=delta_orthogonal_distribution,
        formula="W = gain Q at the centre of the window, Q orthogonal; 0 elsewhere",
        reference="Xiao et al. (2018), algorithm 1",
    ),
)
