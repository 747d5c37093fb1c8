"""The straight line between two networks, and the barrier on it."""

from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax.probes.slices.grid import CHUNK, Loss
from initopt_jax.types import Array, PyTree


def interpolate(
    loss: Loss,
    first: PyTree,
    second: PyTree,
    batch: Any,
    points: int = 25,
    *,
    chunk: int = CHUNK,
) -> Array:
    """The loss on the straight line between two networks, `loss((1 - alpha) a + alpha b)`.

    Args:
        loss: `(params, batch) -> scalar`.
        first: weights a of a network.
        second: weights b of another one of the same shapes.
        batch: whatever the loss takes.
        points: how many values of alpha, evenly from 0 to 1, both among them.
        chunk: points evaluated side by side.

    Returns:
        [points].

    Raises:
        ValueError: `points` is below 3: the ends alone show no line.

    Reference:
        Goodfellow, Vinyals, Saxe (2015), Qualitatively Characterizing Neural Network Optimization
        Problems, section 2.

    >>> ends = {"w": jnp.array(-1.0)}, {"w": jnp.array(1.0)}
    >>> interpolate(lambda p, _: p["w"] ** 2, *ends, None, points=5).tolist()
    [1.0, 0.25, 0.0, 0.25, 1.0]
    """
    if points < 3:
        raise ValueError(f"points must be at least 3, got {points}")
    share = jnp.linspace(0.0, 1.0, points)
    # The ends have one factor of exactly 1 and one of exactly 0: they are the networks themselves.
    shares = jnp.stack([1 - share, share], axis=-1)

    def mixed(pair: Array) -> Array:
        between = jax.tree.map(
            lambda a, b: (pair[0] * a + pair[1] * b).astype(a.dtype), first, second
        )
        return loss(between, batch)

    return jax.lax.map(mixed, shares, batch_size=chunk)


def barrier(losses: Array) -> Array:
    """How far the loss rises above the straight line between its two ends.

    `max over alpha of loss(alpha) - ((1 - alpha) loss(0) + alpha loss(1))`. It is 0 or more, as
    both ends are on the line; two networks without one lie in the same basin, as far as this line
    tells.

    Args:
        losses: [..., points], on evenly spaced alpha from 0 to 1; see `interpolate`.

    Returns:
        [...], in units of the loss; NaN where a loss is.

    Raises:
        ValueError: fewer than 3 points.

    Reference:
        Frankle, Dziugaite, Roy, Carbin (2020), Linear Mode Connectivity and the Lottery Ticket
        Hypothesis, section 2; Entezari, Sedghi, Saukh, Neyshabur (2022), The Role of Permutation
        Invariance in Linear Mode Connectivity of Neural Networks, equation 1.

    Deviations:
        Frankle et al. subtract the mean of the ends; with different ends that would call a straight
        slope a barrier. Entezari et al. have the form used here.

    >>> float(barrier(jnp.array([1.0, 5.0, 3.0])))
    3.0
    """
    points = losses.shape[-1] if losses.ndim else 0
    if points < 3:
        raise ValueError(f"losses must have at least 3 points, got {points}")
    share = jnp.linspace(0.0, 1.0, points, dtype=losses.dtype)
    share = share.reshape((1,) * (losses.ndim - 1) + (points,))
    straight = (1 - share) * losses[..., :1] + share * losses[..., -1:]
    return jnp.max(losses - straight, axis=-1)
