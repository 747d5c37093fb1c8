"""The three draws that the families share, each formed in float32 and rounded to `dtype` once.

Drawing in bfloat16 directly would use 8 random bits per weight, and scaling there would round
twice; float64 leaves are drawn in float64.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax.types import Array, Shape

CUT = 2.0
# Standard deviation of N(0, 1) truncated to [-CUT, CUT]:
# sqrt(1 - 2 c phi(c) / (2 Phi(c) - 1)) with c = CUT.
TRUNCATED_STD = math.sqrt(
    1 - 2 * CUT * math.exp(-(CUT**2) / 2) / math.sqrt(2 * math.pi) / math.erf(CUT / math.sqrt(2))
)


def working_dtype(dtype: Any) -> Any:
    """The dtype that a leaf's draw is formed in: float64 for float64, else float32.

    Raises:
        ValueError: if `dtype` is not a real floating dtype.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be a real floating dtype, got {jnp.dtype(dtype).name}")
    return jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32


def as_number(value: ArrayLike, dtype: Any) -> Any:
    """An option as an argument of a compiled function: what is concrete stays on the host.

    Putting a Python number on a device is an operation of its own, and takes as long as a small
    draw.
    """
    if isinstance(value, jax.Array):
        return value.astype(dtype)
    return np.asarray(value, dtype)


def scaled_normal(key: Array, shape: Shape, dtype: Any, stddev: ArrayLike) -> Array:
    """`N(0, stddev^2)`."""
    working = working_dtype(dtype)
    draw = jax.random.normal(key, shape, working)
    return (jnp.asarray(stddev, working) * draw).astype(dtype)


def scaled_truncated_normal(key: Array, shape: Shape, dtype: Any, stddev: ArrayLike) -> Array:
    """A normal cut at two of its own standard deviations, scaled to have `stddev` once cut."""
    working = working_dtype(dtype)
    draw = jax.random.truncated_normal(key, -CUT, CUT, shape, working)
    return (jnp.asarray(stddev, working) / TRUNCATED_STD * draw).astype(dtype)


def scaled_uniform(key: Array, shape: Shape, dtype: Any, bound: ArrayLike) -> Array:
    """`U[-bound, bound)`."""
    working = working_dtype(dtype)
    draw = jax.random.uniform(key, shape, working, minval=-1.0, maxval=1.0)
    return (jnp.asarray(bound, working) * draw).astype(dtype)
