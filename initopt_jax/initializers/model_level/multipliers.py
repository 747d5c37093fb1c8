"""What the learning-rate multipliers of a parametrization share.

A parametrization fixes, besides first weights, a learning rate for every leaf. Its multipliers go
by path, to `transforms.scale_by_leaf`, which is chained after the optimizer.
"""

import math
from collections.abc import Mapping
from typing import Literal

from jax.typing import ArrayLike

from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.networks.layout import Layout
from initopt_jax.types import Shape

# How an update changes when its gradients are multiplied by c: by c (gradient descent, momentum,
# Nesterov's method), or not at all (Adam, RMSprop, Adagrad, as far as eps is small against them).
Kind = Literal["sgd", "adam"]
Multipliers = Mapping[str, ArrayLike]


def require_kind(kind: str) -> None:
    """Refuse a kind of optimizer that multipliers are not known for.

    Raises:
        ValueError: if it is neither `sgd` nor `adam`.
    """
    if kind not in ("sgd", "adam"):
        raise ValueError(unknown_name("kind", kind, ("sgd", "adam")))


def sides(layout: Layout, shape: Shape) -> tuple[int, int]:
    """Rows and columns of a leaf as a matrix: what a unit sums over, and its units.

    A convolution is the matrix of its patches. Leaves that are not summed over have a row for each
    unit's one number.

    Raises:
        ConfigError: what the network does with the leaf is not known.

    >>> from initopt_jax.networks.layout import standard_layout
    >>> [sides(standard_layout(shape), shape) for shape in ((3, 3, 16, 32), (32,), ())]
    [(144, 32), (1, 32), (1, 1)]
    """
    if layout.kind == "unknown":
        raise ConfigError(
            f"the sides of a leaf of shape {shape} are not known, so that it has no learning rate "
            f"of its own: {layout.why}"
        )
    if layout.kind in ("vector", "added"):
        return 1, math.prod(shape)
    *inputs, outputs = layout.kernel_shape(shape)
    return math.prod(inputs), outputs
