"""One sentence per figure about weights, made from the numbers that it shows."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from initopt_jax.reports.charts.descriptions import HeatChart, LineChart, Panel
from initopt_jax.reports.charts.numbers import count, listed
from initopt_jax.reports.render.ridges import RidgeChart


class Change(NamedTuple):
    """A number at the first and at the last point of what a name stands for."""

    first: float
    last: float
    name: str

    @property
    def ratio(self) -> float:
        """How many times the first the last one is."""
        return self.last / self.first


def ridge_sentence(chart: RidgeChart) -> str:
    """Whose weights spread most and whose least, from the first ridge to the last."""
    changes: list[Change] = []
    for place, panel in enumerate(chart.panels):
        row, column = divmod(place, len(chart.columns))
        first, last = float(panel.spread[0]), float(panel.spread[-1])
        if np.isfinite(first) and np.isfinite(last) and first > 0:
            changes.append(Change(first, last, f"{chart.rows[row]} under {chart.columns[column]}"))
    if not changes:
        return "No kernel that was followed to the end has weights that differ at the start."
    wild, calm = (pick(changes, key=_size) for pick in (max, min))
    verb = "grows" if wild.ratio > 1 else "shrinks"
    text = f"The standard deviation of {wild.name} {verb} most, from {_short(wild.first)} to "
    text += _short(wild.last)
    if len(changes) == 1:
        return f"{text}."
    return f"{text}; that of {calm.name} changes least, from {calm.first:.3g} to {calm.last:.3g}."


def _size(change: Change) -> float:
    return abs(float(np.log(change.ratio)))


def distance_sentence(chart: LineChart) -> str:
    """Which kernel came farthest from its start, and which stayed nearest."""
    ends = [change for change in _changes(chart) if np.isfinite(change.last)]
    if not ends:
        return _nothing(chart, "No kernel has a start to measure a distance by.")
    far, near = (pick(ends, key=lambda one: one.last) for pick in (max, min))
    text = f"At the end {far.name} is {_short(far.last)} times the norm of its start away from it"
    if len(ends) == 1:
        return f"{text}."
    return f"{text}, the farthest of all, and {near.name} {_short(near.last)} times, the nearest."


def ratio_sentence(chart: LineChart) -> str:
    """How large one update is against the weights, at the start and at the end."""
    ends = [one for one in _changes(chart) if one.last > 0 and one.first > 0]
    if not ends:
        return _nothing(chart, "No update could be measured against its weights.")
    first = float(np.median([one.first for one in ends]))
    last = float(np.median([one.last for one in ends]))
    big = max(ends, key=lambda one: one.last)
    return (
        f"One update moves the median kernel by {_percent(first)} of its norm at the start and by "
        f"{_percent(last)} at the end, where {big.name} still moves most, by {_percent(big.last)}."
    )


def rate_sentence(chart: LineChart) -> str:
    """Whose effective learning rate changed most between the first point and the last."""
    medians: list[Change] = []
    for panel in chart.panels:
        found = [one for one in _of_panel(panel) if one.first > 0]
        found = [one for one in found if one.last > 0]
        if found:
            first = float(np.median([one.first for one in found]))
            last = float(np.median([one.last for one in found]))
            medians.append(Change(first, last, panel.title))
    if not medians:
        return _nothing(chart, "No update could be measured against a gradient.")
    wild, calm = (pick(medians, key=_size) for pick in (max, min))
    text = "For the median initializer, the effective rate "

    def told(one: Change) -> str:
        if abs(one.ratio - 1) < 0.005:
            return f"of {one.name} stays at {_short(one.last)}"
        return f"of {one.name} goes from {_short(one.first)} to {_short(one.last)}"

    if len(medians) == 1:
        return f"{text}{told(wild)}."
    if _size(wild) - _size(calm) < 0.01:
        return f"{text}{told(wild)}, and that {told(calm)}."
    return f"{text}{told(wild)}, the largest change, and that {told(calm)}, the smallest."


def spectrum_sentence(chart: HeatChart) -> str:
    """Which kernel's effective rank changed most."""
    first, last = (panel.values for panel in chart.panels)
    changes = [
        Change(float(first[i, j]), float(last[i, j]), f"{column} under {row}")
        for i, row in enumerate(chart.rows)
        for j, column in enumerate(chart.columns)
        if np.isfinite(first[i, j]) and np.isfinite(last[i, j])
    ]
    if not changes:
        return "No kernel has a rank at both ends: all weights are zero, or unknown."
    moved = max(changes, key=_size)
    text = f"The effective rank of {moved.name} changes most, from {moved.first:.3g} to "
    text += f"{moved.last:.3g}"
    single = [row for row, ranks in zip(chart.rows, last, strict=True) if _all_one(ranks)]
    if single:
        text += f"; under {listed(single)} every kernel ends with rank 1, whatever its size"
    return f"{text}."


def _all_one(ranks: np.ndarray) -> bool:
    known = ranks[np.isfinite(ranks)]
    return bool(known.size) and bool((known < 1.01).all())


def symmetry_sentence(chart: HeatChart) -> str:
    """Under which initializers units start as copies, and what is left of it at the end."""
    start = chart.panels[0].values
    alike = [i for i, row in enumerate(start) if (row[np.isfinite(row)] < 1).any()]
    if not alike:
        return "No layer starts with two units alike, under any initializer."
    told: dict[str, list[str]] = {}  # what is the same under several is said once
    for i in alike:
        told.setdefault(_of_row(chart, i), []).append(chart.rows[i])
    text = "; ".join(f"under {listed(names)}, {fate}" for fate, names in told.items())
    text = text[0].upper() + text[1:]
    others = len(chart.rows) - len(alike)
    if not others:
        return f"{text}."
    rest = "the other one" if others == 1 else f"the other {others}"
    return f"{text}; under {rest} no layer starts with two units alike."


def _of_row(chart: HeatChart, i: int) -> str:
    """Of the layer with the smallest share of distinct units at the end: how many there are."""
    start, end = (panel.values[i] for panel in chart.panels)
    layers = [j for j in range(len(start)) if np.isfinite(start[j]) and np.isfinite(end[j])]
    if not layers:
        return "every network diverged"
    worst = min(layers, key=lambda j: (end[j], start[j]))
    first, last = (panel.text[i][worst] for panel in chart.panels)
    total = chart.panels[0].small[i][worst]
    text = f"{chart.columns[worst]} starts with {first} distinct "
    text += f"{'unit' if first == '1' else 'units'} {total} and "
    if end[worst] == 1:
        return f"{text}ends without copies"
    return text + (f"still has {last} at the end" if first == last else f"ends with {last}")


def _nothing(chart: LineChart, otherwise: str) -> str:
    """Why there is nothing to tell of a chart's ends."""
    lines = [line for panel in chart.panels for line in panel.series]
    return "Every network diverged." if any(line.lost for line in lines) else otherwise


def _changes(chart: LineChart) -> Iterator[Change]:
    """First and last known values of every line of a chart with a row per leaf."""
    for place, panel in enumerate(chart.panels):
        leaf = chart.row_labels[place // chart.columns]
        yield from _of_panel(panel, f"{leaf} under {panel.title} with ")


def _of_panel(panel: Panel, name: str = "") -> Iterator[Change]:
    for line in panel.series:
        y = line.y[np.isfinite(line.y)]
        if y.size and not line.lost:
            yield Change(float(y[0]), float(y[-1]), name + line.label)


def _short(value: float) -> str:
    return count(value) if value >= 1e4 else f"{value:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%"
