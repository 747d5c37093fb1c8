"""From what a network does with a leaf's entries to the layout of the leaf."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from initopt_jax.networks.layout import Kind, Layout, unknown_layout
from initopt_jax.networks.views import Lost, Run, Runs, View, split_runs
from initopt_jax.types import Shape

Term = tuple[View, ...]  # a product of leaves, entry by entry, with sums over their bonds
CUT = "c"  # an axis that a use does not run through: the leaf was cut, or a layer picked


@dataclass(frozen=True)
class Use:
    """A sum over some of a leaf's entries.

    Attributes:
        kind: of the layer.
        window, inputs, outputs, batch_axes: the entries' runs by what they do, slowest first.
        first: place of the first entry in the flat leaf.
        groups: of a convolution. thinned: see `Layout`.
    """

    kind: Kind
    window: Runs
    inputs: Runs
    outputs: Runs
    batch_axes: Runs
    first: int = 0
    groups: int = 1
    thinned: int = 1


class Meeting(NamedTuple):
    """The axes of an array of weights by what a sum over data does with them.

    window, inputs: summed over. batch_axes: shared with the data. outputs: free.
    """

    kind: Kind
    window: Sequence[int]
    inputs: Sequence[int]
    outputs: Sequence[int]
    batch_axes: Sequence[int]
    groups: int = 1
    thinned: int = 1


def uses_of(term: Term, meeting: Meeting) -> dict[str, Use | None]:
    """How each leaf of a product of weights is used where the product meets data.

    In `x @ (U @ V)` the data enter `U` by its rows and leave it by the axis that it shares with
    `V`: the sum inside is an output of the one and an input of the other. So each bond points away
    from the data, and towards what is left free. A leaf with fewer axes than another one that it
    is multiplied with entry by entry is a scale of it: None.
    """
    found: dict[str, Use | None] = {}
    for view in term:
        if view.path:
            found[view.path] = None if _is_scale(view, term) else _use(view, term, meeting)
    return found


def _use(view: View, term: Term, meeting: Meeting) -> Use | None:
    inputs, outputs = list(view.runs(meeting.inputs)), list(view.runs(meeting.outputs))
    for bond, runs in view.bonds:
        beyond = _beyond(view, bond, term)
        fed = any(_holds(one, [*meeting.inputs, *meeting.window]) for one in beyond)
        leads_on = any(_holds(one, meeting.outputs) for one in beyond)
        (outputs if leads_on and not fed else inputs).extend(runs)
    window = view.runs(meeting.window)
    summed = any(run.size > 1 for axis in meeting.inputs for run in view.axes[axis].runs)
    if summed and not _moving(inputs) and not _moving(window):
        return None  # it does not vary along what is summed: it stretches the data
    batch_axes = view.picked + view.runs(meeting.batch_axes)
    kind, groups, thinned = meeting.kind, meeting.groups, meeting.thinned
    return Use(kind, window, tuple(inputs), tuple(outputs), batch_axes, view.first, groups, thinned)


def _moving(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.step]


def _holds(view: View, axes: Sequence[int]) -> bool:
    return any(run.size > 1 for run in _moving(view.runs(axes)))


def _held(view: View) -> set[int]:
    """The array's axes that it has entries along, and its bonds (as negative numbers)."""
    axes = {place for place in range(len(view.axes)) if _holds(view, [place])}
    return axes | {-1 - bond for bond, _ in view.bonds}


def _is_scale(view: View, term: Term) -> bool:
    return any(_held(view) < _held(other) for other in term if other.path)


def _beyond(view: View, bond: int, term: Term) -> list[View]:
    """What hangs together with a view by one of its bonds, itself left out."""
    reached: list[View] = []
    waiting = [bond]
    while waiting:
        number = waiting.pop()
        for other in term:
            own = [other_bond for other_bond, _ in other.bonds]
            if other is not view and number in own and other not in reached:
                reached.append(other)
                waiting += own
    return reached


class _Digit(NamedTuple):
    """An axis that the flat leaf is cut into. `order`: among those that do the same."""

    size: int
    step: int
    role: str
    order: int


def layout_of(shape: Shape, uses: Sequence[Use]) -> Layout:
    """The layout by the uses of a leaf, the first of which counts."""
    first, *others = dict.fromkeys(replace(use, first=0) for use in uses)
    same = [use for use in uses if replace(use, first=0) == first]
    try:
        try:
            digits = _aligned_digits(shape, same)
        except Lost:
            # Some of many that stand alone anyway: whichever they are, each is one kernel.
            first, *others = (replace(use, batch_axes=()) for use in (first, *others))
            digits = _aligned_digits(shape, [replace(use, batch_axes=()) for use in same])
        layout = _layout(shape, first, digits)
    except Lost as lost:
        if first.kind == "embedding":
            last = len(shape) - 1
            return Layout("embedding", batch_axes=tuple(range(last)), outputs=(last,))
        return unknown_layout(shape, str(lost))
    for use in others:
        try:
            other = _layout(shape, use, _digits(shape, use))
        except Lost as lost:
            return unknown_layout(shape, str(lost))
        if other == layout:
            continue
        if any(digit.role == CUT for digit in digits):
            why = f"its parts are used in different ways: {layout.describe()}; {other.describe()}"
            return unknown_layout(shape, why)
        if other.fans(shape) != layout.fans(shape):
            return replace(layout, also=other.describe())
    return layout


def _aligned_digits(shape: Shape, same: Sequence[Use]) -> list[_Digit]:
    """The axes that uses of different parts of a leaf cut it into."""
    digits = _digits(shape, same[0])
    for use in same:
        _require_aligned(use, digits)
    return digits


