"""MapCharts drawn with Matplotlib: panels of trails and basins as PNG and PDF, motion as a GIF."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from initopt_jax.reports.charts.function_maps import (
    BasinChart,
    BasinPanel,
    MapChart,
    MotionChart,
    TrailChart,
)
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.surface import Surface
from initopt_jax.reports.charts.texts import in_figure, matplotlib_text
from initopt_jax.reports.charts.trajectories import Trajectories
from initopt_jax.reports.render.animation import animation
from initopt_jax.reports.render.contours import (
    draw_ground,
    draw_letters,
    draw_stars,
    panel_shape,
    set_bounds,
    within_reach,
)
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

PANEL_WIDTH = 2.55  # inches
LINE_POINTS = 11.5  # height of a small line


def draw_function_map(chart: MapChart) -> dict[str, bytes]:
    """Draw a landscape.

    Args:
        chart: what to show.

    Returns:
        `png` and `pdf`, or `gif` for motion, to their bytes; equal charts give equal bytes.
    """
    chart = in_figure(chart, matplotlib_text)
    if isinstance(chart, MotionChart):
        return {"gif": animation(chart)}
    return save(_trails(chart) if isinstance(chart, TrailChart) else _basins(chart))


# --- trails ------------------------------------------------------------------------------------


def _trails(chart: TrailChart) -> Figure:
    figure, grid = _grid(
        chart.title, chart.foot, chart.surface, len(chart.panels), chart.columns, 2
    )
    for axes, one, heading in zip(grid, chart.panels, chart.headings, strict=False):
        draw_ground(axes, chart.surface)
        draw_stars(axes, chart.surface, size=5)
        for path, diverged in zip(one.path, one.diverged, strict=True):
            _trail(axes, chart.surface, path, one, diverged=bool(diverged))
        _headings(axes, *heading, lines=2)
    return figure


def _headings(axes: Axes, large: str, small: str, lines: int) -> None:
    """A panel's title over its numbers."""
    high = 5 + LINE_POINTS * (lines - 1)
    axes.set_title(large, fontsize=LABEL, color=INK, loc="left", pad=high)
    axes.annotate(
        small, (0, 1), xytext=(0, high - 3), textcoords="offset points", xycoords="axes fraction",
        fontsize=SMALL, color=SOFT, va="top", linespacing=1.25, annotation_clip=False,
    )  # fmt: skip


def _trail(
    axes: Axes, surface: Surface, path: Floats, one: Trajectories, *, diverged: bool
) -> None:
    known = path[np.isfinite(path).all(axis=1)]
    if not len(known):
        return
    known = within_reach(known, surface)
    color = one.style.color
    axes.plot(
        known[:, 0], known[:, 1], color=color, linewidth=1.4, solid_joinstyle="round", zorder=4
    )
    # Single points show how far an evaluation apart is; many would only thicken the line.
    axes.plot(
        known[1:, 0], known[1:, 1], color=color, linestyle="none", marker=".", markersize=2,
        zorder=4,
    )  # fmt: skip
    axes.plot(
        *known[0], marker="o", markersize=5.5, markerfacecolor="white", markeredgecolor=color,
        markeredgewidth=1.5, zorder=8, linestyle="none", clip_on=False,
    )  # fmt: skip
    end: dict[str, Any] = {"marker": "x", "markeredgewidth": 1.8} if diverged else {"marker": "o"}
    axes.plot(*known[-1], color=color, markersize=7.5, zorder=7, linestyle="none", **end)


def _grid(
    title: str,
    foot: str,
    surface: Surface,
    panels: int,
    columns: int,
    lines: int,
    beside: float = 0,
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel per optimizer; `lines` is how many lines a panel's heading has."""
    rows = -(-panels // columns)
    width = 0.8 + beside + columns * PANEL_WIDTH + (columns - 1) * 0.3
    below = len(textwrap.wrap(foot, int((width - 0.3) / FOOT_INCHES)))
    frame = Frame(
        panel=panel_shape(surface, PANEL_WIDTH),
        gap=(0.3, 0.3 + 0.2 * lines),
        left=0.6,
        right=0.2 + beside,
        top=0.55 + 0.2 * lines,
        bottom=0.5 + 0.15 * below,
    )
    figure, grid = panels_at(title, foot, rows, columns, frame)
    for place, axes in enumerate(grid):
        axes.set_visible(place < panels)
        axes.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= panels)
    return figure, grid


# --- basins ------------------------------------------------------------------------------------


def _basins(chart: BasinChart) -> Figure:
    beside = 0.6 + LABEL_INCHES * max(len(name) for name in chart.names.values())
    lines = max(panel.shares.count("\n") for panel in chart.panels) + 2
    figure, grid = _grid(
        chart.title, chart.foot, chart.surface, len(chart.panels), chart.columns, lines,
        max(beside, 1.6),
    )  # fmt: skip
    for axes, panel in zip(grid, chart.panels, strict=False):
        _basin(axes, chart, panel)
        draw_letters(axes, chart.surface)
        _headings(axes, panel.heading, panel.shares, lines)
    handles = [
        Patch(facecolor=chart.colors[k], edgecolor="#aab1b9", linewidth=0.5, label=name)
        for k, name in chart.names.items()
    ]
    width = figure.get_size_inches()[0]
    heading = "reached" if len(chart.surface.minima) else "end of the path"
    legend(figure, handles, heading, width - max(beside, 1.6), 0.55 + 0.2 * lines)
    return figure


def _basin(axes: Axes, chart: BasinChart, panel: BasinPanel) -> None:
    order = list(chart.names)
    shades = ListedColormap([chart.colors[k] for k in order])
    place = np.array([order.index(k) for k in panel.outcome.tolist()], np.float64)
    x, y = np.unique(panel.start[:, 0]), np.unique(panel.start[:, 1])
    limits = {"cmap": shades, "vmin": -0.5, "vmax": len(order) - 0.5}
    if len(x) > 1 and len(y) > 1 and len(x) * len(y) == len(place):
        cells = np.empty((len(y), len(x)))
        cells[np.searchsorted(y, panel.start[:, 1]), np.searchsorted(x, panel.start[:, 0])] = place
        around = edges(x), edges(y)
        axes.pcolormesh(*around, cells, edgecolors="face", linewidth=0.2, **limits)
        set_bounds(axes, chart.surface)
        # Every start shows its whole square, at the domain's edge too, and nothing else is shown.
        axes.set_xlim(around[0][0], around[0][-1])
        axes.set_ylim(around[1][0], around[1][-1])
    else:
        # Starts that make no full grid are drawn where they are.
        size = 60.0 if len(place) < 20 else 16.0
        axes.scatter(
            panel.start[:, 0], panel.start[:, 1], c=place, s=size, marker="s", edgecolors="#57606a",
            linewidths=0.4, **limits,
        )  # fmt: skip
        set_bounds(axes, chart.surface)


def edges(centers: Floats) -> Floats:
    """The borders of cells around at least two rising centres: halfway, and as far at the ends.

    >>> edges(np.array([0.0, 1.0, 3.0])).tolist()
    [-0.5, 0.5, 2.0, 4.0]
    """
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])
