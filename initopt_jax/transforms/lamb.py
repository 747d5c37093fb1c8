"""LAMB: Adam's direction with a step in proportion to the size of each layer's weights."""

import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.adam import scale_by_adam
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.norms import as_long_as, needs_params
from initopt_jax.transforms.numerics import scalar, widen
from initopt_jax.transforms.parts import each_part
from initopt_jax.types import Array, PyTree, Transform


def scale_by_lamb(
    weight_decay: ArrayLike = 0.01, *, layouts: PyTree | None = None
) -> optax.GradientTransformation:
    """Adds weight decay to each update, then gives it the norm of its layer's weights.

    `u <- |theta| / |r| * r` with `r = u + weight_decay * theta`, norms over one layer, and `u <- r`
    where either norm is 0

    Args:
        weight_decay: at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; it has no accumulators.

    Raises:
        ValueError: if a concrete `weight_decay` is negative or not finite; on `update`, if it is
            called without the weights.

    Reference:
        You et al. (2020), algorithm 2, last line.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_lamb(weight_decay=0.0)
    >>> weights = jnp.array([0.0, 2.0])
    >>> transform.update(jnp.array([0.0, -8.0]), transform.init(weights), weights)[0].tolist()
    [0.0, -2.0]
    """
    checks.non_negative("weight_decay", weight_decay)

    def scale(update: Array, weights: Array) -> Array:
        u, w = widen(update, weights)
        return as_long_as(w, u + scalar(weight_decay, u) * w).astype(update.dtype)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, optax.EmptyState]:
        needs_params("lamb", params)
        return each_part("layer", layouts, scale, updates, params), state

    return on_real_leaves(optax.GradientTransformation(lambda params: optax.EmptyState(), apply))


def lamb(
    learning_rate: optax.ScalarOrSchedule = 0.001,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-6,
    weight_decay: ArrayLike = 0.01,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """LAMB: layer-wise adaptive moments.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * g^2`
    `r = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * theta`
    `theta <- theta - learning_rate * |theta| / |r| * r`, norms over one layer

    A layer is a leaf; with `layouts`, every one of a stack of layers or of packed kernels.

    Args:
        learning_rate: the paper's eta: how far a layer moves, in units of its norm; scalar of at
            least 0, concrete or traced, or an Optax schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square, in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        weight_decay: the paper's lambda; at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer and Hsieh (2020), Large
        batch optimization for deep learning: training BERT in 76 minutes, algorithm 2 with
        `phi(z) = z`.

    Deviations:
        The factor `|theta| / |r|` is 1 where one of the norms is 0; by the formula, biases that
        start at 0 would stay there. `optax.lamb` computes the same; it refuses strict dtype
        promotion.

    >>> import jax.numpy as jnp
    >>> transform = lamb(0.5, weight_decay=0.0)
    >>> weights = jnp.array([3.0, 4.0])
    >>> updates, _ = transform.update(jnp.array([9.0, 9.0]), transform.init(weights), weights)
    >>> float(jnp.sqrt(jnp.sum(updates**2)))
    2.5
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps),
        scale_by_lamb(weight_decay, layouts=layouts),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="lamb",
        make=lamb,
        formula=(
            "r = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * theta; "
            "theta <- theta - learning_rate * |theta| / |r| * r, per layer"
        ),
        reference="You et al. (2020), algorithm 2",
    ),
)
