"""Every gradient transformation, by the name that a config uses."""

import itertools

from initopt_jax.transforms.adadelta import ENTRIES as ADADELTA
from initopt_jax.transforms.adagrad import ENTRIES as ADAGRAD
from initopt_jax.transforms.adam import ENTRIES as ADAM
from initopt_jax.transforms.momentum import ENTRIES as MOMENTUM
from initopt_jax.transforms.nesterov import ENTRIES as NESTEROV
from initopt_jax.transforms.rmsprop import ENTRIES as RMSPROP
from initopt_jax.transforms.sgd import ENTRIES as SGD
from initopt_jax.types import Transform

REGISTRY: dict[str, Transform] = {
    entry.name: entry
    for entry in itertools.chain(
        SGD,
        MOMENTUM,
        NESTEROV,
        ADAGRAD,
        ADADELTA,
        RMSPROP,
        ADAM,
    )
}
