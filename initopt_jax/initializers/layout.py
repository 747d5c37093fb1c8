"""Which axes of a leaf its layer sums over, and which are its units.

An initializer draws a kernel `(*window, inputs, outputs)`, one that stands alone. Leaves come in
other forms: heads of attention keep axes of their own, groups of a convolution share one leaf, a
stack of layers is one leaf, and an embedding is a table of rows of which one is read at a time. A
`Layout` takes a leaf apart into such kernels and puts drawn ones together.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from initopt_jax.initializers.fans import fans
from initopt_jax.types import Shape

Kind = Literal["vector", "added", "dense", "convolution", "embedding"]


@dataclass(frozen=True)
class Layout:
    """The axes of a leaf by what they do; each axis stands in exactly one of the four.

    Attributes:
        kind: of the layer. `vector`: one number per unit, such as a bias. `added`: a leaf with
            several axes that meets activations element by element, such as a table of positions;
            its rows stand alone.
        window: the receptive field of a convolution.
        inputs: what a unit sums over, besides the window.
        outputs: the units.
        alone: numbers kernels that have nothing to do with each other: a stack of layers, the
            batch axis of an einsum, the rows of an embedding.
        groups: the outputs fall in so many equal parts, each with inputs of its own, as in a
            grouped convolution: `inputs` are those of one group.
    """

    kind: Kind
    window: tuple[int, ...] = ()
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    alone: tuple[int, ...] = ()
    groups: int = 1

    def kernel_shape(self, shape: Shape) -> Shape:
        """The shape `(*window, inputs, outputs)` of one kernel of a leaf of this shape.

        >>> heads = Layout("dense", inputs=(0,), outputs=(1, 2))
        >>> heads.kernel_shape((64, 8, 16))
        (64, 128)
        """
        if self.kind == "vector":
            return shape
        inputs, outputs = (
            math.prod(shape[axis] for axis in axes) for axes in (self.inputs, self.outputs)
        )
        return (*(shape[axis] for axis in self.window), inputs, outputs // self.groups)

    def kernels(self, shape: Shape) -> int:
        """How many kernels a leaf of this shape holds.

        >>> standard_layout((3, 3, 16, 32)).kernels((3, 3, 16, 32))
        1
        """
        return math.prod(shape[axis] for axis in self.alone) * self.groups

    def fans(self, shape: Shape) -> tuple[int, int]:
        """Fan-in and fan-out of one kernel.

        >>> depthwise = Layout("convolution", window=(0, 1), inputs=(2,), outputs=(3,), groups=32)
        >>> depthwise.fans((3, 3, 1, 64))
        (9, 18)
        """
        return fans(self.kernel_shape(shape))

    def take_apart(self, leaf: Any) -> Any:
        """The kernels [n, *window, inputs, outputs] of a leaf, NumPy's or JAX's."""
        if self.kind == "vector":
            return leaf[None]
        shape = leaf.shape
        one = self.kernel_shape(shape)
        ordered = leaf.transpose(self.alone + self.window + self.inputs + self.outputs)
        # The groups are the slow part of the outputs.
        parted = ordered.reshape(-1, *one[:-1], self.groups, one[-1])
        return _moved(parted, parted.ndim - 2, 1).reshape(-1, *one)

    def put_together(self, kernels: Any, shape: Shape) -> Any:
        """The leaf of a shape from its kernels: the inverse of `take_apart`."""
        if self.kind == "vector":
            return kernels[0]
        one = self.kernel_shape(shape)
        parted = kernels.reshape(-1, self.groups, *one)
        joined = _moved(parted, 1, parted.ndim - 2)
        order = self.alone + self.window + self.inputs + self.outputs
        ordered = joined.reshape(tuple(shape[axis] for axis in order))
        return ordered.transpose(tuple(int(axis) for axis in np.argsort(order)))

    def describe(self) -> str:
        """The kind, and what is unusual about it.

        >>> Layout("convolution", window=(0, 1), inputs=(2,), outputs=(3,), groups=4).describe()
        'convolution, 4 groups'
        >>> Layout("dense", inputs=(0,), outputs=(1, 2)).describe()
        'dense (i, o, o)'
        """
        if self.groups > 1:
            return f"{self.kind}, {self.groups} groups"
        letters = {"a": self.alone, "w": self.window, "i": self.inputs, "o": self.outputs}
        named = sorted((axis, letter) for letter, axes in letters.items() for axis in axes)
        usual = self in (standard_layout((1,) * len(named)), EMBEDDING)
        if usual or self.kind in ("vector", "added"):
            return self.kind
        return f"{self.kind} ({', '.join(letter for _, letter in named)})"


EMBEDDING = Layout("embedding", alone=(0,), outputs=(1,))


def standard_layout(shape: Shape) -> Layout:
    """The layout that a shape suggests: `(*window, inputs, outputs)`, or a vector.

    >>> standard_layout((3, 3, 16, 32))
    Layout(kind='convolution', window=(0, 1), inputs=(2,), outputs=(3,), alone=(), groups=1)
    """
    last = len(shape) - 1
    if last < 1:
        return Layout("vector", outputs=tuple(range(len(shape))))
    window = tuple(range(last - 1))
    kind: Kind = "convolution" if window else "dense"
    return Layout(kind, window=window, inputs=(last - 1,), outputs=(last,))


def _moved(array: Any, source: int, target: int) -> Any:
    axes = [axis for axis in range(array.ndim) if axis != source]
    axes.insert(target, source)
    return array.transpose(axes)
