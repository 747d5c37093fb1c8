"""NovoGrad: gradients divided by a running norm of their layer, then gathered by momentum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.norms import norm, scale_of
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.norms import needs_params
from initopt_jax.transforms.numerics import normalized, scalar, widen, zeros
from initopt_jax.transforms.parts import Parts, parts_of
from initopt_jax.types import Array, PyTree, Transform


class NovogradState(NamedTuple):
    """What NovoGrad remembers.

    step_count: int32, steps so far; stays at its maximum.
    velocity: like the parameters.
    norm: root of the running mean of the gradient's squared norm, of the leaf's dtype: a number per
        leaf, or [layers] where it holds several. The square would leave the range of float32 where
        the norm does not.
    """

    step_count: Array
    velocity: PyTree
    norm: PyTree


def _mixed(old: Array, new: Array, keep: Array) -> Array:
    """`sqrt(keep * old^2 + (1 - keep) * new^2)`, as a correction of `old`: roundings that came back
    at every step would add up over the `1 / (1 - keep)` steps that it remembers.
    """
    scale = scale_of(old, new)
    a, b = old / scale, new / scale
    root = jnp.sqrt(keep * a * a + (1 - keep) * b * b)
    change = (1 - keep) * (b - a) * (b + a) / jnp.where(root == 0, 1, root + a)
    return scale * (a + change)


def scale_by_novograd(
    b1: ArrayLike = 0.95,
    b2: ArrayLike = 0.98,
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0.0,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Gathers gradients in units of their layer's running norm.

    `v <- |g|^2` in the first step, then `v <- b2 * v + (1 - b2) * |g|^2`, norms over one layer
    `m <- b1 * m + (g / (sqrt(v) + eps) + weight_decay * theta)`, the update

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        weight_decay: at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Ginsburg et al. (2019), algorithm 1.

    >>> transform = scale_by_novograd(eps=0.0)
    >>> weights = jnp.zeros(2)
    >>> updates, _ = transform.update(jnp.array([3.0, -4.0]), transform.init(weights), weights)
    >>> [round(x, 4) for x in updates.tolist()]
    [0.6, -0.8]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.non_negative("weight_decay", weight_decay)

    def measure(running: Array, gradient: Array, first: Array) -> Array:
        old, new = widen(running, norm(gradient))
        return jnp.where(first, new, _mixed(old, new, scalar(b2, old))).astype(running.dtype)

    def gather(velocity: Array, running: Array, gradient: Array, weights: Array) -> Array:
        m, v, g, w = widen(velocity, running, gradient, weights)
        unit = normalized(g, v + scalar(eps, v), g)
        return (scalar(b1, m) * m + (unit + scalar(weight_decay, w) * w)).astype(velocity.dtype)

    def init(params: PyTree) -> NovogradState:
        parts = parts_of("layer", layouts, params)
        norms = jax.tree.map(lambda part, p: jnp.zeros(part.stack, p.dtype), parts, params)
        return NovogradState(jnp.zeros((), jnp.int32), zeros(params), norms)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, NovogradState]:
        needs_params("novograd", params)
        parts = parts_of("layer", layouts, updates)
        first = state.step_count == 0

        def measured(part: Parts, v: Array, g: Array) -> Array:
            return part.each(lambda v, g: measure(v, g, first))(v, part.take(g))

        def gathered(part: Parts, m: Array, v: Array, g: Array, w: Array) -> Array:
            return part.put(part.each(gather)(part.take(m), v, part.take(g), part.take(w)))

        norms = jax.tree.map(measured, parts, state.norm, updates)
        velocity = jax.tree.map(gathered, parts, state.velocity, norms, updates, params)
        steps = jax.tree.map(lambda m, g: m.astype(g.dtype), velocity, updates)
        count = jnp.asarray(optax.safe_increment(state.step_count))
        return steps, NovogradState(count, velocity, norms)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def novograd(
    learning_rate: optax.ScalarOrSchedule = 0.01,
    b1: ArrayLike = 0.95,
    b2: ArrayLike = 0.98,
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0.0,
    *,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """NovoGrad.

    `v <- |g|^2` in the first step, then `v <- b2 * v + (1 - b2) * |g|^2`, norms over one layer
    `m <- b1 * m + (g / (sqrt(v) + eps) + weight_decay * theta)`
    `theta <- theta - learning_rate * m`

    Args:
        learning_rate: the paper's lambda; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of `m`, which is a sum and no mean; in [0, 1), concrete or traced.
        b2: decay of `v`, in [0, 1), concrete or traced.
        eps: outside the root; at least 0, concrete or traced.
        weight_decay: the paper's d, gathered by `m`; at least 0, concrete or traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; its updates need the weights.

    Raises:
        ValueError: if a concrete number is outside its range; on `update`, if it is called without
            the weights.

    Reference:
        Ginsburg, Castonguay, Hrinchuk, Kuchaiev, Lavrukhin, Leary, Li, Nguyen, Zhang and Cohen
        (2019), Stochastic gradient methods with layer-wise adaptive moments for training of deep
        networks, algorithm 1.

    Deviations:
        A layer is a leaf, or with `layouts` every one of a stack of layers or of packed kernels:
        weights and biases have norms of their own. A layer without any gradient stays where `eps`
        is 0.

    >>> transform = novograd(0.5, eps=0.0)
    >>> weights = jnp.zeros(2)
    >>> updates, _ = transform.update(jnp.array([3.0, -4.0]), transform.init(weights), weights)
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.3, 0.4]
    """
    return optax.chain(
        scale_by_novograd(b1, b2, eps, weight_decay, layouts=layouts),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="novograd",
        make=novograd,
        kind="adam",
        formula=(
            "v <- |g|^2 at first, then b2 * v + (1 - b2) * |g|^2, per layer; m <- b1 * m + g / "
            "(sqrt(v) + eps) + weight_decay * theta; theta <- theta - learning_rate * m"
        ),
        reference="Ginsburg et al. (2019), algorithm 1",
    ),
)
