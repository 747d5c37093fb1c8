"""Every tensor-level initializer, by the name that a config uses."""

import itertools

from initopt_jax.initializers.biases import ENTRIES as BIASES
from initopt_jax.initializers.constant import ENTRIES as CONSTANT
from initopt_jax.initializers.delta_orthogonal import ENTRIES as DELTA_ORTHOGONAL
from initopt_jax.initializers.glorot import ENTRIES as GLOROT
from initopt_jax.initializers.hadamard import ENTRIES as HADAMARD
from initopt_jax.initializers.he import ENTRIES as HE
from initopt_jax.initializers.identity import ENTRIES as IDENTITY
from initopt_jax.initializers.lecun import ENTRIES as LECUN
from initopt_jax.initializers.looks_linear import ENTRIES as LOOKS_LINEAR
from initopt_jax.initializers.mean_field_critical import ENTRIES as MEAN_FIELD
from initopt_jax.initializers.normal import ENTRIES as NORMAL
from initopt_jax.initializers.orthogonal import ENTRIES as ORTHOGONAL
from initopt_jax.initializers.presets import ENTRIES as PRESETS
from initopt_jax.initializers.random_walk import ENTRIES as RANDOM_WALK
from initopt_jax.initializers.signed_constant import ENTRIES as SIGNED_CONSTANT
from initopt_jax.initializers.siren import ENTRIES as SIREN
from initopt_jax.initializers.sparse import ENTRIES as SPARSE
from initopt_jax.initializers.uniform import ENTRIES as UNIFORM
from initopt_jax.initializers.variance_scaling import ENTRIES as VARIANCE_SCALING
from initopt_jax.initializers.zero_hadamard import ENTRIES as ZERO_HADAMARD
from initopt_jax.types import Initializer

REGISTRY: dict[str, Initializer] = {
    entry.name: entry
    for entry in itertools.chain(
        CONSTANT,
        NORMAL,
        UNIFORM,
        VARIANCE_SCALING,
        ORTHOGONAL,
        DELTA_ORTHOGONAL,
        LOOKS_LINEAR,
        IDENTITY,
        ZERO_HADAMARD,
        HADAMARD,
        SIGNED_CONSTANT,
        SPARSE,
        LECUN,
        GLOROT,
        HE,
        RANDOM_WALK,
        MEAN_FIELD,
        SIREN,
        BIASES,
        PRESETS,
    )
}
