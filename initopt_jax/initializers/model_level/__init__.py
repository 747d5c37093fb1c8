"""Initializers that see the whole network: its weights, its operations and its data.

Each is `(key, params, network, *, options) -> (params, info)`, pure and jittable: it takes the
weights that a tensor-level initializer drew, and returns them changed, with what it measured on the
way as scalars.
"""

import itertools

from initopt_jax.initializers.model_level.lsuv import ENTRIES as LSUV
from initopt_jax.initializers.model_level.lsuv import lsuv
from initopt_jax.initializers.model_level.network import (
    Network,
    leaves_of,
    make_network,
    require_branches,
    with_leaves,
)
from initopt_jax.types import ModelInitializer

MODEL_LEVEL: dict[str, ModelInitializer] = {entry.name: entry for entry in itertools.chain(LSUV)}

__all__ = [
    "MODEL_LEVEL",
    "Network",
    "leaves_of",
    "lsuv",
    "make_network",
    "require_branches",
    "with_leaves",
]
