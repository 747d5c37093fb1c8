"""Reconstruction: squared error between outputs and inputs, for autoencoders."""

import jax.numpy as jnp
import numpy as np

from initopt_jax.tasks.regression import loss
from initopt_jax.types import Array, Task

FORMULA = "loss = mean_d (z_d - x_d)^2"
REFERENCE = "Hinton & Salakhutdinov 2006, Reducing the dimensionality of data with neural networks"


def measure(outputs: Array, targets: Array, weights: Array) -> dict[str, Array]:
    """Sums over examples: `count` and `loss`, each a scalar that adds across chunks.

    Args:
        outputs: [B, D].
        targets: the inputs, flattened, [B, D].
        weights: [B], 1 for an example and 0 for padding (whose values never enter).

    Returns:
        The two sums.
    """
    losses = loss(outputs, targets)
    weights = weights.astype(losses.dtype)
    return {
        "count": jnp.sum(weights),
        "loss": jnp.sum(jnp.where(weights > 0, weights * losses, 0)),
    }


def summarize(sums: dict[str, Array]) -> dict[str, Array]:
    """Mean squared error of all examples behind the sums of `measure`.

    >>> target = jnp.array([[1.0, 3.0]])
    >>> print(summarize(measure(jnp.zeros((1, 2)), target, jnp.ones(1)))["loss"])
    5.0
    """
    return {"loss": sums["loss"] / sums["count"]}


def chance(targets: np.ndarray) -> float:
    """Mean squared error of the best constant picture, the mean: the mean variance of a pixel.

    >>> chance(np.array([[0.0, 1.0], [2.0, 1.0]]))
    0.5
    """
    return float(np.mean(np.var(targets, axis=0, dtype=np.float64)))


TASK = Task(
    name="reconstruction",
    kind="reconstruction",
    loss=loss,
    measure=measure,
    summarize=summarize,
    metrics={"loss": "min"},
    primary="loss",
    chance=chance,
    formula=FORMULA,
    reference=REFERENCE,
)
