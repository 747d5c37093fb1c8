"""The size of the weights: one number per parameter leaf."""

import jax
import jax.numpy as jnp

from initopt_jax.types import Array, PyTree


def weight_norm(params: PyTree) -> Array:
    """Frobenius norm of every parameter leaf, `||W|| = sqrt(sum of squares)`.

    Args:
        params: one network's parameters; any floating dtype, summed in float32.

    Returns:
        float32 [leaf], in the order of `jax.tree.leaves`.

    Reference:
        Golub and Van Loan (2013), Matrix Computations, section 2.3.

    >>> import jax.numpy as jnp
    >>> weight_norm({"kernel": jnp.array([[3.0, 4.0]])}).tolist()
    [5.0]
    """
    leaves = jax.tree.leaves(params)
    return jnp.stack([jnp.sqrt(jnp.sum(jnp.square(leaf.astype(jnp.float32)))) for leaf in leaves])
