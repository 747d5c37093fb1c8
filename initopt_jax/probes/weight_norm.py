"""The size of the weights: one number per parameter leaf."""

import jax
import jax.numpy as jnp

from initopt_jax.norms import norm
from initopt_jax.types import Array, PyTree


def weight_norm(params: PyTree) -> Array:
    """Frobenius norm of every parameter leaf, `||W|| = sqrt(sum of squares)`.

    Args:
        params: one network's parameters; any floating dtype, summed in float32 at least.

    Returns:
        [leaf], float32, or float64 for float64 weights, in the order of `jax.tree.leaves`.

    Reference:
        Golub and Van Loan (2013), Matrix Computations, section 2.3.

    >>> import jax.numpy as jnp
    >>> weight_norm({"kernel": jnp.array([[3.0, 4.0]])}).tolist()
    [5.0]
    """
    leaves = jax.tree.leaves(params)
    wide = jnp.result_type(jnp.float32, *leaves)
    return jnp.stack([norm(leaf.astype(wide)) for leaf in leaves])
