"""The paper that figures are drawn on: places, axes, ticks and legends."""

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from initopt_jax.report.charts import Chart, Scale, log_ticks, shortfall, shortfall_ticks, tick_text
from initopt_jax.report.numbers import count

INK, SOFT, GRID, MISSING = "#1b1f24", "#57606a", "#e4e7eb", "#d9dce0"
TITLE, LABEL, SMALL = 12, 9.5, 8
# Inches: the outer edge, and the width of one letter of a label, of the foot and of the title.
EDGE, LABEL_INCHES, FOOT_INCHES, TITLE_INCHES = 0.12, 0.082, 0.066, 0.104


@dataclass(frozen=True)
class Frame:
    """Sizes in inches: one panel, the gaps between panels, and the margins around them all."""

    panel: tuple[float, float]
    gap: tuple[float, float]
    left: float
    right: float
    top: float
    bottom: float


def panels_at(chart: Chart, rows: int, columns: int, frame: Frame) -> tuple[Figure, list[Axes]]:
    """A figure of panels at fixed places: faster than solving for a layout, and always the same."""
    around = frame.left + frame.right + (columns - 1) * frame.gap[0]
    title = TITLE_INCHES * len(chart.title) + 2 * EDGE
    # Panels grow where they would leave the title without room.
    panel = max(frame.panel[0], (title - around) / columns), frame.panel[1]
    width = around + columns * panel[0]
    height = frame.top + frame.bottom + rows * panel[1] + (rows - 1) * frame.gap[1]
    figure = Figure(figsize=(width, height), facecolor="white")
    edge = EDGE / width
    figure.text(
        edge, 1 - EDGE / height, chart.title, fontsize=TITLE, fontweight="bold", color=INK, va="top"
    )
    foot = textwrap.fill(chart.foot, int((width - 0.3) / FOOT_INCHES))
    figure.text(edge, EDGE / height, foot, fontsize=SMALL, color=SOFT, va="bottom")
    axes = []
    for row, column in np.ndindex(rows, columns):
        left = frame.left + column * (panel[0] + frame.gap[0])
        down = frame.top + row * (panel[1] + frame.gap[1]) + panel[1]
        size = (panel[0] / width, panel[1] / height)
        axes.append(figure.add_axes((left / width, 1 - down / height, *size)))
    return figure, axes


def legend(figure: Figure, handles: list[Any], title: str, left: float, top: float) -> float:
    """A legend whose top left corner is given in inches; returns the place below it."""
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(left / width, 1 - top / height),
        fontsize=LABEL, frameon=False, title=title, title_fontsize=LABEL, alignment="left",
        borderpad=0, borderaxespad=0, labelcolor=INK,
    )  # fmt: skip
    return top + 0.2 * (len(handles) + 1) + 0.2


def dress(axes: Axes) -> None:
    """Quiet axes: a light grid, no box."""
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#aab1b9")
    axes.tick_params(labelsize=SMALL, colors=SOFT, length=3)


def ticks(axes: Axes, which: str, scale: Scale, metric: str, span: tuple[float, float]) -> None:
    """Round ticks for `which` axis (x or y); `span` is in the metric's units."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    if scale == "shortfall":
        values = shortfall_ticks(*span)
        axis.set_major_locator(FixedLocator([float(x) for x in shortfall(values)]))
        axis.set_ticklabels([tick_text(value, metric) for value in values])
    elif scale == "log":
        axis.set_major_locator(FixedLocator(log_ticks(*span)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    if abs(value) >= 1e6:
        return count(value)
    text = f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"
    return text.replace("-", "−")
