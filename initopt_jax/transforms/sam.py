"""SAM: the gradient of the worst point nearby, in place of the gradient here."""

from typing import Any

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.norms import norm_in, scale_of
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.lookaround import moved, needs_cost
from initopt_jax.transforms.numerics import ratio, scalar
from initopt_jax.transforms.sgd import sgd
from initopt_jax.types import EvaluatedTransform, PyTree, Transform


def sharpness_aware(
    inner: optax.GradientTransformation, rho: ArrayLike = 0.05
) -> optax.GradientTransformationExtraArgs:
    """Hands any transformation the gradient at the worst point nearby instead of the one here.

    `g <- gradient at theta + rho * g / |g|`, the norm over all leaves

    The loss of the step comes as the extra argument `value_fn`; each step takes two gradients.

    Args:
        inner: the transformation that makes the step; it also gets the new gradient as `grad`.
        rho: the distance of the point, at least 0, concrete or traced.

    Returns:
        The transformation, whose state is that of `inner`; where `inner` has `eval_params` to
        evaluate, so does it.

    Raises:
        ValueError: if a concrete `rho` is negative or not finite; on `update`, if it is called
            without the weights or without `value_fn`.

    Reference:
        Foret, Kleiner, Mobahi and Neyshabur (2021), algorithm 1.

    >>> import jax.numpy as jnp
    >>> transform = sharpness_aware(optax.sgd(1.0), rho=0.5)
    >>> weights = jnp.array([3.0, 0.0])
    >>> state = transform.init(weights)
    >>> cost = lambda w: jnp.sum(w**2) / 2
    >>> transform.update(weights, state, weights, value_fn=cost)[0].tolist()
    [-3.5, -0.0]
    """
    checks.non_negative("rho", rho)
    base = optax.with_extra_args_support(inner)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, Any]:
        cost = needs_cost("sam", extra.get("value_fn"), params)
        leaves = jax.tree.leaves(updates)
        scale = scale_of(*leaves)
        length = norm_in(scale, *leaves)
        direction = jax.tree.map(lambda leaf: leaf.astype(scale.dtype) / scale, updates)
        worst = moved(params, direction, ratio(scalar(rho, length), length))
        gradient = jax.grad(cost)(worst)
        gradient = jax.tree.map(lambda new, old: new.astype(old.dtype), gradient, updates)
        return base.update(gradient, state, params, **{**extra, "grad": gradient})

    if isinstance(inner, EvaluatedTransform):
        return on_real_leaves(EvaluatedTransform(base.init, apply, inner.eval_params))
    return on_real_leaves(optax.GradientTransformationExtraArgs(base.init, apply))


def sam(
    learning_rate: optax.ScalarOrSchedule, rho: ArrayLike = 0.05
) -> optax.GradientTransformationExtraArgs:
    """Sharpness-aware minimization by gradient descent.

    `theta <- theta - learning_rate * gradient at (theta + rho * g / |g|)`

    Args:
        learning_rate: the paper's eta; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        rho: how far away the worst point is looked for, over all leaves; at least 0, concrete or
            traced; 0 gives `sgd`.

    Returns:
        The transformation; its updates need the weights and the extra argument `value_fn`.

    Raises:
        ValueError: if a concrete number is negative or not finite; on `update`, if it is called
            without the weights or without `value_fn`.

    Reference:
        Foret, Kleiner, Mobahi and Neyshabur (2021), Sharpness-aware minimization for efficiently
        improving generalization, algorithm 1 with `p = 2`.

    Deviations:
        None. Both gradients see the same mini-batch. `optax.contrib.sam` spreads a step over
        several updates, or wants a function of the gradient.

    >>> import jax.numpy as jnp
    >>> transform = sam(0.1, rho=1.0)
    >>> weights = jnp.array([2.0])
    >>> state = transform.init(weights)
    >>> updates, _ = transform.update(weights, state, weights, value_fn=lambda w: w @ w / 2)
    >>> round(float(updates[0]), 4)
    -0.3
    """
    return sharpness_aware(sgd(learning_rate), rho)


ENTRIES = (
    Transform(
        name="sam",
        looks_around=True,
        make=sam,
        formula="theta <- theta - learning_rate * gradient at (theta + rho * g / |g|)",
        reference="Foret et al. (2021), algorithm 1",
    ),
)
