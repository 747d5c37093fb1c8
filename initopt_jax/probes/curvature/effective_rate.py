"""How far an optimizer moves each weight per unit of its gradient, whatever the optimizer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from initopt_jax.probes.probe import LaneOptimizer
from initopt_jax.transforms.adadelta import AdadeltaState
from initopt_jax.transforms.adagrad import AdagradState
from initopt_jax.transforms.adamax import AdamaxState
from initopt_jax.transforms.amsgrad import AmsgradState
from initopt_jax.transforms.moments import AdamState
from initopt_jax.transforms.momentum_dampened import DampenedMomentumState
from initopt_jax.transforms.rmsprop import CenteredRmspropState, RmspropState
from initopt_jax.transforms.yogi import YogiState
from initopt_jax.types import Array, PyTree

Hold = dict[type, tuple[tuple[str, ...], tuple[str, ...]]]

# State to its fields of first moments, which are cleared, and of second moments, which are held.
HELD: Hold = {
    AdamState: (("mean",), ("mean_square",)),
    AmsgradState: (("mean",), ("mean_square",)),
    AdamaxState: (("mean",), ("largest",)),
    YogiState: (("mean",), ("mean_square",)),
    RmspropState: ((), ("mean_square",)),
    CenteredRmspropState: (("mean",), ("variance",)),
    AdagradState: ((), ("sum_of_squares",)),
    AdadeltaState: ((), ("mean_square_gradient",)),
    optax.ScaleByAdamState: (("mu",), ("nu",)),
    optax.ScaleByAmsgradState: (("mu",), ("nu",)),
    optax.ScaleByBeliefState: (("mu",), ("nu",)),
    optax.ScaleByRmsState: ((), ("nu",)),
    optax.ScaleByRStdDevState: (("mu",), ("nu",)),
    optax.ScaleByRssState: ((), ("sum_of_squares",)),
    optax.ScaleByAdaDeltaState: ((), ("e_g",)),
}
# Held in place of 0, where a root has no derivative: its root is far below any eps.
FLOOR = 1e-30


def effective_rate(
    optimizer: LaneOptimizer,
    gradient: PyTree,
    *,
    loss: Callable[[PyTree], Array] | None = None,
    key: Array | None = None,
) -> PyTree:
    """What the next step moves a weight by, per unit of its gradient, preconditioner as it will be.

    `R_i = -d u_i / d g_i`, u the update that the transform makes of a gradient g

    An adaptive method divides by second moments of the gradient. They are taken as they will be
    when the next step has seen its gradient, and held there: this is the preconditioner that it
    applies, and `R` the part of the update that is linear in the gradient: the learning rate of
    this step, the new gradient's share in a mean, over the preconditioner. What the transform does
    is not looked up but measured, by one derivative of its own update, so that schedules, rates per
    leaf, bias corrections and flags are in it. Only which fields of a state are moments is known
    here, by the state's class (`HELD`); of other classes nothing is held.

    Args:
        optimizer: transform, state and weights; the transform must treat weights one by one.
        gradient: of the loss at the weights, like them.
        loss: of weights, for transforms that ask for it.
        key: for transforms that draw random numbers.

    Returns:
        Rates, like the weights; 0 for a weight that does not answer.

    Reference:
        Cohen et al. (2022), Adaptive gradient methods at the edge of stability, section 2: for Adam
        `R = learning_rate * (1 - b1) / P` with their preconditioner P.

    >>> import optax
    >>> params = jnp.array([1.0, 2.0])
    >>> transform = optax.sgd(0.25, momentum=0.5)
    >>> effective_rate(LaneOptimizer(transform, transform.init(params), params), params).tolist()
    [0.25, 0.25]
    """
    transform = optax.with_extra_args_support(optimizer.transform)
    zero = jax.tree.map(jnp.zeros_like, optimizer.params)
    value = jnp.zeros(()) if loss is None else loss(optimizer.params)

    def updated(gradient: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
        return transform.update(
            gradient,
            state,
            optimizer.params,
            value=value,
            grad=gradient,
            value_fn=lambda params, key=None: value if loss is None else loss(params),
            key=jax.random.key(0) if key is None else key,
        )

    seen = _begun(updated(gradient, optimizer.state)[1])
    faded = updated(zero, _mapped(_cleared, seen))[1]
    held = _mapped(_held, _begun(optimizer.state), seen, faded)
    ones = jax.tree.map(jnp.ones_like, zero)
    _, answer = jax.jvp(lambda gradient: updated(gradient, held)[0], (zero,), (ones,))
    return jax.tree.map(jnp.negative, answer)


def _mapped(change: Callable[..., Any], *states: PyTree) -> PyTree:
    """States with each known node changed, given its counterparts in all of them."""

    def of_node(*nodes: Any) -> Any:
        return change(*nodes) if type(nodes[0]) in HELD else nodes[0]

    return jax.tree.map(of_node, *states, is_leaf=lambda node: type(node) in HELD)


def _cleared(node: Any) -> Any:
    first, _ = HELD[type(node)]
    return node._replace(
        **{name: jax.tree.map(jnp.zeros_like, getattr(node, name)) for name in first}
    )


def _held(node: Any, seen: Any, faded: Any) -> Any:
    """The node of before the step, with second moments that will have faded to those seen."""

    def before(seen: Array, faded: Array) -> Array:
        above = seen > FLOOR
        grown = seen * (seen / jnp.where(above, faded, 1))
        # `isnan` keeps what has diverged from looking like a weight without a gradient.
        return jnp.where(above | jnp.isnan(seen), grown, FLOOR).astype(seen.dtype)

    _, second = HELD[type(node)]
    return _cleared(node)._replace(
        **{name: jax.tree.map(before, getattr(seen, name), getattr(faded, name)) for name in second}
    )


def _begun(state: PyTree) -> PyTree:
    """Past the first step of dampened momentum, which alone takes the whole gradient."""

    def past(node: Any) -> Any:
        if not isinstance(node, DampenedMomentumState):
            return node
        return node._replace(step_count=jnp.maximum(node.step_count, 1))

    return jax.tree.map(past, state, is_leaf=lambda node: isinstance(node, DampenedMomentumState))
