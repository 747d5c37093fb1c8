"""Gradient transformations, each written from its paper as an `optax.GradientTransformation`.

Each file holds one method: a core `scale_by_*` and a thin alias with the learning rate. Every
number may be a traced scalar, so that a sweep is an axis of `vmap`; only flags are static.
"""

from initopt_jax.transforms.adadelta import adadelta, scale_by_adadelta
from initopt_jax.transforms.adagrad import adagrad, scale_by_adagrad
from initopt_jax.transforms.adam import adam, scale_by_adam
from initopt_jax.transforms.leaf import scale_by_leaf
from initopt_jax.transforms.learning_rate import scale_by_learning_rate
from initopt_jax.transforms.momentum import momentum, scale_by_momentum
from initopt_jax.transforms.nesterov import nesterov, scale_by_nesterov
from initopt_jax.transforms.registry import REGISTRY
from initopt_jax.transforms.rmsprop import rmsprop, scale_by_centered_rmsprop, scale_by_rmsprop
from initopt_jax.transforms.sgd import sgd

__all__ = [
    "REGISTRY",
    "adadelta",
    "adagrad",
    "adam",
    "momentum",
    "nesterov",
    "rmsprop",
    "scale_by_adadelta",
    "scale_by_adagrad",
    "scale_by_adam",
    "scale_by_centered_rmsprop",
    "scale_by_leaf",
    "scale_by_learning_rate",
    "scale_by_momentum",
    "scale_by_nesterov",
    "scale_by_rmsprop",
    "sgd",
]
