"""How many weights feed a unit, and how many units a weight's input feeds."""

import math

from initopt_jax.types import Shape


def fans(shape: Shape) -> tuple[int, int]:
    """Fan-in and fan-out of a leaf, in Flax's layouts.

    | shape | fan-in | fan-out |
    | --- | --- | --- |
    | `(inputs, outputs)`, dense | inputs | outputs |
    | `(..., inputs, outputs)`, convolution (HWIO) | receptive field x inputs | ... x outputs |
    | `(n,)`, one weight per unit | n | n |
    | `()` | 1 | 1 |

    Args:
        shape: of the leaf; for a convolution the receptive field is the product of the leading
            dimensions. A vector has no inputs and outputs to tell apart, so both fans are `n`.

    Returns:
        `(fan_in, fan_out)`.

    >>> fans((784, 300)), fans((3, 3, 16, 32)), fans((10,)), fans(())
    ((784, 300), (144, 288), (10, 10), (1, 1))
    """
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    receptive_field = math.prod(shape[:-2])
    return receptive_field * shape[-2], receptive_field * shape[-1]


def weight_fans(shape: Shape) -> tuple[int, int]:
    """`fans` of a leaf whose variance depends on them.

    Raises:
        ValueError: if the shape is that of a scalar, or has an empty dimension.

    >>> weight_fans(())
    Traceback (most recent call last):
    ValueError: shape must have at least one dimension, none of them empty, for a fan; got ()
    """
    if not shape or 0 in shape:
        raise ValueError(
            f"shape must have at least one dimension, none of them empty, for a fan; got {shape}"
        )
    return fans(shape)
