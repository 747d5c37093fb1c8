"""The precision of a study: the dtypes of its numbers, and the settings of JAX that they need."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import numpy as np

SWITCH = "jax_enable_x64"
MATMUL_PRECISION = "highest"  # float32 means float32 on every platform; never TF32 by accident


@dataclass(frozen=True)
class Precision:
    """Dtypes by name.

    Attributes:
        wide: of weights, optimizer state, hyperparameters, losses and results.
        compute: of what a model computes in between.
    """

    wide: str
    compute: str


PRECISIONS: dict[str, Precision] = {
    "float32": Precision("float32", "float32"),
    "bfloat16": Precision("float32", "bfloat16"),
    "float64": Precision("float64", "float64"),
}


@contextmanager
def in_precision(precision: str) -> Iterator[None]:
    """Within the block JAX has float64 where the precision says so, and else has not.

    The switch is set for all threads, as those that train are others, and for this one, which may
    have a setting of its own; afterwards it is as it was. Two studies of different precision cannot
    run in one process at the same time.

    Matrix products are of MATMUL_PRECISION, in this thread: also those of a user's functions that
    make a model or data, before anything trains. Threads that train set it for themselves.

    Args:
        precision: a name of `PRECISIONS`.

    >>> with in_precision("float64"):
    ...     jax.numpy.ones(()).dtype.name
    'float64'
    """
    wide = precision == "float64"
    before = jax.config.values[SWITCH]
    jax.config.update(SWITCH, wide)
    try:
        with jax.enable_x64(wide), jax.default_matmul_precision(MATMUL_PRECISION):
            yield
    finally:
        jax.config.update(SWITCH, before)


def param_dtype() -> np.dtype:
    """float64 within a block of `in_precision("float64")`, else float32.

    >>> param_dtype().name
    'float32'
    """
    return np.dtype(np.float64 if jax.config.read(SWITCH) else np.float32)
