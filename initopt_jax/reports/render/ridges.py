"""Ridgelines: how the weights of each kernel are spread, from the first step to the last."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from initopt_jax.reports.charts.numbers import count
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.texts import in_figure, matplotlib_text
from initopt_jax.reports.render.figure_layout import (
    FOOT_INCHES,
    INK,
    LABEL,
    LABEL_INCHES,
    SMALL,
    SOFT,
    Frame,
    panels_at,
    save,
)

MOST_RIDGES = 7
POINTS = 160  # of a ridge's outline
BLUR = np.exp(-0.5 * (np.arange(-6, 7) / 1.7) ** 2)  # so that needles have a width
OVERLAP = 1.7  # height of a ridge, in distances between ridges
SHADES = ("#d9d2b4", "#8fc0b5", "#22698e", "#12355f")


@dataclass(frozen=True)
class RidgePanel:
    """One kernel under one initializer: a row of `heights` per ridge, each with its peak at 1.

    `spread` is the standard deviation of the weights per ridge, NaN where nothing is known.
    """

    x: Floats
    heights: Floats
    spread: Floats
    note: str = ""


@dataclass(frozen=True)
class RidgeChart:
    """Panels in rows of kernels and columns of initializers; ridges at these steps."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    panels: tuple[RidgePanel, ...]
    steps: tuple[float, ...]
    foot: str = ""


def shown_evaluations(known: Sequence[int]) -> list[int]:
    """At most seven evaluations: the first, the last, and ever fewer in between.

    >>> shown_evaluations(range(21))
    [0, 1, 2, 3, 6, 11, 20]
    """
    if len(known) <= MOST_RIDGES:
        return list(known)
    places = np.geomspace(1, len(known) - 1, MOST_RIDGES - 1).round().astype(int)
    return [known[0], *(known[place] for place in dict.fromkeys(places.tolist()))]


def ridge_panel(counts: Floats, ends: Floats) -> RidgePanel:
    """The mean density over seeds.

    Args:
        counts: [seeds, ridges, bins], NaN where a seed's weights are not known.
        ends: [seeds, ridges, 2], the smallest and the largest weight, likewise.
    """
    finite = np.asarray(np.isfinite(ends).all(axis=2) & np.isfinite(counts).all(axis=2))
    ridges = counts.shape[1]
    nothing = np.full(ridges, np.nan)
    if not finite.any():
        return RidgePanel(np.zeros(2), np.zeros((ridges, 2)), nothing, "diverged")
    low, high = float(ends[finite, 0].min()), float(ends[finite, 1].max())
    if low == high:
        flat = np.where(finite.any(axis=0), 0.0, np.nan)
        return RidgePanel(
            np.zeros(2), np.zeros((ridges, 2)), flat, f"all {low + 0.0:.3g}\nthroughout"
        )
    room = 0.08 * (high - low)
    x = np.linspace(low - room, high + room, POINTS)
    heights, spread = np.zeros((ridges, POINTS)), nothing
    for ridge in range(ridges):
        seeds = np.flatnonzero(finite[:, ridge])
        for seed in seeds:
            heights[ridge] += _density(x, counts[seed, ridge], ends[seed, ridge])
        heights[ridge] = np.convolve(heights[ridge], BLUR, mode="same")
        heights[ridge] /= heights[ridge].max() or 1.0
        if seeds.size:
            found = [_spread(counts[seed, ridge], ends[seed, ridge]) for seed in seeds]
            spread[ridge] = float(np.mean(found))
    return RidgePanel(x, heights, spread)


def _density(x: Floats, counts: Floats, ends: Floats) -> Floats:
    """One histogram as a line through the middles of its bins; a single value as a needle."""
    low, high = ends
    width = (high - low) / len(counts)
    step = x[1] - x[0]
    if high - low < 2 * step:  # the outline has no point inside
        needle = np.zeros_like(x)
        needle[np.argmin(np.abs(x - (low + high) / 2))] = 1 / step
        return needle
    middles = low + width * (np.arange(len(counts)) + 0.5)
    around = np.concatenate([[low - width / 2], middles, [high + width / 2]])
    return np.interp(x, around, np.pad(counts / counts.sum() / width, 1), left=0.0, right=0.0)


