"""Everything that may stand around an optimizer, by the name that a config uses."""

import itertools

from initopt_jax.modifiers.accumulate import ENTRIES as ACCUMULATE
from initopt_jax.modifiers.average import ENTRIES as AVERAGE
from initopt_jax.modifiers.clipping import ENTRIES as CLIPPING
from initopt_jax.modifiers.decay import ENTRIES as DECAY
from initopt_jax.modifiers.lookahead import ENTRIES as LOOKAHEAD
from initopt_jax.modifiers.noise import ENTRIES as NOISE
from initopt_jax.modifiers.paths import ENTRIES as PATHS
from initopt_jax.modifiers.precision import ENTRIES as PRECISION
from initopt_jax.modifiers.sharpness import ENTRIES as SHARPNESS
from initopt_jax.types import Modifier

REGISTRY: dict[str, Modifier] = {
    entry.name: entry
    for entry in itertools.chain(
        CLIPPING,
        NOISE,
        DECAY,
        PATHS,
        ACCUMULATE,
        SHARPNESS,
        LOOKAHEAD,
        AVERAGE,
        PRECISION,
    )
}
