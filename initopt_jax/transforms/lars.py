"""LARS: momentum with a learning rate for each layer, in proportion to the size of its weights."""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.norms import norm, norm_in, scale_of
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import scale_by_momentum
from initopt_jax.transforms.norms import needs_params
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.transforms.parts import each_part
from initopt_jax.types import Array, PyTree, Transform


def scale_by_lars(
    weight_decay: ArrayLike = 0.0005,
    trust_coefficient: ArrayLike = 0.001,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Adds weight decay to each gradient, then multiplies it by its layer's local learning rate.

    `u = trust_coefficient * |theta| / (|g| + weight_decay * |theta|) * (g + weight_decay * theta)`,
    with norms over one layer, and factor 1 where either norm is 0

    Args:
        weight_decay: at least 0, concrete or traced.
        trust_coefficient: at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; it has no accumulators.

    Raises:
        ValueError: if a concrete number is negative or not finite; on `update`, if it is called
            without the weights.

    Reference:
        You, Gitman and Ginsburg (2017), eq. 6.

    >>> transform = scale_by_lars(weight_decay=0.0, trust_coefficient=0.5)
    >>> weights = jnp.array([0.0, 2.0])
    >>> transform.update(jnp.array([3.0, 4.0]), transform.init(weights), weights)[0].tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    checks.non_negative("weight_decay", weight_decay)
    checks.non_negative("trust_coefficient", trust_coefficient)

    def scale(gradient: Array, weights: Array) -> Array:
        g, w = widen(gradient, weights)
        decay, trust = scalar(weight_decay, g), scalar(trust_coefficient, g)
        of_weights, direction = norm(w), g + decay * w
        still = (of_weights == 0) | ~jnp.any(g != 0)
        # Both norms of the sum in units of the larger part, which may be too long for the dtype.
        unit = scale_of(g, decay * w)
        whole = jnp.where(still, 1, norm_in(unit, g) + decay * of_weights / unit)
        step = trust * of_weights / whole * (direction / unit)
        return jnp.where(still, direction, step).astype(gradient.dtype)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        needs_params("lars", params)
        return each_part("layer", layouts, scale, updates, params), state

    return on_real_leaves(optax.GradientTransformation(lambda params: optax.EmptyState(), apply))


def lars(
    learning_rate: optax.ScalarOrSchedule,
    decay: ArrayLike = 0.9,
    weight_decay: ArrayLike = 0.0005,
    trust_coefficient: ArrayLike = 0.001,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """LARS: layer-wise adaptive rate scaling.

    `local = trust_coefficient * |theta| / (|g| + weight_decay * |theta|)`, norms over one layer
    `v <- decay * v + learning_rate * local * (g + weight_decay * theta)`
    `theta <- theta - v`

    Without weight decay a layer's step does not feel the size of its gradient, and grows with the
    size of its weights. A layer is a leaf; with `layouts`, every one of a stack of layers or of
    packed kernels.

    Args:
        learning_rate: the paper's gamma; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        decay: the paper's momentum m, in [0, 1), concrete or traced.
        weight_decay: the paper's beta; at least 0, concrete or traced.
        trust_coefficient: the paper's eta; at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        You, Gitman and Ginsburg (2017), Large batch training of convolutional networks,
        algorithm 1.

    Deviations:
        `local` is 1 where the weights or the gradient of a layer are all 0; by the formula, biases
        that start at 0 would stay there. The polynomial fall of the learning rate takes a
        schedule. `optax.lars` divides by the norm of `g + weight_decay * theta` instead.

    >>> transform = lars(1.0, weight_decay=0.0, trust_coefficient=0.5)
    >>> weights = jnp.array([0.0, 2.0])
    >>> updates, _ = transform.update(jnp.array([0.0, 7.0]), transform.init(weights), weights)
    >>> updates.tolist()
    [0.0, -1.0]
    """
    return optax.chain(
        scale_by_lars(weight_decay, trust_coefficient, layouts=layouts),
        scale_by_learning_rate(learning_rate),
        scale_by_momentum(decay),
    )


ENTRIES = (
    Transform(
        name="lars",
        make=lars,
        formula=(
            "v <- decay * v + learning_rate * trust_coefficient * |theta| / (|g| + weight_decay * "
            "|theta|) * (g + weight_decay * theta), per layer; theta <- theta - v"
        ),
        reference="You, Gitman and Ginsburg (2017), algorithm 1",
    ),
)
