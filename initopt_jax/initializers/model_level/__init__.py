"""Initializers that see the whole network: its weights, its operations and its data.

Each is `(key, params, network, *, options) -> (params, info)`, pure and jittable: it takes the
weights that a tensor-level initializer drew, and returns them changed, with what it measured on the
way as scalars.
"""

import itertools
from collections.abc import Callable

from initopt_jax.initializers.model_level.data_dependent import ENTRIES as DATA_DEPENDENT
from initopt_jax.initializers.model_level.data_dependent import data_dependent
from initopt_jax.initializers.model_level.deep_norm import ENTRIES as DEEP_NORM
from initopt_jax.initializers.model_level.deep_norm import deep_norm
from initopt_jax.initializers.model_level.fixup import ENTRIES as FIXUP
from initopt_jax.initializers.model_level.fixup import fixup
from initopt_jax.initializers.model_level.gpt2 import ENTRIES as GPT2
from initopt_jax.initializers.model_level.gpt2 import gpt2
from initopt_jax.initializers.model_level.grad_init import ENTRIES as GRAD_INIT
from initopt_jax.initializers.model_level.grad_init import grad_init
from initopt_jax.initializers.model_level.layer_scale import ENTRIES as LAYER_SCALE
from initopt_jax.initializers.model_level.layer_scale import layer_scale
from initopt_jax.initializers.model_level.lsuv import ENTRIES as LSUV
from initopt_jax.initializers.model_level.lsuv import lsuv
from initopt_jax.initializers.model_level.meta_init import ENTRIES as META_INIT
from initopt_jax.initializers.model_level.meta_init import meta_init
from initopt_jax.initializers.model_level.mimetic import ENTRIES as MIMETIC
from initopt_jax.initializers.model_level.mimetic import mimetic
from initopt_jax.initializers.model_level.multipliers import Kind, Multipliers
from initopt_jax.initializers.model_level.mup import ENTRIES as MUP
from initopt_jax.initializers.model_level.mup import mup, mup_multipliers
from initopt_jax.initializers.model_level.ntk import ENTRIES as NTK
from initopt_jax.initializers.model_level.ntk import ntk, ntk_multipliers
from initopt_jax.initializers.model_level.rewind import make_rewind
from initopt_jax.initializers.model_level.rezero import ENTRIES as REZERO
from initopt_jax.initializers.model_level.rezero import rezero
from initopt_jax.initializers.model_level.spectral import ENTRIES as SPECTRAL
from initopt_jax.initializers.model_level.spectral import spectral, spectral_multipliers
from initopt_jax.initializers.model_level.stable_resnet import ENTRIES as STABLE_RESNET
from initopt_jax.initializers.model_level.stable_resnet import stable_resnet
from initopt_jax.initializers.model_level.t_fixup import ENTRIES as T_FIXUP
from initopt_jax.initializers.model_level.t_fixup import t_fixup
from initopt_jax.initializers.model_level.zero_gamma import ENTRIES as ZERO_GAMMA
from initopt_jax.initializers.model_level.zero_gamma import zero_gamma
from initopt_jax.networks.anatomy import Anatomy
from initopt_jax.networks.network import (
    Network,
    OnHost,
    leaves_of,
    make_network,
    require_branches,
    with_leaves,
)
from initopt_jax.types import ModelInitializer, PyTree


def _mup_of_width(
    anatomy: Anatomy, params: PyTree, *, kind: Kind, base_width: float = 64.0
) -> Multipliers:
    """`mup_multipliers` where all widths grow together."""
    return mup_multipliers(anatomy, params, base_width, kind=kind)


MODEL_LEVEL: dict[str, ModelInitializer] = {
    entry.name: entry
    for entry in itertools.chain(
        LSUV,
        DATA_DEPENDENT,
        META_INIT,
        GRAD_INIT,
        FIXUP,
        REZERO,
        LAYER_SCALE,
        ZERO_GAMMA,
        STABLE_RESNET,
        GPT2,
        T_FIXUP,
        DEEP_NORM,
        MIMETIC,
        MUP,
        SPECTRAL,
        NTK,
    )
}

# Learning rates that belong to a start: `(anatomy, params, *, kind, options) -> multipliers`.
PARAMETRIZATIONS: dict[str, Callable[..., Multipliers]] = {
    "mup": _mup_of_width,
    "ntk": ntk_multipliers,
    "spectral": spectral_multipliers,
}

__all__ = [
    "MODEL_LEVEL",
    "PARAMETRIZATIONS",
    "Network",
    "OnHost",
    "data_dependent",
    "deep_norm",
    "fixup",
    "gpt2",
    "grad_init",
    "layer_scale",
    "leaves_of",
    "lsuv",
    "make_network",
    "make_rewind",
    "meta_init",
    "mimetic",
    "mup",
    "mup_multipliers",
    "ntk",
    "ntk_multipliers",
    "require_branches",
    "rezero",
    "spectral",
    "spectral_multipliers",
    "stable_resnet",
    "t_fixup",
    "with_leaves",
    "zero_gamma",
]
