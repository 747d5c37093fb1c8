"""Maps of the loss of networks, as plain data."""

from dataclasses import dataclass, field

import numpy as np

from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.scales import Floats

LEVELS = 15
LEAST = 1e-6  # of the highest loss: below this a logarithm shows nothing more


@dataclass(frozen=True)
class NetPath:
    """A path on a map, or a network alone.

    Attributes:
        names: initializer and optimizer.
        style: colour and dash of the one, mark of the other.
        points: [T, 2], from the start to the end.
        text: stands beside the end.
    """

    names: tuple[str, str]
    style: Style
    points: Floats
    text: str = ""


@dataclass(frozen=True)
class NetPanel:
    """One map: `loss` [Y, X] over `x` and `y`; `middle` marks where both are 0."""

    heading: str
    x: Floats
    y: Floats
    loss: Floats
    paths: tuple[NetPath, ...] = field(default_factory=tuple)
    middle: bool = False


@dataclass(frozen=True)
class NetMap:
    """Maps side by side that share their contours."""

    title: str
    x_label: str
    y_label: str
    panels: tuple[NetPanel, ...]
    columns: int
    foot: str = ""


def heights(panel: NetPanel, floor: float) -> Floats:
    """The logarithm of the loss to base 10, no lower than that of `floor`; NaN where it is none."""
    loss = np.asarray(panel.loss, np.float64)
    known = np.where(np.isfinite(loss), loss, np.nan)
    return np.log10(np.maximum(known, floor))


def contour_levels(panels: tuple[NetPanel, ...]) -> tuple[Floats, float]:
    """Levels of log10(loss) that all panels share, equally far apart, and the lowest loss shown.

    >>> x = np.arange(2.0)
    >>> levels, floor = contour_levels((NetPanel("", x, x, np.array([[1e-2, 1.0], [1.0, 10.0]])),))
    >>> levels[[0, -1]].round(3).tolist(), floor
    ([-2.0, 1.0], 0.01)
    """
    losses = np.concatenate([np.asarray(panel.loss, np.float64).ravel() for panel in panels])
    losses = losses[np.isfinite(losses)]
    top = float(losses.max())
    positive = losses[losses > 0]
    if not positive.size:
        return np.array([0.0]), 1.0
    floor = max(float(positive.min()), LEAST * top)
    if not top > floor:
        return np.array([np.log10(floor)]), floor
    return np.linspace(np.log10(floor), np.log10(top), LEVELS), floor
