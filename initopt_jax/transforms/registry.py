"""Every gradient transformation, by the name that a config uses."""

import itertools

from initopt_jax.transforms.adabelief import ENTRIES as ADABELIEF
from initopt_jax.transforms.adadelta import ENTRIES as ADADELTA
from initopt_jax.transforms.adafactor import ENTRIES as ADAFACTOR
from initopt_jax.transforms.adagrad import ENTRIES as ADAGRAD
from initopt_jax.transforms.adagrad_full import ENTRIES as ADAGRAD_FULL
from initopt_jax.transforms.adagrad_optax import ENTRIES as ADAGRAD_OPTAX
from initopt_jax.transforms.adagrad_torch import ENTRIES as ADAGRAD_TORCH
from initopt_jax.transforms.adam import ENTRIES as ADAM
from initopt_jax.transforms.adamax import ENTRIES as ADAMAX
from initopt_jax.transforms.adamw import ENTRIES as ADAMW
from initopt_jax.transforms.aggmo import ENTRIES as AGGMO
from initopt_jax.transforms.amsgrad import ENTRIES as AMSGRAD
from initopt_jax.transforms.gradient_flow import ENTRIES as GRADIENT_FLOW
from initopt_jax.transforms.lamb import ENTRIES as LAMB
from initopt_jax.transforms.lars import ENTRIES as LARS
from initopt_jax.transforms.lbfgs import ENTRIES as LBFGS
from initopt_jax.transforms.lion import ENTRIES as LION
from initopt_jax.transforms.momentum import ENTRIES as MOMENTUM
from initopt_jax.transforms.momentum_dampened import ENTRIES as MOMENTUM_DAMPENED
from initopt_jax.transforms.muon import ENTRIES as MUON
from initopt_jax.transforms.nadam import ENTRIES as NADAM
from initopt_jax.transforms.nesterov import ENTRIES as NESTEROV
from initopt_jax.transforms.nesterov_1983 import ENTRIES as NESTEROV_1983
from initopt_jax.transforms.novograd import ENTRIES as NOVOGRAD
from initopt_jax.transforms.prodigy import ENTRIES as PRODIGY
from initopt_jax.transforms.qhadam import ENTRIES as QHADAM
from initopt_jax.transforms.qhm import ENTRIES as QHM
from initopt_jax.transforms.radam import ENTRIES as RADAM
from initopt_jax.transforms.rmsprop import ENTRIES as RMSPROP
from initopt_jax.transforms.rmsprop_graves import ENTRIES as RMSPROP_GRAVES
from initopt_jax.transforms.rmsprop_torch import ENTRIES as RMSPROP_TORCH
from initopt_jax.transforms.sam import ENTRIES as SAM
from initopt_jax.transforms.schedule_free import ENTRIES as SCHEDULE_FREE
from initopt_jax.transforms.sgd import ENTRIES as SGD
from initopt_jax.transforms.shampoo import ENTRIES as SHAMPOO
from initopt_jax.transforms.sign_descent import ENTRIES as SIGN_DESCENT
from initopt_jax.transforms.soap import ENTRIES as SOAP
from initopt_jax.transforms.sutskever import ENTRIES as SUTSKEVER
from initopt_jax.transforms.yogi import ENTRIES as YOGI
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
        MOMENTUM_DAMPENED,
        SUTSKEVER,
        NESTEROV_1983,
        QHM,
        AGGMO,
        SIGN_DESCENT,
        ADAGRAD_OPTAX,
        ADAGRAD_TORCH,
        ADAGRAD_FULL,
        RMSPROP_GRAVES,
        RMSPROP_TORCH,
        AMSGRAD,
        ADAMAX,
        NADAM,
        ADAMW,
        RADAM,
        ADABELIEF,
        YOGI,
        NOVOGRAD,
        QHADAM,
        LION,
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
