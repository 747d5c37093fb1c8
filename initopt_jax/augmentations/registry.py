"""Every augmentation, by the name that a config uses."""

import itertools

from initopt_jax.augmentations.crop import ENTRIES as CROP
from initopt_jax.augmentations.cutout import ENTRIES as CUTOUT
from initopt_jax.augmentations.flip import ENTRIES as FLIP
from initopt_jax.augmentations.noise import ENTRIES as NOISE
from initopt_jax.types import Augmentation

REGISTRY: dict[str, Augmentation] = {
    entry.name: entry for entry in itertools.chain(CROP, FLIP, CUTOUT, NOISE)
}
