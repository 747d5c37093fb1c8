"""Singular values of a network's input-output Jacobian."""

import jax
import jax.numpy as jnp
from jax import lax

from initopt_jax.initializers import Network
from initopt_jax.norms import rescaled
from initopt_jax.probes.probe import Batch
from initopt_jax.probes.weights.spectrum import singular_values
from initopt_jax.types import Array, PyTree

SCALARS = ("jacobian_mean_square", "jacobian_largest", "jacobian_spread")
VALUES = "jacobian_singular_values"


def jacobian_spectrum(
    params: PyTree, batch: Batch, network: Network, *, examples: int = 8
) -> dict[str, Array]:
    """How evenly a network passes on small changes of its inputs.

    With the singular values `s_1 >= ... >= s_m` of `J = d z / d x` at one example, m the number of
    inputs or outputs, whichever is smaller, and the mean over examples of each:

    - `jacobian_singular_values`: all of them.
    - `jacobian_mean_square`: `mean s_i^2`, 1 where changes keep their size on average.
    - `jacobian_largest`: `s_1`.
    - `jacobian_spread`: `Var(s_i^2) / mean(s_i^2)^2`, 0 for an isometry. In networks of L square
      layers it is L with Gaussian and 0 with orthogonal weights, and with relu 2 L and L.

    The time grows with `m^2` times the larger of inputs and outputs: 0.2 s for the
    eight examples of one network that gives back 784 pixels.

    Args:
        params: of the network.
        batch: inputs [n, ...]; the targets do not matter.
        network: of the weights.
        examples: how many of the batch, at least 1; its first.

    Returns:
        The values [m], falling, and three scalars. NaN where inputs are whole numbers (tokens),
        which have no derivative, and where the Jacobian is not finite; the spread also where the
        Jacobian is 0.

    Raises:
        ValueError: if `examples` is below 1.

    Reference:
        Pennington, Schoenholz and Ganguli (2017), Resurrecting the sigmoid in deep learning through
        dynamical isometry, section 2; the spreads by its eq. 16 and 18.

    >>> from initopt_jax.initializers import make_network
    >>> params, x = {"w": jnp.diag(jnp.array([1.0, 3.0]))}, jnp.ones((2, 2))
    >>> network = make_network(lambda p, x: x @ p["w"], lambda z, y: z[:, 0], params, x, x)
    >>> found = jacobian_spectrum(params, Batch(x, x), network)
    >>> found["jacobian_singular_values"].tolist()
    [3.0, 1.0]
    >>> [round(float(found[name]), 4) for name in SCALARS]
    [5.0, 3.0, 0.64]
    """
    if examples < 1:
        raise ValueError(f"examples must be at least 1, got {examples}")
    wide = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
    inputs = batch.inputs[:examples]
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        made = jax.eval_shape(lambda x: network.apply(params, x), inputs)
        count = min(inputs[0].size, made.size // len(inputs))
        return dict.fromkeys(SCALARS, jnp.full((), jnp.nan, wide)) | {
            VALUES: jnp.full(count, jnp.nan, wide)
        }

    def measured(example: Array) -> tuple[Array, ...]:
        return _spectrum(_jacobian(params, example, network).astype(wide))

    found = [jnp.mean(part, axis=0) for part in lax.map(measured, inputs)]
    return dict(zip((VALUES, *SCALARS), found, strict=True))


def _jacobian(params: PyTree, example: Array, network: Network) -> Array:
    """[outputs, inputs] or its transpose, whichever is wide; row by row, for vjp always works."""

    def outputs(one: Array) -> Array:
        return network.apply(params, one[None]).ravel()

    made, pull = jax.vjp(outputs, example)
    rows = jax.vmap(lambda seed: pull(seed)[0].ravel())(jnp.eye(made.size, dtype=made.dtype))
    return rows if rows.shape[0] <= rows.shape[1] else rows.T


def _spectrum(jacobian: Array) -> tuple[Array, ...]:
    """Its singular values, the mean of their squares, the largest, the spread of the squares."""
    scaled, scale = rescaled(jacobian)
    values = singular_values(scaled)  # squares of very small ones would be 0
    squares = jnp.square(values)
    mean = jnp.mean(squares)
    spread = jnp.var(squares) / mean**2
    return scale * values, scale * (scale * mean), scale * values[0], spread
