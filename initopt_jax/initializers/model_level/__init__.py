"""Initializers that see the whole network: its weights, its operations and its data.

Each is `(key, params, network, *, options) -> (params, info)`, pure and jittable: it takes the
weights that a tensor-level initializer drew, and returns them changed, with what it measured on the
way as scalars.
"""

import itertools

from initopt_jax.initializers.model_level.deep_norm import ENTRIES as DEEP_NORM
from initopt_jax.initializers.model_level.deep_norm import deep_norm
from initopt_jax.initializers.model_level.fixup import ENTRIES as FIXUP
from initopt_jax.initializers.model_level.fixup import fixup
from initopt_jax.initializers.model_level.gpt2 import ENTRIES as GPT2
from initopt_jax.initializers.model_level.gpt2 import gpt2
from initopt_jax.initializers.model_level.layer_scale import ENTRIES as LAYER_SCALE
from initopt_jax.initializers.model_level.layer_scale import layer_scale
from initopt_jax.initializers.model_level.lsuv import ENTRIES as LSUV
from initopt_jax.initializers.model_level.lsuv import lsuv
from initopt_jax.initializers.model_level.mimetic import ENTRIES as MIMETIC
from initopt_jax.initializers.model_level.mimetic import mimetic
from initopt_jax.initializers.model_level.network import (
    Network,
    leaves_of,
    make_network,
    require_branches,
    with_leaves,
)
from initopt_jax.initializers.model_level.rezero import ENTRIES as REZERO
from initopt_jax.initializers.model_level.rezero import rezero
from initopt_jax.initializers.model_level.stable_resnet import ENTRIES as STABLE_RESNET
from initopt_jax.initializers.model_level.stable_resnet import stable_resnet
from initopt_jax.initializers.model_level.t_fixup import ENTRIES as T_FIXUP
from initopt_jax.initializers.model_level.t_fixup import t_fixup
from initopt_jax.initializers.model_level.zero_gamma import ENTRIES as ZERO_GAMMA
from initopt_jax.initializers.model_level.zero_gamma import zero_gamma
from initopt_jax.types import ModelInitializer

MODEL_LEVEL: dict[str, ModelInitializer] = {
    entry.name: entry
    for entry in itertools.chain(
        LSUV,
        DEEP_NORM,
        FIXUP,
        GPT2,
        LAYER_SCALE,
        MIMETIC,
        REZERO,
        STABLE_RESNET,
        T_FIXUP,
        ZERO_GAMMA,
    )
}

__all__ = [
    "MODEL_LEVEL",
    "Network",
    "deep_norm",
    "fixup",
    "gpt2",
    "layer_scale",
    "leaves_of",
    "lsuv",
    "make_network",
    "mimetic",
    "require_branches",
    "rezero",
    "stable_resnet",
    "t_fixup",
    "with_leaves",
    "zero_gamma",
]
