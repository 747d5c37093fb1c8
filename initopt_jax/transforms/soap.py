"""SOAP: Adam in the eigenbasis of Shampoo's factors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.matrices import along, gram, power_iteration
from initopt_jax.transforms.numerics import (
    moving_mean,
    moving_mean_square,
    normalized,
    one_minus_power,
    ratio,
    scalar,
    widen,
    zeros,
)
from initopt_jax.transforms.parts import Parts, parts_of
from initopt_jax.types import Array, PyTree, Transform

FIRST_ITERATIONS = 10  # from the identity to the eigenvectors of the first factors
Factors = tuple[tuple[Array, ...], ...]


class SoapState(NamedTuple):
    """What SOAP remembers; factors, bases and the mean square are in the working dtype.

    step_count: int32, steps so far, the first included; stays at its maximum.
    mean: of the gradient, like the parameters.
    mean_square: of the gradient's kernels in their bases.
    factors: per leaf and axis of n, the mean product [n, n] of the gradient's slices; [0, 0] where
        the axis keeps its own basis.
    bases: per leaf and axis, a basis [n, n] of the factor's eigenvectors.

    The last three have a first axis for the kernels of a leaf that holds several.
    """

    step_count: Array
    mean: PyTree
    mean_square: PyTree
    factors: Factors
    bases: Factors


def _turn(tensor: Array, bases: tuple[Array, ...], *, back: bool = False) -> Array:
    """A leaf in its bases, or back from there."""
    for axis, basis in enumerate(bases):
        if basis.size:
            tensor = along(basis if back else basis.T, tensor, axis)
    return tensor


def scale_by_soap(
    b1: ArrayLike = 0.95,
    b2: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    *,
    bias_correction: bool = True,
    refresh_every: int = 10,
    max_size: int = 1200,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Adam's direction, formed in the eigenbasis of Shampoo's factors and turned back.

    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * (Q_L^T g Q_R)^2`
    `u = Q_L ((Q_L^T m Q_R / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)) Q_R^T`

    Args:
        b1: in [0, 1), concrete or traced.
        b2: in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        bias_correction: divide the moments by `1 - b1^t` and `1 - b2^t`.
        refresh_every: the paper's f, steps between two changes of basis, a whole number above 0;
            not traced.
        max_size: axes longer than this keep their own basis; a whole number above 0; not traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation; it leaves out the first step of leaves with a basis.

    Raises:
        ValueError: if a concrete number is outside its range, `bias_correction` is not a bool, or
            another is not a whole number above 0.

    Reference:
        Vyas et al. (2024), algorithms 3 and 4.

    >>> transform = scale_by_soap(eps=1e-3)
    >>> gradient = jnp.array([[3.0, 4.0]])
    >>> _, state = transform.update(gradient, transform.init(gradient))
    >>> [round(x, 2) for x in transform.update(gradient, state)[0][0].tolist()]
    [0.6, 0.8]
    """
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    checks.non_negative("eps", eps)
    checks.flag("bias_correction", bias_correction)
    checks.count("refresh_every", refresh_every)
    checks.count("max_size", max_size)

    def bases_of(part: Parts, leaf: Array) -> tuple[Array, ...]:
        sizes = [n if n <= max_size else 0 for n in part.shape] if len(part.shape) > 1 else []
        eyes = [jnp.eye(n, dtype=widen(leaf)[0].dtype) for n in sizes]
        return tuple(jnp.broadcast_to(eye, part.stack + eye.shape) for eye in eyes)

    def init(params: PyTree) -> SoapState:
        parts = parts_of("kernel", layouts, params)
        bases = tuple(map(bases_of, jax.tree.leaves(parts), jax.tree.leaves(params)))
        kernels = jax.tree.map(lambda part, leaf: part.take(widen(leaf)[0]), parts, params)
        return SoapState(
            jnp.zeros((), jnp.int32), zeros(params), zeros(kernels), zeros(bases), bases
        )

    def add(factors: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
        (g,) = widen(gradient)
        return tuple(
            moving_mean(factor, gram(g, axis), b2) if factor.size else factor
            for axis, factor in enumerate(factors)
        )

    def step(count: Array, gradient: Array, m: Array, v: Array, bases: tuple[Array, ...]) -> Array:
        (wide,) = widen(m)
        turned = _turn(wide, bases)
        if bias_correction:
            # Where the first step was left out, both moments are 0, and so are the corrections.
            turned = ratio(turned, one_minus_power(b1, count, turned))
            v = ratio(v, one_minus_power(b2, count, v))
        # Turned, zeros are noise: only where no square is left at all, they left the range.
        lost = (count > 0) & ~jnp.any(v > 0)
        size = jnp.sqrt(v) + scalar(eps, v)
        u = normalized(turned, size, jnp.where(lost, gradient, 0))
        u = _turn(u, bases, back=True)
        return u.astype(gradient.dtype)

    def moments(
        first: Array, gradient: Array, m: Array, v: Array, bases: tuple[Array, ...]
    ) -> tuple[Array, Array]:
        square = moving_mean_square(v, _turn(widen(gradient)[0], bases), b2)
        mean = moving_mean(m, gradient, b1)
        if not bases:
            return mean, square
        return jnp.where(first, m, mean), jnp.where(first, v, square)

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, SoapState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.step_count))
        leaves, structure = jax.tree.flatten(updates)
        parts: list[Parts] = jax.tree.leaves(parts_of("kernel", layouts, updates))
        kernels = [part.take(leaf) for part, leaf in zip(parts, leaves, strict=True)]
        factors = tuple(
            part.each(add)(f, g) for part, f, g in zip(parts, state.factors, kernels, strict=True)
        )
        # A basis changes at the end of a step, which is the start of the next one.
        first, later = state.step_count == 0, state.step_count > 1
        due = later & ((state.step_count - 1) % refresh_every == 0)
        iterations = jnp.where(first, FIRST_ITERATIONS, jnp.where(due, 1, 0))
        sources = jax.tree.map(lambda new, old: jnp.where(first, new, old), factors, state.factors)
        bases = iterated(sources, state.bases, iterations)

        def one(
            gradient: Array, m: Array, v: Array, basis: tuple[Array, ...]
        ) -> tuple[Array, Array, Array]:
            mean, square = moments(first, gradient, m, v, basis)
            u = step(count - 1 if basis else count, gradient, mean, square, basis)
            return u, mean, square

        means, squares, steps = [], [], []
        of_leaves = zip(parts, kernels, *map(jax.tree.leaves, state[1:3]), bases, strict=True)
        for part, gradient, m, v, basis in of_leaves:
            u, mean, square = part.each(one)(gradient, part.take(m), v, basis)
            steps.append(part.put(u))
            means.append(part.put(mean))
            squares.append(square)
        return structure.unflatten(steps), SoapState(
            count, structure.unflatten(means), structure.unflatten(squares), factors, bases
        )

    return on_real_leaves(optax.GradientTransformation(init, apply))


