"""Norms of gradients by values in the middle of a computation."""

from functools import partial

import jax
import jax.numpy as jnp

from initopt_jax.types import Array

# Units of the squares, which are added up where the same values are tapped in a loop: gradients
# from 1e-38 to 1e38 have squares in float32 in at least one of them.
RANGES = (2.0**64, 1.0, 2.0**-64)
SMALL = 2.0**-40  # below this a sum of squares may lack some


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def tapped(array: Array, tap: Array, stage: int) -> Array:
    """The array itself; the gradient of anything by `tap[stage]` is `|gradient by the array|^2`.

    In the units `RANGES`, squared. In a loop that closes over the tap the squares of all rounds are
    added up.

    Args:
        array: any shape.
        tap: zeros [stages, RANGES].
        stage: below `len(tap)`, static.

    >>> x, tap = jnp.array([3.0, 4.0]), jnp.zeros((1, 3))
    >>> squares = jax.grad(lambda tap: (tapped(x, tap, 0) ** 2 / 2).sum())(tap)
    >>> float(squares[0, 1]), float(root_of_mean(squares[0], 1))
    (25.0, 5.0)
    """
    del tap, stage
    return array


def _tap_forward(array: Array, tap: Array, stage: int) -> tuple[Array, Array]:
    del stage
    return array, tap


def _tap_backward(stage: int, tap: Array, gradient: Array) -> tuple[Array, Array]:
    wide = gradient.astype(tap.dtype)
    squares = jnp.stack([jnp.sum(jnp.square(wide * (1 / unit))) for unit in RANGES])
    return gradient, jnp.zeros_like(tap).at[stage].set(squares)


tapped.defvjp(_tap_forward, _tap_backward)


def root_of_mean(squares: Array, count: float) -> Array:
    """The root of a sum of squares by a number of values.

    Args:
        squares: [..., RANGES], from taps.
        count: of the values, above 0.

    >>> f"{float(root_of_mean(jnp.array([0.0, 0.0, 4e-12]), 1)):.3g}"
    '1.08e-25'
    """
    large, usual, small = (
        unit * jnp.sqrt(squares[..., place] / count) for place, unit in enumerate(RANGES)
    )
    found = jnp.where(squares[..., 1] < SMALL, small, usual)
    return jnp.where(jnp.isinf(squares[..., 1]), large, found)
