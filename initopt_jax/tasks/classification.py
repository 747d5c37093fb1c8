"""Classification: softmax cross-entropy from integer labels, and the share of right answers."""

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.types import Array, Task

FORMULA = "loss = logsumexp(z) - z_y; accuracy = mean(argmax z == y)"
REFERENCE = "Bridle 1990, Training stochastic model recognition algorithms as networks, NIPS 2"


def loss(outputs: Array, targets: Array) -> Array:
    """Cross-entropy of the softmax: `-log softmax(z)_y` per example, in nats.

    Args:
        outputs: logits [B, K]; below float32 they are lifted to float32 first.
        targets: integer labels [B], 0..K-1.

    Returns:
        [B] float32, or float64 for float64 outputs.

    Reference: Bridle 1990, Training stochastic model recognition algorithms as networks can lead
        to maximum mutual information estimation of parameters, NIPS 2.

    >>> print(f"{loss(jnp.zeros((1, 10)), jnp.array([3]))[0]:.4f}")
    2.3026
    """
    log_probabilities = jax.nn.log_softmax(_lifted(outputs))
    # A mask, not an index: the backward pass stays free of scatter, whose sums may change order.
    chosen = jax.nn.one_hot(targets, outputs.shape[-1], dtype=jnp.bool_)
    return -jnp.sum(jnp.where(chosen, log_probabilities, 0), axis=-1)


def measure(outputs: Array, targets: Array, weights: Array) -> dict[str, Array]:
    """Sums over examples: `count`, `loss` and `correct`, each a scalar that adds across chunks.

    A network whose outputs are not numbers (NaN) gives no right answer. Counts are exact in float32
    up to 2^24 examples.

    Args:
        outputs: logits [B, K].
        targets: integer labels [B].
        weights: [B], 1 for an example and 0 for padding (whose values never enter).

    Returns:
        The three sums.
    """
    losses = loss(outputs, targets)
    weights = weights.astype(losses.dtype)
    correct = (jnp.argmax(outputs, axis=-1) == targets) & ~jnp.isnan(losses)
    return {
        "count": jnp.sum(weights),
        "loss": jnp.sum(jnp.where(weights > 0, weights * losses, 0)),
        "correct": jnp.sum(weights * correct),
    }


def summarize(sums: dict[str, Array]) -> dict[str, Array]:
    """Mean loss and accuracy of all examples behind the sums of `measure`."""
    return {
        "loss": sums["loss"] / sums["count"],
        "accuracy": sums["correct"] / sums["count"],
    }


def _lifted(outputs: Array) -> Array:
    return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))


def chance(targets: np.ndarray) -> float:
    """Accuracy of always naming the largest class: its share of the targets [N].

    >>> chance(np.array([0, 1, 1, 2]))
    0.5
    """
    return float(np.bincount(targets).max() / len(targets))


TASK = Task(
    name="classification",
    kind="classification",
    loss=loss,
    measure=measure,
    summarize=summarize,
    metrics={"loss": "min", "accuracy": "max"},
    primary="accuracy",
    chance=chance,
    formula=FORMULA,
    reference=REFERENCE,
)