def _spread(counts: Floats, ends: Floats) -> float:
    """The standard deviation of weights that stand in the middles of their bins."""
    low, high = ends
    middles = low + (high - low) / len(counts) * (np.arange(len(counts)) + 0.5)
    share = counts / counts.sum()
    return float(np.sqrt(share @ (middles - share @ middles) ** 2))


def draw_ridges(chart: RidgeChart) -> dict[str, bytes]:
    """Draw ridgelines with Matplotlib.

    Args:
        chart: what to show.

    Returns:
        `png` and `pdf` to their bytes; equal charts give equal bytes.
    """
    return save(_figure(in_figure(chart, matplotlib_text)))


def _figure(chart: RidgeChart) -> Figure:
    columns, rows, ridges = len(chart.columns), len(chart.rows), len(chart.steps)
    narrow = columns > 4
    width = 1.3 if narrow else 2.0
    labels = [count(step) for step in chart.steps]
    left = 0.75 + LABEL_INCHES * max(len(label) for label in labels)
    frame = Frame(
        panel=(width, 0.26 * (ridges + 1)),
        gap=(0.16, 0.5),
        left=left,
        right=0.25,
        top=0.95 if narrow else 0.75,
        bottom=0.85,
    )
    wide = left + 0.25 + columns * width + (columns - 1) * 0.16
    lines = len(textwrap.wrap(chart.foot, int((wide - 0.3) / FOOT_INCHES)))
    frame = Frame(**{**vars(frame), "bottom": 0.55 + 0.15 * lines})
    figure, grid = panels_at(chart.title, chart.foot, rows, columns, frame)
    ramp = LinearSegmentedColormap.from_list("time", SHADES)
    colors = [ramp(place) for place in np.linspace(0, 1, ridges)]
    for place, (axes, panel) in enumerate(zip(grid, chart.panels, strict=True)):
        row, column = divmod(place, columns)
        _panel(axes, panel, colors)
        if row == 0:
            name = chart.columns[column]
            name = name.replace("(", "\n(", 1) if narrow else name
            axes.set_title(name, fontsize=LABEL, color=INK, loc="left")
        axes.set_yticks(-np.arange(ridges), labels if column == 0 else [""] * ridges)
        if column == 0:
            axes.set_ylabel(f"{chart.rows[row]}\nafter steps", fontsize=LABEL, color=INK)
        if row == rows - 1 and not panel.note:
            axes.set_xlabel("weight", fontsize=SMALL, color=SOFT, labelpad=2)
    return figure


def _panel(axes: Axes, panel: RidgePanel, colors: list[tuple[float, float, float, float]]) -> None:
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#aab1b9")
    axes.tick_params(labelsize=SMALL, colors=SOFT, length=2)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-len(panel.heights) + 0.6, OVERLAP + 0.1)
    if panel.note:
        axes.set_xticks([])
        axes.text(
            0.5, 0.5, panel.note, transform=axes.transAxes, ha="center", va="center",
            fontsize=SMALL, color=SOFT,
        )  # fmt: skip
        return
    for place, (heights, color) in enumerate(zip(panel.heights, colors, strict=True)):
        if not heights.any():
            continue
        shape = -place + OVERLAP * heights
        axes.fill_between(panel.x, -place, shape, color=color, linewidth=0, zorder=2 + place)
        axes.plot(panel.x, shape, color="white", linewidth=0.6, zorder=2.5 + place)
    axes.set_xlim(panel.x[0], panel.x[-1])
    axes.xaxis.set_major_locator(MaxNLocator(3, symmetric=False))
