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
from initopt_jax.transforms.rmsprop import rmsprop, scale_by_centered_rmsprop, scale_by_rmsprop
from initopt_jax.transforms.sgd import sgd
from initopt_jax.types import Transform

REGISTRY: dict[str, Transform] = {
    entry.name: entry
    for entry in (
        Transform(
            name="gd",
            make=sgd,
            kind="sgd",
            formula="theta <- theta - learning_rate * g, g over the whole training set",
            reference="Cauchy (1847)",
            full_batch=True,
        ),
        Transform(
            name="sgd",
            make=sgd,
            kind="sgd",
            formula="theta <- theta - learning_rate * g, g over a mini-batch",
            reference="Robbins and Monro (1951)",
        ),
        Transform(
            name="momentum",
            make=momentum,
            kind="sgd",
            formula="v <- decay * v - learning_rate * g; theta <- theta + v",
            reference="Polyak (1964); Sutskever et al. (2013), eq. 1-2",
        ),
        Transform(
            name="nesterov",
            make=nesterov,
            kind="sgd",
            formula=(
                "v <- decay * v - learning_rate * g; theta <- theta + decay * v - learning_rate * g"
            ),
            reference="Nesterov (1983); Sutskever et al. (2013), eq. 3-4",
        ),
        Transform(
            name="adagrad",
            make=adagrad,
            kind="adam",
            formula="s <- s + g^2; theta <- theta - learning_rate * g / (eps + sqrt(s))",
            reference="Duchi, Hazan and Singer (2011), figure 1",
        ),
        Transform(
            name="adadelta",
            make=adadelta,
            kind="adam",
            formula=(
                "d = -sqrt(E[d^2] + eps) / sqrt(E[g^2] + eps) * g; "
                "theta <- theta + learning_rate * d"
            ),
            reference="Zeiler (2012), algorithm 1",
        ),
        Transform(
            name="rmsprop",
            make=rmsprop,
            kind="adam",
            formula=(
                "n <- decay * n + (1 - decay) * g^2; "
                "theta <- theta - learning_rate * g / (sqrt(n) + eps)"
            ),
            reference="Tieleman and Hinton (2012), lecture 6e, slide 29; Graves (2013), eq. 38-45",
        ),
        Transform(
            name="adam",
            make=adam,
            kind="adam",
            formula=(
                "m <- b1 * m + (1 - b1) * g; v <- b2 * v + (1 - b2) * g^2; theta <- theta - "
                "learning_rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)"
            ),
            reference="Kingma and Ba (2015), algorithm 1",
        ),
    )
}

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
