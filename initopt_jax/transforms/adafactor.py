"""Adafactor: mean squares kept as one number per row and column, and steps of a relative size."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.norms import root_mean_square, scale_of
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.norms import needs_params, rate_at
from initopt_jax.transforms.numerics import normalized, ratio, scalar, widen
from initopt_jax.transforms.parts import Parts, each_part, parts_of
from initopt_jax.types import Array, PyTree, Shape, Transform


class AdafactorState(NamedTuple):
    """Steps so far (int32, stays at its maximum), and what is left of the mean squares.

    rows: for a kernel of at least two axes, the sums over its last axis; else all of its squares.
    columns: for a kernel of at least two axes, the sums over the axis before; else empty.

    Both have a first axis for the kernels of a leaf that holds several.
    """

    step_count: Array
    rows: PyTree
    columns: PyTree


def scale_by_adafactor(
    eps: ArrayLike = 1e-30,
    clip: ArrayLike = 1.0,
    decay_power: ArrayLike = 0.8,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Divides gradients by a factored estimate of their root mean square, and clips the result.

    `r <- b * r + (1 - b) * rowsums(g^2 + eps)`, `c <- b * c + (1 - b) * colsums(g^2 + eps)`
    `u = g / sqrt(r c / sum(r))`, `u <- u / max(1, RMS(u) / clip)`, `b = 1 - t^-decay_power`

    Args:
        eps: the paper's eps_1; at least 0, concrete or traced.
        clip: the paper's d, above 0, concrete or traced.
        decay_power: at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; the mean squares start at 0.

    Raises:
        ValueError: if a concrete number is outside its range.

    Reference:
        Shazeer and Stern (2018), algorithms 4 and 5.

    >>> transform = scale_by_adafactor()
    >>> updates, _ = transform.update(jnp.array([[4.0, -4.0]]), transform.init(jnp.zeros((1, 2))))
    >>> updates.tolist()
    [[1.0, -1.0]]
    """
    checks.non_negative("eps", eps)
    checks.positive("clip", clip)
    checks.non_negative("decay_power", decay_power)

    def init(params: PyTree) -> AdafactorState:
        parts = parts_of("kernel", layouts, params)

        def fresh(shape_of: Callable[[Shape], Shape]) -> PyTree:
            return jax.tree.map(
                lambda part, p: jnp.zeros(part.stack + shape_of(part.shape), p.dtype), parts, params
            )

        return AdafactorState(jnp.zeros((), jnp.int32), fresh(_row_shape), fresh(_column_shape))

    def squares(gradient: Array) -> Array:
        (g,) = widen(gradient)
        return g * g + scalar(eps, g)

    def towards(old: Array, new: Array, count: Array) -> Array:
        # `1 - decay` is a small number: it is formed itself, not as a difference.
        before, share = widen(old)[0], count.astype(new.dtype) ** -scalar(decay_power, new)
        return (before + share * (new - before)).astype(old.dtype)

    def add_rows(rows: Array, gradient: Array, count: Array) -> Array:
        new = squares(gradient)
        return towards(rows, jnp.sum(new, -1) if new.ndim > 1 else new, count)

    def add_columns(columns: Array, gradient: Array, count: Array) -> Array:
        if gradient.ndim < 2:
            return columns
        return towards(columns, jnp.sum(squares(gradient), -2), count)

    def divided(gradient: Array, rows: Array, columns: Array) -> Array:
        g, r, c = widen(gradient, rows, columns)
        if gradient.ndim > 1:
            # One root after the other: products of tiny sums would be 0 in float32.
            r = r / scale_of(r, axis=-1)  # its sum may be too large where it is not
            share = ratio(r, jnp.sum(r, -1, keepdims=True))
            u = normalized(g, jnp.sqrt(share)[..., None], g)
            return normalized(u, jnp.sqrt(c)[..., None, :], g)
        return normalized(g, jnp.sqrt(r), g)

    def clipped(u: Array, gradient: Array) -> Array:
        return (u / jnp.maximum(1, root_mean_square(u) / scalar(clip, u))).astype(gradient.dtype)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, AdafactorState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.step_count))
        parts = parts_of("kernel", layouts, updates)

        def added(add: Callable[[Array, Array, Array], Array], sums: PyTree) -> PyTree:
            def of_leaf(part: Parts, old: Array, gradient: Array) -> Array:
                return part.each(lambda s, g: add(s, g, count))(old, part.take(gradient))

            return jax.tree.map(of_leaf, parts, sums, updates)

        def step(part: Parts, gradient: Array, r: Array, c: Array) -> Array:
            return part.put(part.each(divided)(part.take(gradient), r, c))

        rows, columns = added(add_rows, state.rows), added(add_columns, state.columns)
        wide = jax.tree.map(step, parts, updates, rows, columns)
        steps = each_part("layer", layouts, clipped, wide, updates)
        return steps, AdafactorState(count, rows, columns)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def _row_shape(shape: Shape) -> Shape:
    return shape[:-1] if len(shape) > 1 else shape


