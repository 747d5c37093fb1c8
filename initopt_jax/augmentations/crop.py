"""Random crop: the picture moved by a few pixels."""

import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.augmentations.pictures import cut_out, draw_below, picture_size
from initopt_jax.types import Array, Augmentation


def random_crop(key: Array, examples: Array, *, padding: int = 4) -> Array:
    """Pictures with a border of zeros, cut back to their size at a random place.

    `x'[i, j] = x[i + a - padding, j + b - padding]`, 0 outside the picture; `a`, `b` uniform over
    0..2 padding, independent, drawn for each picture.

    Args:
        key: of the step.
        examples: [B, H, W, C]. Of normalized pictures 0 is the training mean, as in the paper.
        padding: pixels on each side, from 1 to less than the smaller side of a picture.

    Returns:
        Pictures of the same shape and dtype; every pixel is one of the picture's own, or 0.

    Raises:
        ValueError: the examples are no pictures, or `padding` is out of range.

    Reference:
        He, Zhang, Ren and Sun (2016), Deep residual learning for image recognition, section 4.2.

    >>> import jax
    >>> spot = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)
    >>> moved = random_crop(jax.random.key(0), spot, padding=2)
    >>> float(moved.sum()), moved.shape
    (1.0, (1, 5, 5, 1))
    """
    height, width = picture_size("random_crop", examples)
    checks.count("padding", padding)
    if padding >= min(height, width):
        raise ValueError(
            f"padding must be less than the smaller side of the pictures, which are {height} x "
            f"{width}; got {padding}"
        )
    border = (padding, padding)
    framed = jnp.pad(examples, ((0, 0), border, border, (0, 0)))
    rows, columns = draw_below(key, [2 * padding + 1] * 2, len(examples))
    return cut_out(framed, rows, columns, (height, width))


ENTRIES = (
    Augmentation(
        name="random_crop",
        apply=random_crop,
        formula="x'[i, j] = x[i + a - padding, j + b - padding], 0 outside; a, b ~ 0..2 padding",
        reference="He, Zhang, Ren and Sun (2016), section 4.2",
    ),
)
