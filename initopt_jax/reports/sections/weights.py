"""The report's figures about weights: what initialization and optimization did to them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from initopt_jax.reports.charts.captioned import Captioned
from initopt_jax.reports.charts.captions import norm_caption, ranking
from initopt_jax.reports.charts.descriptions import HeatChart, HeatPanel, LineChart, Panel
from initopt_jax.reports.charts.leaves import (
    leaf_chart,
    norm_chart,
    positive_span,
    ratio_bands,
    shown_leaves,
)
from initopt_jax.reports.charts.numbers import count, listed
from initopt_jax.reports.charts.results import GEOMETRIC_FOOT, SCORE_COLORS, Results, curve_series
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.render.ridges import RidgeChart, ridge_panel, shown_evaluations

RATE_OF_ALL = "effective_rate_of_all"
MOST_KERNELS = 8  # columns of a matrix


class Change(NamedTuple):
    """A number at the first and at the last point of what a name stands for."""

    first: float
    last: float
    name: str

    @property
    def ratio(self) -> float:
        """How many times the first the last one is."""
        return self.last / self.first


def weights_figures(results: Results) -> list[Captioned]:
    """The figures of the probes of weights and updates that were recorded, in order."""
    return [
        Captioned(name, chart, say(chart), section="weights")
        for name, chart, say in _charts(results)
        if chart is not None
    ]


def _charts(results: Results) -> tuple[tuple[str, Any, Callable[[Any], str]], ...]:
    """Names, charts (None of what was not recorded) and what says what they show."""
    return (
        ("weight_norms", norm_chart(results), norm_caption),
        ("weight_histograms", ridge_chart(results), ridge_sentence),
        ("weight_distance", distance_chart(results), distance_sentence),
        ("update_ratio", ratio_chart(results), ratio_sentence),
        ("effective_rate", effective_rate_chart(results), rate_sentence),
        ("weight_spectra", spectrum_chart(results), spectrum_sentence),
        ("symmetry", symmetry_chart(results), symmetry_sentence),
    )


def distance_chart(results: Results) -> LineChart | None:
    """How far every kernel is from its start, in norms of the start."""
    title = "Distance of the kernels from their start, over its norm,"
    return leaf_chart(results, "relative_distance", title, "relative distance", ratio=True)


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


def ratio_chart(results: Results) -> LineChart | None:
    """How long an update of every kernel is, in norms of its weights."""
    title = "Length of one update over the norm of the weights"
    return leaf_chart(results, "update_ratio", title, "update / weights", ratio=True)


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


def shown_optimizer(results: Results) -> str:
    """The optimizer of figures that have room for one: that of the best pair, else the first."""
    order = ranking(results)
    return results.optimizers[0] if order.empty else str(order.iloc[0]["optimizer"])


def lanes_of(results: Results, initializer: str, optimizer: str) -> list[int]:
    """Reported lanes of a tuned cell that did not diverge; all of them where every one did."""
    best, finals = results.best, results.finals
    chosen = best[(best["initializer"] == initializer) & (best["optimizer"] == optimizer)]
    own = finals[finals["cell"].isin(chosen["cell"]) & (finals["role"] == "report")]
    calm = own[~own["diverged"].astype(bool)]
    return [int(lane) for lane in (calm if len(calm) else own).index]


# --- ridgelines ----------------------------------------------------------------------------------


def ridge_chart(results: Results) -> RidgeChart | None:
    """Histograms of the kernels over time, under every initializer with one optimizer."""
    dataset = results.dataset
    if not {"weight_histogram", "weight_range"} <= set(dataset):
        return None
    optimizer = shown_optimizer(results)
    lanes = {name: lanes_of(results, name, optimizer) for name in results.initializers}
    every = [lane for own in lanes.values() for lane in own]
    if not every:
        return None
    leaves = shown_leaves([str(leaf) for leaf in dataset["leaf"].values])
    ends = dataset["weight_range"].sel(lane=every, leaf=leaves).values
    known = np.flatnonzero(np.isfinite(ends).any(axis=(0, 2, 3)))
    chosen = shown_evaluations([int(place) for place in known])
    if not chosen:
        return None
    panels = []
    for leaf in leaves:
        for name in results.initializers:
            where = {"lane": lanes[name], "leaf": leaf}
            counts, span = (
                dataset[variable].sel(where).values[:, chosen].astype(np.float64)
                for variable in ("weight_histogram", "weight_range")
            )
            panels.append(ridge_panel(counts, span))
    steps = dataset["step"].sel(lane=every).values[:, chosen]
    return RidgeChart(
        title=f"Spread of the weights during training with {optimizer}, each at its "
        f"{results.setting}",
        rows=tuple(leaves),
        columns=tuple(results.initializers),
        panels=tuple(panels),
        steps=tuple(float(step) for step in np.nanmax(steps, axis=0)),
        foot="From light to dark, top to bottom, as training goes on; mean over the seeds that did "
        "not diverge. Every ridge is scaled to its own peak, every panel to its own range: compare "
        "shapes, and read widths off the axis.",
    )


# --- effective learning rate ---------------------------------------------------------------------


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


def effective_rate_chart(results: Results) -> LineChart | None:
    """Length of the update over that of the gradient: a panel per optimizer."""
    dataset, best = results.dataset, results.best
    if not {"effective_rate", "gradient_norm"} <= set(dataset):
        return None
    slope = dataset["gradient_norm"].values.astype(np.float64)
    # Of a leaf without a gradient no rate is known; it adds nothing to the gradient of all.
    step = np.where(slope == 0, 0.0, dataset["effective_rate"].values * slope)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = np.sqrt((step**2).sum(axis=2)) / np.sqrt((slope**2).sum(axis=2))
    whole = np.where(np.isfinite(whole), whole, np.nan)
    table = ratio_bands(
        dataset.assign({RATE_OF_ALL: (("lane", "eval"), whole)}),
        results.lanes,
        list(best["cell"]),
        RATE_OF_ALL,
    )
    by_cell = dict(list(table.groupby("cell")))
    panels = []
    for optimizer in results.optimizers:
        rows = best[best["optimizer"] == optimizer]
        series = [
            curve_series(by_cell[cell], name, results.initializer_styles[name], "step")
            for cell, name in zip(rows["cell"], rows["initializer"], strict=True)
            if cell in by_cell
        ]
        panels.append(Panel(optimizer, tuple(series)))
    span = positive_span(table)
    return LineChart(
        title="Effective learning rate: length of the update over that of the gradient, each at "
        f"its {results.setting}",
        x_label="steps",
        y_label="effective rate",
        panels=tuple(panels),
        columns=min(4, len(panels)),
        y_scale="log" if span else "linear",
        y_range=span,
        metric="effective_rate",
        legend="initializer",
        foot=GEOMETRIC_FOOT,
    )


# --- spectra and symmetry, first against last ----------------------------------------------------


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


def first_and_last(results: Results, variable: str, optimizer: str) -> tuple[Floats, Floats] | None:
    """Means over lanes [initializer, kernel] where a variable was first and last measured."""
    made: list[Floats] = []
    dataset = results.dataset.isel(kernel=_shown_kernels(results))
    kernels = dataset.sizes["kernel"]
    for name in results.initializers:
        values = dataset[variable].sel(lane=lanes_of(results, name, optimizer)).values
        known = np.flatnonzero(np.isfinite(values).any(axis=(0, 2)))
        if known.size:
            table = pd.DataFrame(values[:, [known[0], known[-1]]].reshape(len(values), -1))
            made.append(table.mean().to_numpy(np.float64).reshape(2, kernels))
        else:
            made.append(np.full((2, kernels), np.nan))
    whole = np.stack(made, axis=1)
    return (whole[0], whole[1]) if np.isfinite(whole).any() else None


def spectrum_chart(results: Results) -> HeatChart | None:
    """Effective rank and spectral norm of every kernel, at the start and at the end."""
    optimizer = shown_optimizer(results)
    if not {"effective_rank", "spectral_norm"} <= set(results.dataset):
        return None
    norms = first_and_last(results, "spectral_norm", optimizer)
    if norms is None:
        return None
    # Kernels that are 0 everywhere have a norm and no rank.
    ranks = first_and_last(results, "effective_rank", optimizer) or norms
    panels = [
        HeatPanel(
            title=f"Effective rank {when}\n(below: spectral norm)",
            values=np.where(norm == 0, np.nan, rank),
            text=[["zero" if n == 0 else f"{r:.1f}" for r, n in _pairs(*row)]
                  for row in _pairs(rank, norm)],
            small=[["" if n == 0 else f"norm {n:.2g}" for n in row] for row in norm],
            strong=np.zeros(rank.shape, bool),
            scale="log",
            metric="effective_rank",
            colors=SCORE_COLORS,
        )
        for when, rank, norm in zip(("at the start", "at the end"), ranks, norms, strict=True)
    ]  # fmt: skip
    return HeatChart(
        title=f"Spectra of the kernels, trained with {optimizer}",
        rows=tuple(results.initializers),
        columns=_kernels(results),
        panels=tuple(panels),
        foot="Effective rank: the number of equal singular values with the same entropy. Spectral "
        "norm: the largest singular value. Means over the seeds that did not diverge. Grey: all "
        "weights are zero, or unknown.",
    )


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


def symmetry_chart(results: Results) -> HeatChart | None:
    """How many units of each layer are distinct, at the start and at the end."""
    optimizer = shown_optimizer(results)
    if not {"copies", "units"} <= set(results.dataset):
        return None
    copies = first_and_last(results, "copies", optimizer)
    units = first_and_last(results, "units", optimizer)
    if copies is None or units is None:
        return None
    panels = [
        HeatPanel(
            title=f"Distinct units of each layer {when}\n(of all its units)",
            values=(unit - copy) / unit,
            text=[[_number(u - c) for c, u in _pairs(*row)] for row in _pairs(copy, unit)],
            small=[[f"of {u:.0f}" if np.isfinite(u) else "" for u in row] for row in unit],
            strong=np.zeros(copy.shape, bool),
            scale="linear",
            metric="distinct",
            colors=SCORE_COLORS,
        )
        for when, copy, unit in zip(("at the start", "at the end"), copies, units, strict=True)
    ]
    return HeatChart(
        title=f"Symmetry: how many units of a layer are distinct, trained with {optimizer}",
        rows=tuple(results.initializers),
        columns=_kernels(results),
        panels=tuple(panels),
        foot="Units with the same incoming weights and bias compute the same, get the same "
        "gradients as long as what follows treats them alike, and so stay copies.",
    )


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


def _shown_kernels(results: Results) -> list[int]:
    """At most eight kernels, evenly from first to last."""
    total = results.dataset.sizes["kernel"]
    places = np.linspace(0, total - 1, min(MOST_KERNELS, total)).round().astype(int)
    return [int(place) for place in places]


def _kernels(results: Results) -> tuple[str, ...]:
    """The shown kernels by name, without an ending that all of them share."""
    names = [str(results.dataset["kernel"].values[place]) for place in _shown_kernels(results)]
    if all(name.endswith("/kernel") for name in names):
        names = [name.removesuffix("/kernel") for name in names]
    return tuple(names)


def _pairs(one: Any, other: Any) -> list[tuple[Any, Any]]:
    return list(zip(one, other, strict=True))


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "n/a"
    return f"{value:.0f}" if value >= 99.5 or value == round(value) else f"{value:.1f}"


def _size(change: Change) -> float:
    return abs(float(np.log(change.ratio)))


def _all_one(ranks: np.ndarray) -> bool:
    known = ranks[np.isfinite(ranks)]
    return bool(known.size) and bool((known < 1.01).all())


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
