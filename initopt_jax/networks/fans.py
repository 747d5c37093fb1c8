"""How many weights feed a unit, and how many units a weight's input feeds."""

import math
from typing import Any

from initopt_jax.types import Shape

Fans = tuple[float, float]


class KernelShape(tuple[int, ...]):
    """A shape whose fans cannot be read off it: they are given, or not known.

    Rules hand it to an initializer where the network says more than the shape: a bias has the fans
    of its layer, a transposed convolution with strides those of its outputs.

    Attributes:
        fans: fan-in and fan-out; None where they are not known.
        why: why not.

    >>> weight_fans(KernelShape((16,), fans=(64, 16)))
    (64, 16)
    """

    fans: Fans | None
    why: str

    def __new__(cls, shape: Shape, *, fans: Fans | None = None, why: str = "") -> "KernelShape":
        """A shape with what is known of its fans."""
        made = super().__new__(cls, shape)
        made.fans, made.why = fans, why
        return made

    def __eq__(self, other: Any) -> bool:
        """As a tuple; two of them also by their fans, since compiled programs are kept by shape."""
        same = tuple.__eq__(self, other)
        return bool(same) and (not isinstance(other, KernelShape) or self.fans == other.fans)

    def __ne__(self, other: Any) -> bool:
        """The opposite."""
        return not self == other

    def __hash__(self) -> int:
        """As a tuple."""
        return tuple.__hash__(self)


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


def weight_fans(shape: Shape) -> Fans:
    """`fans` of a leaf whose variance depends on them.

    Raises:
        ValueError: if the shape is that of a scalar, has an empty dimension, or belongs to a leaf
            whose fans are not known.

    >>> weight_fans(())
    Traceback (most recent call last):
    ValueError: shape must have at least one dimension, none of them empty, for a fan; got ()
    """
    if isinstance(shape, KernelShape):
        if shape.fans is None:
            raise ValueError(f"its fan-in and fan-out are not known: {shape.why}")
        return shape.fans
    if not shape or 0 in shape:
        raise ValueError(
            f"shape must have at least one dimension, none of them empty, for a fan; got {shape}"
        )
    return fans(shape)


def require_kernel(shape: Shape) -> None:
    """Refuse a leaf whose inputs and outputs are not known, for a draw that is about them.

    Raises:
        ValueError: if so.
    """
    if isinstance(shape, KernelShape) and shape.why:
        raise ValueError(f"its inputs and outputs are not known: {shape.why}")
