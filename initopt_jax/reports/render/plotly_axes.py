"""Plotly layouts, axes and notes as plain dictionaries."""

from typing import Any

import numpy as np

from initopt_jax.reports.charts.numbers import LARGEST, is_share, tick
from initopt_jax.reports.charts.scales import (
    Scale,
    error_position,
    error_ticks,
    log_ticks,
    tick_text,
)

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
    """Scale, range and ticks; `span`, the axis's ends, is in the metric's units."""
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
    if scale == "error":
        axis["range"] = [float(end) for end in -np.log10(1.0 - np.array(span))]
        ticks = error_ticks(low, high)
        axis["tickvals"] = [float(place) for place in error_position(np.array(ticks))]
        axis["ticktext"] = [tick_text(value, metric) for value in ticks]
    elif scale == "log":
        axis["range"] = [float(np.log10(low)), float(np.log10(high))]
        ticks = log_ticks(low, high, most=4)
        axis |= {
            "tickvals": ticks,
            "ticktext": [tick(value) for value in ticks],
        }
    else:
        axis["range"] = [low, high]
        if max(abs(low), abs(high)) >= LARGEST:  # Plotly knows no prefix beyond T
            axis["exponentformat"] = "power"
        if is_share(metric):
            axis["tickformat"] = ".0%"
    return axis
