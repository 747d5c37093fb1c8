"""The identity: a layer that first hands its inputs on."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import working_dtype
from initopt_jax.initializers.centre import at_centre, centre, matrix_shape
from initopt_jax.initializers.exact import exact_distribution
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def identity(key: Array, shape: Shape, dtype: Any = jnp.float32, *, gain: ArrayLike = 1.0) -> Array:
    """A multiple of the identity: unit `i` repeats input `i`.

    `W_ij = gain if i = j else 0`; of a convolution, at the centre of the window

    Where a layer widens, the units beyond its inputs are 0; where it narrows, the inputs beyond its
    units are dropped. A convolution with as many outputs as inputs, stride 1 and padding `SAME`
    returns its input: the start known as Dirac. It has no name of its own here, nor has that of
    recurrent rectified nets (IRNN), which is this one on square matrices.

    Args:
        key: not used.
        shape: of the leaf, at least two dimensions: `(inputs, outputs)` or
            `(..window.., inputs, outputs)`.
        dtype: of the leaf, floating.
        gain: the diagonal, above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, `dtype` is not a real
            floating dtype, or a concrete `gain` is not above 0.

    Reference:
        Le, Jaitly and Hinton (2015), A simple way to initialize recurrent networks of rectified
        linear units, section 3 (`gain` 1, or 0.01 for short memories). Zagoruyko and Komodakis
        (2017), DiracNets: training very deep neural networks without skip-connections, for
        convolutions.

    Deviations:
        The papers have square matrices only. The centre of an even window is the tap that `SAME`
        puts over the output's own position, `(k - 1) // 2`; `torch.nn.init.dirac_` takes `k // 2`
        and so moves the signal by one.

    >>> import jax
    >>> identity(jax.random.key(0), (2, 3), gain=0.5).tolist()
    [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    """
    del key
    checks.positive("gain", gain)
    working = working_dtype(dtype)
    matrix = jnp.asarray(gain, working) * jnp.eye(*matrix_shape(shape), dtype=working)
    return at_centre(matrix.astype(dtype), shape)


def identity_distribution(shape: Shape, *, gain: float = 1.0) -> DistributionSpec:
    """The distribution of `identity`."""
    checks.positive("gain", gain)
    value = np.zeros(shape)
    value[centre(shape)] = gain * np.eye(*matrix_shape(shape))
    return exact_distribution(value)


ENTRIES = (
    Initializer(
        name="identity",
        draw=identity,
        distribution=identity_distribution,
        formula="W = gain I, at the centre of the window",
        reference="Le, Jaitly and Hinton (2015), section 3",
    ),
)