def _digits(shape: Shape, use: Use) -> list[_Digit]:
    """The axes that a use cuts a leaf into, slowest first."""
    by_role = {"w": use.window, "i": use.inputs, "o": use.outputs, "a": use.batch_axes}
    if use.groups > 1:
        by_role["g"], by_role["o"] = split_runs(use.outputs, use.groups)
    found = [
        _Digit(run.size, abs(run.step), role, order)
        for role, runs in by_role.items()
        for order, run in enumerate(runs)
        if run.step and run.size > 1
    ]
    digits: list[_Digit] = []
    above = math.prod(shape)
    for digit in [*sorted(found, key=lambda digit: -digit.step), _Digit(1, 1, CUT, -1)]:
        reach = digit.size * digit.step
        if above % reach:
            raise Lost("parts of it that differ in size, or overlap, are used by themselves")
        if above > reach:
            digits.append(_Digit(above // reach, reach, CUT, -1))
        if digit.order >= 0:
            digits.append(digit)
        above = digit.step
    return [part for digit in digits for part in _at_axes(shape, digit)]


def _at_axes(shape: Shape, digit: _Digit) -> list[_Digit]:
    """A digit that runs over several axes of the leaf, one part per axis."""
    parts: list[_Digit] = []
    rest = digit.size
    for axis in range(len(shape)):
        step = math.prod(shape[axis + 1 :])
        if rest > 1 and digit.step < step < digit.step * rest:
            if step % digit.step or digit.step * rest % step:
                raise Lost("it is reshaped across its axes")
            parts.append(digit._replace(size=digit.step * rest // step, step=step))
            rest = step // digit.step
    return [*parts, digit._replace(size=rest)]


def _require_aligned(use: Use, digits: Sequence[_Digit]) -> None:
    """Refuse a part that begins in the middle of another."""
    first = use.first
    for runs in (use.window, use.inputs, use.outputs, use.batch_axes):
        first += sum((run.size - 1) * run.step for run in runs if run.step < 0)
    for digit in digits:
        number, first = divmod(first, digit.step)
        if number and digit.role not in (CUT, "a"):
            raise Lost("parts of it that differ in size, or overlap, are used by themselves")


def _layout(shape: Shape, use: Use, digits: Sequence[_Digit]) -> Layout:
    """The layout of a leaf that is cut into these axes."""
    waiting = list(digits)
    ones = {role: list(runs) for role, runs in zip("wioa", _four(use), strict=True)}
    cuts: list[list[_Digit]] = []
    for axis, size in enumerate(shape):
        step = math.prod(shape[axis + 1 :])
        own: list[_Digit] = []
        while waiting and size > 1 and waiting[0].step >= step:
            own.append(waiting.pop(0))
        if math.prod(digit.size for digit in own) != size:
            raise Lost("it is reshaped across its axes")
        cuts.append(own or [_single(step, ones, waiting, cuts)])
    groups = 1
    for own in cuts:  # a grouped convolution's outputs are one axis, as Flax and XLA have it
        roles = [digit.role for digit in own]
        if roles == ["g", "o"] and use.outputs and len(_moving(use.outputs)) == 1:
            own[:] = [_Digit(own[0].size * own[1].size, own[1].step, "o", own[1].order)]
            groups = use.groups
    merged = [_merged(own) for own in cuts]
    split = tuple(tuple(digit.size for digit in own) for own in merged)
    flat = list(itertools.chain.from_iterable(merged))
    by_role = {
        roles: tuple(sorted((p for p, d in enumerate(flat) if d.role in roles), key=_rank(flat)))
        for roles in ("w", "i", "o", "acg")
    }
    window, inputs, outputs, batch_axes = by_role.values()
    cut = split if any(len(sizes) > 1 for sizes in split) else ()
    kind = use.kind
    return Layout(kind, window, inputs, outputs, batch_axes, groups, cut, use.thinned)


def _four(use: Use) -> tuple[Runs, Runs, Runs, Runs]:
    return use.window, use.inputs, use.outputs, use.batch_axes


def _rank(flat: Sequence[_Digit]):
    """Axes that do the same stand in the order in which the use had them; cut ones come first."""
    roles = {CUT: 0, "a": 1, "g": 2}
    return lambda place: (roles.get(flat[place].role, 0), flat[place].order, place)


def _merged(own: Sequence[_Digit]) -> list[_Digit]:
    """Neighbouring parts of one axis that do the same, in the same order, as one."""
    found: list[_Digit] = []
    for digit in own:
        if found and (found[-1].role, found[-1].order + 1) == (digit.role, digit.order):
            before = found.pop()
            digit = digit._replace(size=before.size * digit.size, order=before.order)
        elif found and digit.role == CUT and found[-1].role == CUT:
            digit = digit._replace(size=found.pop().size * digit.size)
        found.append(digit)
    return found


def _single(
    step: int,
    ones: dict[str, list[Run]],
    waiting: Sequence[_Digit],
    before: Sequence[Sequence[_Digit]],
) -> _Digit:
    """The digit of an axis of one entry: what the use says of it, else what its neighbour does."""
    for role, runs in ones.items():
        for order, run in enumerate(runs):
            if run == (1, step):
                runs[order] = Run(1, -1)  # each run speaks for one axis
                return _Digit(1, step, role, order)
    if waiting:
        return waiting[0]._replace(size=1)
    return before[-1][-1]._replace(size=1) if before else _Digit(1, step, "o", 0)
