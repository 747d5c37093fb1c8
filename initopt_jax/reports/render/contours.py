"""What maps of test functions are drawn on: shaded contours, known minima, bounds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.surface import Surface, letter
from initopt_jax.reports.render.figure_layout import INK, SMALL, SOFT

# Pale, so that every optimizer's colour stands out on it; light is low.
CONTOURS = LinearSegmentedColormap.from_list("contours", ("#fcfcf8", "#e3e8ea", "#b4c0c9"))
CONTOUR = "#8a97a3"
LEVELS = 14
LEAST_ASPECT, MOST_ASPECT = 0.6, 1.3  # height of a panel by its width


def contour_levels(surface: Surface) -> tuple[Floats, Floats]:
    """What to contour, and its levels, on the mesh.

    With known minima the logarithm of the value above its lowest value, which shows the bottom of a
    valley; without, the value itself, whose lowest value is only the domain's edge.

    Returns:
        [Y, X] heights, and rising levels; a flat surface has one level.
    """
    values = surface.values
    finite = values[np.isfinite(values)]
    if not finite.size or float(np.ptp(finite)) == 0.0:
        return np.zeros_like(values), np.array([0.0])
    if not len(surface.minima):
        heights = values
    else:
        above = values - float(finite.min())
        # The lowest percentile bounds the range: a mesh point may lie on a minimum by chance.
        floor = max(float(np.quantile(above[np.isfinite(above)], 0.01)), float(above.max()) * 1e-6)
        heights = np.log10(np.maximum(above, floor))
    known = heights[np.isfinite(heights)]
    return heights, np.linspace(float(known.min()), float(known.max()), LEVELS)


def draw_ground(axes: Axes, surface: Surface) -> None:
    """Shades and contour lines over the whole view."""
    heights, levels = contour_levels(surface)
    if len(levels) > 1:
        axes.contourf(surface.x, surface.y, heights, levels, cmap=CONTOURS, extend="both")
        axes.contour(
            surface.x, surface.y, heights, levels, colors=CONTOUR, linewidths=0.45, linestyles="-",
            alpha=0.75,
        )  # fmt: skip
    set_bounds(axes, surface)


def set_bounds(axes: Axes, surface: Surface) -> None:
    """The view as limits, with few ticks."""
    left, right, bottom, top = surface.view
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.tick_params(labelsize=SMALL, colors=SOFT, length=3)
    for spine in axes.spines.values():
        spine.set_color("#aab1b9")


def draw_stars(axes: Axes, surface: Surface, size: float = 9) -> None:
    """Known minima, above the ends of paths so that an end on one can be seen to be there."""
    named = len(surface.named)
    for place, (x, y) in enumerate(surface.minima):
        axes.plot(
            x, y, marker="*" if place < named else ".", markersize=size if place < named else 4,
            color="white", markeredgecolor=INK, markeredgewidth=0.8, zorder=9,
            linestyle="none",
        )  # fmt: skip


def draw_letters(axes: Axes, surface: Surface) -> None:
    """The named minima by their letters."""
    for place, (x, y) in enumerate(surface.named):
        axes.text(
            x, y, letter(place), fontsize=SMALL, fontweight="bold", color=INK, ha="center",
            va="center", clip_on=True,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": INK,
                  "linewidth": 0.7},
        )  # fmt: skip


def panel_shape(surface: Surface, width: float) -> tuple[float, float]:
    """Width and height of a panel in inches: of the view's shape, unless that is extreme."""
    across, high = surface.size
    return width, width * float(np.clip(high / across, LEAST_ASPECT, MOST_ASPECT))


def within_reach(points: Floats, surface: Surface) -> Floats:
    """Points no farther off than a few views: a path to 1e30 cannot be drawn."""
    left, _, bottom, _ = surface.view
    across, high = surface.size
    low = np.array([left - 9 * across, bottom - 9 * high])
    return np.clip(points, low, low + 19 * np.array([across, high]))
