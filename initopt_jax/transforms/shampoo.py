"""Shampoo: a preconditioner for each axis of a kernel, of the products of its gradients."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.matrices import along, gram, inverse_root
from initopt_jax.transforms.numerics import normalized, scalar, widen
from initopt_jax.transforms.parts import Parts, parts_of
from initopt_jax.types import Array, PyTree, Transform

Factors = tuple[tuple[Array, ...], ...]


class ShampooState(NamedTuple):
    """What Shampoo remembers, in the working dtype: in bfloat16, roots of it would be noise.

    step_count: int32, steps so far; stays at its maximum.
    factors: per leaf and axis of n, the sum of the products [n, n] of the gradient's slices; for a
        long axis, their diagonal [n]; with a first axis for the kernels of a leaf that holds
        several.
    roots: the inverse roots of the factors when they were last formed; empty where every step forms
        them anew.
    """

    step_count: Array
    factors: Factors
    roots: Factors


def _as_tensor(leaf: Array) -> Array:
    (wide,) = widen(leaf)
    return jnp.atleast_1d(wide)


def scale_by_shampoo(
    eps: ArrayLike = 1e-4,
    *,
    refresh_every: int = 1,
    max_size: int = 1200,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Multiplies each axis of a gradient by an inverse root of the products of gradients so far.

    For a matrix: `L <- L + g g^T`, `R <- R + g^T g`,
    `u = (L + eps I)^(-1/4) g (R + eps I)^(-1/4)`; for `k` axes, `k` factors to the power
    `-1 / (2 k)`

    Args:
        eps: at least 0, concrete or traced.
        refresh_every: steps between two computations of the roots, a whole number above 0; not
            traced.
        max_size: axes longer than this get a diagonal factor; a whole number above 0; not traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete `eps` is negative or not finite, or another is not a whole number
            above 0.

    Reference:
        Gupta, Koren and Singer (2018), algorithms 1 and 2.

    >>> transform = scale_by_shampoo()
    >>> gradient = jnp.array([[3.0, 0.0], [0.0, -0.5]])
    >>> transform.update(gradient, transform.init(gradient))[0].round(2).tolist()
    [[1.0, 0.0], [0.0, -1.0]]
    """
    checks.non_negative("eps", eps)
    checks.count("refresh_every", refresh_every)
    checks.count("max_size", max_size)

    def fresh(part: Parts, leaf: Array) -> tuple[Array, ...]:
        sizes = [(n, n) if n <= max_size else (n,) for n in part.shape or (1,)]
        return tuple(jnp.zeros(part.stack + size, widen(leaf)[0].dtype) for size in sizes)

    def init(params: PyTree) -> ShampooState:
        parts = jax.tree.leaves(parts_of("kernel", layouts, params))

        def zeros() -> Factors:
            return tuple(map(fresh, parts, jax.tree.leaves(params)))

        return ShampooState(jnp.zeros((), jnp.int32), zeros(), zeros() if refresh_every > 1 else ())

    def add(factors: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
        g = _as_tensor(gradient)
        return tuple(
            factor + (gram(g, axis) if factor.ndim == 2 else _squares(g, axis))
            for axis, factor in enumerate(factors)
        )

    def roots_of(factors: tuple[Array, ...]) -> tuple[Array, ...]:
        power = 2 * len(factors)
        return tuple(
            inverse_root(factor, power, eps)
            if factor.ndim == 2
            else _inverse(factor + scalar(eps, factor), power)
            for factor in factors
        )

    def step(gradient: Array, factors: tuple[Array, ...], roots: tuple[Array, ...]) -> Array:
        g = u = _as_tensor(gradient)
        for axis, root in enumerate(roots):
            if root.ndim == 2:
                u = along(root, u, axis)
            else:
                u = u * jnp.expand_dims(root, [i for i in range(u.ndim) if i != axis])
        # Where even the products of the gradient with itself are 0 in this dtype, nothing is known.
        largest = jnp.stack([jnp.max(factor, initial=0) for factor in factors])
        u = jnp.where(jnp.any(g != 0) & jnp.any(largest + eps == 0), jnp.nan, u)
        return u.reshape(gradient.shape).astype(gradient.dtype)

    def apply(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, ShampooState]:
        del params
        leaves, structure = jax.tree.flatten(updates)
        parts: list[Parts] = jax.tree.leaves(parts_of("kernel", layouts, updates))
        kernels = [part.take(leaf) for part, leaf in zip(parts, leaves, strict=True)]
        factors = tuple(
            part.each(add)(f, g) for part, f, g in zip(parts, state.factors, kernels, strict=True)
        )

        def all_roots() -> Factors:
            return tuple(part.each(roots_of)(f) for part, f in zip(parts, factors, strict=True))

        if refresh_every > 1:
            due = state.step_count % refresh_every == 0
            roots = kept = only_if(due, all_roots, state.roots)
        else:
            roots, kept = all_roots(), ()
        steps = [
            part.put(part.each(step)(g, f, r))
            for part, g, f, r in zip(parts, kernels, factors, roots, strict=True)
        ]
        count = jnp.asarray(optax.safe_increment(state.step_count))
        return structure.unflatten(steps), ShampooState(count, factors, kept)

    return on_real_leaves(optax.GradientTransformation(init, apply))


def only_if(due: Array, make: Callable[[], Factors], kept: Factors) -> Factors:
    """`make()` where `due`, else what is there.

    Under `vmap`, `lax.cond` would run `make` at every step; a loop of no rounds runs nothing.
    """
    return jax.lax.while_loop(
        lambda carry: carry[0], lambda carry: (jnp.zeros_like(due), make()), (due, kept)
    )[1]


def _squares(tensor: Array, axis: int) -> Array:
    """The diagonal of `gram(tensor, axis)`."""
    return jnp.sum(tensor * tensor, axis=[i for i in range(tensor.ndim) if i != axis])


def _inverse(diagonal: Array, power: int) -> Array:
    return normalized(jnp.ones_like(diagonal), diagonal ** (1 / power), jnp.zeros_like(diagonal))


def shampoo(
    learning_rate: optax.ScalarOrSchedule,
    eps: ArrayLike = 1e-4,
    *,
    refresh_every: int = 1,
    max_size: int = 1200,
    layouts: PyTree | None = None,
) -> optax.GradientTransformation:
    """Shampoo.

    `L <- L + g g^T`, `R <- R + g^T g`
    `theta <- theta - learning_rate * (L + eps I)^(-1/4) g (R + eps I)^(-1/4)`

    A leaf of `k` axes has `k` factors, each the sum of the products of the gradient's slices along
    its axis, to the power `-1 / (2 k)`: for a vector it is full-matrix Adagrad. With `layouts`,
    each kernel `(*window, inputs, outputs)` of a leaf has factors of its own.

    Args:
        learning_rate: the paper's eta; scalar of at least 0, concrete or traced, or an Optax
            schedule.
        eps: what the factors start with on the diagonal; at least 0, concrete or traced.
        refresh_every: steps between two computations of the roots, a whole number above 0; not
            traced. The roots take most of the time.
        max_size: axes longer than this get a diagonal factor; a whole number above 0; not traced.
        layouts: how the network uses its leaves, path to layout, as `initializers.layouts` gives
            them; None: what shapes suggest. Not traced.

    Returns:
        The transformation.

    Raises:
        ValueError: if a concrete number is negative or not finite, or another is not a whole number
            above 0.

    Reference:
        Gupta, Koren and Singer (2018), Shampoo: preconditioned stochastic tensor optimization,
        algorithms 1 and 2; section 6 for diagonal factors.

    Deviations:
        None with `refresh_every` of 1. The paper's experiments add momentum: chain it. In float32,
        eigenvalues below `4 sqrt(n) 1e-7` of a factor's largest count as that.

    >>> transform = shampoo(0.5)
    >>> gradient = jnp.array([3.0, -4.0])
    >>> updates, _ = transform.update(gradient, transform.init(gradient))
    >>> [round(x, 3) for x in updates.tolist()]
    [-0.3, 0.4]
    """
    return optax.chain(
        scale_by_shampoo(eps, refresh_every=refresh_every, max_size=max_size, layouts=layouts),
        scale_by_learning_rate(learning_rate),
    )


ENTRIES = (
    Transform(
        name="shampoo",
        make=shampoo,
        formula=(
            "L <- L + g g^T; R <- R + g^T g; theta <- theta - learning_rate * "
            "(L + eps I)^(-1/4) g (R + eps I)^(-1/4)"
        ),
        reference="Gupta, Koren and Singer (2018), algorithms 1 and 2",
    ),
)
