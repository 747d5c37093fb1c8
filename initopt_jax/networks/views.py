"""Which entries of a leaf an array shows, however it was sliced, reshaped, padded or stacked.

A leaf is thought of as laid out flat. Every axis of an array made from it is a few *runs* through
it, slowest first: so many entries, so many places apart. Slicing, splitting, merging and permuting
axes are arithmetic on runs; nothing is computed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from initopt_jax.types import Shape


class Lost(Exception):
    """An array is made of a leaf in a way that runs cannot describe; the text says how."""


class Run(NamedTuple):
    """So many entries of a leaf, so many places apart; 0 where one entry is repeated."""

    size: int
    step: int


Runs = tuple[Run, ...]


class Axis(NamedTuple):
    """One axis of an array: runs, from `start` on, among `size` numbers (others beside them)."""

    runs: Runs
    start: int
    size: int

    @property
    def own(self) -> int:
        """How many of its numbers are the leaf's."""
        return math.prod(run.size for run in self.runs)


def _axis(runs: Runs) -> Axis:
    return Axis(runs, 0, math.prod(run.size for run in runs))


@dataclass(frozen=True)
class View:
    """An array of a leaf's entries.

    Attributes:
        path: of the leaf; empty for an array of constants.
        axes: of the array.
        first: place of its first entry in the flat leaf.
        picked: runs of which one entry is taken, by a number that only a computation knows.
        bonds: runs that were summed over together with other weights: a number that the others
            have too, and the runs.
        plain: whether its numbers are the leaf's, but for a constant factor.
    """

    path: str
    axes: tuple[Axis, ...]
    first: int = 0
    picked: Runs = ()
    bonds: tuple[tuple[int, Runs], ...] = ()
    plain: bool = True

    @property
    def entries(self) -> int:
        """How many different entries of the leaf it can show."""
        shown = [run for axis in self.axes for run in axis.runs] + list(self.picked)
        return math.prod(run.size for run in shown if run.step)

    def runs(self, axes: Sequence[int]) -> Runs:
        """The runs of some axes, in this order."""
        return tuple(run for axis in axes for run in self.axes[axis].runs)

    def transposed(self, order: Sequence[int]) -> "View":
        """With its axes in another order."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def squeezed(self, gone: Sequence[int]) -> "View":
        """Without some axes of one number."""
        left = tuple(axis for place, axis in enumerate(self.axes) if place not in gone)
        return replace(self, axes=left)

    def spread(self, shape: Shape, places: Sequence[int]) -> "View":
        """Repeated along new axes: its own ones become those of `places`."""
        axes = [_axis((Run(size, 0),)) for size in shape]
        for axis, place in zip(self.axes, places, strict=True):
            if axis.size == shape[place]:
                axes[place] = axis
        return replace(self, axes=tuple(axes))

    def turned(self, axes: Sequence[int]) -> "View":
        """With some axes read backwards."""
        first, changed = self.first, list(self.axes)
        for place in axes:
            axis = self.axes[place]
            first += sum((run.size - 1) * run.step for run in axis.runs)
            runs = tuple(Run(run.size, -run.step) for run in axis.runs)
            changed[place] = Axis(runs, axis.size - axis.start - axis.own, axis.size)
        return replace(self, axes=tuple(changed), first=first)

    def sliced(
        self, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]
    ) -> "View | None":
        """A part of it; None where nothing of the leaf is in that part."""
        first, changed = self.first, []
        for axis, start, stop, step in zip(self.axes, starts, stops, steps, strict=True):
            if (start, stop, step) == (0, axis.size, 1):
                changed.append(axis)
                continue
            low, high = max(start, axis.start), min(stop, axis.start + axis.own)
            if low >= high:
                return None
            whole = (low, high) == (start, stop)
            if step != 1 and not whole:
                raise Lost("every so many of numbers that are not all its own are taken")
            skipped, runs = _part(axis.runs, low - axis.start, high - axis.start, step)
            first += skipped
            size = -(-(stop - start) // step)
            changed.append(Axis(runs, 0 if whole else low - start, size))
        return replace(self, axes=tuple(changed), first=first)

    def among(self, place: int, start: int, size: int) -> "View":
        """With others beside it along an axis: it begins at `start` of `size`."""
        axis = self.axes[place]
        changed = Axis(axis.runs, start + axis.start, size)
        return replace(self, axes=(*self.axes[:place], changed, *self.axes[place + 1 :]))

    def picked_along(self, place: int, size: int) -> "View":
        """So many neighbours along an axis, from a place that only a computation knows."""
        axis = self.axes[place]
        if size == axis.size:
            return self
        if axis.own != axis.size:
            raise Lost("it is read beside other numbers, at places that are computed")
        picked, runs = axis.runs, (Run(1, 0),)
        if size > 1:
            parts = _regrouped(axis.runs, (axis.size // size, size)) if not axis.size % size else ()
            if not parts:
                raise Lost(
                    f"{size} of {axis.size} neighbours are read, at places that are computed"
                )
            picked, runs = parts
        axes = (*self.axes[:place], Axis(runs, 0, size), *self.axes[place + 1 :])
        return replace(self, axes=axes, picked=self.picked + tuple(r for r in picked if r.step))

    def reshaped(self, shape: Shape) -> "View":
        """With its axes merged and cut."""
        left, axes = list(self.axes), []
        new = list(shape)
        while left or new:
            old_part, new_part = _matching(left, new)
            axes += _regrouped_axes(old_part, new_part)
            del left[: len(old_part)], new[: len(new_part)]
        return replace(self, axes=tuple(axes))


def whole(path: str, shape: Shape) -> View:
    """A leaf as it is."""
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return View(path, tuple(_axis((Run(*pair),)) for pair in zip(shape, steps, strict=True)))


def _matching(old: Sequence[Axis], new: Sequence[int]) -> tuple[list[Axis], list[int]]:
    """The fewest first axes of both that hold as many numbers."""
    taken, sizes = list(old[:1]), list(new[:1])
    while True:
        before, after = math.prod(axis.size for axis in taken), math.prod(sizes)
        if before == after and (taken or len(sizes) == len(new)):
            break
        if before < after or not sizes:
            taken.append(old[len(taken)])
        else:
            sizes.append(new[len(sizes)])
    # Axes of one number at the end belong to nobody else.
    if len(taken) == len(old):
        sizes = list(new)
    elif len(sizes) == len(new):
        taken = list(old)
    return taken, sizes


def _regrouped_axes(old: Sequence[Axis], new: Sequence[int]) -> list[Axis]:
    if not new:
        return []
    if [axis.size for axis in old] == list(new):
        return list(old)
    runs = tuple(run for axis in old for run in axis.runs)
    if all(axis.own == axis.size for axis in old):
        return [_axis(part) for part in _regrouped(runs, new)]
    if any(axis.own != axis.size for axis in old[1:]):
        raise Lost("it is padded or joined with others, and then reshaped across the seam")
    inner = math.prod(new[1:])
    unit = math.prod(axis.size for axis in old[1:])
    start, own = old[0].start * unit, old[0].own * unit
    if start % inner or own % inner:
        raise Lost("it is padded or joined with others, and then reshaped across the seam")
    head, *rest = _regrouped(runs, (own // inner, *new[1:]))
    return [Axis(head, start // inner, new[0]), *map(_axis, rest)]


def joined(runs: Runs) -> Runs:
    """The fewest runs through the same entries in the same order."""
    found: list[Run] = []
    for run in runs:
        if run.size == 1:
            continue
        if found and found[-1].step == run.step * run.size:
            found[-1] = Run(found[-1].size * run.size, run.step)
        else:
            found.append(run)
    return tuple(found)


def _regrouped(runs: Runs, sizes: Sequence[int]) -> list[Runs]:
    """Runs shared out so that each part has as many entries as asked, slowest first."""
    waiting = list(joined(runs))
    parts: list[Runs] = []
    for size in sizes:
        part: list[Run] = []
        while size > 1:
            if not waiting:
                raise Lost("it is reshaped")
            run = waiting.pop(0)
            if size % run.size and run.size % size:
                raise Lost("its axes are cut at places that do not fit")
            if run.size > size:
                waiting.insert(0, Run(run.size // size, run.step))
                run = Run(size, run.step * (run.size // size))
                # The slow part is taken, the fast one waits.
            part.append(run)
            size //= run.size
        parts.append(tuple(part) or (Run(1, 0),))
    return parts


def _part(runs: Runs, start: int, stop: int, step: int) -> tuple[int, Runs]:
    """How many places are skipped, and the runs of every so many entries of some."""
    merged = joined(runs)
    if not merged:
        return 0, (Run(1, 0),)
    slow, *rest = merged
    inner = math.prod(run.size for run in rest)
    if not rest:
        size = -(-(stop - start) // step)
        return start * slow.step, (Run(size, slow.step * step),)
    if start // inner == (stop - 1) // inner:
        skipped, part = _part(tuple(rest), start % inner, (stop - 1) % inner + 1, step)
        return start // inner * slow.step + skipped, part
    if step == 1 and start % inner == 0 and stop % inner == 0:
        return start // inner * slow.step, (Run((stop - start) // inner, slow.step), *rest)
    if step % inner == 0:
        skipped, _ = _part(tuple(rest), start % inner, start % inner + 1, 1)
        size = -(-(stop - start) // step)
        return start // inner * slow.step + skipped, (Run(size, slow.step * (step // inner)),)
    raise Lost("a part of it is taken that crosses its axes")


def split_runs(runs: Runs, parts: int) -> tuple[Runs, Runs]:
    """The slow runs that number so many equal parts, and the runs within a part."""
    size = math.prod(run.size for run in runs)
    slow, fast = _regrouped(runs, (parts, size // parts))
    return slow, fast
