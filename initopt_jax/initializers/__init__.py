"""First weights: pure functions of a key, a shape and traced options, and rules that place them.

Each draw is `(key, shape, dtype=float32, *, options)` and fits any Flax `kernel_init`; its
entry in `REGISTRY` states the law that the audit holds it to.
"""

from initopt_jax.initializers.constant import (
    constant,
    ones,
    zeros,
)
from initopt_jax.initializers.fans import fans
from initopt_jax.initializers.layout import Layout, standard_layout
from initopt_jax.initializers.model_level import MODEL_LEVEL, Network, make_network
from initopt_jax.initializers.normal import (
    normal,
    truncated_normal,
)
from initopt_jax.initializers.orthogonal import orthogonal
from initopt_jax.initializers.registry import REGISTRY
from initopt_jax.initializers.rules import (
    LeafRule,
    default_rules,
    draw_leaves,
    initialize,
    match_rules,
)
from initopt_jax.initializers.uniform import uniform
from initopt_jax.initializers.usage import layouts
from initopt_jax.initializers.variance_scaling import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
)

__all__ = [
    "MODEL_LEVEL",
    "REGISTRY",
    "Layout",
    "LeafRule",
    "Network",
    "constant",
    "default_rules",
    "draw_leaves",
    "fans",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initialize",
    "layouts",
    "lecun_normal",
    "lecun_uniform",
    "make_network",
    "match_rules",
    "normal",
    "ones",
    "orthogonal",
    "standard_layout",
    "truncated_normal",
    "uniform",
    "zeros",
]
