"""Landscapes drawn with Matplotlib: panels of trails and basins as PNG and PDF, motion as a GIF."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from initopt_jax.report.canvas import (
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
from initopt_jax.report.charts import Floats
from initopt_jax.report.journeys import Journeys, Surface, letter
from initopt_jax.report.landscape import BasinChart, BasinPanel, Landscape, MotionChart, TrailChart
from initopt_jax.report.numbers import count

# Pale, so that every optimizer's colour stands out on it; light is low.
GROUND = LinearSegmentedColormap.from_list("ground", ("#fcfcf8", "#e3e8ea", "#b4c0c9"))
CONTOUR = "#8a97a3"
LEVELS = 14
PANEL_WIDTH, FILM_WIDTH = 2.55, 4.9  # inches
LEAST_ASPECT, MOST_ASPECT = 0.6, 1.3  # height of a panel by its width
FILM_DPI, FILM_COLORS, FRAME_MS, HOLD_MS = 110, 64, 90, 2500


def draw_landscape(chart: Landscape) -> dict[str, bytes]:
    """Draw a landscape.

    Args:
        chart: what to show.

    Returns:
        `png` and `pdf`, or `gif` for motion, to their bytes; equal charts give equal bytes.
    """
    if isinstance(chart, MotionChart):
        return {"gif": _film(chart)}
    return save(_trails(chart) if isinstance(chart, TrailChart) else _basins(chart))


# --- the ground --------------------------------------------------------------------------------


def contour_levels(surface: Surface) -> tuple[Floats, Floats]:
    """What to contour, and its levels, on the mesh.

    With known minima the logarithm of the cost above its lowest value, which shows the bottom of a
    valley; without, the cost itself, whose lowest value is only the domain's edge.

    Returns:
        [Y, X] heights, and rising levels; a flat surface has one level.
    """
    cost = surface.cost
    finite = cost[np.isfinite(cost)]
    if not finite.size or float(np.ptp(finite)) == 0.0:
        return np.zeros_like(cost), np.array([0.0])
    if not len(surface.minima):
        heights = cost
    else:
        above = cost - float(finite.min())
        # The lowest percentile bounds the range: a mesh point may lie on a minimum by chance.
        floor = max(float(np.quantile(above[np.isfinite(above)], 0.01)), float(above.max()) * 1e-6)
        heights = np.log10(np.maximum(above, floor))
    known = heights[np.isfinite(heights)]
    return heights, np.linspace(float(known.min()), float(known.max()), LEVELS)


def _ground(axes: Axes, surface: Surface) -> None:
    heights, levels = contour_levels(surface)
    if len(levels) > 1:
        axes.contourf(surface.x, surface.y, heights, levels, cmap=GROUND, extend="both")
        axes.contour(
            surface.x, surface.y, heights, levels, colors=CONTOUR, linewidths=0.45, linestyles="-",
            alpha=0.75,
        )  # fmt: skip
    _bounds(axes, surface)


def _bounds(axes: Axes, surface: Surface) -> None:
    left, right, bottom, top = surface.domain
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.tick_params(labelsize=SMALL, colors=SOFT, length=3)
    for spine in axes.spines.values():
        spine.set_color("#aab1b9")


def _stars(axes: Axes, surface: Surface, *, letters: bool = False, size: float = 9) -> None:
    for place, (x, y) in enumerate(surface.minima):
        if letters:
            axes.text(
                x, y, letter(place), fontsize=SMALL + 1, fontweight="bold", color=INK, ha="center",
                va="center", clip_on=True,
                bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": INK,
                      "linewidth": 0.7},
            )  # fmt: skip
        else:
            axes.plot(
                x, y, marker="*", markersize=size, color="white", markeredgecolor=INK,
                markeredgewidth=0.9, zorder=6, linestyle="none",
            )  # fmt: skip


def _shape(surface: Surface, width: float) -> tuple[float, float]:
    across, high = surface.size
    return width, width * float(np.clip(high / across, LEAST_ASPECT, MOST_ASPECT))


def _inside(points: Floats, surface: Surface) -> Floats:
    """Points no farther off than a few domains: a path to 1e30 cannot be drawn."""
    left, _, bottom, _ = surface.domain
    across, high = surface.size
    low = np.array([left - 9 * across, bottom - 9 * high])
    return np.clip(points, low, low + 19 * np.array([across, high]))


# --- trails ------------------------------------------------------------------------------------


def _trails(chart: TrailChart) -> Figure:
    figure, grid = _grid(
        chart.title, chart.foot, chart.surface, len(chart.panels), chart.columns, 2
    )
    for axes, one, heading in zip(grid, chart.panels, chart.headings, strict=False):
        _ground(axes, chart.surface)
        _stars(axes, chart.surface)
        for path, diverged in zip(one.path, one.diverged, strict=True):
            _trail(axes, chart.surface, path, one, diverged=bool(diverged))
        axes.set_title(heading, fontsize=LABEL, color=INK, loc="left", linespacing=1.25)
    return figure


def _trail(axes: Axes, surface: Surface, path: Floats, one: Journeys, *, diverged: bool) -> None:
    known = path[np.isfinite(path).all(axis=1)]
    if not len(known):
        return
    known = _inside(known, surface)
    color = one.style.color
    axes.plot(
        known[:, 0], known[:, 1], color=color, linewidth=1.4, solid_joinstyle="round", zorder=4
    )
    # Single points show how far an evaluation apart is; many would only thicken the line.
    axes.plot(
        known[1:, 0], known[1:, 1], color=color, linestyle="none", marker=".", markersize=2.6,
        zorder=4,
    )  # fmt: skip
    axes.plot(
        *known[0], marker="o", markersize=5.5, markerfacecolor="white", markeredgecolor=color,
        markeredgewidth=1.5, zorder=7, linestyle="none", clip_on=False,
    )  # fmt: skip
    end: dict[str, Any] = {"marker": "x", "markeredgewidth": 1.8} if diverged else {"marker": "o"}
    axes.plot(*known[-1], color=color, markersize=5.5, zorder=8, linestyle="none", **end)


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
    frame = Frame(
        panel=_shape(surface, PANEL_WIDTH),
        gap=(0.2, 0.3 + 0.2 * lines),
        left=0.6,
        right=0.2 + beside,
        top=0.55 + 0.2 * lines,
        bottom=0.8,
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
        _stars(axes, chart.surface, letters=True)
        axes.set_title(
            panel.heading, fontsize=LABEL, color=INK, loc="left", pad=6 + 11 * (lines - 1)
        )
        axes.text(
            0, 1.02, panel.shares, transform=axes.transAxes, fontsize=SMALL, color=SOFT,
            va="bottom", linespacing=1.25,
        )  # fmt: skip
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
        axes.pcolormesh(edges(x), edges(y), cells, edgecolors="face", linewidth=0.2, **limits)
    else:
        # Starts that make no full grid are drawn where they are.
        size = 60.0 if len(place) < 20 else 16.0
        axes.scatter(
            panel.start[:, 0], panel.start[:, 1], c=place, s=size, marker="s", edgecolors="#57606a",
            linewidths=0.4, **limits,
        )  # fmt: skip
    _bounds(axes, chart.surface)
    axes.set_facecolor("white")


def edges(centers: Floats) -> Floats:
    """The borders of cells around at least two rising centres: halfway, and as far at the ends.

    >>> edges(np.array([0.0, 1.0, 3.0])).tolist()
    [-0.5, 0.5, 2.0, 4.0]
    """
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])


# --- motion ------------------------------------------------------------------------------------


def _film(chart: MotionChart) -> bytes:
    """The frames of a GIF: the ground is drawn once, and the points over it anew each time."""
    figure, axes, moving, clock = _scene(chart)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ground = canvas.copy_from_bbox(figure.bbox)
    pictures = []
    for frame in chart.frames:
        canvas.restore_region(ground)
        for (line, dot), one in zip(moving, chart.journeys, strict=True):
            path = one.path[0, : int(frame) + 1]
            known = _inside(path[np.isfinite(path).all(axis=1)], chart.surface)
            line.set_data(known[:, 0], known[:, 1])
            dot.set_data(known[-1:, 0], known[-1:, 1])
        for artist in [artist for pair in moving for artist in pair]:
            axes.draw_artist(artist)
        clock.set_text(f"step {count(_time(chart.journeys, int(frame)))}")
        axes.draw_artist(clock)
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return _gif(pictures)


def _time(journeys: Sequence[Journeys], frame: int) -> float:
    steps = [one.step[0, frame] for one in journeys if frame < one.step.shape[1]]
    return float(np.nanmax(steps)) if np.isfinite(steps).any() else 0.0


def _scene(chart: MotionChart) -> tuple[Figure, Axes, list[tuple[Line2D, Line2D]], Any]:
    """What stands still, with a line and a dot per optimizer and the clock that do not."""
    longest = max((len(one.label) for one in chart.journeys), default=1)
    beside = 0.75 + LABEL_INCHES * max(longest, 9)
    frame = Frame(_shape(chart.surface, FILM_WIDTH), (0, 0), 0.6, beside, 0.6, 0.75)
    figure, (axes,) = panels_at(chart.title, chart.foot, 1, 1, frame)
    _ground(axes, chart.surface)
    _stars(axes, chart.surface, size=13)
    moving, handles = [], []
    for one in chart.journeys:
        color = one.style.color
        (line,) = axes.plot([], [], color=color, linewidth=1.8, linestyle=one.style.dash, zorder=4)
        (dot,) = axes.plot(
            [], [], color=color, marker="o", markersize=9, markeredgecolor="white", zorder=7,
            markeredgewidth=1.2, linestyle="none",
        )  # fmt: skip
        moving.append((line, dot))
        handles.append(
            Line2D([], [], color=color, marker="o", markersize=7, linewidth=1.8, label=one.label,
                   linestyle=one.style.dash)
        )  # fmt: skip
        if len(one.path):
            axes.plot(
                *one.start[0], marker="o", markersize=8, markerfacecolor="white", color=INK,
                zorder=5, clip_on=False,
            )  # fmt: skip
    clock = axes.text(
        0.03, 0.97, "", transform=axes.transAxes, fontsize=LABEL + 1.5, fontweight="bold",
        color=INK, va="top", zorder=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.5},
    )  # fmt: skip
    for artist in [*(artist for pair in moving for artist in pair), clock]:
        artist.set_animated(True)
    width = figure.get_size_inches()[0]
    legend(figure, handles, "optimizer", width - beside + 0.2, 0.6)
    return figure, axes, moving, clock


def _gif(pictures: Sequence[Image.Image]) -> bytes:
    """One palette for all frames, taken from the last, which shows every colour."""
    palette = pictures[-1].quantize(FILM_COLORS, method=Image.Quantize.MEDIANCUT)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    file = io.BytesIO()
    frames[0].save(
        file, format="GIF", save_all=True, append_images=frames[1:], loop=0, optimize=False,
        duration=[FRAME_MS] * (len(frames) - 1) + [HOLD_MS],
    )  # fmt: skip
    return file.getvalue()
