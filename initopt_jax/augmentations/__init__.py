"""Random changes of the training examples of a step: crops, flips, cut squares, noise.

Each is a pure function `(key, examples [B, ...], **options) -> examples` that keeps shape and
dtype, so it works in anyone's own loop as well:

>>> import jax
>>> import jax.numpy as jnp
>>> from initopt_jax import augmentations
>>> pictures = jnp.ones((8, 28, 28, 1))
>>> augmentations.random_crop(jax.random.key(0), pictures, padding=4).shape
(8, 28, 28, 1)
"""

from initopt_jax.augmentations.chain import make_augment
from initopt_jax.augmentations.crop import random_crop
from initopt_jax.augmentations.cutout import cutout
from initopt_jax.augmentations.flip import random_flip
from initopt_jax.augmentations.noise import gaussian_noise
from initopt_jax.augmentations.registry import REGISTRY

__all__ = [
    "REGISTRY",
    "cutout",
    "gaussian_noise",
    "make_augment",
    "random_crop",
    "random_flip",
]
