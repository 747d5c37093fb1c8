"""Which axes of a leaf its layer sums over, and which are its units.

An initializer draws a kernel `(*window, inputs, outputs)`, one that stands alone. Leaves come in
other forms: heads of attention keep axes of their own, groups of a convolution share one leaf, a
stack of layers is one leaf, and an embedding is a table of rows of which one is read at a time. A
`Layout` takes a leaf apart into such kernels and puts drawn ones together.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from initopt_jax.networks.fans import Fans, KernelShape, fans
from initopt_jax.types import Shape

Kind = Literal["vector", "added", "dense", "convolution", "embedding", "unknown"]
Role = Literal["bias", "scale", "weight"]
NO_LAYER = "it is no layer's kernel, and not the bias of one"


@dataclass(frozen=True)
class Layout:
    """The axes of a leaf by what they do; each axis stands in exactly one of the four.

    Attributes:
        kind: of the layer. `vector`: one number per unit, such as a bias; a stack of them, one for
            each layer, where an axis stands alone. `added`: a leaf with
            several axes that meets activations element by element, such as a table of positions;
            its rows stand alone. `unknown`: what the network does with it could not be followed;
            the leaf stays whole, and `why` says what was met.
        window: the receptive field of a convolution.
        inputs: what a unit sums over, besides the window.
        outputs: the units.
        batch_axes: number kernels that have nothing to do with each other: a stack of layers, the
            batch axis of an einsum, the rows of an embedding, parts that are cut out of the leaf.
        groups: the outputs fall in so many equal parts, each with inputs of its own, as in a
            grouped convolution: `inputs` are those of one group.
        split: where parts of one axis do different things, the sizes that each axis is cut into,
            slowest first: `((3, 16), (16,))` for queries, keys and values in one leaf of 48 x 16.
            The axes are then those of the shape (3, 16, 16). Empty where the leaf's own will do.
        thinned: of so many numbers that a unit would sum over only one is there: the strides of a
            transposed convolution, which puts zeros between its inputs.
        role: what the default rules take it for; None where only its name can tell.
        layer: fan-in and fan-out of the layer whose bias it is.
        why: for an unknown layout, what could not be followed.
        also: a second use that asks for something else; the first one counts.
    """

    kind: Kind
    window: tuple[int, ...] = ()
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    batch_axes: tuple[int, ...] = ()
    groups: int = 1
    split: tuple[Shape, ...] = ()
    thinned: int = 1
    role: Role | None = field(default=None, compare=False)
    layer: Fans | None = field(default=None, compare=False)
    why: str = field(default="", compare=False)
    also: str = field(default="", compare=False)

    @property
    def whole(self) -> bool:
        """Whether the leaf is no kernel, so that it is not taken apart."""
        return self.kind in ("vector", "unknown") and not self.batch_axes

    def kernel_shape(self, shape: Shape) -> Shape:
        """The shape `(*window, inputs, outputs)` of one kernel of a leaf of this shape.

        It knows its fans where they cannot be read off it (`fans.KernelShape`).

        >>> heads = Layout("dense", inputs=(0,), outputs=(1, 2))
        >>> heads.kernel_shape((64, 8, 16))
        (64, 128)
        """
        kernel = self._kernel(shape)
        known = self.fans(shape)
        if known is None:
            why = self.why or NO_LAYER
            return KernelShape(kernel, why=why)
        return kernel if known == fans(kernel) else KernelShape(kernel, fans=known)

    def _kernel(self, shape: Shape) -> Shape:
        if self.whole:
            return shape
        sizes = self._fine(shape)
        if self.kind == "vector":
            return tuple(sizes[axis] for axis in self.outputs)
        inputs, outputs = (
            math.prod(sizes[axis] for axis in axes) for axes in (self.inputs, self.outputs)
        )
        return (*(sizes[axis] for axis in self.window), inputs, outputs // self.groups)

    def kernels(self, shape: Shape) -> int:
        """How many kernels a leaf of this shape holds.

        >>> standard_layout((3, 3, 16, 32)).kernels((3, 3, 16, 32))
        1
        """
        return math.prod(self._fine(shape)[axis] for axis in self.batch_axes) * self.groups

    def fans(self, shape: Shape) -> Fans | None:
        """Fan-in and fan-out of one kernel, or of the layer that a bias belongs to.

        None where there is no such layer, or none is known.

        >>> depthwise = Layout("convolution", window=(0, 1), inputs=(2,), outputs=(3,), groups=32)
        >>> depthwise.fans((3, 3, 1, 64))
        (9, 18)
        """
        if self.whole or self.layer or self.kind == "vector":
            return self.layer
        fan_in, fan_out = fans(self._kernel(shape))
        if self.thinned == 1:
            return fan_in, fan_out
        return _whole_number(fan_in / self.thinned), fan_out

    def take_apart(self, leaf: Any) -> Any:
        """The kernels [n, *window, inputs, outputs] of a leaf, NumPy's or JAX's.

        A vector, and a leaf of which the layout is unknown, stay whole: [1, *shape].
        """
        if self.whole:
            return leaf[None]
        one = self._kernel(leaf.shape)
        fine = leaf.reshape(self._fine(leaf.shape))
        ordered = fine.transpose(self.batch_axes + self.window + self.inputs + self.outputs)
        # The groups are the slow part of the outputs.
        parted = ordered.reshape(-1, *one[:-1], self.groups, one[-1])
        return _moved(parted, parted.ndim - 2, 1).reshape(-1, *one)

    def put_together(self, kernels: Any, shape: Shape) -> Any:
        """The leaf of a shape from its kernels: the inverse of `take_apart`."""
        if self.whole:
            return kernels[0]
        one, sizes = self._kernel(shape), self._fine(shape)
        parted = kernels.reshape(-1, self.groups, *one)
        joined = _moved(parted, 1, parted.ndim - 2)
        order = self.batch_axes + self.window + self.inputs + self.outputs
        ordered = joined.reshape(tuple(sizes[axis] for axis in order))
        return ordered.transpose(tuple(int(axis) for axis in np.argsort(order))).reshape(shape)

    def text(self, shape: Shape) -> str:
        """The layout as a rule of a config states it; see `stated_layout`.

        >>> Layout("dense", batch_axes=(0,), outputs=(1,), inputs=(2,), split=((3, 16), (8,))).text(
        ...     (48, 8)
        ... )
        '3a*o i'
        """
        parts = self.split or tuple((size,) for size in shape)
        letters, texts, place = self._letters(), [], 0
        for sizes in parts:
            named = [f"{size}{letters[place + cut]}" for cut, size in enumerate(sizes)]
            texts.append("*".join([*named[:-1], letters[place + len(sizes) - 1]]))
            place += len(sizes)
        return " ".join(texts)

    def _letters(self) -> dict[int, str]:
        """What each axis does: a (stands alone), w (window), i (inputs), o (outputs)."""
        letters = {"a": self.batch_axes, "w": self.window, "i": self.inputs, "o": self.outputs}
        return {axis: letter for letter, axes in letters.items() for axis in axes}

    def _fine(self, shape: Shape) -> Shape:
        """The sizes that the axes are numbered by."""
        return tuple(size for sizes in self.split for size in sizes) or shape

    def describe(self) -> str:
        """The kind, and what is unusual about it.

        >>> Layout("convolution", window=(0, 1), inputs=(2,), outputs=(3,), groups=4).describe()
        'convolution, 4 groups'
        >>> Layout("dense", inputs=(0,), outputs=(1, 2)).describe()
        'dense (i o o)'
        >>> Layout(
        ...     "dense", batch_axes=(0,), outputs=(1,), inputs=(2,), split=((3, 16), (8,))
        ... ).describe()
        'dense (3a*o i)'
        """
        return self._usual() + (f"; also {self.also}" if self.also else "")

    def _usual(self) -> str:
        if self.kind == "unknown":
            return f"unknown: {self.why}"
        if self.whole or self.kind == "added":
            return self.kind
        if self.thinned > 1:
            return f"{self.kind}, transposed, of {self.thinned} taps one meets an input"
        if self.groups > 1:
            return f"{self.kind}, {self.groups} groups"
        axes = len(self._letters())
        if self in (standard_layout((1,) * axes), EMBEDDING):
            return self.kind
        return f"{self.kind} ({self.text((1,) * axes)})"


EMBEDDING = Layout("embedding", batch_axes=(0,), outputs=(1,))


def standard_layout(shape: Shape) -> Layout:
    """The layout that a shape suggests: `(*window, inputs, outputs)`, or a vector.

    >>> found = standard_layout((3, 3, 16, 32))
    >>> found.kind, found.window, found.inputs, found.outputs
    ('convolution', (0, 1), (2,), (3,))
    """
    last = len(shape) - 1
    if last < 1:
        return Layout("vector", outputs=tuple(range(len(shape))))
    window = tuple(range(last - 1))
    kind: Kind = "convolution" if window else "dense"
    return Layout(kind, window=window, inputs=(last - 1,), outputs=(last,))


def unknown_layout(shape: Shape, why: str) -> Layout:
    """The layout of a leaf that could not be followed: it stays whole.

    >>> unknown_layout((4, 3), "its numbers pass through fft").describe()
    'unknown: its numbers pass through fft'
    """
    return Layout("unknown", outputs=tuple(range(len(shape))), why=why)


def unknown_notes(layouts: Mapping[str, Layout], shapes: Mapping[str, Shape]) -> list[str]:
    """What holds for leaves of several axes that could not be followed, a sentence each.

    Args:
        layouts: of the leaves, by path.
        shapes: likewise.

    >>> unknown_notes({"mix": unknown_layout((4, 3), "it passes through fft")}, {"mix": (4, 3)})[0]
    "how the network uses leaf 'mix' (4, 3) is unknown (it passes through fft): it has no fans ..."
    """
    return [
        f"how the network uses leaf {path!r} {shape} is unknown ({layouts[path].why}): it has no "
        "fans unless a rule states its layout (docs/initializers.md), and optimizers for matrices "
        "and layers take it as its shape suggests"
        for path, shape in shapes.items()
        if layouts[path].kind == "unknown" and len(shape) > 1
    ]


def stated_layout(text: str, shape: Shape) -> Layout:
    """The layout that a rule states, for a leaf of a shape.

    A letter per axis of the leaf: `i` for inputs, which a unit sums over, `o` for outputs, `w` for
    the window of a convolution, `a` for an axis of kernels that stand alone. An axis that is cut
    has a letter per part with its size, slowest first, the last one without: `3a*o i` is three
    kernels in the first axis. `embedding` stands for a table of rows, one of which is read at once.

    Args:
        text: the letters, with spaces.
        shape: of the leaf.

    Raises:
        ValueError: if the text does not fit the shape.

    >>> stated_layout("a i o", (4, 16, 32)).fans((4, 16, 32))
    (16, 32)
    >>> stated_layout("3a*o i", (48, 8)).fans((48, 8))
    (8, 16)
    """
    words = text.split()
    if words == ["embedding"] and len(shape) > 1:
        last = len(shape) - 1
        return Layout("embedding", batch_axes=tuple(range(last)), outputs=(last,), role="weight")
    places: dict[str, list[int]] = {letter: [] for letter in "awio"}
    split: list[Shape] = []
    for word, size in zip(words, shape, strict=False):
        parts = [re.fullmatch(r"(\d*)([awio])", part) for part in word.split("*")]
        cut = math.prod(int(part[1]) for part in parts[:-1] if part and part[1])
        fits = all(part and part[1] for part in parts[:-1]) and parts[-1] and not parts[-1][1]
        if not fits or not cut or size % cut:
            raise ValueError(_misstated(text, shape))
        for part in parts:
            places[part[2] if part else "o"].append(sum(map(len, places.values())))
        split.append((*(int(part[1]) for part in parts[:-1] if part), size // cut))
    if len(words) != len(shape) or not places["i"] + places["w"] or not places["o"]:
        raise ValueError(_misstated(text, shape))
    window, inputs, outputs, batch_axes = (tuple(places[letter]) for letter in "wioa")
    kind: Kind = "convolution" if window else "dense"
    cuts = tuple(split) if any(len(sizes) > 1 for sizes in split) else ()
    return Layout(kind, window, inputs, outputs, batch_axes, split=cuts, role="weight")


def _misstated(text: str, shape: Shape) -> str:
    return (
        f"layout {text!r} does not fit the shape {shape}: it takes a letter per axis, i (inputs), "
        "o (outputs), w (window) or a (stands alone), inputs and outputs among them, such as "
        "'a i o', with sizes where an axis is cut, such as '3a*o i'; or 'embedding'"
    )


def _whole_number(fan: float) -> float:
    return int(fan) if fan == int(fan) else fan


def _moved(array: Any, source: int, target: int) -> Any:
    axes = [axis for axis in range(array.ndim) if axis != source]
    axes.insert(target, source)
    return array.transpose(axes)
