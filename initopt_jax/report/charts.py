"""What each figure shows, as plain data that Matplotlib and Plotly both draw.

A chart holds numbers in the metric's own units. The scale `shortfall` shows `1 - y` on a reversed
logarithmic axis that is labelled with y: 90%, 99% and 99.9% stand equally far apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from initopt_jax.report.numbers import is_share
from initopt_jax.report.palette import Style

Floats = npt.NDArray[np.float64]
Scale = Literal["linear", "log", "shortfall"]

SHORTFALL_TICKS = (
    -99.0, -9.0, -1.0, 0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999,
)  # fmt: skip
# A score this close to 1 is drawn as this.
LEAST_SHORTFALL = 1e-4


@dataclass(frozen=True)
class Series:
    """One line: mean and 95% band over seeds; `open_marks` where some seeds diverged.

    `lost` lists the x at which all seeds diverged: they are marked at the panel's foot.
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


@dataclass(frozen=True)
class Panel:
    """One small multiple; the note stands in its middle where lines cannot be drawn."""

    title: str
    series: tuple[Series, ...]
    note: str = ""


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
    """Points of one optimizer; x is NaN where the target was not reached."""

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


def metric_scale(metric: str) -> Scale:
    """Scores that end at 1 are drawn by their shortfall, losses by their logarithm.

    >>> metric_scale("test_accuracy"), metric_scale("val_loss")
    ('shortfall', 'log')
    """
    return "shortfall" if is_share(metric) or metric.endswith("r2") else "log"


def shortfall(value: npt.ArrayLike) -> Floats:
    """Position on the shortfall axis: `-log10(1 - y)`, larger is better.

    >>> shortfall([0.0, 0.9, 0.99]).round(6).tolist()
    [0.0, 1.0, 2.0]
    """
    value = np.asarray(value, np.float64)
    # `+ 0.0` turns the -0.0 of a zero score into 0.0.
    return -np.log10(np.maximum(1.0 - value, LEAST_SHORTFALL)) + 0.0


def from_shortfall(position: npt.ArrayLike) -> Floats:
    """The inverse of `shortfall`."""
    return 1.0 - 10.0 ** -np.asarray(position, np.float64)


def shortfall_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round scores between two scores, at most `most` of them, spread along the axis."""
    inside = [tick for tick in SHORTFALL_TICKS if low <= tick <= high]
    while len(inside) > most:
        closest = int(np.argmin(np.diff(shortfall(inside))))
        # Of the closest two the lower goes, but the first stays.
        inside.pop(max(closest, 1))
    if len(inside) >= 3:
        return inside
    # A narrow range: round steps of the score itself.
    raw = max(high - low, 1e-6) / 4
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw)
    found = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return [round(float(tick), 7) for tick in found]


def whole_ticks(low: float, high: float, most: int = 6) -> list[int]:
    """Whole numbers between two ends, counted from 1 at even steps: at most `most`.

    >>> whole_ticks(0.9, 3.1), whole_ticks(0.5, 20.5)
    ([1, 2, 3], [1, 5, 9, 13, 17])
    """
    last = max(math.floor(high), 1)
    return [tick for tick in range(1, last + 1, -(-last // most)) if tick >= low]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two positive ends: as many per decade as keep them at most `most`.

    >>> log_ticks(0.06, 3.0)
    [0.1, 0.2, 0.5, 1.0, 2.0]
    """
    low = max(low, 1e-30)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    choices = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
    ticks: list[float] = []
    for choice in choices:
        found = [float(f"{m}e{p}") for p in powers for m in choice]
        ticks = [tick for tick in found if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def placed(values: Floats, scale: Scale) -> Floats:
    """Where values stand on an axis: as they are, but scores by their shortfall."""
    return shortfall(values) if scale == "shortfall" else np.asarray(values, np.float64)


def tick_text(value: float, metric: str) -> str:
    """A tick's label: shares in percent."""
    return f"{100 * value:g}%" if is_share(metric) else f"{value:g}".replace("-", "−")


def y_span(panels: Sequence[Panel]) -> tuple[float, float]:
    """Limits of y that hold every line and band of some panels, with a little room."""
    lines = [series for panel in panels for series in panel.series]
    drawn = [values for line in lines for values in (line.y, line.low, line.high)]
    y = np.concatenate(drawn or [np.zeros(0)])
    y = y[np.isfinite(y)]
    low, high = (float(y.min()), float(y.max())) if y.size else (0.0, 1.0)
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


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
    finite = positions[np.isfinite(positions)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
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
