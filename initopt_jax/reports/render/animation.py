"""Optimizers in motion over the contours of a test function: an animated GIF."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from initopt_jax.reports.charts.function_maps import MotionChart
from initopt_jax.reports.charts.numbers import count
from initopt_jax.reports.charts.palette import DASHES, MARKERS
from initopt_jax.reports.charts.trajectories import Trajectories
from initopt_jax.reports.render.contours import draw_ground, draw_stars, panel_shape, within_reach
from initopt_jax.reports.render.figure_layout import (
    INK,
    LABEL,
    LABEL_INCHES,
    Frame,
    legend,
    panels_at,
)

FILM_WIDTH = 4.9  # inches
FILM_GROUND, FRAME_MS, HOLD_MS = 48, 90, 2500
PAPER = 246  # a shade with all parts above it is white
TINTS = (1.0, 0.75, 0.5, 0.25)  # of a colour on white: what smooth edges need


def animation(chart: MotionChart) -> bytes:
    """The frames of a GIF: the contours are drawn once, and the points over it anew each time.

    Args:
        chart: what to show.

    Returns:
        The file; equal charts give equal bytes.
    """
    figure, axes, moving, clock = _scene(chart)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    contours = canvas.copy_from_bbox(figure.bbox)
    pictures = []
    for frame in chart.frames:
        canvas.restore_region(contours)
        for (line, dot), one in zip(moving, chart.trajectories, strict=True):
            path = one.path[0, : int(frame) + 1]
            known = within_reach(path[np.isfinite(path).all(axis=1)], chart.surface)
            line.set_data(known[:, 0], known[:, 1])
            dot.set_data(known[-1:, 0], known[-1:, 1])
        for artist in [artist for pair in moving for artist in pair]:
            axes.draw_artist(artist)
        clock.set_text(f"step {count(_time(chart.trajectories, int(frame)))}")
        axes.draw_artist(clock)
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    return _gif(pictures, [one.style.color for one in chart.trajectories])


def _time(trajectories: Sequence[Trajectories], frame: int) -> float:
    steps = [one.step[0, frame] for one in trajectories if frame < one.step.shape[1]]
    return float(np.nanmax(steps)) if np.isfinite(steps).any() else 0.0


def _scene(chart: MotionChart) -> tuple[Figure, Axes, list[tuple[Line2D, Line2D]], Any]:
    """What stands still, with a line and a dot per optimizer and the clock that do not."""
    longest = max((len(one.label) for one in chart.trajectories), default=1)
    beside = 0.75 + LABEL_INCHES * max(longest, 9)
    frame = Frame(panel_shape(chart.surface, FILM_WIDTH), (0, 0), 0.6, beside, 0.6, 0.75)
    figure, (axes,) = panels_at(chart.title, chart.foot, 1, 1, frame)
    draw_ground(axes, chart.surface)
    draw_stars(axes, chart.surface, size=13)
    moving, handles = [], []
    for one in chart.trajectories:
        color = one.style.color
        marker = MARKERS[DASHES.index(one.style.dash)]  # where a colour comes again
        (line,) = axes.plot([], [], color=color, linewidth=1.8, linestyle=one.style.dash, zorder=4)
        (dot,) = axes.plot(
            [], [], color=color, marker=marker, markersize=9, markeredgecolor="white", zorder=7,
            markeredgewidth=1.2, linestyle="none",
        )  # fmt: skip
        moving.append((line, dot))
        handles.append(
            Line2D([], [], color=color, marker=marker, markersize=7, linewidth=1.8, label=one.label,
                   linestyle=one.style.dash)
        )  # fmt: skip
        if len(one.path):
            axes.plot(
                *one.start[0], marker="o", markersize=8, markerfacecolor="white", color=INK,
                zorder=5, clip_on=False,
            )  # fmt: skip
    clock = axes.text(
        0.03, 0.97, "", transform=axes.transAxes, fontsize=LABEL + 1.5, fontweight="bold",
        color=INK, va="top", zorder=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.5},
    )  # fmt: skip
    for artist in [*(artist for pair in moving for artist in pair), clock]:
        artist.set_animated(True)
    width = figure.get_size_inches()[0]
    legend(figure, handles, "optimizer", width - beside + 0.2, 0.6)
    return figure, axes, moving, clock


def _gif(pictures: Sequence[Image.Image], colors: Sequence[str]) -> bytes:
    """One palette for all frames: that of the contours, and every moving colour with its tints."""
    tints = [
        tuple(round(255 - share * (255 - int(color[i : i + 2], 16))) for i in (1, 3, 5))
        for color in dict.fromkeys([INK, *colors])
        for share in TINTS
    ][: 254 - FILM_GROUND]
    few = pictures[0].quantize(FILM_GROUND, method=Image.Quantize.MEDIANCUT).convert("RGB")
    shades = [shade for _, shade in few.getcolors(FILM_GROUND) or [] if isinstance(shade, tuple)]
    # Averages of white and nearly white would tint the paper.
    contours = [(255, 255, 255), *(shade for shade in shades if min(shade) < PAPER)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for color in [*contours, *tints] for part in color])
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    file = io.BytesIO()
    frames[0].save(
        file, format="GIF", save_all=True, append_images=frames[1:], loop=0, optimize=False,
        duration=[FRAME_MS] * (len(frames) - 1) + [HOLD_MS],
    )  # fmt: skip
    return file.getvalue()
