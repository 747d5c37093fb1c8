"""Where a run on a test function stands."""

from initopt_jax.types import Array, PyTree


def point(params: PyTree) -> Array:
    """The point itself: `(x, y)`.

    Args:
        params: one run's parameters, `{"point": [x, y]}`.

    Returns:
        [2], x and y.

    >>> import jax.numpy as jnp
    >>> point({"point": jnp.array([3.0, 2.0])}).tolist()
    [3.0, 2.0]
    """
    return params["point"]
