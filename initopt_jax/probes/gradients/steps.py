"""Whether one step's gradient still tells the direction of the next."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from initopt_jax.norms import cosine
from initopt_jax.probes.probe import Batch, LaneOptimizer
from initopt_jax.types import Array, PyTree

Loss = Callable[[PyTree, Batch], Array]


def step_cosine(loss: Loss, batch: Batch, key: Array, optimizer: LaneOptimizer) -> Array:
    """The cosine between the gradient now and the gradient after the optimizer's next step.

    `cos(grad L_1(W), grad L_2(W + u))`, `L_1` and `L_2` the losses of the two halves of the batch
    and `u` the update that the optimizer makes of `grad L_1(W)`

    Near 1 the slope hardly turns from step to step; below 0 the step went over a valley to the
    other side; around 0 the noise of the halves, or the turn, leaves nothing in common.

    Args:
        loss: `(params, batch) -> scalar`.
        batch: examples in random order, at least two; the last of an odd number is left out.
        key: for transforms that draw random numbers.
        optimizer: transform, its state, and the weights that it trains.

    Returns:
        Scalar, -1 to 1, of all leaves together; NaN where a gradient is 0 or not finite.

    Raises:
        ValueError: the batch has fewer than two examples.

    Reference:
        Xing, Arpit, Tsirigotis and Bengio (2018), A walk with SGD, on the angle between successive
        gradients.

    >>> rule = optax.sgd(1.5)
    >>> params = jnp.array([1.0])
    >>> found = step_cosine(
    ...     lambda w, batch: 0.5 * jnp.mean(batch.inputs) * jnp.sum(w * w),
    ...     Batch(jnp.ones(2), jnp.zeros(2)),
    ...     jax.random.key(0),
    ...     LaneOptimizer(rule, rule.init(params), params),
    ... )
    >>> float(found)
    -1.0
    """
    half = len(batch.inputs) // 2
    if half < 1:
        raise ValueError(f"batch must have at least 2 examples, got {len(batch.inputs)}")
    first, second = (Batch(*(part[start : start + half] for part in batch)) for start in (0, half))
    value, grads = jax.value_and_grad(loss)(optimizer.params, first)
    updates, _ = optax.with_extra_args_support(optimizer.transform).update(
        grads,
        optimizer.state,
        optimizer.params,
        value=value,
        grad=grads,
        value_fn=lambda params, key=None: loss(params, first),
        key=key,
    )
    after = jax.grad(loss)(optax.apply_updates(optimizer.params, updates), second)
    flat = [ravel_pytree(tree)[0] for tree in (grads, after)]
    wide = jnp.result_type(jnp.float32, *flat)
    return cosine(flat[0].astype(wide), flat[1].astype(wide))
