"""Adagrad with the full matrix of all weights, for small networks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.norms import working_dtype
from initopt_jax.transforms.numerics import scalar
from initopt_jax.types import Array, PyTree, Transform

# Of all leaves together, N: a step takes time in proportion to N^3, a lane N^2 numbers.
MAX_WEIGHTS = 2000


class FullAdagradState(NamedTuple):
    """`outer_products`: the sum of `g g^T`, [N, N] for N weights in all, in the working dtype."""

    outer_products: Array


def scale_by_full_adagrad(eps: ArrayLike = 0.01) -> optax.GradientTransformation:
    """Multiplies the gradient by the inverse root of the sum of its outer products.

    `G <- G + g g^T`, `u = (eps * I + G^(1/2))^-1 g`, `g` all leaves as one vector

    Args:
        eps: at least 0, concrete or traced.

    Returns:
        The transformation; `G` starts at 0.

    Raises:
        ValueError: if a concrete `eps` is negative or not finite; on `init`, if there are more than
            2,000 weights.

    Reference:
        Duchi, Hazan and Singer (2011), figure 1.

    >>> transform = scale_by_full_adagrad(eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, 4.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [0.6, 0.8]
    """
    checks.non_negative("eps", eps)

    def init(params: PyTree) -> FullAdagradState:
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        if count > MAX_WEIGHTS:
            raise ValueError(
                f"adagrad_full keeps a matrix of all weights and takes up to {MAX_WEIGHTS:,} of "
                f"them, got {count:,}; adagrad keeps its diagonal"
            )
        return FullAdagradState(jnp.zeros((count, count), working_dtype(params)))

    def direction(total: Array, gradient: Array) -> Array:
        squares, axes = jnp.linalg.eigh(total, symmetrize_input=False)
        squares = jnp.maximum(squares, 0)
        size = scalar(eps, total) + jnp.sqrt(squares)
        # An eigenvalue is known to about N * epsilon of the largest one. Below, it is noise: what
        # the gradient seems to have along it must not be divided by its root.
        noise = jnp.finfo(total.dtype).eps * len(squares) * jnp.max(squares, initial=0)
        known = size > jnp.sqrt(noise)
        along = axes.T @ gradient
        step = axes @ jnp.where(known, along / jnp.where(known, size, 1), 0)
        # Products of gradients that left the range of the dtype, above it or below.
        lost = ~jnp.isfinite(jnp.max(squares)) | (~jnp.any(size > 0) & jnp.any(gradient != 0))
        return jnp.where(lost, jnp.nan, step)

    def apply(
        updates: PyTree, state: PyTree, params: PyTree = None
    ) -> tuple[PyTree, FullAdagradState]:
        del params
        leaves, structure = jax.tree.flatten(updates)
        total = state.outer_products
        gradient = jnp.concatenate([leaf.astype(total.dtype).ravel() for leaf in leaves])
        total = total + gradient[:, None] * gradient[None, :]
        step, steps, start = direction(total, gradient), [], 0
        for leaf in leaves:
            part = step[start : start + leaf.size]
            steps.append(part.reshape(leaf.shape).astype(leaf.dtype))
            start += leaf.size
        return structure.unflatten(steps), FullAdagradState(total)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def adagrad_full(
    learning_rate: optax.ScalarOrSchedule = 0.01, eps: ArrayLike = 0.01
) -> optax.GradientTransformation:
    """Adagrad with a full matrix, for networks of up to 2,000 weights.

    `G <- G + g g^T`, `g` the gradient of all weights as one vector
    `theta <- theta - learning_rate * (eps * I + G^(1/2))^-1 g`

    The first step has the length of the learning rate along the gradient; later ones are longer
    along directions that gradients had little of. It does not depend on how the weights are
    rotated.

    Args:
        learning_rate: the paper's eta; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        eps: the paper's delta, for which it has no number; at least 0, concrete or traced. Below
            about 0.01, float32 has a part in the direction.

    Returns:
        The transformation; `G` starts at 0.

    Raises:
        ValueError: if a concrete number is negative, not finite or not a number; on `init`, if
            there are more than 2,000 weights.

    Reference:
        Duchi, Hazan and Singer (2011), Adaptive subgradient methods for online learning and
        stochastic optimization, figure 1 (ADAGRAD with full matrices), no regularizer, no
        projection.

    Deviations:
        Eigenvalues of `G` are known to about 1e-7 * N of the largest in float32 (2e-16 * N in
        float64). Along directions whose `eps + sqrt(eigenvalue)` is below the root of that there
        is no step; with `eps` 0 this is the pseudo-inverse that the paper allows.

    >>> transform = adagrad_full(0.5, eps=0.0)
    >>> updates, _ = transform.update(jnp.array([3.0, 4.0]), transform.init(jnp.zeros(2)))
    >>> [round(x, 4) for x in updates.tolist()]
    [-0.3, -0.4]
    """
    return optax.chain(scale_by_full_adagrad(eps), scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="adagrad_full",
        make=adagrad_full,
        kind="adam",
        formula=(
            "G <- G + g g^T; theta <- theta - learning_rate * (eps * I + G^(1/2))^-1 g, "
            "g all weights as one vector"
        ),
        reference="Duchi, Hazan and Singer (2011), figure 1",
    ),
)
