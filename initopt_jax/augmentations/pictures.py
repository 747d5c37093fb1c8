"""What augmentations of pictures share: a look at the shape, and whole numbers drawn cheaply."""

from collections.abc import Sequence

import jax
import numpy as np

from initopt_jax.types import Array


def picture_size(name: str, examples: Array) -> tuple[int, int]:
    """Height and width of pictures [B, H, W, C].

    Raises:
        ValueError: the examples have another number of axes.

    >>> picture_size("random_crop", np.zeros((2, 64)))
    Traceback (most recent call last):
    ValueError: random_crop is for pictures [H, W, C]; the inputs have shape (64,)
    """
    if examples.ndim != 4:
        shape = tuple(examples.shape[1:])
        raise ValueError(f"{name} is for pictures [H, W, C]; the inputs have shape {shape}")
    return examples.shape[1], examples.shape[2]


def draw_below(key: Array, limits: Sequence[int], count: int) -> Array:
    """Independent whole numbers: int32 [len(limits), count], row i uniform over 0..limits[i]-1.

    32 random bits modulo the limit. A number's probability is off by less than `limit / 2^32` of
    itself; in return one draw serves all rows, and compiles in half the time of `randint`.

    >>> draw_below(jax.random.key(0), (3, 1), 4).tolist()[1]
    [0, 0, 0, 0]
    """
    bits = jax.random.bits(key, (len(limits), count), np.uint32)
    return (bits % np.asarray(limits, np.uint32)[:, None]).astype(np.int32)
