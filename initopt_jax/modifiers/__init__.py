"""What stands around an optimizer: clipping, weight decay, noise, averages, rates of some leaves.

Each is a pure function whose numbers may be traced. Those of gradients and of updates are
transformations like any other, to be chained; those around an optimizer take it as their first
argument. A config lists them under `modifiers`; in Python they compose with any Optax transform:

>>> import optax
>>> from initopt_jax import modifiers, transforms
>>> clipped = optax.chain(modifiers.clip_by_global_norm(1.0), transforms.adam(0.001))
>>> averaged = modifiers.ema(clipped, decay=0.99)
"""

from initopt_jax.modifiers.accumulate import accumulate
from initopt_jax.modifiers.average import ema, swa
from initopt_jax.modifiers.clipping import (
    adaptive_clip,
    clip_by_global_norm,
    clip_by_leaf_norm,
    clip_by_value,
)
from initopt_jax.modifiers.decay import coupled_weight_decay, decoupled_weight_decay
from initopt_jax.modifiers.lookahead import lookahead
from initopt_jax.modifiers.noise import gradient_noise
from initopt_jax.modifiers.paths import freeze, rates
from initopt_jax.modifiers.precision import float32_state
from initopt_jax.modifiers.registry import REGISTRY
from initopt_jax.transforms.sam import sharpness_aware

__all__ = [
    "REGISTRY",
    "accumulate",
    "adaptive_clip",
    "clip_by_global_norm",
    "clip_by_leaf_norm",
    "clip_by_value",
    "coupled_weight_decay",
    "decoupled_weight_decay",
    "ema",
    "float32_state",
    "freeze",
    "gradient_noise",
    "lookahead",
    "rates",
    "sharpness_aware",
    "swa",
]
