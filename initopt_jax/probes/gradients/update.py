"""What an optimizer makes of a gradient: how long its update is, and where it points."""

import jax.numpy as jnp

from initopt_jax.norms import cosine, norm
from initopt_jax.probes.leaves import each_leaf
from initopt_jax.types import Array, PyTree


def update(weights: PyTree, grads: PyTree, updates: PyTree) -> dict[str, Array]:
    """The update `u` that the optimizer would make now, against the weights and the gradient `g`.

    `update_ratio = ||u|| / ||W||`, `effective_rate = ||u|| / ||g||`,
    `momentum_alignment = cos(u, -g)`, per leaf

    The effective rate is the learning rate that gradient descent would need for a step as long:
    what an adaptive method really applied.

    Args:
        weights: those that the optimizer trains; any floating dtype, measured in float32 at least.
        grads: of the loss, the same tree.
        updates: what the optimizer would add to the weights, the same tree.

    Returns:
        Each [leaf]. `update_ratio`, NaN where the weights are 0. `effective_rate`, NaN where the
        gradient is 0. `momentum_alignment`, -1 to 1: 1 for plain gradient descent, below 0 where
        the step goes up the slope; NaN where the update or the gradient is 0. `gradient_norm`,
        `||g||`.

    Reference:
        Kingma and Ba (2015), Adam, section 2.1, on the effective step size.

    >>> found = update([jnp.array([3.0, 4.0])], [jnp.array([0.0, 2.0])], [jnp.array([0.0, -1.0])])
    >>> {name: round(float(value[0]), 6) for name, value in found.items()}
    {'update_ratio': 0.2, 'effective_rate': 0.5, 'momentum_alignment': 1.0, 'gradient_norm': 2.0}
    """
    size, slope, step, along = each_leaf(_lengths, weights, grads, updates)
    return {
        "update_ratio": _ratio(step, size),
        "effective_rate": _ratio(step, slope),
        "momentum_alignment": -along,
        "gradient_norm": slope,
    }


def _lengths(weights: Array, grads: Array, updates: Array) -> tuple[Array, ...]:
    """Three norms, and the cosine between gradient and update."""
    return norm(weights), norm(grads), norm(updates), cosine(grads, updates)


def _ratio(above: Array, below: Array) -> Array:
    return jnp.where(below == 0, jnp.nan, above / jnp.where(below == 0, 1, below))
