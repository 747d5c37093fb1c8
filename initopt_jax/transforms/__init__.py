"""Gradient transformations, each written from its paper as an `optax.GradientTransformation`.

Each file holds one method: a core `scale_by_*` and a thin alias with the learning rate. Every
number may be a traced scalar, so that a sweep is an axis of `vmap`; only flags are static.
"""

from initopt_jax.transforms.adabelief import adabelief, scale_by_adabelief
from initopt_jax.transforms.adadelta import adadelta, scale_by_adadelta
from initopt_jax.transforms.adafactor import adafactor, scale_by_adafactor, scale_by_relative_step
from initopt_jax.transforms.adagrad import adagrad, scale_by_adagrad
from initopt_jax.transforms.adagrad_full import adagrad_full, scale_by_full_adagrad
from initopt_jax.transforms.adagrad_optax import adagrad_optax
from initopt_jax.transforms.adagrad_torch import adagrad_torch, scale_by_inverse_time
from initopt_jax.transforms.adam import adam, scale_by_adam
from initopt_jax.transforms.adamax import adamax, scale_by_adamax
from initopt_jax.transforms.adamw import adamw, adamw_paper, decay_and_multiply
from initopt_jax.transforms.aggmo import aggmo, scale_by_aggmo
from initopt_jax.transforms.amsgrad import amsgrad, scale_by_amsgrad
from initopt_jax.transforms.gradient_flow import gradient_flow
from initopt_jax.transforms.lamb import lamb, scale_by_lamb
from initopt_jax.transforms.lars import lars, scale_by_lars
from initopt_jax.transforms.lbfgs import lbfgs
from initopt_jax.transforms.leaf import scale_by_leaf
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.lion import lion
from initopt_jax.transforms.momentum import momentum, scale_by_momentum
from initopt_jax.transforms.momentum_dampened import momentum_dampened, scale_by_dampened_momentum
from initopt_jax.transforms.muon import muon, newton_schulz, scale_by_muon
from initopt_jax.transforms.nadam import nadam, nadam_optax, scale_by_constant_nadam, scale_by_nadam
from initopt_jax.transforms.nesterov import nesterov, scale_by_nesterov
from initopt_jax.transforms.nesterov_1983 import nesterov_1983, scale_by_nesterov_1983
from initopt_jax.transforms.novograd import novograd, scale_by_novograd
from initopt_jax.transforms.prodigy import prodigy
from initopt_jax.transforms.qhadam import qhadam, scale_by_qhadam
from initopt_jax.transforms.qhm import qhm, scale_by_qhm
from initopt_jax.transforms.radam import radam, scale_by_radam
from initopt_jax.transforms.registry import REGISTRY
from initopt_jax.transforms.rmsprop import rmsprop, scale_by_centered_rmsprop, scale_by_rmsprop
from initopt_jax.transforms.rmsprop_graves import rmsprop_graves
from initopt_jax.transforms.rmsprop_torch import rmsprop_torch
from initopt_jax.transforms.sam import sam, sharpness_aware
from initopt_jax.transforms.schedule_free import (
    schedule_free,
    schedule_free_adam,
    schedule_free_sgd,
)
from initopt_jax.transforms.sgd import sgd
from initopt_jax.transforms.shampoo import scale_by_shampoo, shampoo
from initopt_jax.transforms.sign_descent import sign_descent, signum
from initopt_jax.transforms.soap import scale_by_soap, soap
from initopt_jax.transforms.sutskever import scale_by_sutskever_momentum, sutskever_momentum
from initopt_jax.transforms.yogi import scale_by_yogi, yogi

__all__ = [
    "REGISTRY",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adagrad_full",
    "adagrad_optax",
    "adagrad_torch",
    "adam",
    "adamax",
    "adamw",
    "adamw_paper",
    "aggmo",
    "amsgrad",
    "decay_and_multiply",
    "gradient_flow",
    "lamb",
    "lars",
    "lbfgs",
    "lion",
    "momentum",
    "momentum_dampened",
    "muon",
    "nadam",
    "nadam_optax",
    "nesterov",
    "nesterov_1983",
    "newton_schulz",
    "novograd",
    "prodigy",
    "qhadam",
    "qhm",
    "radam",
    "rmsprop",
    "rmsprop_graves",
    "rmsprop_torch",
    "sam",
    "scale_by_adabelief",
    "scale_by_adadelta",
    "scale_by_adafactor",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_adamax",
    "scale_by_aggmo",
    "scale_by_amsgrad",
    "scale_by_centered_rmsprop",
    "scale_by_constant_nadam",
    "scale_by_dampened_momentum",
    "scale_by_full_adagrad",
    "scale_by_inverse_time",
    "scale_by_lamb",
    "scale_by_lars",
    "scale_by_leaf",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "scale_by_muon",
    "scale_by_nadam",
    "scale_by_nesterov",
    "scale_by_nesterov_1983",
    "scale_by_novograd",
    "scale_by_qhadam",
    "scale_by_qhm",
    "scale_by_radam",
    "scale_by_relative_step",
    "scale_by_rmsprop",
    "scale_by_shampoo",
    "scale_by_soap",
    "scale_by_sutskever_momentum",
    "scale_by_yogi",
    "schedule_free",
    "schedule_free_adam",
    "schedule_free_sgd",
    "sgd",
    "shampoo",
    "sharpness_aware",
    "sign_descent",
    "signum",
    "soap",
    "sutskever_momentum",
    "yogi",
]
