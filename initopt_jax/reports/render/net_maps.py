"""Maps of the loss of networks, drawn with Matplotlib."""

import textwrap

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from initopt_jax.reports.charts.net_map import NetMap, NetPanel, NetPath, contour_levels, heights
from initopt_jax.reports.charts.palette import MARKERS
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.texts import in_figure, matplotlib_text
from initopt_jax.reports.render.contours import CONTOUR, CONTOURS
from initopt_jax.reports.render.figure_layout import (
    FOOT_INCHES,
    INK,
    LABEL,
    LABEL_INCHES,
    SMALL,
    SOFT,
    Frame,
    legend,
    panels_at,
    save,
)

LARGE, SMALL_PANEL = 5.4, 2.4  # inches across a map
LEAST_ASPECT, MOST_ASPECT = 0.7, 1.15  # height of a map by its width
MARKS = 9  # along a path: more would hide it
CLEAR = 0.045  # of the map's size around a contour's number, without a path
HALO = [patheffects.Stroke(linewidth=2.6, foreground="white"), patheffects.Normal()]
BESIDE = 1.4  # inches of a legend at least


def draw_net_map(chart: NetMap) -> dict[str, bytes]:
    """Draw a map.

    Args:
        chart: what to show.

    Returns:
        `png` and `pdf` to their bytes; equal charts give equal bytes.
    """
    chart = in_figure(chart, matplotlib_text)
    alone = len(chart.panels) == 1
    levels, floor = contour_levels(chart.panels)
    paths = [path for panel in chart.panels for path in panel.paths]
    named = [name for path in paths for name in path.names]
    beside = max(BESIDE, 0.6 + LABEL_INCHES * max(map(len, named))) if named else 0.0
    size = _shape(chart.panels[0], LARGE if alone else SMALL_PANEL)
    width = 0.95 + beside + chart.columns * size[0] + (chart.columns - 1) * 0.3
    below = len(textwrap.wrap(chart.foot, int((width - 0.3) / FOOT_INCHES)))
    frame = Frame(
        panel=size,
        gap=(0.3, 0.5),
        left=0.75,
        right=0.2 + beside,
        top=0.5 if alone else 0.75,
        bottom=0.75 + 0.15 * below,
    )
    rows = -(-len(chart.panels) // chart.columns)
    figure, grid = panels_at(chart.title, chart.foot, rows, chart.columns, frame)
    for place, axes in enumerate(grid):
        axes.set_visible(place < len(chart.panels))
    for place, (axes, panel) in enumerate(zip(grid, chart.panels, strict=False)):
        _contours(axes, panel, levels, floor, labels=alone)
        for path in panel.paths:
            _path(axes, path)
        if panel.middle:
            axes.plot(0, 0, marker="+", color=INK, markersize=7, markeredgewidth=1.3)
        axes.set_title(panel.heading, fontsize=LABEL, color=INK, loc="left")
        last = place + chart.columns >= len(chart.panels)
        axes.tick_params(labelleft=place % chart.columns == 0, labelbottom=last)
        if last:
            axes.set_xlabel(chart.x_label, fontsize=LABEL, color=INK)
        if place % chart.columns == 0:
            axes.set_ylabel(chart.y_label, fontsize=LABEL, color=INK)
    if named:
        _legends(figure, paths, figure.get_size_inches()[0] - beside, frame.top)
    return save(figure)


def _shape(panel: NetPanel, width: float) -> tuple[float, float]:
    """Width and height in inches: distances look the same both ways, unless that is extreme."""
    high, across = (float(np.ptp(axis)) for axis in (panel.y, panel.x))
    return width, width * float(np.clip(high / across, LEAST_ASPECT, MOST_ASPECT))


def _contours(axes: Axes, panel: NetPanel, levels: Floats, floor: float, *, labels: bool) -> None:
    high = heights(panel, floor)
    if len(levels) > 1:
        axes.contourf(panel.x, panel.y, high, levels, cmap=CONTOURS, extend="both")
        lines = axes.contour(
            panel.x, panel.y, high, levels, colors=CONTOUR, linewidths=0.5, linestyles="-",
            alpha=0.8,
        )  # fmt: skip
        if labels:
            texts = axes.clabel(
                lines, levels[1::2], fmt=lambda value: f"{10**value:.2g}", fontsize=7,
                colors=SOFT, inline=False,
            )  # fmt: skip
            for text in texts:
                text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])
                text.set_visible(_is_clear(text.get_position(), panel))
    axes.set_xlim(float(panel.x[0]), float(panel.x[-1]))
    axes.set_ylim(float(panel.y[0]), float(panel.y[-1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.tick_params(labelsize=SMALL, colors=SOFT, length=3)
    for spine in axes.spines.values():
        spine.set_color("#aab1b9")


def _is_clear(place: tuple[float, float], panel: NetPanel) -> bool:
    """Whether no path runs where a number is to stand."""
    size = np.array([np.ptp(panel.x), np.ptp(panel.y)])
    for path in panel.paths:
        if not len(path.points):
            continue
        # Points between the stored ones: a path is a line.
        along = np.linspace(0, len(path.points) - 1, 12 * len(path.points))
        stored = np.arange(len(path.points))
        line = [np.interp(along, stored, column) for column in path.points.T]
        apart = (np.stack(line, axis=-1) - np.asarray(place)) / size
        if np.min(np.hypot(*apart.T)) < CLEAR:
            return False
    return True


def _spread(points: Floats) -> Floats:
    """A few of a path's points, about equally far from each other, the ends not among them."""
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    wanted = np.linspace(0, length[-1], MARKS + 2)[1:-1]
    rows = np.unique(np.searchsorted(length, wanted))
    return points[rows[(rows > 0) & (rows < len(points) - 1)]]


def _path(axes: Axes, path: NetPath) -> None:
    """A line from a hollow circle to a filled mark; a network alone is the mark."""
    if not len(path.points):
        return
    x, y = path.points[:, 0], path.points[:, 1]
    color, mark = path.style.color, MARKERS[path.style.mark]
    if len(path.points) > 1:
        axes.plot(
            x, y, color=color, linestyle=path.style.dash, linewidth=1.5, zorder=4,
            solid_joinstyle="round", path_effects=HALO,
        )  # fmt: skip
        axes.plot(
            *_spread(path.points).T, color=color, linestyle="none", marker=mark, markersize=4,
            zorder=5,
        )  # fmt: skip
        axes.plot(
            x[0], y[0], marker="o", markersize=6, markerfacecolor="white", markeredgecolor=color,
            markeredgewidth=1.6, linestyle="none", zorder=8,
        )  # fmt: skip
    axes.plot(
        x[-1], y[-1], marker=mark, markersize=9, color=color, markeredgecolor="white",
        markeredgewidth=0.9, linestyle="none", zorder=7,
    )  # fmt: skip
    if path.text:
        left, right = axes.get_xlim()
        inward = -1 if x[-1] > (left + right) / 2 else 1
        axes.annotate(
            path.text, (x[-1], y[-1]), xytext=(9 * inward, 7), textcoords="offset points",
            fontsize=LABEL, color=INK if len(x) == 1 else color, zorder=8,
            ha="left" if inward > 0 else "right",
            path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _legends(figure: Figure, paths: list[NetPath], left: float, top: float) -> None:
    """Colours are initializers, marks are optimizers."""
    initializers = {path.names[0]: path.style for path in paths}
    optimizers = {path.names[1]: path.style for path in paths}
    lines = [
        Line2D([], [], color=style.color, linestyle=style.dash, linewidth=2.2, label=name)
        for name, style in initializers.items()
    ]
    marks = [
        Line2D([], [], color=SOFT, linestyle="none", marker=MARKERS[style.mark], markersize=8,
               label=name)
        for name, style in optimizers.items()
    ]  # fmt: skip
    top = legend(figure, lines, "initializer", left, top)
    legend(figure, marks, "optimizer", left, top)
