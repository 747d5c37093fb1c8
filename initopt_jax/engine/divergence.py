"""When a lane has diverged: the one place that decides.

A lane has diverged after so many updates where the loss of a training batch, an evaluated loss, its
trained weights, the weights that are evaluated, or the state of its model are not finite there. The
losses of training steps are seen by the step itself (`LaneState.diverged_step`); all else is looked
at beside every evaluation, in a program of its own, so that no bit of training depends on it.

Where a second moment has overflowed, weights stand still, and are finite. The package's own
transforms make their updates NaN then (`transforms.numerics.normalized`); of all others the state
is looked at too (`sound`), as far as it is finite before the first step: some hold infinities by
design, such as the best loss so far.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.tasks.metrics import SPLITS
from initopt_jax.types import Array, PyTree

LOSSES = tuple(f"{split}_loss" for split in SPLITS)
NEVER = -1


def make_finite(model_state: PyTree) -> Callable[[PyTree, PyTree], Array]:
    """`finite(weights [W, ...], model_state [W, ...]) -> bool [W]` of a tile: all of a lane's.

    Args:
        model_state: of one network before its first step; what is infinite there is so by design.
    """
    counts = [
        _floats(leaf) and bool(jnp.isfinite(leaf).all())
        for leaf in map(jnp.asarray, jax.tree.leaves(model_state))
    ]

    def finite(weights: PyTree, state: PyTree) -> Array:
        leaves = [leaf for leaf in jax.tree.leaves(weights) if _floats(leaf)]
        known = zip(jax.tree.leaves(state), counts, strict=True)
        leaves += [leaf for leaf, counted in known if counted]
        good = [jnp.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1) for leaf in leaves]
        return jnp.stack(good).all(axis=0)

    return finite


def sound(opt_state: PyTree) -> Array:
    """Which floating leaves of an optimizer's state [W, ...] are finite: bool [leaves, W].

    >>> sound(
    ...     {"m": jnp.ones((2, 3)), "v": jnp.array([1.0, jnp.inf]), "t": jnp.ones(2, int)}
    ... ).tolist()
    [[True, True], [True, False]]
    """
    leaves = [leaf for leaf in jax.tree.leaves(opt_state) if _floats(leaf)]
    if not leaves:
        return jnp.ones((1, 1), bool)
    return jnp.stack([jnp.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1) for leaf in leaves])


def earlier(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The earlier of two numbers of updates, by lane; NEVER is the latest of all.

    >>> earlier(np.array([NEVER, 3, 5, NEVER]), np.array([4, NEVER, 2, NEVER])).tolist()
    [4, 3, 2, -1]
    """
    first = np.minimum(one, other)
    return np.where(first == NEVER, np.maximum(one, other), first)


def found(step: int, measured: Mapping[str, np.ndarray], finite: np.ndarray) -> np.ndarray:
    """Which lanes have diverged at an evaluation: int32 [W], `step` or NEVER.

    Args:
        step: updates made.
        measured: losses among other metrics, [W].
        finite: see `make_finite`, [W].

    >>> losses = {"val_loss": np.array([0.5, np.inf, 0.5]), "val_r2": np.array([np.nan, 0.1, 0.1])}
    >>> found(30, losses, np.array([True, True, False])).tolist()
    [-1, 30, 30]
    """
    good = finite.copy()
    for name in LOSSES:
        if name in measured:
            good &= np.isfinite(measured[name])
    return np.where(good, NEVER, step).astype(np.int32)


def _floats(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