def iterated(factors: Factors, bases: Factors, count: Array) -> Factors:
    """The bases after some power iterations.

    Under `vmap`, `lax.cond` would iterate at every step; a loop of no rounds runs nothing.
    """

    def one(factor: Array, basis: Array) -> Array:
        if not factor.size:
            return basis
        each = power_iteration if factor.ndim == 2 else jax.vmap(power_iteration)
        return each(factor, basis)

    def iterate(count: Array, bases: Factors) -> Factors:
        del count
        return jax.tree.map(one, factors, bases)

    return jax.lax.fori_loop(0, count, iterate, bases)


def soap(
    learning_rate: optax.ScalarOrSchedule = 0.003,
    b1: ArrayLike = 0.95,
    b2: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    *,
    bias_correction: bool = True,
    refresh_every: int = 10,
    max_size: int = 1200,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """SOAP: Shampoo with Adam in the preconditioner's eigenbasis.

    `L <- b2 * L + (1 - b2) * g g^T`, `R <- b2 * R + (1 - b2) * g^T g`
    `Q_L <- QR(L Q_L)`, `Q_R <- QR(R Q_R)` every `refresh_every` steps
    `m <- b1 * m + (1 - b1) * g`, `v <- b2 * v + (1 - b2) * (Q_L^T g Q_R)^2`
    `u = (Q_L^T m Q_R / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`
    `theta <- theta - learning_rate * Q_L u Q_R^T`

    A leaf of more than two axes has a basis for each; one of fewer is trained by Adam. With
    `layouts`, each kernel `(*window, inputs, outputs)` of a leaf has bases of its own.

    Args:
        learning_rate: the paper's eta; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        b1: decay of the mean, in [0, 1), concrete or traced.
        b2: decay of the mean square and of the factors, in [0, 1), concrete or traced.
        eps: outside the root, after the correction; at least 0, concrete or traced.
        bias_correction: divide the moments by `1 - b1^t` and `1 - b2^t`.
        refresh_every: the paper's f, steps between two changes of basis, a whole number above 0;
            not traced.
        max_size: axes longer than this keep their own basis; a whole number above 0; not traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete number is outside its range, `bias_correction` is not a bool, or
            another is not a whole number above 0.

    Reference:
        Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson and Kakade (2024), SOAP:
        improving and stabilizing Shampoo using Adam, algorithms 3 and 4.

    Deviations:
        The algorithm leaves the start open. As in the authors' code, the first gradient of a leaf
        with a basis only makes the first factors and bases, and moves nothing; here these bases are
        ten power iterations from the identity, there eigenvectors.

    >>> transform = soap(0.5)
    >>> gradients = {"bias": jnp.array([3.0]), "kernel": jnp.array([[3.0, 4.0]])}
    >>> updates, _ = transform.update(gradients, transform.init(gradients))
    >>> updates["bias"].tolist(), bool(jnp.any(updates["kernel"]))
    ([-0.5], False)
    """
    core = scale_by_soap(
        b1,
        b2,
        eps,
        bias_correction=bias_correction,
        refresh_every=refresh_every,
        max_size=max_size,
        layouts=layouts,
    )
    return optax.chain(core, scale_by_learning_rate(learning_rate))


ENTRIES = (
    Transform(
        name="soap",
        make=soap,
        formula=(
            "m, v: Adam's moments of g and of (Q_L^T g Q_R)^2; theta <- theta - learning_rate * "
            "Q_L ((Q_L^T m Q_R / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)) Q_R^T, Q_L and Q_R "
            "eigenvectors of the mean g g^T and g^T g"
        ),
        reference="Vyas et al. (2024), algorithms 3 and 4",
    ),
)
