"""First weights: pure functions of a key, a shape and traced options, and rules that place them.

Each draw is `(key, shape, dtype=float32, *, options)` and fits any Flax `kernel_init`; its
companion `*_law` states the distribution that the audit holds it to.
"""

from initopt_jax.initializers.constant import (
    constant,
    constant_law,
    ones,
    ones_law,
    zeros,
    zeros_law,
)
from initopt_jax.initializers.fans import fans
from initopt_jax.initializers.normal import (
    normal,
    normal_law,
    truncated_normal,
    truncated_normal_law,
)
from initopt_jax.initializers.orthogonal import orthogonal, orthogonal_law
from initopt_jax.initializers.registry import REGISTRY
from initopt_jax.initializers.rules import (
    LeafRule,
    default_rules,
    draw_leaves,
    initialize,
    match_rules,
)
from initopt_jax.initializers.uniform import uniform, uniform_law
from initopt_jax.initializers.variance_scaling import (
    glorot_normal,
    glorot_normal_law,
    glorot_uniform,
    glorot_uniform_law,
    he_normal,
    he_normal_law,
    he_uniform,
    he_uniform_law,
    lecun_normal,
    lecun_normal_law,
    lecun_uniform,
    lecun_uniform_law,
)

__all__ = [
    "REGISTRY",
    "LeafRule",
    "constant",
    "constant_law",
    "default_rules",
    "draw_leaves",
    "fans",
    "glorot_normal",
    "glorot_normal_law",
    "glorot_uniform",
    "glorot_uniform_law",
    "he_normal",
    "he_normal_law",
    "he_uniform",
    "he_uniform_law",
    "initialize",
    "lecun_normal",
    "lecun_normal_law",
    "lecun_uniform",
    "lecun_uniform_law",
    "match_rules",
    "normal",
    "normal_law",
    "ones",
    "ones_law",
    "orthogonal",
    "orthogonal_law",
    "truncated_normal",
    "truncated_normal_law",
    "uniform",
    "uniform_law",
    "zeros",
    "zeros_law",
]
