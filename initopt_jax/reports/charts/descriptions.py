"""What each figure shows, as plain data that Matplotlib and Plotly both draw."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.scales import Floats, Scale, clear_range, placed, tick_of, with_room


@dataclass(frozen=True)
class Series:
    """One line: mean and 95% band over seeds; `open_marks` where some seeds diverged.

    `lost` lists the x at which all seeds diverged: they are marked at the panel's foot. `dots` are
    single seeds, [D, 2]: where there are too few for an interval they are shown themselves.
    """

    label: str
    style: Style
    x: Floats
    y: Floats
    low: Floats
    high: Floats
    marks: bool = False
    open_marks: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    lost: tuple[float, ...] = ()
    dots: Floats = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True)
class Panel:
    """One small multiple.

    The note stands in its middle where nothing can be drawn, the aside at its foot where something
    cannot.
    """

    title: str
    series: tuple[Series, ...]
    note: str = ""
    aside: str = ""


@dataclass(frozen=True)
class LineChart:
    """Small multiples of lines that share their axes (rows share y when `rows` is set).

    `direct` names lines at their right ends, where they must be known, instead of in a legend.
    `whole_x`: x counts something, such as layers.
    """

    title: str
    x_label: str
    y_label: str
    panels: tuple[Panel, ...]
    columns: int
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    y_range: tuple[float, float] | None = None
    metric: str = ""
    row_labels: tuple[str, ...] = ()
    legend: str = "optimizer"
    share_x: bool = True
    direct: bool = False
    whole_x: bool = False
    foot: str = ""


@dataclass(frozen=True)
class HeatPanel:
    """A matrix, rows initializers and columns optimizers, with two lines of text per cell."""

    title: str
    values: Floats
    text: list[list[str]]
    small: list[list[str]]
    strong: npt.NDArray[np.bool_]
    scale: Scale
    metric: str
    colors: tuple[str, ...]


@dataclass(frozen=True)
class HeatChart:
    """Matrices side by side with the same rows and columns."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    panels: tuple[HeatPanel, ...]
    foot: str = ""


@dataclass(frozen=True)
class Points:
    """Points of one optimizer, and the single seeds, `dots` [D, 2], of those with too few of them.

    Those that did not reach the target stand in the panel's strip.
    """

    label: str
    style: Style
    x: Floats
    x_low: Floats
    x_high: Floats
    y: Floats
    low: Floats
    high: Floats
    marks: tuple[int, ...]
    names: tuple[str, ...]
    dots: Floats = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True)
class PointPanel:
    """One scatter: [reached | not reached], the latter in a strip at the right margin."""

    x_label: str
    points: tuple[Points, ...]
    x_range: tuple[float, float]
    strip: tuple[float, float]


@dataclass(frozen=True)
class PointChart:
    """Scatters side by side that share y."""

    title: str
    y_label: str
    panels: tuple[PointPanel, ...]
    y_scale: Scale
    metric: str
    marks: tuple[tuple[str, int], ...]
    foot: str = ""


Chart = LineChart | HeatChart | PointChart


def y_span(panels: Sequence[Panel]) -> tuple[float, float]:
    """Limits of y that hold every line and band of some panels, with a little room.

    What is far from all others is left out, bands of it too: see `clear_range`.
    """
    lines = [series for panel in panels for series in panel.series]
    drawn = [values for line in lines for values in (line.y, line.low, line.high)]
    y = np.concatenate([*drawn, *(line.dots[:, 1] for line in lines)] or [np.zeros(0)])
    low, high = clear_range(y, "linear") or (0.0, 1.0)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def y_ends(chart: LineChart, panels: Sequence[Panel]) -> tuple[float, float]:
    """The ends of the y axis that some panels of a chart share, in the metric's units."""
    if chart.y_range is None:
        return y_span(panels)
    return with_room(chart.y_range) if chart.y_scale == "error" else chart.y_range


