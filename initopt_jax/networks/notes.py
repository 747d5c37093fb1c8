"""What was seen of each leaf on the way through a network, and the layout that follows."""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from initopt_jax.networks.layout import Layout, Role, standard_layout, unknown_layout
from initopt_jax.networks.uses import Meeting, Use, layout_of, uses_of
from initopt_jax.networks.values import SUMMING, Value
from initopt_jax.networks.views import Run, Runs, View
from initopt_jax.tree import last_name
from initopt_jax.types import Shape

SCALING = ("mul", "div")
CHOOSING = ("select_n", "max", "min")


@dataclass
class Notes:
    """What is known of the leaves so far, by path.

    Attributes:
        uses: sums over the leaf's entries, and rows that are read, in order.
        met: the operation by which it met activations entry by entry, the first one.
        shown: what of the leaf met them at each time: runs through it, and the first entry.
        bent: leaves that met activations otherwise than as they are: passed through a function,
            shifted by a constant, or one of two that a condition chooses from.
        layers: kernels to whose sums it is added.
        lost: what it met that is not followed.
        apart: leaves whose parts are multiplied with activations one by one and then added up.
    """

    uses: dict[str, list[Use]] = field(default_factory=dict)
    met: dict[str, str] = field(default_factory=dict)
    shown: dict[str, set[tuple[Runs, int]]] = field(default_factory=dict)
    bent: set[str] = field(default_factory=set)
    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    apart: set[str] = field(default_factory=set)

    def copied(self) -> "Notes":
        """The same, to be changed by itself."""
        return copy.deepcopy(self)

    def sum(self, weights: Value, meeting: Meeting) -> None:
        """Weights are summed over with data."""
        for term in weights.terms:
            several = sum(bool(view.bonds) for view in term) > 1
            shared = [axis for axis in meeting.batch_axes if _is_repeated(term, axis)]
            if several and shared:
                paths = {view.path for view in term if view.path}
                self.lose(paths, "it is multiplied with weights, and the result used like data")
                continue
            for path, use in uses_of(term, meeting).items():
                own = [view for view in term if view.path == path]
                if use:
                    self.uses.setdefault(path, []).append(use)
                elif any(view.bonds for view in own):
                    self.lose([path], "it makes weights of other weights")
                else:
                    self.met.setdefault(path, "mul")
                    self._note_bent(path, own)

    def sum_of_rows(self, rows: Value, meeting: Meeting) -> None:
        """Rows that data picked meet data: kernels, if the sum runs along the rows."""
        views = [view for term in rows.terms for view in term]
        summed = [*meeting.window, *meeting.inputs]
        along = any(run.step for view in views for run in view.runs(summed))
        if along:
            self.sum(rows, meeting)
        else:
            self.activation(rows)

    def summed_by_hand(self, product: Value, axes: Sequence[int]) -> None:
        """A product entry by entry is summed: `(x * w).sum()`."""
        for term in product.products:
            for view in term:
                if any(run.step and run.size > 1 for run in view.runs(axes)):
                    rest = [axis for axis in range(len(view.axes)) if axis not in axes]
                    weights = replace(product, terms=(term,))
                    self.sum(weights, Meeting("dense", (), list(axes), rest, []))

    def activation(self, rows: Value) -> None:
        """Rows that were picked are used as activations: an embedding."""
        if not rows.is_rows:
            return
        for term in rows.terms:
            for view in term:
                if view.path and view.picked:
                    outputs = view.runs(range(len(view.axes)))
                    use = Use("embedding", (), (), outputs, view.picked, view.first)
                    self.uses.setdefault(view.path, []).append(use)
                elif view.path:
                    self.lose([view.path], "data choose whether it is used")

    def entry_by_entry(self, name: str, operands: Sequence[Value]) -> None:
        """An operation without sums, such as an addition."""
        cases = operands[1:] if name == "select_n" else operands
        active = [one for one in cases if one.is_activation]
        if not self.still_rows(name, cases):
            for one in cases:
                if one.is_rows and name in SCALING and active:
                    self.meet(one, name)
                elif one.is_rows:
                    self.activation(one)
        if name in CHOOSING and len(cases) > 1:
            for one in cases:
                self.bent |= {view.path for term in one.products for view in term}
        if name in SUMMING and len(active) == 2:
            self._added_up(*active)
        if not any(one.data for one in cases):
            return
        for one in cases:
            if one.is_weights:
                self.meet(one, name)
                sums = [path for other in active for path in other.sums]
                if name in SUMMING and sums:
                    for path in one.paths:
                        self.layers.setdefault(path, tuple(dict.fromkeys(sums)))

    def still_rows(self, name: str, operands: Sequence[Value]) -> bool:
        """Whether rows stay rows: alone, scaled by constants or by a number of their own."""
        rows = [one for one in operands if one.is_rows]
        others = [one for one in operands if not one.is_rows and (one.leaves or one.data)]
        if len(rows) != 1:
            return not rows
        own = all(one.leaves == rows[0].leaves and not one.is_weights for one in others)
        scaled = name in (*SCALING, "convert_element_type", "copy", "neg", "select_n")
        return own and (scaled or (not others and len(operands) == 1 and name == "copy_p"))

    def meet(self, weights: Value, name: str) -> None:
        """Weights meet activations entry by entry."""
        for term in weights.terms:
            if any(view.bonds for view in term):
                paths = {view.path for view in term if view.path}
                self.lose(paths, "its product with other weights meets data entry by entry")
                continue
            for view in term:
                if view.path:
                    self.met.setdefault(view.path, name)
                    runs = tuple(run for run in view.runs(range(len(view.axes))) if run.step)
                    self.shown.setdefault(view.path, set()).add((runs, view.first))
                    self._note_bent(view.path, [view])

    def lose(self, paths: Iterable[str], why: str) -> None:
        """Something is not followed; it counts where nothing else is known."""
        for path in paths:
            # A sum over weights alone is mostly a norm on the way to something else.
            if "reduce_" in self.lost.get(path, "reduce_"):
                self.lost[path] = why

    def kernels_in(self, operands: Sequence[Value]) -> tuple[str, ...]:
        """The kernels among the operands of a sum."""
        found = (path for one in operands for path in sorted(one.paths) if path in self.uses)
        return tuple(path for path in found if self.uses[path][0].kind != "embedding")

    def new_kernels(self, known: Iterable[str]) -> list[str]:
        """Leaves that were first summed over after some others were known, in order."""
        new = [path for path in self.uses if path not in set(known)]
        return [path for path in new if self.uses[path][0].kind != "embedding"]

    def is_one_kernel(self, path: str, operands: Sequence[Value], shape: Shape) -> bool:
        """Whether the sums of an operation are those of the whole leaf, as one kernel."""
        views = [v for one in operands for term in one.terms for v in term if v.path == path]
        batch_axes = any(run.step and run.size > 1 for run in self.uses[path][0].batch_axes)
        whole = all(view.entries == math.prod(shape) and not view.bonds for view in views)
        return len(views) == 1 and whole and not batch_axes

    def layout(self, path: str, shapes: Mapping[str, Shape]) -> Layout:
        """The layout of a leaf by all that was seen."""
        shape = shapes[path]
        name = last_name(path)
        if path in self.uses and math.prod(shape):
            return replace(layout_of(shape, self.uses[path]), role="weight")
        stacked = self._is_stack_of_vectors(path, shape)
        role = self._role(path, name, 1 if stacked else len(shape))
        if path in self.apart and role == "weight":
            why = "its parts are multiplied with activations one by one, and added up"
            return unknown_layout(shape, why)
        if path in self.met and len(shape) > 1:
            last = len(shape) - 1
            kind = "vector" if stacked else "added"
            layout = Layout(kind, outputs=(last,), batch_axes=tuple(range(last)), role=role)
            return replace(layout, layer=self._layer(path, shapes) if role == "bias" else None)
        if len(shape) < 2:
            layout = replace(standard_layout(shape), role=role, layer=self._layer(path, shapes))
            return replace(layout, why="" if layout.layer else self._no_layer(path))
        why = self.lost.get(path, "no operation of the network is seen to use it")
        return replace(unknown_layout(shape, why), role=role)

    def _is_stack_of_vectors(self, path: str, shape: Shape) -> bool:
        """Whether activations meet one row of a leaf at a time, as the biases of stacked layers."""
        if len(shape) < 2 or 1 in shape or path not in self.shown:
            return False
        row = (Run(shape[-1], 1),)
        return all(runs == row and first % shape[-1] == 0 for runs, first in self.shown[path])

    def _role(self, path: str, name: str, axes: int) -> Role | None:
        """Bias or scale by use, or by the leaf's own name where that does not contradict it."""
        met, straight = self.met.get(path), path not in self.bent
        if name == "bias" or (met in SUMMING and axes < 2 and straight):
            return "bias"
        if name == "scale" and (met is None or straight):
            return "scale"
        return "scale" if met in SCALING and axes < 2 and straight else "weight"

    def _layer(self, path: str, shapes: Mapping[str, Shape]) -> tuple[float, float] | None:
        """The fans of the layer to whose sums a bias is added; of several, if they are alike."""
        kernels = self.layers.get(path, ())
        fans = {self.layout(kernel, shapes).fans(shapes[kernel]) for kernel in kernels}
        return fans.pop() if len(fans) == 1 else None

    def _no_layer(self, path: str) -> str:
        """Why a vector has no fans, where more is known than that it is no kernel."""
        if len(self.layers.get(path, ())) > 1:
            return f"it is added to the sums of several layers, {', '.join(self.layers[path])}"
        return self.lost.get(path, "") if path not in self.met else ""

    def _note_bent(self, path: str, views: Sequence[View]) -> None:
        if not all(view.plain for view in views):
            self.bent.add(path)

    def _added_up(self, left: Value, right: Value) -> None:
        """Products of different parts of a leaf that are added are a sum over it."""
        parts = [
            {(view.path, view.first) for term in one.products for view in term}
            for one in (left, right)
        ]
        for path, first in parts[0]:
            self.apart |= {
                other for other, place in parts[1] if (other, place != first) == (path, True)
            }


def _is_repeated(term: Sequence[View], axis: int) -> bool:
    """Whether weights do not vary along an axis."""
    return not any(run.step for view in term for run in view.axes[axis].runs)
