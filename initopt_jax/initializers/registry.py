"""Every tensor-level initializer, by the name that a config uses."""

import itertools

from initopt_jax.initializers.constant import ENTRIES as CONSTANT
from initopt_jax.initializers.glorot import ENTRIES as GLOROT
from initopt_jax.initializers.he import ENTRIES as HE
from initopt_jax.initializers.lecun import ENTRIES as LECUN
from initopt_jax.initializers.normal import ENTRIES as NORMAL
from initopt_jax.initializers.orthogonal import ENTRIES as ORTHOGONAL
from initopt_jax.initializers.uniform import ENTRIES as UNIFORM
from initopt_jax.initializers.variance_scaling import ENTRIES as VARIANCE_SCALING
from initopt_jax.types import Initializer

REGISTRY: dict[str, Initializer] = {
    entry.name: entry
    for entry in itertools.chain(
        CONSTANT, NORMAL, UNIFORM, VARIANCE_SCALING, LECUN, GLOROT, HE, ORTHOGONAL
    )
}
