"""Regression: squared error, and the share of the targets' variance that is explained."""

import jax.numpy as jnp
import numpy as np

from initopt_jax.types import Array, Task

FORMULA = "loss = mean_k (z_k - t_k)^2; r2 = 1 - sum (z - t)^2 / sum (t - mean t)^2"
REFERENCE = "Legendre 1805 (least squares); Draper & Smith 1998, Applied Regression Analysis, 1.3"


def loss(outputs: Array, targets: Array) -> Array:
    """Squared error per example, the mean over target dimensions: `mean_k (z_k - t_k)^2`.

    Args:
        outputs: [B, K]; below float32 they are lifted to float32 first.
        targets: [B, K].

    Returns:
        [B] float32, or float64 for float64 outputs or targets.

    Reference: Legendre 1805, Nouvelles méthodes pour la détermination des orbites des comètes.

    >>> loss(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])).tolist()
    [2.5]
    """
    return jnp.mean(jnp.square(_errors(outputs, targets)), axis=-1)


def measure(outputs: Array, targets: Array, weights: Array) -> dict[str, Array]:
    """Sums over examples, each a scalar that adds across chunks.

    Besides `count` and `loss` these are `residual` (the squared errors of all target dimensions),
    `square` (the squared targets) and one `target_<k>` for each target dimension.

    Args:
        outputs: [B, K].
        targets: [B, K].
        weights: [B], 1 for an example and 0 for padding (whose values never enter).

    Returns:
        The sums.
    """
    squared = jnp.square(_errors(outputs, targets))
    targets = targets.astype(squared.dtype)
    weights = weights.astype(squared.dtype)

    def total(values: Array) -> Array:
        return jnp.sum(jnp.where(weights > 0, weights * values, 0))

    sums = {
        "count": jnp.sum(weights),
        "loss": total(jnp.mean(squared, axis=-1)),
        "residual": total(jnp.sum(squared, axis=-1)),
        "square": total(jnp.sum(jnp.square(targets), axis=-1)),
    }
    return sums | {f"target_{k}": total(targets[..., k]) for k in range(targets.shape[-1])}


def summarize(sums: dict[str, Array]) -> dict[str, Array]:
    """Mean loss and R^2 of all examples behind the sums of `measure`.

    `R^2 = 1 - SS_res / SS_tot` with both sums over all target dimensions, and
    `SS_tot = sum t^2 - (sum t)^2 / n` about each dimension's own mean over the split. In float32
    that difference loses a factor `1 + (mean / std)^2` in precision: nothing for standardized
    targets, whose mean is near 0. Targets left in their units (`normalize: false`) want a
    mean below about 100 standard deviations. R^2 is NaN where the targets do not vary.

    Reference: Draper & Smith 1998, Applied Regression Analysis, section 1.3.
    """
    count = sums["count"]
    means_part = sum(
        jnp.square(value) / count for name, value in sums.items() if name.startswith("target_")
    )
    total = sums["square"] - means_part
    explained = 1 - sums["residual"] / jnp.where(total > 0, total, 1)
    return {
        "loss": sums["loss"] / count,
        "r2": jnp.where(total > 0, explained, jnp.nan),
    }


def _errors(outputs: Array, targets: Array) -> Array:
    if outputs.shape != targets.shape:  # broadcasting [B] against [B, 1] would give [B, B]
        raise ValueError(
            f"outputs and targets must have the same shape, got {outputs.shape} and {targets.shape}"
        )
    return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32)) - targets


def chance(targets: np.ndarray) -> float:
    """R^2 of the best constant prediction, the mean: 0 whatever the targets.

    >>> chance(np.array([[1.0], [3.0]]))
    0.0
    """
    del targets
    return 0.0


TASK = Task(
    name="regression",
    kind="regression",
    loss=loss,
    measure=measure,
    summarize=summarize,
    metrics={"loss": "min", "r2": "max"},
    primary="r2",
    chance=chance,
    formula=FORMULA,
    reference=REFERENCE,
)
