"""Cutout: a square of the picture is hidden."""

import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.augmentations.pictures import draw_below, picture_size
from initopt_jax.types import Array, Augmentation


def cutout(key: Array, examples: Array, *, size: int) -> Array:
    """A square of each picture set to 0, all channels; its centre lies on any pixel.

    `x'[i, j] = 0` where `0 <= i - a + size // 2 < size`, and likewise for `j` and `b`, else `x`;
    `a` uniform over the H rows, `b` over the W columns, drawn for each picture. At the borders less
    than the square is left: that the centre may lie there is part of the method.

    Args:
        key: of the step.
        examples: [B, H, W, C]. Of normalized pictures 0 is the training mean, as in the paper.
        size: side of the square in pixels, from 1 to the smaller side of a picture.

    Returns:
        Pictures of the same shape and dtype.

    Raises:
        ValueError: the examples are no pictures, or `size` is out of range.

    Reference:
        DeVries and Taylor (2017), Improved regularization of convolutional neural networks with
        cutout, section 3.

    >>> import jax
    >>> cut = cutout(jax.random.key(0), jnp.ones((1, 9, 9, 1)), size=1)
    >>> float(cut.sum())
    80.0
    """
    height, width = picture_size("cutout", examples)
    checks.count("size", size)
    if size > min(height, width):
        raise ValueError(
            f"size must be at most the smaller side of the pictures, which are {height} x {width}; "
            f"got {size}"
        )
    first = draw_below(key, (height, width), len(examples)) - size // 2

    def inside(length: int, first: Array) -> Array:
        places = jnp.arange(length)[None, :] - first[:, None]
        return (places >= 0) & (places < size)

    hidden = inside(height, first[0])[:, :, None] & inside(width, first[1])[:, None, :]
    return jnp.where(hidden[..., None], 0, examples)


ENTRIES = (
    Augmentation(
        name="cutout",
        apply=cutout,
        formula="x' = 0 on a square of side size around a random pixel, cut at the borders, else x",
        reference="DeVries and Taylor (2017), section 3",
    ),
)
