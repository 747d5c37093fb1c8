"""Axes: where numbers stand on them, how far they reach, and round ticks.

The scale `error` shows `1 - y` on a reversed logarithmic axis that is labelled with y: 90%, 99%
and 99.9% stand equally far apart.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from initopt_jax.reports.charts.numbers import is_share, tick

Floats = npt.NDArray[np.float64]
Scale = Literal["linear", "log", "error"]

SHORTFALL_TICKS = (
    -99.0, -9.0, -1.0, 0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999,
)  # fmt: skip
# A score this close to 1 is drawn as this.
LEAST_ERROR = 1e-4
MOST_DECADES = 8.0  # of an axis, where what lies beyond is far from all others


def metric_scale(metric: str) -> Scale:
    """Scores that end at 1 are drawn by their error, losses by their logarithm.

    >>> metric_scale("test_accuracy"), metric_scale("val_loss")
    ('error', 'log')
    """
    return "error" if is_share(metric) or metric.endswith("r2") else "log"


def error_position(value: npt.ArrayLike) -> Floats:
    """Position on the error axis: `-log10(1 - y)`, larger is better.

    >>> error_position([0.0, 0.9, 0.99]).round(6).tolist()
    [0.0, 1.0, 2.0]
    """
    value = np.asarray(value, np.float64)
    # `+ 0.0` turns the -0.0 of a zero score into 0.0.
    return -np.log10(np.maximum(1.0 - value, LEAST_ERROR)) + 0.0


def from_error_position(position: npt.ArrayLike) -> Floats:
    """The inverse of `error`."""
    return 1.0 - 10.0 ** -np.asarray(position, np.float64)


def with_room(span: tuple[float, float]) -> tuple[float, float]:
    """A range of scores with a little room at both ends of its error axis."""
    low, high = (float(end) for end in error_position(span))
    room = 0.06 * (high - low) or 0.1
    return float(from_error_position(low - room)), float(from_error_position(high + room))


def placed(values: Floats, scale: Scale) -> Floats:
    """Where values stand on an axis: as they are, but scores by their error."""
    return error_position(values) if scale == "error" else np.asarray(values, np.float64)


def clear_range(values: npt.ArrayLike, scale: Scale) -> tuple[float, float] | None:
    """The ends of what an axis is to show: all values, unless one would flatten the others.

    On a linear axis values count as far off if they lie more than ten times the distance between
    the quartiles beyond these; on others, of more than eight decades in all, those more than three
    decades (or three such distances) beyond. What is left out must be marked: see `beyond`.

    Args:
        values: in the metric's units; those without a place on the axis do not count.
        scale: of the axis.

    Returns:
        The ends in the metric's units; None where there is no value.

    >>> clear_range([0.1, 0.2, 0.3, 1e36], "log"), clear_range([1e-9, 1.0], "log")
    ((0.1, 0.3), (1e-09, 1.0))
    """
    known = np.asarray(values, np.float64).ravel()
    known = np.sort(known[np.isfinite(known) & ((known > 0) | (scale != "log"))])
    if not known.size:
        return None
    places = np.log10(known) if scale == "log" else placed(known, scale)
    first, third = np.quantile(places, (0.25, 0.75), method="closest_observation")
    apart = third - first
    reach = 10 * apart if scale == "linear" else 3 * max(apart, 1.0)
    flattened = places[-1] - places[0] > (2 * reach if scale == "linear" else MOST_DECADES)
    if not flattened or not reach:
        return float(known[0]), float(known[-1])
    near = known[(places >= first - reach) & (places <= third + reach)]
    return float(near[0]), float(near[-1])


def error_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round scores between two scores, at most `most` of them, spread along the axis."""
    inside = [tick for tick in SHORTFALL_TICKS if low <= tick <= high]
    while len(inside) > most:
        closest = int(np.argmin(np.diff(error_position(inside))))
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
    if not low < high:
        return []
    low = max(low, 1e-300)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    choices = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
    ticks: list[float] = []
    for choice in choices:
        found = [float(f"{m}e{p}") for p in powers for m in choice]
        ticks = [tick for tick in found if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def tick_text(value: float, metric: str) -> str:
    """A tick's label: shares in percent."""
    return f"{100 * value:g}%".replace("-", "−") if is_share(metric) else tick(value)


def tick_of(value: float) -> str:
    """A number to two digits, as beside an axis."""
    return tick(float(f"{value:.2g}"))
