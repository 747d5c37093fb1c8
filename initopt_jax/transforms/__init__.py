"""Gradient transformations, each written from its paper as an `optax.GradientTransformation`.

Each file holds one method: a core `scale_by_*` and a thin alias with the learning rate. Every
number may be a traced scalar, so that a sweep is an axis of `vmap`; only flags are static.
"""

from initopt_jax.transforms.adadelta import adadelta, scale_by_adadelta
from initopt_jax.transforms.adafactor import adafactor, scale_by_adafactor, scale_by_relative_step
from initopt_jax.transforms.adagrad import adagrad, scale_by_adagrad
from initopt_jax.transforms.adam import adam, scale_by_adam
from initopt_jax.transforms.gradient_flow import gradient_flow
from initopt_jax.transforms.lamb import lamb, scale_by_lamb
from initopt_jax.transforms.lars import lars, scale_by_lars
from initopt_jax.transforms.lbfgs import lbfgs
from initopt_jax.transforms.leaf import scale_by_leaf
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import momentum, scale_by_momentum
from initopt_jax.transforms.muon import muon, newton_schulz, scale_by_muon
from initopt_jax.transforms.nesterov import nesterov, scale_by_nesterov
from initopt_jax.transforms.prodigy import prodigy
from initopt_jax.transforms.registry import REGISTRY
from initopt_jax.transforms.rmsprop import rmsprop, scale_by_centered_rmsprop, scale_by_rmsprop
from initopt_jax.transforms.sam import sam, sharpness_aware
from initopt_jax.transforms.schedule_free import (
    schedule_free,
    schedule_free_adam,
    schedule_free_sgd,
)
from initopt_jax.transforms.sgd import sgd
from initopt_jax.transforms.shampoo import scale_by_shampoo, shampoo
from initopt_jax.transforms.soap import scale_by_soap, soap

__all__ = [
    "REGISTRY",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "gradient_flow",
    "lamb",
    "lars",
    "lbfgs",
    "momentum",
    "muon",
    "nesterov",
    "newton_schulz",
    "prodigy",
    "rmsprop",
    "sam",
    "scale_by_adadelta",
    "scale_by_adafactor",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_centered_rmsprop",
    "scale_by_lamb",
    "scale_by_lars",
    "scale_by_leaf",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "scale_by_muon",
    "scale_by_nesterov",
    "scale_by_relative_step",
    "scale_by_rmsprop",
    "scale_by_shampoo",
    "scale_by_soap",
    "schedule_free",
    "schedule_free_adam",
    "schedule_free_sgd",
    "sgd",
    "shampoo",
    "sharpness_aware",
    "soap",
]
