"""Every gradient transformation, by the name that a config uses."""

import itertools

from initopt_jax.transforms.adadelta import ENTRIES as ADADELTA
from initopt_jax.transforms.adafactor import ENTRIES as ADAFACTOR
from initopt_jax.transforms.adagrad import ENTRIES as ADAGRAD
from initopt_jax.transforms.adam import ENTRIES as ADAM
from initopt_jax.transforms.gradient_flow import ENTRIES as GRADIENT_FLOW
from initopt_jax.transforms.lamb import ENTRIES as LAMB
from initopt_jax.transforms.lars import ENTRIES as LARS
from initopt_jax.transforms.lbfgs import ENTRIES as LBFGS
from initopt_jax.transforms.momentum import ENTRIES as MOMENTUM
from initopt_jax.transforms.muon import ENTRIES as MUON
from initopt_jax.transforms.nesterov import ENTRIES as NESTEROV
from initopt_jax.transforms.prodigy import ENTRIES as PRODIGY
from initopt_jax.transforms.rmsprop import ENTRIES as RMSPROP
from initopt_jax.transforms.sam import ENTRIES as SAM
from initopt_jax.transforms.schedule_free import ENTRIES as SCHEDULE_FREE
from initopt_jax.transforms.sgd import ENTRIES as SGD
from initopt_jax.transforms.shampoo import ENTRIES as SHAMPOO
from initopt_jax.transforms.soap import ENTRIES as SOAP
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
        LARS,
        LAMB,
        ADAFACTOR,
        SHAMPOO,
        SOAP,
        MUON,
        SCHEDULE_FREE,
        PRODIGY,
        SAM,
        LBFGS,
        GRADIENT_FLOW,
    )
}
