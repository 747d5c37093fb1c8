"""First weights: pure functions of a key, a shape and traced options, and rules that place them.

Each draw is `(key, shape, dtype=float32, *, options)` and fits any Flax `kernel_init`; its
entry in `REGISTRY` states the distribution that the audit holds it to.
"""

from initopt_jax.initializers.biases import chrono, forget_gate, prior_log_odds
from initopt_jax.initializers.constant import (
    constant,
    ones,
    zeros,
)
from initopt_jax.initializers.delta_orthogonal import delta_orthogonal
from initopt_jax.initializers.gains import gain
from initopt_jax.initializers.glorot import glorot_normal, glorot_uniform
from initopt_jax.initializers.hadamard import hadamard
from initopt_jax.initializers.he import he_normal, he_uniform
from initopt_jax.initializers.identity import identity
from initopt_jax.initializers.lecun import lecun_normal, lecun_uniform
from initopt_jax.initializers.looks_linear import looks_linear
from initopt_jax.initializers.mean_field_critical import mean_field_bias, mean_field_critical
from initopt_jax.initializers.model_level import (
    MODEL_LEVEL,
    PARAMETRIZATIONS,
    Network,
    OnHost,
    make_network,
)
from initopt_jax.initializers.normal import (
    normal,
    truncated_normal,
)
from initopt_jax.initializers.orthogonal import orthogonal
from initopt_jax.initializers.presets import (
    flax_default,
    keras_default,
    torch_default,
    torch_default_bias,
)
from initopt_jax.initializers.random_walk import random_walk
from initopt_jax.initializers.registry import REGISTRY
from initopt_jax.initializers.rules import (
    DEFAULT_PATTERNS,
    LeafRule,
    WithLayout,
    default_rules,
    draw_leaves,
    initialize,
    match_rules,
    with_layout,
)
from initopt_jax.initializers.signed_constant import signed_constant
from initopt_jax.initializers.siren import siren
from initopt_jax.initializers.sparse import sparse
from initopt_jax.initializers.uniform import uniform
from initopt_jax.initializers.variance_scaling import variance_scaling
from initopt_jax.initializers.zero_hadamard import zero_hadamard
from initopt_jax.networks.fans import fans
from initopt_jax.networks.layout import Layout, standard_layout, stated_layout, unknown_notes
from initopt_jax.networks.usage import layouts

__all__ = [
    "DEFAULT_PATTERNS",
    "MODEL_LEVEL",
    "PARAMETRIZATIONS",
    "REGISTRY",
    "Layout",
    "LeafRule",
    "Network",
    "OnHost",
    "WithLayout",
    "chrono",
    "constant",
    "default_rules",
    "delta_orthogonal",
    "draw_leaves",
    "fans",
    "flax_default",
    "forget_gate",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "hadamard",
    "he_normal",
    "he_uniform",
    "identity",
    "initialize",
    "keras_default",
    "layouts",
    "lecun_normal",
    "lecun_uniform",
    "looks_linear",
    "make_network",
    "match_rules",
    "mean_field_bias",
    "mean_field_critical",
    "normal",
    "ones",
    "orthogonal",
    "prior_log_odds",
    "random_walk",
    "signed_constant",
    "siren",
    "sparse",
    "standard_layout",
    "stated_layout",
    "torch_default",
    "torch_default_bias",
    "truncated_normal",
    "uniform",
    "unknown_notes",
    "variance_scaling",
    "with_layout",
    "zero_hadamard",
    "zeros",
]
