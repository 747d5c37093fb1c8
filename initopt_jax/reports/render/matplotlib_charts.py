"""Charts as PNG and PDF bytes, by Matplotlib's object interface: no pyplot, no global state."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initopt_jax.reports.charts.descriptions import (
    Chart,
    HeatChart,
    HeatPanel,
    LineChart,
    Panel,
    PointChart,
    PointPanel,
    Series,
    beyond,
    beyond_text,
    heat_colors,
    point_ends,
    points_beyond,
    text_color,
    x_span,
    y_ends,
)
from initopt_jax.reports.charts.palette import MARKERS
from initopt_jax.reports.charts.scales import Floats, Scale, placed, tick_of, whole_ticks
from initopt_jax.reports.charts.texts import in_figure, matplotlib_text
from initopt_jax.reports.render.figure_layout import (
    INK,
    LABEL,
    LABEL_INCHES,
    MISSING,
    SMALL,
    SOFT,
    Frame,
    direct_labels,
    dress,
    legend,
    panels_at,
    save,
    ticks,
)

NAME_HEIGHT = 0.19  # inches of a name at the end of a line


def draw(chart: Chart) -> dict[str, bytes]:
    """Draw a chart.

    Args:
        chart: what to show.

    Returns:
        `png` and `pdf` to their bytes; equal charts give equal bytes.
    """
    chart = in_figure(chart, matplotlib_text)
    if isinstance(chart, HeatChart):
        figure = _heat(chart)
    elif isinstance(chart, LineChart):
        figure = _lines(chart)
    else:
        figure = _scatter(chart)
    return save(figure)


# --- lines -------------------------------------------------------------------------------------


def _lines(chart: LineChart) -> Figure:
    rows, total = -(-len(chart.panels) // chart.columns), len(chart.panels)
    narrow = chart.columns > 4
    handles = {s.label: _handle(s) for panel in chart.panels for s in panel.series}
    beside = 0.7 + LABEL_INCHES * max([len(name) for name in handles] or [0])
    height = 1.7 if total > 1 else 3.0
    named = NAME_HEIGHT * len(handles) if chart.direct else 0.0
    beside_y = [f"{label} {chart.y_label}" for label in chart.row_labels]
    parted = LABEL_INCHES * max([len(name) for name in beside_y] or [0]) > height
    frame = Frame(
        panel=(1.25 if narrow else 2.35 if total > 1 else 4.6, max(height, named)),
        gap=(
            0.16 if chart.share_x else 0.34,
            0.3 if chart.row_labels else 0.45 if chart.share_x else 0.62,
        ),
        left=1.0 if parted else 0.85,
        right=beside + 0.2,
        top=0.95 if narrow else 0.75,
        bottom=0.9,
    )
    figure, grid = panels_at(chart.title, chart.foot, rows, chart.columns, frame)
    for place, axes in enumerate(grid):
        if place >= total:
            axes.set_visible(False)
            continue
        row, column = divmod(place, chart.columns)
        panel = chart.panels[place]
        heading = panel.title if row == 0 or not chart.row_labels else ""
        _panel(axes, chart, panel, heading.replace("(", "\n(", 1) if narrow else heading)
        # Columns may end early in the last row, so the lowest panel differs between columns.
        last = place + chart.columns >= total
        axes.tick_params(labelbottom=last or not chart.share_x, labelleft=column == 0)
        if last:
            axes.set_xlabel(chart.x_label, fontsize=LABEL, color=INK)
        if column == 0:
            name = beside_y[row] if chart.row_labels else chart.y_label
            if parted:
                name = f"{chart.row_labels[row]}\n{chart.y_label}"
            axes.set_ylabel(name, fontsize=LABEL, color=INK)
    _share(chart, grid[:total])
    if chart.direct:
        for axes, panel in zip(grid, chart.panels, strict=False):
            # Of lines that end level the one that got there first is named first.
            late = sorted(panel.series, key=lambda s: -float(s.x[s.y >= s.y[-1]].min()))
            ends = [(s.label, s.style, float(s.y[-1])) for s in late]
            direct_labels(axes, ends, room=NAME_HEIGHT / frame.panel[1])
        return figure
    right = figure.get_size_inches()[0] - beside
    legend(figure, list(handles.values()), chart.legend, right, frame.top)
    return figure


def _share(chart: LineChart, grid: list[Axes]) -> None:
    """Give panels the widest of their limits: y within a row if rows differ, else everywhere."""
    by_row = bool(chart.row_labels)
    rows = range(0, len(grid), chart.columns) if by_row else [0]
    for start in rows:
        row = grid[start : start + chart.columns] if by_row else grid
        panels = chart.panels[start : start + chart.columns] if by_row else chart.panels
        ends = y_ends(chart, panels)
        for axes, panel in zip(row, panels, strict=True):
            _limit_y(axes, chart.y_scale, ends, chart.metric)
            _beyond(axes, chart, panel, ends)
    groups = [chart.panels] * len(grid) if chart.share_x else [(panel,) for panel in chart.panels]
    for axes, panels in zip(grid, groups, strict=True):
        axes.set_xlim(*x_span(panels, chart.x_scale))
        if chart.whole_x:
            axes.set_xticks(whole_ticks(*axes.get_xlim()))
        else:
            ticks(axes, "x", chart.x_scale, "", axes.get_xlim())


def _limit_y(axes: Axes, scale: Scale, ends: tuple[float, float], metric: str) -> None:
    """The ends of the y axis, in the metric's units, and its ticks."""
    if scale == "error":
        axes.set_ylim(*(float(end) for end in -np.log10(1.0 - np.array(ends))))
    else:
        axes.set_ylim(*ends)
    ticks(axes, "y", scale, metric, ends)


