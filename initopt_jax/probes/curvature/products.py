"""Products of curvature matrices with vectors, without the matrices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax.types import Array, PyTree

Product = Callable[[Array], Array]


def flatten(tree: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """All leaves as one vector in float32 at least, and the way back to their shapes and dtypes.

    Args:
        tree: arrays of floating dtypes.

    Returns:
        The vector [P], in the order of `jax.tree.leaves`, and `vector -> tree`.

    >>> vector, restore = flatten({"w": jnp.ones((2, 1)), "b": jnp.zeros(1)})
    >>> vector.tolist(), restore(vector)["w"].shape
    ([0.0, 1.0, 1.0], (2, 1))
    """
    leaves, structure = jax.tree.flatten(tree)
    wide = jnp.result_type(jnp.float32, *leaves)
    ends = [0]
    for leaf in leaves:
        ends.append(ends[-1] + leaf.size)

    def restore(vector: Array) -> PyTree:
        parts = [
            vector[begin:end].reshape(leaf.shape).astype(leaf.dtype)
            for begin, end, leaf in zip(ends[:-1], ends[1:], leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, parts)

    return jnp.concatenate([leaf.astype(wide).ravel() for leaf in leaves]), restore


def hessian_product(
    loss: Callable[[PyTree, Any], Array], params: PyTree, batch: Any
) -> tuple[Product, int]:
    """Products with the Hessian: `v -> H v`, `H_ij = d^2 L / d theta_i d theta_j`.

    The gradient is differentiated in reverse, as `H` is symmetric: it works through operations that
    have a rule for reverse differentiation alone. Both passes are made once; a product costs the
    transposed pass only.

    Args:
        loss: `(params, batch) -> scalar`.
        params: where; P weights in all.
        batch: handed to the loss.

    Returns:
        `vector [P] -> vector [P]`, and P.

    Reference:
        Pearlmutter (1994), Fast exact multiplication by the Hessian, section 3, there in forward
        mode.

    >>> product, size = hessian_product(lambda w, b: b * w["x"] ** 3, {"x": jnp.array([2.0])}, 1.0)
    >>> product(jnp.ones(1)).tolist(), size
    ([12.0], 1)
    """
    theta, restore = flatten(params)
    scalar = _scalar(loss, batch)
    _, transposed = jax.vjp(jax.grad(lambda vector: scalar(restore(vector))), theta)
    return lambda vector: transposed(vector)[0], theta.size


def gauss_newton_product(
    outputs: Callable[[PyTree], Array], loss: Callable[[Array], Array], params: PyTree
) -> tuple[Product, int]:
    """Products with the Gauss-Newton matrix: `v -> J^T H_out J v`.

    `J` is the Jacobian of the outputs by the weights, `H_out` the Hessian of the loss by the
    outputs. `J v` is the transpose of the transpose, for models without forward differentiation.

    Args:
        outputs: `params -> outputs`, of any shape.
        loss: `outputs -> scalar`.
        params: where; P weights in all.

    Returns:
        `vector [P] -> vector [P]`, and P.

    Reference:
        Schraudolph (2002), Fast curvature matrix-vector products for second-order gradient
        descent, section 3.

    >>> x = {"x": jnp.array([3.0])}
    >>> product, _ = gauss_newton_product(lambda w: w["x"] ** 2, lambda out: out[0] ** 2 / 2, x)
    >>> product(jnp.ones(1)).tolist()  # J = 6, H_out = 1
    [36.0]
    """
    theta, restore = flatten(params)
    made, transposed = jax.vjp(lambda vector: outputs(restore(vector)), theta)
    _, forward = jax.vjp(lambda cotangent: transposed(cotangent)[0], jnp.zeros_like(made))
    _, outer = jax.vjp(jax.grad(lambda out: loss(out).reshape(())), made)

    def product(vector: Array) -> Array:
        return transposed(outer(forward(vector)[0])[0])[0]

    return product, theta.size


def scaled(product: Product, scale: Array) -> Product:
    """Products with `S A S` for a product with A and a diagonal S, given as [P].

    >>> scaled(lambda v: 3.0 * v, jnp.array([2.0]))(jnp.ones(1)).tolist()
    [12.0]
    """
    return lambda vector: scale * product(scale * vector)


def _scalar(loss: Callable[[PyTree, Any], Array], batch: Any) -> Callable[[PyTree], Array]:
    def loss_of(params: PyTree) -> Array:
        return jnp.asarray(loss(params, batch)).reshape(())

    return loss_of
