"""Norms of gradients by values in the middle of a computation."""

from functools import partial

import jax
import jax.numpy as jnp

from initopt_jax.types import Array


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def tapped(array: Array, tap: Array, stage: int) -> Array:
    """The array itself; the gradient of anything by `tap[stage]` is `|gradient by the array|^2`.

    In a loop that closes over the tap the squares of all rounds are added up.

    Args:
        array: any shape.
        tap: zeros [stages].
        stage: below `len(tap)`, static.

    >>> x, tap = jnp.array([3.0, 4.0]), jnp.zeros(1)
    >>> float(jax.grad(lambda tap: (tapped(x, tap, 0) ** 2 / 2).sum())(tap)[0])
    25.0
    """
    del tap, stage
    return array


def _tap_forward(array: Array, tap: Array, stage: int) -> tuple[Array, Array]:
    del stage
    return array, tap


def _tap_backward(stage: int, tap: Array, gradient: Array) -> tuple[Array, Array]:
    square = jnp.sum(jnp.square(gradient.astype(tap.dtype)))
    return gradient, jnp.zeros_like(tap).at[stage].set(square)


tapped.defvjp(_tap_forward, _tap_backward)