def _beyond(axes: Axes, chart: LineChart, panel: Panel, ends: tuple[float, float]) -> None:
    """Triangles where lines leave the axis, and how far they go."""
    found = beyond(panel, chart, ends)
    for one in found:
        axes.plot(
            one.x, 0.98 if one.upward else 0.02, marker="^" if one.upward else "v", markersize=4.5,
            color=one.series.style.color, transform=axes.get_xaxis_transform(), linestyle="none",
            clip_on=False,
        )  # fmt: skip
    for upward, height, side in ((True, 0.94, "top"), (False, 0.06, "bottom")):
        texts = [beyond_text(found, upward=upward), "" if upward else panel.aside]
        axes.text(
            0.5, height, "\n".join(filter(None, texts)), transform=axes.transAxes, ha="center",
            va=side, fontsize=SMALL - 1, color=SOFT,
        )  # fmt: skip


def _handle(series: Series) -> Line2D:
    marker = MARKERS[series.style.mark] if series.marks else "None"
    return Line2D(
        [], [], color=series.style.color, linestyle=series.style.dash, linewidth=2,
        marker=marker, markersize=5, label=series.label,
    )  # fmt: skip


def _panel(axes: Axes, chart: LineChart, panel: Panel, heading: str) -> None:
    dress(axes)
    axes.set_title(heading, fontsize=LABEL, color=INK, loc="left")
    for set_scale, scale in ((axes.set_xscale, chart.x_scale), (axes.set_yscale, chart.y_scale)):
        if scale == "log":
            set_scale("log")
    axes.set_autoscalex_on(False)  # limits are set later; of a single rate none can be derived
    for place, series in enumerate(panel.series):
        _line(axes, chart, series, place)
    axes.text(
        0.5, 0.5, panel.note, transform=axes.transAxes, ha="center", va="center",
        fontsize=SMALL, color=SOFT,
    )  # fmt: skip


