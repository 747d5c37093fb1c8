"""The largest eigenvalue alone, for every evaluation, beside what the optimizer can bear."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax.probes.curvature.effective_rate import effective_rate
from initopt_jax.probes.curvature.hessian import hessian_top
from initopt_jax.probes.curvature.preconditioned import preconditioned_top
from initopt_jax.probes.curvature.products import flatten
from initopt_jax.probes.curvature.stability import memory_of
from initopt_jax.probes.probe import LaneOptimizer
from initopt_jax.types import Array, PyTree

Loss = Callable[[PyTree, Any], Array]
ITERATIONS = 20
SAME = 1e-3  # rates of weights that differ by less than this share are one rate


def sharpness(
    loss: Loss,
    params: PyTree,
    batch: Any,
    key: Array,
    optimizer: LaneOptimizer | None = None,
    method: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    iterations: int = ITERATIONS,
) -> dict[str, Array]:
    """The largest eigenvalue of the Hessian, and the largest at which the optimizer is stable.

    Limits: gradient descent `2 / lr`, momentum `2 (1 + mu) / lr`, Nesterov
    `2 (1 + mu) / ((1 + 2 mu) lr)`, with the learning rate of the next step, a schedule included.

    Args:
        loss: `(params, batch) -> scalar`.
        params: the weights.
        batch: handed to the loss.
        key: of the random start.
        optimizer: transform, state and the weights that it trains.
        method: the transform's name in a config.
        hyperparameters: its numbers by name.
        iterations: products with H.

    Returns:
        `sharpness` and `sharpness_limit`, numbers. The limit is NaN without an optimizer, for one
        that is not in the table of `stability`, and where weights have different rates, as in
        adaptive methods: see `preconditioned_sharpness` for these.

    Reference:
        Cohen et al. (2021), Gradient descent on neural networks typically occurs at the edge of
        stability, section 2; Sutskever et al. (2013), section 2.

    >>> import optax
    >>> transform, params = optax.sgd(0.1), jnp.ones(2)
    >>> lane = LaneOptimizer(transform, transform.init(params), params)
    >>> found = sharpness(
    ...     lambda w, b: b * jnp.sum(w**2), params, 2.0, jax.random.key(0), lane, "sgd"
    ... )
    >>> round(float(found["sharpness"]), 4), round(float(found["sharpness_limit"]), 4)
    (4.0, 20.0)
    """
    largest = hessian_top(loss, params, batch, key, k=1, iterations=iterations)[0]
    numbers = {} if hyperparameters is None else hyperparameters
    limit = jnp.full_like(largest, jnp.nan)
    memory = memory_of(method, numbers)
    if optimizer is not None and memory is not None and not memory.adaptive:
        zero = jax.tree.map(jnp.zeros_like, optimizer.params)
        rates, _ = flatten(effective_rate(optimizer, zero))
        low, high = jnp.min(rates), jnp.max(rates)
        gain = high * memory.alternating(numbers) / memory.first(numbers)
        limit = jnp.where(high - low <= SAME * high, 2 / gain, jnp.nan).astype(largest.dtype)
    return {"sharpness": largest, "sharpness_limit": limit}


def preconditioned_sharpness(
    loss: Loss,
    batch: Any,
    key: Array,
    optimizer: LaneOptimizer,
    method: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    iterations: int = ITERATIONS,
) -> dict[str, Array]:
    """The largest eigenvalue of `D^-1/2 H D^-1/2`, as a share of what the optimizer can bear.

    At 1 the optimizer stands at its edge of stability. For methods that do not adapt D is 1, so
    that all optimizers may be compared.

    Args:
        loss: `(params, batch) -> scalar`.
        batch: handed to the loss.
        key: of the random start.
        optimizer: transform, state and the weights that it trains, at which H is taken.
        method: the transform's name in a config.
        hyperparameters: its numbers by name.
        iterations: products with H.

    Returns:
        `preconditioned_sharpness`, a number, and `stability_share`, it over the limit. NaN for a
        method that is not in the table of `stability`.

    Reference:
        Cohen et al. (2022), Adaptive gradient methods at the edge of stability, section 2.

    >>> import optax
    >>> transform, params = optax.sgd(0.1), jnp.ones(2)
    >>> lane = LaneOptimizer(transform, transform.init(params), params)
    >>> found = preconditioned_sharpness(
    ...     lambda w, b: b * jnp.sum(w**2), 2.0, jax.random.key(0), lane, "sgd",
    ...     {"learning_rate": 0.1},
    ... )  # fmt: skip
    >>> {name: round(float(value), 4) for name, value in found.items()}
    {'preconditioned_sharpness': 4.0, 'stability_share': 0.2}
    """
    found = preconditioned_top(
        loss, batch, key, optimizer, method, hyperparameters, k=1, iterations=iterations
    )
    largest = found["preconditioned_top"][0]
    return {
        "preconditioned_sharpness": largest,
        "stability_share": largest / found["preconditioned_limit"],
    }
