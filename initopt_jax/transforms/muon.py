"""Muon: momentum for matrices, each step made orthogonal."""

from typing import NamedTuple

import jax
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.norms import norm, rescaled
from initopt_jax.transforms.adam import scale_by_adam
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.matrices import product
from initopt_jax.transforms.numerics import ratio, scalar, widen, zeros
from initopt_jax.transforms.parts import KERNELS, each_part, parts_of
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, PyTree, Transform

QUINTIC = (3.4445, -4.7750, 2.0315)


def newton_schulz(matrix: Array, iterations: int = 5) -> Array:
    """Takes the singular values of a matrix near 1 and keeps its singular vectors.

    `X <- M / |M|`, then `X <- a X + (b A + c A^2) X` with `A = X X^T`, as often; 0 stays 0

    Args:
        matrix: [m, n].
        iterations: a whole number above 0; not traced.

    Returns:
        The matrix, in the working dtype; with five iterations the singular values that were above
        2e-3 of the norm lie between 0.68 and 1.21.

    Reference:
        Jordan (2024), section "The design of Muon".

    >>> import jax.numpy as jnp
    >>> bool(jnp.abs(newton_schulz(jnp.array([[7.0]])) - 1)[0, 0] < 0.4)
    True
    """
    x, _ = rescaled(matrix)
    wide = matrix.shape[0] > matrix.shape[1]
    x = ratio(x, norm(x))
    x = x.T if wide else x  # the smaller square is the cheaper one
    a, b, c = QUINTIC
    for _ in range(iterations):
        square = product(x, x.T)
        x = a * x + product(b * square + c * product(square, square), x)
    return x.T if wide else x


class MuonState(NamedTuple):
    """`velocity`: decayed sum of the gradients so far, like the parameters."""

    velocity: PyTree


