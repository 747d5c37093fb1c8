"""Singular values of a network's input-output Jacobian."""

import jax
import jax.numpy as jnp
from jax import lax

from initopt_jax.initializers import Network
from initopt_jax.probes.probe import Batch
from initopt_jax.types import Array, PyTree

OUTPUTS = ("jacobian_mean_square", "jacobian_largest", "jacobian_spread")


def jacobian_spectrum(
    params: PyTree, batch: Batch, network: Network, *, examples: int = 8, rounds: int = 100
) -> dict[str, Array]:
    """How evenly a network passes on small changes of its inputs.

    With the singular values `s_1 >= ... >= s_m` of `J = d z / d x` at one example, m the number of
    inputs or outputs, whichever is smaller, and the mean over examples of each:

    - `jacobian_mean_square`: `mean s_i^2`, 1 where changes keep their size on average.
    - `jacobian_largest`: `s_1`, by power iteration.
    - `jacobian_spread`: `Var(s_i^2) / mean(s_i^2)^2`, 0 for an isometry. In networks of L square
      layers it is L with Gaussian and 0 with orthogonal weights, and with relu 2 L and L.

    The moments are traces of `G = J J^T` and of `G^2`; no decomposition is computed.

    Args:
        params: of the network.
        batch: inputs [n, ...]; the targets do not matter.
        network: of the weights.
        examples: how many of the batch, at least 1; its first.
        rounds: of the power iteration, at least 1. It comes from below; 100 give `s_1` to 1%, for
            values so near to the largest that it cannot tell them apart are as good.

    Returns:
        Three scalars. NaN where inputs are whole numbers (tokens), which have no derivative, and
        the last two where the Jacobian is 0.

    Raises:
        ValueError: if `examples` or `rounds` is below 1.

    Reference:
        Pennington, Schoenholz and Ganguli (2017), Resurrecting the sigmoid in deep learning through
        dynamical isometry, section 2; the spreads by its eq. 16 and 18.

    >>> from initopt_jax.initializers import make_network
    >>> params, x = {"w": jnp.diag(jnp.array([3.0, 1.0]))}, jnp.ones((2, 2))
    >>> network = make_network(lambda p, x: x @ p["w"], lambda z, y: z[:, 0], params, x, x)
    >>> found = jacobian_spectrum(params, Batch(x, x), network)
    >>> [round(float(found[name]), 4) for name in OUTPUTS]
    [5.0, 3.0, 0.64]
    """
    for name, value in (("examples", examples), ("rounds", rounds)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    wide = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
    if not jnp.issubdtype(batch.inputs.dtype, jnp.floating):
        return dict.fromkeys(OUTPUTS, jnp.full((), jnp.nan, wide))

    def measured(example: Array) -> tuple[Array, Array, Array]:
        return _moments(_jacobian(params, example, network).astype(wide), rounds)

    found = lax.map(measured, batch.inputs[:examples])
    return {name: jnp.mean(part) for name, part in zip(OUTPUTS, found, strict=True)}


def _jacobian(params: PyTree, example: Array, network: Network) -> Array:
    """[outputs, inputs] or its transpose, whichever is wide; row by row, for vjp always works."""

    def outputs(one: Array) -> Array:
        return network.apply(params, one[None]).ravel()

    made, pull = jax.vjp(outputs, example)
    rows = jax.vmap(lambda seed: pull(seed)[0].ravel())(jnp.eye(made.size, dtype=made.dtype))
    return rows if rows.shape[0] <= rows.shape[1] else rows.T


def _moments(jacobian: Array, rounds: int) -> tuple[Array, Array, Array]:
    largest = jnp.max(jnp.abs(jacobian))
    # Powers of the Jacobian of a deep network under- or overflow; those of its shape do not.
    scaled = jacobian / largest
    gram = scaled @ scaled.T
    count = gram.shape[0]
    mean = jnp.trace(gram) / count
    spread = jnp.sum(jnp.square(gram)) / count / mean**2 - 1
    start = gram @ jnp.cos(jnp.arange(count, dtype=gram.dtype))  # nothing special about it
    start = start + jnp.diagonal(gram)

    def step(_: Array, vector: Array) -> Array:
        image = gram @ vector
        return image / jnp.sqrt(jnp.sum(jnp.square(image)))

    vector = lax.fori_loop(0, rounds, step, start / jnp.sqrt(jnp.sum(jnp.square(start))))
    top = jnp.sqrt(jnp.sum(jnp.square(gram @ vector)))
    zero = largest == 0
    return (
        jnp.where(zero, 0.0, mean * largest**2),
        jnp.where(zero, 0.0, jnp.sqrt(top) * largest),
        spread,
    )
