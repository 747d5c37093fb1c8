"""Curvature as an adaptive method meets it: the Hessian in its own units."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax.probes.curvature.effective_rate import effective_rate
from initopt_jax.probes.curvature.hessian import ITERATIONS, top
from initopt_jax.probes.curvature.products import flatten, hessian_product, scaled
from initopt_jax.probes.curvature.stability import memory_of, stability_limit
from initopt_jax.probes.probe import LaneOptimizer
from initopt_jax.types import Array, PyTree

Loss = Callable[[PyTree, Any], Array]


def preconditioner(
    loss: Loss,
    batch: Any,
    optimizer: LaneOptimizer,
    method: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
) -> PyTree:
    """The diagonal D by which an optimizer's next step divides: `u = -learning_rate / D * m`.

    `D_i = learning_rate * r_0 / R_i`, R the measured rate (see `effective_rate`) and r_0 the new
    gradient's share in m. For Adam, with v that has seen the gradient at the weights:
    `D = (1 - b1^t) * (sqrt(v / (1 - b2^t)) + eps)`. 1 for methods that do not adapt; a schedule's
    multiplier and rates per leaf divide it.

    Args:
        loss: `(params, batch) -> scalar`.
        batch: handed to the loss.
        optimizer: transform, state and weights.
        method: the transform's name in a config; None: one that treats weights one by one, r_0 = 1.
        hyperparameters: its numbers by name; without a learning rate, that is taken as 1.

    Returns:
        D, like the weights; NaN everywhere for a method that is not known.

    Reference:
        Cohen et al. (2022), Adaptive gradient methods at the edge of stability, section 2.

    >>> import optax
    >>> transform, params = optax.adagrad(0.5, initial_accumulator_value=3.0), jnp.ones(1)
    >>> lane = LaneOptimizer(transform, transform.init(params), params)
    >>> numbers = {"learning_rate": 0.5}
    >>> preconditioner(lambda w, b: b * w[0], 1.0, lane, "adagrad", numbers).round(4).tolist()
    [2.0]
    """
    numbers = {} if hyperparameters is None else hyperparameters
    memory = memory_of(method, numbers)
    if method is not None and memory is None:
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), optimizer.params)
    gradient = jax.grad(lambda params: jnp.asarray(loss(params, batch)).reshape(()))(
        optimizer.params
    )
    rates = effective_rate(optimizer, gradient, loss=lambda params: loss(params, batch))
    unit = numbers.get("learning_rate", 1.0) * (1.0 if memory is None else memory.first(numbers))
    return jax.tree.map(lambda rate: jnp.asarray(unit, rate.dtype) / rate, rates)


def preconditioned_top(
    loss: Loss,
    batch: Any,
    key: Array,
    optimizer: LaneOptimizer,
    method: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    *,
    k: int = 5,
    iterations: int = ITERATIONS,
) -> dict[str, Array]:
    """The largest eigenvalues of the preconditioned Hessian `D^-1/2 H D^-1/2`, and its limit.

    Above the limit, steps along the eigenvector grow: `2 / learning_rate` over what is left of a
    gradient that changes its sign every step, `(2 + 2 b1) / ((1 - b1) learning_rate)` for Adam.

    Args:
        loss: `(params, batch) -> scalar`.
        batch: handed to the loss.
        key: of the random start.
        optimizer: transform, state and the weights that it trains, at which H is taken.
        method: the transform's name in a config; see `preconditioner` for None.
        hyperparameters: its numbers by name.
        k: how many.
        iterations: products with H; at least k.

    Returns:
        `preconditioned_top` [k], descending, and `preconditioned_limit`, a number; NaN for a method
        that is not in the table of `stability`.

    Raises:
        ValueError: if `k` is not between 1 and `iterations`.

    Reference:
        Cohen et al. (2022), section 2.

    >>> import optax
    >>> transform, params = optax.sgd(0.5, momentum=0.9), jnp.ones(1)
    >>> lane = LaneOptimizer(transform, transform.init(params), params)
    >>> numbers = {"learning_rate": 0.5, "decay": 0.9}
    >>> found = preconditioned_top(
    ...     lambda w, b: b * w[0] ** 2, 1.0, jax.random.key(0), lane, "momentum", numbers, k=1
    ... )
    >>> (
    ...     found["preconditioned_top"].round(4).tolist(),
    ...     round(float(found["preconditioned_limit"]), 4),
    ... )
    ([2.0], 7.6)
    """
    numbers = {} if hyperparameters is None else hyperparameters
    diagonal, _ = flatten(preconditioner(loss, batch, optimizer, method, numbers))
    product, size = hessian_product(loss, optimizer.params, batch)
    shown = top(scaled(product, 1 / jnp.sqrt(diagonal)), size, key, diagonal, k, iterations)
    limit = jnp.asarray(stability_limit(method, numbers), diagonal.dtype)
    return {"preconditioned_top": shown, "preconditioned_limit": limit}
