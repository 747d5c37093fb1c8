"""Plotly layouts, axes and notes as plain dictionaries."""

from typing import Any

import numpy as np

from initopt_jax.report.charts import (
    Scale,
    from_shortfall,
    log_ticks,
    shortfall,
    shortfall_ticks,
    tick_text,
)
from initopt_jax.report.numbers import count, is_share

FAMILY = "system-ui, -apple-system, Segoe UI, Roboto, sans-serif"
FONT = {"family": FAMILY, "size": 12, "color": "#1b1f24"}
GRID = "#e4e7eb"
Figure = dict[str, Any]


def plain(value: Any) -> Any:
    """Dictionaries, lists and numbers that JSON knows; None for what is not finite."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        # Six digits are more than any screen shows, and halve the file.
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def make_layout(height: int, **more: Any) -> Figure:
    """What all figures share."""
    return {
        "height": height,
        "font": FONT,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 64, "r": 16, "t": 60, "b": 48},
        "hovermode": "closest",
        "annotations": [],
        "shapes": [],
        **more,
    }


def axis_name(axis: str, place: int) -> str:
    """Plotly counts axes x, x2, x3...

    >>> axis_name("x", 0), axis_name("yaxis", 2)
    ('x', 'yaxis3')
    """
    return axis if place == 0 else f"{axis}{place + 1}"


def note(text: str, x: float, y: float, **more: Any) -> Figure:
    """Text at a place of the figure, as shares of its width and height."""
    return {
        "text": text,
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        **more,
    }


def make_axis(scale: Scale, span: tuple[float, float] | None, metric: str) -> Figure:
    """Scale, range and ticks; `span` is in the metric's units."""
    axis: Figure = {
        "gridcolor": GRID,
        "zeroline": False,
        "tickangle": 0,
        "linecolor": "#aab1b9",
        "ticks": "outside",
        "ticklen": 3,
    }
    if scale == "log":
        axis["type"] = "log"
    if span is None:
        return axis
    low, high = span
    if scale == "shortfall":
        ends = shortfall(np.array(span))
        room = 0.06 * float(ends[1] - ends[0]) or 0.1
        axis["range"] = [float(ends[0]) - room, float(ends[1]) + room]
        bottom, top = from_shortfall(np.array(axis["range"]))
        ticks = shortfall_ticks(float(bottom), float(top))
        axis["tickvals"] = [float(tick) for tick in shortfall(np.array(ticks))]
        axis["ticktext"] = [tick_text(tick, metric) for tick in ticks]
    elif scale == "log":
        axis["range"] = [float(np.log10(low)), float(np.log10(high))]
        ticks = log_ticks(low, high, most=4)
        axis |= {
            "tickvals": ticks,
            "ticktext": [f"{tick:g}" if tick < 1e3 else count(tick) for tick in ticks],
        }
    else:
        axis["range"] = [low, high]
        if is_share(metric):
            axis["tickformat"] = ".0%"
    return axis