def _line(axes: Axes, chart: LineChart, series: Series, place: int) -> None:
    color, x = series.style.color, series.x
    y, low, high = (placed(v, chart.y_scale) for v in (series.y, series.low, series.high))
    keep = (x > 0) | (chart.x_scale != "log")
    keep &= (y > 0) | (chart.y_scale != "log")
    x, y, low, high = x[keep], y[keep], low[keep], high[keep]
    axes.plot(x, y, color=color, linestyle=series.style.dash, linewidth=1.5, solid_capstyle="round")
    if series.marks:
        _marks(axes, series, (x, y, low, high), chart.y_scale)
    else:
        floor = 1e-12 if chart.y_scale == "log" else -np.inf
        band = np.isfinite(low) & np.isfinite(high)
        axes.fill_between(
            x[band], np.maximum(low, floor)[band], high[band], color=color, alpha=0.18, linewidth=0
        )
    if series.lost:
        axes.plot(
            series.lost,
            [0.04 + 0.05 * (place % 8)] * len(series.lost),
            linestyle="none", marker="x", color=color, markersize=5, markeredgewidth=1.5,
            transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip


def _dots(axes: Axes, dots: Floats, scale: Scale, color: str) -> None:
    """Single seeds."""
    heights = placed(dots[:, 1], scale)
    axes.plot(
        dots[:, 0], heights, linestyle="none", marker="o", markersize=2.6, color=color, alpha=0.55,
        markeredgewidth=0, zorder=1.5,
    )  # fmt: skip


def _marks(
    axes: Axes, series: Series, found: tuple[Floats, Floats, Floats, Floats], scale: Scale
) -> None:
    x, y, low, high = found
    color, marker = series.style.color, MARKERS[series.style.mark]
    bars = np.isfinite(low) & np.isfinite(high)
    axes.vlines(x[bars], low[bars], high[bars], color=color, linewidth=1.0)
    _dots(axes, series.dots, scale, color)
    opened = series.open_marks if len(series.open_marks) == len(x) else np.zeros(len(x), bool)
    for which, face in ((~opened, color), (opened, "white")):
        axes.plot(
            x[which], y[which], linestyle="none", marker=marker, markersize=4.5,
            markerfacecolor=face, markeredgecolor=color,
        )  # fmt: skip


# --- heat map ----------------------------------------------------------------------------------


def _heat(chart: HeatChart) -> Figure:
    rows, columns = len(chart.rows), len(chart.columns)
    longest = max(len(name) for name in chart.columns)
    turned = longest > 10
    width = max(0.76 * columns, 4.2)
    reach = LABEL_INCHES * longest  # of a label; turned by 30 degrees it begins in mid column
    frame = Frame(
        panel=(width, 0.5 * rows),
        gap=(0.3, 0.0),
        left=0.3 + LABEL_INCHES * max(len(name) for name in chart.rows),
        right=max(0.2, 0.87 * reach - width / columns / 2) if turned else 0.2,
        top=max(1.8, 1.1 + reach / 2) if turned else 1.25,
        bottom=0.5,
    )
    figure, grid = panels_at(chart.title, chart.foot, 1, len(chart.panels), frame)
    for place, (axes, panel) in enumerate(zip(grid, chart.panels, strict=True)):
        _matrix(axes, chart, panel, first=place == 0)
        if turned:
            axes.set_xticks(range(columns), chart.columns, rotation=30, ha="left")
    return figure


def _matrix(axes: Axes, chart: HeatChart, panel: HeatPanel, *, first: bool) -> None:
    colors = heat_colors(panel)
    shades = np.array([[to_rgb(color or MISSING) for color in row] for row in colors])
    axes.imshow(shades, aspect="auto", interpolation="nearest")
    for i, j in np.ndindex(*panel.values.shape):
        _cell_text(axes, panel, (i, j), text_color(colors[i][j]))
    axes.set_xticks(range(len(chart.columns)), chart.columns, fontsize=LABEL, color=INK)
    axes.set_yticks(range(len(chart.rows)), chart.rows, fontsize=LABEL, color=INK)
    axes.tick_params(length=0, labelleft=first, labeltop=True, labelbottom=False)
    axes.set_title(panel.title, fontsize=LABEL + 0.5, color=INK, loc="left", pad=10)
    axes.set_xticks(np.arange(len(chart.columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(chart.rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.6)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cell_text(axes: Axes, panel: HeatPanel, at: tuple[int, int], color: str) -> None:
    i, j = at
    text, small = panel.text[i][j], panel.small[i][j]
    lines = small.count("\n") + 1 if small else 0
    weight = "bold" if panel.strong[i, j] else "normal"
    axes.text(
        j, i - 0.13 * lines, text, ha="center", va="center", fontsize=LABEL,
        color=color, fontweight=weight,
    )  # fmt: skip
    if small:
        axes.text(
            j, i + 0.26 if lines == 1 else i + 0.2, small, ha="center", va="center",
            fontsize=7, color=color, linespacing=1.0,
        )  # fmt: skip


# --- scatter -----------------------------------------------------------------------------------


def _scatter(chart: PointChart) -> Figure:
    beside = 0.5 + LABEL_INCHES * max(
        len(name) for name in [*(p.label for p in chart.panels[0].points), *dict(chart.marks)]
    )
    frame = Frame((4.3, 4.4), (0.25, 0.0), left=0.85, right=beside + 0.25, top=0.8, bottom=0.95)
    figure, grid = panels_at(chart.title, chart.foot, 1, len(chart.panels), frame)
    ends = point_ends(chart)
    for place, (axes, panel) in enumerate(zip(grid, chart.panels, strict=True)):
        _point_panel(axes, chart, panel, ends)
        axes.tick_params(labelleft=place == 0)
    grid[0].set_ylabel(chart.y_label, fontsize=LABEL, color=INK)
    colors = [_dot(p.label, 0, p.style.color) for p in chart.panels[0].points]
    left = figure.get_size_inches()[0] - beside
    below = legend(figure, colors, "optimizer", left, frame.top)
    marks = [_dot(name, mark, SOFT) for name, mark in chart.marks]
    legend(figure, marks, "initializer", left, below)
    return figure


def _dot(label: str, mark: int, color: str) -> Line2D:
    return Line2D(
        [], [], linestyle="none", marker=MARKERS[mark], color=color, markersize=7, label=label
    )


def _point_panel(
    axes: Axes, chart: PointChart, panel: PointPanel, ends: tuple[float, float]
) -> None:
    dress(axes)
    axes.set_xscale("log")
    axes.axvspan(*panel.strip, color="#f0f1f3", zorder=0)
    middle = float(np.sqrt(panel.strip[0] * panel.strip[1]))
    axes.text(
        middle, 1.0, "not reached", transform=axes.get_xaxis_transform(), ha="center",
        va="bottom", fontsize=SMALL, color=SOFT,
    )  # fmt: skip
    for points in panel.points:
        y, low, high = (placed(v, chart.y_scale) for v in (points.y, points.low, points.high))
        color = points.style.color
        _dots(axes, points.dots, chart.y_scale, color)
        axes.vlines(points.x, low, high, color=color, linewidth=0.9, alpha=0.55)
        axes.hlines(y, points.x_low, points.x_high, color=color, linewidth=0.9, alpha=0.55)
        for x, height, mark in zip(points.x, y, points.marks, strict=True):
            axes.plot(
                x, height, linestyle="none", marker=MARKERS[mark], color=color, markersize=6.5,
                markeredgecolor="white", markeredgewidth=0.6,
            )  # fmt: skip
    for points, x, y in points_beyond(chart, panel):
        up = y > ends[1]
        axes.plot(
            x, 0.985 if up else 0.015, marker="^" if up else "v", markersize=6, linestyle="none",
            color=points.style.color, transform=axes.get_xaxis_transform(),
        )  # fmt: skip
        axes.annotate(
            tick_of(y), (x, 0.985 if up else 0.015), xytext=(6, 0), textcoords="offset points",
            xycoords=axes.get_xaxis_transform(), fontsize=SMALL, color=SOFT, va="center",
        )  # fmt: skip
    axes.set_xlim(*panel.x_range)
    if chart.y_scale == "log":
        axes.set_yscale("log")
    _limit_y(axes, chart.y_scale, ends, chart.metric)
    ticks(axes, "x", "log", "", (panel.x_range[0], panel.strip[0]))
    axes.set_xlabel(panel.x_label, fontsize=LABEL, color=INK)
