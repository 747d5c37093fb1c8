"""Initializers that see the whole network: its weights, its operations and its data.

Each is `(key, params, network, *, options) -> (params, info)`, pure and jittable: it takes the
weights that a tensor-level initializer drew, and returns them changed, with what it measured on the
way as scalars.
"""

import itertools

from initopt_jax.initializers.model_level.data_dependent import ENTRIES as DATA_DEPENDENT
from initopt_jax.initializers.model_level.data_dependent import data_dependent
from initopt_jax.initializers.model_level.grad_init import ENTRIES as GRAD_INIT
from initopt_jax.initializers.model_level.grad_init import grad_init
from initopt_jax.initializers.model_level.lsuv import ENTRIES as LSUV
from initopt_jax.initializers.model_level.lsuv import lsuv
from initopt_jax.initializers.model_level.meta_init import ENTRIES as META_INIT
from initopt_jax.initializers.model_level.meta_init import meta_init
from initopt_jax.initializers.model_level.mup import ENTRIES as MUP
from initopt_jax.initializers.model_level.mup import mup, mup_multipliers
from initopt_jax.initializers.model_level.network import (
    Network,
    leaves_of,
    make_network,
    require_branches,
    with_leaves,
)
from initopt_jax.initializers.model_level.ntk import ENTRIES as NTK
from initopt_jax.initializers.model_level.ntk import ntk, ntk_multipliers
from initopt_jax.initializers.model_level.rewind import make_rewind
from initopt_jax.initializers.model_level.spectral import ENTRIES as SPECTRAL
from initopt_jax.initializers.model_level.spectral import spectral, spectral_multipliers
from initopt_jax.types import ModelInitializer

MODEL_LEVEL: dict[str, ModelInitializer] = {
    entry.name: entry
    for entry in itertools.chain(
        DATA_DEPENDENT,
        GRAD_INIT,
        LSUV,
        META_INIT,
        MUP,
        NTK,
        SPECTRAL,
    )
}

__all__ = [
    "MODEL_LEVEL",
    "Network",
    "data_dependent",
    "grad_init",
    "leaves_of",
    "lsuv",
    "make_network",
    "make_rewind",
    "meta_init",
    "mup",
    "mup_multipliers",
    "ntk",
    "ntk_multipliers",
    "require_branches",
    "spectral",
    "spectral_multipliers",
    "with_leaves",
]
