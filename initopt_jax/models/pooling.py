"""Pooling over windows that do not overlap, with backward passes free of scattering.

Pictures are [C, H, W, B], as inside `convolution`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from initopt_jax.types import Array


def max_pool(pictures: Array, window: int) -> Array:
    """The largest number of every window; rows and columns that fill no window are dropped.

    `y[c, h, w, b] = max_{i, j < p} x[c, p h + i, p w + j, b]`

    The gradient goes to the first largest number of a window, in row-major order, as in
    `lax.reduce_window` and PyTorch. (A reduction over a reshaped array, `jnp.max`, would split it
    among equals.)

    Args:
        pictures: [C, H, W, B].
        window: its height and width p, at least 1.

    Returns:
        [C, H // p, W // p, B].

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """
    return _max_pool(pictures, window)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(pictures: Array, window: int) -> Any:
    return _largest(pictures, window)


def _largest(pictures: Array, window: int) -> Array:
    places = _places(pictures, window)
    largest = places[0]
    for place in places[1:]:
        largest = jnp.maximum(largest, place)
    return largest


def _save(pictures: Array, window: int) -> tuple[Array, tuple[Array, Array]]:
    largest = _largest(pictures, window)
    return largest, (pictures, largest)


def _pull_back(window: int, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array]:
    pictures, largest = saved
    zero = jnp.zeros((), cotangent.dtype)
    taken = jnp.zeros(largest.shape, bool)
    shares = []
    for place in _places(pictures, window):
        chosen = (place == largest) & ~taken
        taken = taken | chosen
        shares.append(jnp.where(chosen, cotangent, zero))
    # Interleaving by stacking is one pass; adding up dilated arrays was ten times slower.
    rows = [jnp.stack(shares[i * window : (i + 1) * window], axis=3) for i in range(window)]
    channels, height, width, batch = cotangent.shape
    whole = jnp.stack(rows, axis=2).reshape(channels, height * window, width * window, batch)
    dropped = [(0, full - kept, 0) for full, kept in zip(pictures.shape, whole.shape, strict=True)]
    return (lax.pad(whole, zero, dropped),)


_max_pool.defvjp(_save, _pull_back)


def average_pool(pictures: Array, window: int) -> Array:
    """The mean of every window; rows and columns that fill no window are dropped.

    `y[c, h, w, b] = sum_{i, j < p} x[c, p h + i, p w + j, b] / p^2`

    Args:
        pictures: [C, H, W, B].
        window: its height and width p, at least 1.

    Returns:
        [C, H // p, W // p, B].

    >>> average_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2).ravel().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """
    channels, height, width, batch = pictures.shape
    height, width = height // window, width // window
    kept = pictures[:, : height * window, : width * window]
    # Its gradient is a broadcast, unlike that of a sum of strided slices.
    return kept.reshape(channels, height, window, width, window, batch).mean(axis=(2, 4))


def _places(pictures: Array, window: int) -> list[Array]:
    """The numbers at each place of the windows, in row-major order: p^2 arrays."""
    _, height, width, _ = pictures.shape
    kept = pictures[:, : height // window * window, : width // window * window]
    return [kept[:, i::window, j::window] for i in range(window) for j in range(window)]