def _column_shape(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1]) if len(shape) > 1 else (0,)


class RelativeState(NamedTuple):
    """Steps so far (int32, stays at its maximum)."""

    step_count: Array


def scale_by_relative_step(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    min_scale: ArrayLike = 0.001,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Multiplies updates by minus a step that goes with the size of the weights.

    `u <- -max(min_scale, RMS(theta)) * min(learning_rate, 1 / sqrt(t)) * u`, RMS over one layer

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        min_scale: the paper's eps_2; at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is negative or not finite; on `update`, if it is called
            without the weights.

    Reference:
        Shazeer and Stern (2018), section 8 and algorithm 6.

    >>> transform = scale_by_relative_step(0.5)
    >>> weights = jnp.array([2.0, -2.0])
    >>> transform.update(jnp.ones(2), transform.init(weights), weights)[0].tolist()
    [-1.0, -1.0]
    """
    checks.non_negative("learning_rate", learning_rate)
    checks.non_negative("min_scale", min_scale)

    def init(params: PyTree) -> RelativeState:
        del params
        return RelativeState(jnp.zeros((), jnp.int32))

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, RelativeState]:
        needs_params("adafactor", params)
        count = jnp.asarray(optax.safe_increment(state.step_count))

        def step(update: Array, weights: Array) -> Array:
            u, w = widen(update, weights)
            rate = rate_at(learning_rate, state.step_count, u)
            rate = jnp.minimum(rate, jax.lax.rsqrt(count.astype(u.dtype)))
            size = jnp.maximum(scalar(min_scale, u), root_mean_square(w))
            return (-size * rate * u).astype(update.dtype)

        return each_part("layer", layouts, step, updates, params), RelativeState(count)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adafactor(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    eps: ArrayLike = 1e-30,
    min_scale: ArrayLike = 0.001,
    clip: ArrayLike = 1.0,
    decay_power: ArrayLike = 0.8,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Adafactor without momentum, with relative steps.

    `r <- b * r + (1 - b) * rowsums(g^2 + eps)`, `c <- b * c + (1 - b) * colsums(g^2 + eps)`
    `u = g / sqrt(r c / sum(r))`, `u <- u / max(1, RMS(u) / clip)`, `b = 1 - t^-decay_power`
    `theta <- theta - max(min_scale, RMS(theta)) * min(learning_rate, 1 / sqrt(t)) * u`

    A leaf of one axis or none keeps the mean of all its squares, in place of `r c / sum(r)`. With
    `layouts`, `r` and `c` are those of each kernel of a leaf, and RMS that of each layer.

    Args:
        learning_rate: the largest relative step, 0.01 in the paper's `rho_t = min(0.01, t^-0.5)`;
            scalar of at least 0, concrete or traced, or an Optax schedule.
        eps: the paper's eps_1, added to squares; at least 0, concrete or traced.
        min_scale: the paper's eps_2: weights count as at least so large; at least 0, concrete or
            traced.
        clip: the paper's d: the largest root mean square of an update; above 0, concrete or traced.
        decay_power: the decay is `1 - t^-decay_power`; at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Shazeer and Stern (2018), Adafactor: adaptive learning rates with sublinear memory cost,
        algorithms 4 to 6.

    Deviations:
        Of kernels with more than two axes, which the paper has none of, the last two, inputs and
        outputs, are the matrix.
        `optax.adafactor` takes means for sums and multiplies by an absolute learning rate, which it
        does not hold below `t^-0.5`; by default it factors no axis shorter than 128.

    >>> transform = adafactor(0.5)
    >>> weights = jnp.array([[2.0, -2.0]])
    >>> updates, _ = transform.update(jnp.array([[7.0, 7.0]]), transform.init(weights), weights)
    >>> updates.tolist()
    [[-1.0, -1.0]]
    """
    return optax.chain(
        scale_by_adafactor(eps, clip, decay_power, layouts=layouts),
        scale_by_relative_step(learning_rate, min_scale, layouts=layouts),
    )


ENTRIES = (
    Transform(
        name="adafactor",
        make=adafactor,
        formula=(
            "u = g / sqrt(r c / sum(r)), r and c the mean row and column sums of g^2; "
            "u <- u / max(1, RMS(u) / clip); theta <- theta - max(min_scale, RMS(theta)) * "
            "min(learning_rate, 1 / sqrt(t)) * u"
        ),
        reference="Shazeer and Stern (2018), algorithms 4 to 6",
    ),
)