def scale_by_muon(
    decay: ArrayLike = 0.95,
    *,
    nesterov: bool = True,
    shape_scale: bool = True,
    iterations: int = 5,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Replaces gradients, all matrices, by their velocity made orthogonal.

    `v <- decay * v + g`, `u = newton_schulz(g + decay * v)`, or of `v` without `nesterov`

    Args:
        decay: the paper's mu, in [0, 1), concrete or traced.
        nesterov: look one step ahead.
        shape_scale: multiply by `sqrt(max(1, columns / rows))`.
        iterations: of Newton and Schulz, a whole number above 0; not traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation. A kernel of more than two axes is the matrix `(prod(shape[:-1]),
        shape[-1])`.

    Raises:
        ValueError: if a concrete `decay` is outside [0, 1), a flag is not a bool, or `iterations`
            is not a whole number above 0; on `init`, if a leaf is no matrix.

    Reference:
        Jordan (2024), algorithm 2.

    >>> import jax.numpy as jnp
    >>> transform = scale_by_muon()
    >>> gradient = jnp.diag(jnp.array([3.0, 0.1]))
    >>> updates, _ = transform.update(gradient, transform.init(gradient))
    >>> [round(x, 1) for x in jnp.diagonal(updates).tolist()]
    [0.7, 1.1]
    """
    checks.fraction("decay", decay)
    checks.flag("nesterov", nesterov)
    checks.flag("shape_scale", shape_scale)
    checks.count("iterations", iterations, most=100)

    def init(params: PyTree) -> MuonState:
        for path, matrix in named_leaves(_matrices(params, layouts)):
            if not matrix:
                raise ValueError(
                    "scale_by_muon takes matrices only, leaves of at least two axes, or dense and "
                    f"convolution kernels by their layouts: {path!r} is none"
                )
        return MuonState(zeros(params))

    def accelerate(velocity: Array, gradient: Array) -> Array:
        v, g = widen(velocity, gradient)
        return (scalar(decay, v) * v + g).astype(velocity.dtype)

    def step(gradient: Array, velocity: Array) -> Array:
        g, v = widen(gradient, velocity)
        ahead = g + scalar(decay, g) * v if nesterov else v
        if ahead.size == 0:
            return gradient
        matrix = ahead.reshape(-1, ahead.shape[-1])  # the kernel, inputs and window in rows
        rows, columns = matrix.shape
        factor = max(1.0, columns / rows) ** 0.5 if shape_scale else 1.0
        u = factor * newton_schulz(matrix, iterations)
        return u.reshape(gradient.shape).astype(gradient.dtype)

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, MuonState]:
        del params
        velocity = jax.tree.map(accelerate, state.velocity, updates)
        return each_part("kernel", layouts, step, updates, velocity), MuonState(velocity)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def muon(
    learning_rate: optax.ScalarOrSchedule = 0.02,
    decay: ArrayLike = 0.95,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    adam_scale: ArrayLike = 1.0,
    *,
    nesterov: bool = True,
    shape_scale: bool = True,
    iterations: int = 5,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Muon for matrices, Adam for the other leaves.

    `v <- decay * v + g`, `u = g + decay * v` (or `v` without `nesterov`)
    `theta <- theta - learning_rate * sqrt(max(1, columns / rows)) * newton_schulz(u)`
    Others: Adam with `b1`, `b2`, `eps` and the learning rate `adam_scale * learning_rate`

    Newton-Schulz takes all singular values near 1, so that a step does not feel the size of the
    gradient. Every leaf of at least two axes is a matrix, a kernel of more than two axes the matrix
    `(prod(shape[:-1]), shape[-1])`. With `layouts`, each kernel of a leaf (of a stack of layers, of
    packed projections, of the groups of a convolution) is a matrix of its own, heads are flattened
    as the layer uses them, and embeddings and tables that are added are for Adam.

    Args:
        learning_rate: scalar of at least 0, concrete or traced, or an Optax schedule.
        decay: the paper's mu, in [0, 1), concrete or traced.
        b1: of Adam, in [0, 1), concrete or traced.
        b2: of Adam, in [0, 1), concrete or traced.
        eps: of Adam; at least 0, concrete or traced.
        adam_scale: the learning rate of the others, relative to that of the matrices; at least 0,
            concrete or traced.
        nesterov: look one step ahead.
        shape_scale: multiply by `sqrt(max(1, columns / rows))`, `columns` being a layer's outputs.
        iterations: of Newton and Schulz, a whole number above 0; not traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete number is outside its range, a flag is not a bool, or `iterations`
            is not a whole number above 0.

    Reference:
        Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein (2024), Muon: an optimizer for
        hidden layers in neural networks, algorithm 2, Nesterov's form and the scale by shape as in
        the authors' code.

    Deviations:
        The first and the last layer are matrices like others; the authors train them with Adam, as
        embeddings are here by their layouts alone.
        The matrix is divided by its norm, not by the norm plus 1e-7, and all sums are formed in
        float32, not bfloat16. `optax.contrib.muon` corrects the velocity for its start at 0.

    >>> import jax.numpy as jnp
    >>> transform = muon(1.0, shape_scale=False)
    >>> gradients = {"bias": jnp.array([5.0]), "kernel": jnp.array([[5.0, 0.0]])}
    >>> updates, _ = transform.update(gradients, transform.init(gradients))
    >>> round(float(updates["bias"][0]), 4), round(float(updates["kernel"][0, 0]), 1)
    (-1.0, -0.7)
    """
    checks.non_negative("adam_scale", adam_scale)

    def of_others(update: Array) -> Array:
        (wide,) = widen(update)
        return (scalar(adam_scale, wide) * wide).astype(update.dtype)

    def labels(params: PyTree) -> PyTree:
        matrices = _matrices(params, layouts)
        return jax.tree.map(lambda matrix: "matrix" if matrix else "other", matrices)

    scaled = optax.stateless(lambda updates, params: jax.tree.map(of_others, updates))
    kinds = {
        "matrix": scale_by_muon(
            decay,
            nesterov=nesterov,
            shape_scale=shape_scale,
            iterations=iterations,
            layouts=layouts,
        ),
        "other": optax.chain(scale_by_adam(b1, b2, eps), scaled),
    }
    return optax.chain(
        optax.partition(kinds, labels),
        scale_by_learning_rate(learning_rate),
    )


def _matrices(params: PyTree, layouts: PyTree | None) -> PyTree:
    """Whether each leaf holds matrices."""
    parts = parts_of("kernel", layouts, params)
    return jax.tree.map(lambda part: part.kind in KERNELS, parts)


ENTRIES = (
    Transform(
        name="muon",
        make=muon,
        formula=(
            "v <- decay * v + g; theta <- theta - learning_rate * sqrt(max(1, columns / rows)) * "
            "newton_schulz(g + decay * v); biases and embeddings by Adam"
        ),
        reference="Jordan et al. (2024), algorithm 2",
    ),
)
