"""The report's figures about weights: what initialization and optimization did to them."""

from collections.abc import Callable
from typing import Any

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
from initopt_jax.reports.charts.results import GEOMETRIC_FOOT, SCORE_COLORS, Results, curve_series
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.render.ridges import RidgeChart, ridge_panel, shown_evaluations
from initopt_jax.reports.sections import weight_captions

RATE_OF_ALL = "effective_rate_of_all"
MOST_KERNELS = 8  # columns of a matrix


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
        ("weight_histograms", ridge_chart(results), weight_captions.ridge_sentence),
        ("weight_distance", distance_chart(results), weight_captions.distance_sentence),
        ("update_ratio", ratio_chart(results), weight_captions.ratio_sentence),
        ("effective_rate", effective_rate_chart(results), weight_captions.rate_sentence),
        ("weight_spectra", spectrum_chart(results), weight_captions.spectrum_sentence),
        ("symmetry", symmetry_chart(results), weight_captions.symmetry_sentence),
    )


def distance_chart(results: Results) -> LineChart | None:
    """How far every kernel is from its start, in norms of the start."""
    title = "Distance of the kernels from their start, over its norm,"
    return leaf_chart(results, "relative_distance", title, "relative distance", ratio=True)


def ratio_chart(results: Results) -> LineChart | None:
    """How long an update of every kernel is, in norms of its weights."""
    title = "Length of one update over the norm of the weights"
    return leaf_chart(results, "update_ratio", title, "update / weights", ratio=True)


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
