"""A few strong connections per unit, all others absent."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.base import working_dtype
from initopt_jax.initializers.centre import matrix_shape
from initopt_jax.networks.fans import fans
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape


def sparse(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    connections: ArrayLike = 15.0,
    stddev: ArrayLike = 1.0,
) -> Array:
    """Normal weights on a fixed number of each unit's inputs, zeros on the rest.

    `W_ij ~ N(0, stddev^2)` for `min(ceil(connections), fan_in)` inputs `i` of unit `j`, chosen at
    random without replacement; `W_ij = 0` for the others

    Args:
        key: of this leaf.
        shape: of the leaf, at least two dimensions: `(inputs, outputs)` or
            `(..window.., inputs, outputs)`, whose inputs are those of the whole window.
        dtype: of the leaf, floating.
        connections: inputs per unit, above 0, rounded up, concrete or traced; it costs as many
            steps. In a sweep, every lane of a tile takes the steps of the largest.
        stddev: of the weights that are not 0, above 0, concrete or traced.

    Returns:
        The leaf.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, `dtype` is not a real
            floating dtype, or a concrete `connections` or `stddev` is not above 0.

    Reference:
        Martens (2010), Deep learning via Hessian-free optimization, section 5 (15 connections);
        Sutskever, Martens, Dahl and Hinton (2013), section 3.1 (unit normal weights). Bentley and
        Floyd (1987), Programming pearls: a sample of brilliance, for the sampling.

    Deviations:
        `torch.nn.init.sparse_` takes a fraction of zeros, counted over each input's outgoing
        weights.

    >>> import jax
    >>> weights = sparse(jax.random.key(0), (100, 3), connections=4)
    >>> (weights != 0).sum(axis=0).tolist()
    [4, 4, 4]
    """
    checks.positive("connections", connections)
    checks.positive("stddev", stddev)
    working = working_dtype(dtype)
    _, units = matrix_shape(shape)
    fan_in, _ = fans(shape)
    wanted = jnp.ceil(jnp.asarray(connections, jnp.float32))
    kept = jnp.clip(wanted, 0, fan_in).astype(jnp.int32)
    weights = _connect(key, kept, fan_in, units, working)
    return (jnp.asarray(stddev, working) * weights).reshape(shape).astype(dtype)


def sparse_distribution(
    shape: Shape, *, connections: float = 15.0, stddev: float = 1.0
) -> DistributionSpec:
    """The distribution of `sparse`."""
    checks.positive("connections", connections)
    checks.positive("stddev", stddev)
    _, units = matrix_shape(shape)
    fan_in, _ = fans(shape)
    kept = min(math.ceil(np.float32(connections)), fan_in)

    def arranged(weights: np.ndarray) -> str:
        counts = np.count_nonzero(weights.reshape(fan_in, units), axis=0)
        if (counts == kept).all():
            return ""
        return f"units have {counts.min()} to {counts.max()} connections, asked were {kept}"

    return DistributionSpec(
        "normal",
        std=stddev,
        zeros=(fan_in - kept) * units,
        drawn=lambda weights: weights[weights != 0],
        arranged=arranged,
    )


@functools.partial(jax.jit, static_argnames=("fan_in", "units", "dtype"))
def _connect(key: Array, kept: Array, fan_in: int, units: int, dtype: Any) -> Array:
    """Unit normal weights on `kept` inputs of each unit, zeros elsewhere [fan_in, units].

    Floyd's sampling: of the first `m + 1` inputs, `m` from `fan_in - kept` upward, one is drawn;
    if it is taken already, input `m`, which cannot be, is taken instead. All subsets are as likely,
    and the cost grows with the connections alone, where a sort would look at all inputs.
    """
    columns = jnp.arange(units)

    def add(step: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        weights, taken = state
        row_key, value_key = jax.random.split(jax.random.fold_in(key, step))
        last = fan_in - kept + step
        guess = jax.random.randint(row_key, (units,), 0, last + 1)
        rows = jnp.where(taken[guess, columns], last, guess)
        values = jax.random.normal(value_key, (units,), dtype)
        return weights.at[rows, columns].set(values), taken.at[rows, columns].set(True)

    start = jnp.zeros((fan_in, units), dtype), jnp.zeros((fan_in, units), bool)
    weights, _ = jax.lax.fori_loop(0, kept, add, start)
    return weights


ENTRIES = (
    Initializer(
        name="sparse",
        draw=sparse,
        distribution=sparse_distribution,
        formula="W ~ N(0, stddev^2) on `connections` random inputs of each unit; 0 elsewhere",
        reference="Martens (2010), section 5",
    ),
)