def point_ends(chart: PointChart) -> tuple[float, float]:
    """The ends of a scatter's y axis, which hold every point and bar that is not far off."""
    points = chart.panels[0].points
    drawn = [part for p in points for part in (p.y, p.low, p.high, p.dots[:, 1])]
    low, high = clear_range(np.concatenate(drawn), chart.y_scale) or (0.1, 0.9)
    if chart.y_scale == "error":
        return with_room((low, high))
    if chart.y_scale == "log":
        room = max(high / low, 1.5) ** 0.06
        return low / room, high * room
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def points_beyond(chart: PointChart, panel: PointPanel) -> list[tuple[Points, float, float]]:
    """Points that lie off a scatter's y axis: whose they are, where, and their value."""
    low, high = placed(np.array(point_ends(chart)), chart.y_scale)
    return [
        (points, float(x), float(y))
        for points in panel.points
        for x, y, height in zip(points.x, points.y, placed(points.y, chart.y_scale), strict=True)
        if height < low or height > high
    ]


class Beyond(NamedTuple):
    """A line that leaves its axis: on which side, where, and how far."""

    series: Series
    upward: bool
    x: float
    value: float


def beyond(panel: Panel, chart: LineChart, ends: tuple[float, float]) -> list[Beyond]:
    """The lines of a panel that leave its y axis, each with its farthest point on that side.

    Args:
        panel: of the chart.
        chart: tells the scales.
        ends: of the y axis, in the metric's units.
    """
    found = []
    for line in panel.series:
        shown = np.isfinite(line.y) & ((line.x > 0) | (chart.x_scale != "log"))
        shown &= (line.y > 0) | (chart.y_scale != "log")
        x, y = line.x[shown], line.y[shown]
        heights, (low, high) = placed(y, chart.y_scale), placed(np.array(ends), chart.y_scale)
        for upward, far in ((True, np.argmax), (False, np.argmin)):
            out = heights > high if upward else heights < low
            if out.any():
                at = int(far(y))
                found.append(Beyond(line, upward, float(x[at]), float(y[at])))
    return found


def beyond_text(found: Sequence[Beyond], *, upward: bool) -> str:
    """How far the lines go that leave an axis on one side, with an arrow; empty if none does."""
    values = [one.value for one in found if one.upward == upward]
    if not values:
        return ""
    return f"↑ to {tick_of(max(values))}" if upward else f"↓ to {tick_of(min(values))}"


def x_span(panels: Sequence[Panel], scale: Scale) -> tuple[float, float]:
    """Limits of x that hold every drawn point of some panels, with a little room."""
    lines = [series for panel in panels for series in panel.series]
    drawn = [s.x[np.isfinite(s.y)] for s in lines] + [np.array(s.lost) for s in lines]
    x = np.concatenate(drawn or [np.zeros(0)])
    x = x[x > 0] if scale == "log" else x
    if not x.size:
        return (0.1, 10.0) if scale == "log" else (0.0, 1.0)
    low, high = float(x.min()), float(x.max())
    if scale == "log":
        room = (high / low) ** 0.06 if high > low else 2.0
        return low / room, high * room
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def heat_positions(panel: HeatPanel) -> tuple[Floats, float, float]:
    """Values as they stand on the colour axis, with its two ends."""
    positions = placed(panel.values, panel.scale)
    if panel.scale == "log":
        positions = np.log10(np.where(panel.values > 0, panel.values, np.nan))
    ends = clear_range(panel.values, panel.scale)
    if ends is None:
        return positions, 0.0, 1.0
    low, high = (
        (float(np.log10(end)) for end in ends)
        if panel.scale == "log"
        else (float(end) for end in placed(np.array(ends), panel.scale))
    )
    return positions, low, high if high > low else low + 1.0


def heat_colors(panel: HeatPanel) -> list[list[str | None]]:
    """Each cell's colour, `#rrggbb`, linear between the panel's; None where it has no value."""
    positions, low, high = heat_positions(panel)
    stops = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in panel.colors])
    along = (positions - low) / (high - low) * (len(stops) - 1)
    mixed = [np.interp(along, np.arange(len(stops)), channel) for channel in stops.T]
    known = np.isfinite(positions)
    mixed = [np.where(known, channel, 0).round().astype(int) for channel in mixed]
    rows, columns = positions.shape
    return [
        [
            "#" + "".join(f"{channel[i, j]:02x}" for channel in mixed) if known[i, j] else None
            for j in range(columns)
        ]
        for i in range(rows)
    ]


def text_color(background: str | None) -> str:
    """Dark or white, whichever is easier to read on a colour (None: a light grey).

    >>> text_color("#12355f"), text_color(None)
    ('#ffffff', '#1b1f24')
    """
    if background is None:
        return "#1b1f24"
    red, green, blue = (int(background[i : i + 2], 16) for i in (1, 3, 5))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 132 else "#1b1f24"
