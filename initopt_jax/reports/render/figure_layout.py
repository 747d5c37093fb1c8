"""The paper that figures are drawn on: places, axes, ticks and legends."""

import io
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from initopt_jax.reports.charts.numbers import tick
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.scales import (
    Floats,
    Scale,
    error_position,
    error_ticks,
    log_ticks,
    tick_text,
)

INK, SOFT, GRID, MISSING = "#1b1f24", "#57606a", "#e4e7eb", "#d9dce0"
TITLE, LABEL, SMALL = 12, 9.5, 8
# Inches: the outer edge, and the width of one letter of a label, of the foot and of the title.
EDGE, LABEL_INCHES, FOOT_INCHES, TITLE_INCHES = 0.12, 0.082, 0.066, 0.104
PNG_DPI = 140


@dataclass(frozen=True)
class Frame:
    """Sizes in inches: one panel, the gaps between panels, and the margins around them all."""

    panel: tuple[float, float]
    gap: tuple[float, float]
    left: float
    right: float
    top: float
    bottom: float


def save(figure: Figure) -> dict[str, bytes]:
    """A figure's PNG and PDF; equal figures give equal bytes."""
    png, pdf = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Producer": None})
    return {"png": png.getvalue(), "pdf": pdf.getvalue()}


def panels_at(
    heading: str, below: str, rows: int, columns: int, frame: Frame
) -> tuple[Figure, list[Axes]]:
    """A figure of panels at fixed places: faster than solving for a layout, and always the same."""
    around = frame.left + frame.right + (columns - 1) * frame.gap[0]
    title = TITLE_INCHES * len(heading) + 2 * EDGE
    # Panels grow where they would leave the title without room.
    panel = max(frame.panel[0], (title - around) / columns), frame.panel[1]
    width = around + columns * panel[0]
    height = frame.top + frame.bottom + rows * panel[1] + (rows - 1) * frame.gap[1]
    figure = Figure(figsize=(width, height), facecolor="white")
    edge = EDGE / width
    figure.text(
        edge, 1 - EDGE / height, heading, fontsize=TITLE, fontweight="bold", color=INK, va="top"
    )
    foot = textwrap.fill(below, int((width - 0.3) / FOOT_INCHES))
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
    if scale == "error":
        values = error_ticks(*span)
        axis.set_major_locator(FixedLocator([float(x) for x in error_position(values)]))
        axis.set_ticklabels([tick_text(value, metric) for value in values])
    elif scale == "log":
        axis.set_major_locator(FixedLocator(log_ticks(*span)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value, metric)))


def direct_labels(axes: Axes, ends: list[tuple[str, Style, float]], room: float) -> None:
    """Names at the right ends of lines, kept apart from each other.

    Args:
        axes: whose right side they stand at.
        ends: label, style and height of each line's end, in the axis's own units.
        room: the height of one name as a share of the panel's.
    """
    low, high = axes.get_ylim()
    heights = np.array([(height - low) / (high - low) for _, _, height in ends])
    dashed = any(style.dash != "solid" for _, style, _ in ends)
    for (label, style, _), place in zip(ends, apart(heights, room), strict=True):
        if dashed:  # a colour comes again: a piece of the line tells which it is
            axes.plot(
                [1.015, 1.075], [place, place], transform=axes.transAxes, color=style.color,
                linestyle=style.dash, linewidth=1.8, clip_on=False,
            )  # fmt: skip
        axes.text(
            1.09 if dashed else 1.015, place, label, transform=axes.transAxes, color=style.color,
            fontsize=LABEL, va="center", fontweight="bold",
        )  # fmt: skip


def apart(heights: Floats, room: float) -> Floats:
    """Places near the wanted heights, in their order, at least `room` from each other.

    Names that touch form a block around the mean of what they want; none lies above 1.

    >>> apart(np.array([0.5, 0.5, 0.9]), 0.1).round(3).tolist()
    [0.45, 0.55, 0.9]
    """
    order = np.argsort(heights, kind="stable")
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([int(index)])
        while len(blocks) > 1 and _touch(blocks[-2], blocks[-1], heights, room):
            upper = blocks.pop()
            blocks[-1] += upper
    places = np.empty(len(heights))
    for block in blocks:
        places[block] = _bottom(block, heights, room) + room * (np.arange(len(block)) + 0.5)
    ceiling = 1.0
    for index in order[::-1]:
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - room
    return places


def _touch(lower: list[int], upper: list[int], heights: Floats, room: float) -> bool:
    top = _bottom(lower, heights, room) + room * len(lower)
    # Blocks that only just meet stay as they are, whatever rounding says.
    return _bottom(upper, heights, room) < top - 1e-9


def _bottom(block: list[int], heights: Floats, room: float) -> float:
    return float(np.mean(heights[block])) - room * len(block) / 2
