"""Weight decay: coupled, as part of the gradient, and decoupled, beside the optimizer's step."""

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.tree import chosen_leaves
from initopt_jax.types import Array, Modifier, PyTree


def coupled_weight_decay(
    weight_decay: ArrayLike, only: str | tuple[str, ...] = "*"
) -> optax.GradientTransformation:
    """Adds the gradient of `weight_decay / 2 * ||theta||^2`: `g <- g + weight_decay * theta`.

    An adaptive method then divides the decay by its own denominator (Loshchilov and Hutter 2019).

    Args:
        weight_decay: at least 0, concrete or traced.
        only: shell-style patterns of the leaves that decay, e.g. `*kernel`.

    Raises:
        ValueError: if a concrete `weight_decay` is negative or not a number; on `init`, if a
            pattern matches no leaf; on update, if no params are given.

    Reference:
        Krogh and Hertz (1991), eq. 3.

    >>> decay = coupled_weight_decay(0.5)
    >>> weights = jax.numpy.array([2.0])
    >>> decay.update(jax.numpy.array([1.0]), decay.init(weights), weights)[0].tolist()
    [2.0]
    """
    checks.non_negative("weight_decay", weight_decay)

    def init(params: PyTree) -> optax.EmptyState:
        chosen_leaves("only", only, params)
        return optax.EmptyState()

    def add(decays: bool, update: Array, weights: Array) -> Array:
        g, w = widen(update, weights)
        return (g + scalar(weight_decay, g) * w).astype(update.dtype) if decays else update

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        if params is None:
            raise ValueError("weight decay needs the params in update")
        return jax.tree.map(add, chosen_leaves("only", only, params), updates, params), state

    return on_real_leaves(optax.GradientTransformation(init, apply))


def decoupled_weight_decay(
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: ArrayLike,
    only: str | tuple[str, ...] = "*",
) -> optax.GradientTransformation:
    """Moves weights towards 0 beside the step: `u <- u - learning_rate * weight_decay * theta`.

    Args:
        learning_rate: of the optimizer, number or schedule.
        weight_decay: at least 0, concrete or traced.
        only: shell-style patterns of the leaves that decay, e.g. `*kernel`.

    Raises:
        ValueError: as `coupled_weight_decay`, and for a wrong learning rate.

    Reference:
        Loshchilov and Hutter (2019), eq. 4.

    Deviations:
        The paper multiplies the decay by the schedule alone, not by the learning rate; this is the
        form of Optax and PyTorch, in which a decay of 0.01 at a rate of 0.001 is the paper's 1e-5.

    >>> decay = decoupled_weight_decay(0.1, 0.5)
    >>> weights = jax.numpy.array([2.0])
    >>> decay.update(jax.numpy.array([1.0]), decay.init(weights), weights)[0].tolist()
    [0.899...]
    """
    decay = optax.chain(
        coupled_weight_decay(weight_decay, only), scale_by_learning_rate(learning_rate)
    )

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        none = jax.tree.map(jax.numpy.zeros_like, updates)
        steps, state = decay.update(none, state, params)
        return jax.tree.map(jax.numpy.add, updates, steps), state

    return on_real_leaves(optax.GradientTransformation(decay.init, apply))


ENTRIES = (
    Modifier(
        name="coupled_weight_decay",
        place="pre-transform",
        make=coupled_weight_decay,
        formula="g <- g + weight_decay * theta",
        reference="Krogh and Hertz (1991), eq. 3",
    ),
    Modifier(
        name="decoupled_weight_decay",
        place="post-transform",
        make=decoupled_weight_decay,
        formula="u <- u - learning_rate * weight_decay * theta",
        reference="Loshchilov and Hutter (2019), eq. 4",
    ),
)
