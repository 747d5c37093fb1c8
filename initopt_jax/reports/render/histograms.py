"""First weights as pictures: a histogram of every kernel under every initializer."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from initopt_jax.reports.charts.palette import MUTED, styles
from initopt_jax.reports.charts.texts import matplotlib_text, one_line, shown_names
from initopt_jax.reports.render.figure_layout import EDGE, INK, LABEL_INCHES, SMALL, SOFT, TITLE

PANEL, GAP = (1.9, 1.15), (0.28, 0.45)  # inches, width and height
MOST_BINS = 60
MOST_COLUMNS = 12
HEADROOM = 1.35  # for the text above the bars
DPI = 140
FORMATS = ("png", "pdf", "svg")


@dataclass(frozen=True)
class Drawn:
    """A network's first weights: the initializer's label, and its leaves by path."""

    label: str
    leaves: Mapping[str, npt.NDArray[np.floating]]


def histograms(networks: Sequence[Drawn], kind: str) -> bytes:
    """A row of histograms per initializer, a column per leaf; the shared leaves first.

    Leaves that are the same single number everywhere (biases of 0, scales of 1) are left out where
    there are others. Each panel has its own range, for the eye compares shapes; the standard
    deviation stands in it.

    Args:
        networks: one per initializer, of the same model.
        kind: one of `FORMATS`.

    Returns:
        The file.
    """
    paths = [path for path in networks[0].leaves if _varies(networks, path)]
    shown = (paths or list(networks[0].leaves))[:MOST_COLUMNS]
    names = shown_names(network.label for network in networks)
    left = max(len(name) for name in names.values()) * LABEL_INCHES + 3 * EDGE
    top = 0.85
    width = left + len(shown) * (PANEL[0] + GAP[0])
    height = top + len(networks) * (PANEL[1] + GAP[1])
    figure = Figure(figsize=(width, height), facecolor="white")
    title = "First weights by initializer and leaf"
    more = f" (the first {len(shown)} of {len(paths)} leaves)" if len(paths) > len(shown) else ""
    figure.text(EDGE / width, 1 - EDGE / height, title + more, fontsize=TITLE, fontweight="bold",
                color=INK, va="top")  # fmt: skip
    looks = styles([network.label for network in networks], MUTED)
    for row, network in enumerate(networks):
        down = top + row * (PANEL[1] + GAP[1]) + PANEL[1]
        label = matplotlib_text(names[network.label])
        figure.text(EDGE / width, 1 - (down - PANEL[1] / 2) / height, label, color=INK,
                    va="center", fontsize=SMALL + 1)  # fmt: skip
        for column, path in enumerate(shown):
            place = left + column * (PANEL[0] + GAP[0])
            axes = figure.add_axes(
                (place / width, 1 - down / height, PANEL[0] / width, PANEL[1] / height)
            )
            _panel(axes, network.leaves[path], looks[network.label].color)
            if row == 0:
                axes.set_title(
                    matplotlib_text(one_line(path)), fontsize=SMALL + 1, color=INK, loc="left"
                )
    file = io.BytesIO()
    plain = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    figure.savefig(file, format=kind, dpi=DPI, metadata=plain[kind])
    return file.getvalue()


def _varies(networks: Sequence[Drawn], path: str) -> bool:
    leaves = (network.leaves[path] for network in networks)
    return any(leaf.size and float(np.ptp(leaf)) > 0 for leaf in leaves)


def _panel(axes: Axes, leaf: npt.NDArray[np.floating], color: str) -> None:
    weights = np.asarray(leaf, np.float64).ravel()
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.yaxis.set_major_locator(NullLocator())
    axes.tick_params(axis="x", labelsize=SMALL, colors=SOFT, length=2)
    zeros = float(np.mean(weights == 0))
    spread = weights[weights != 0] if 0.2 < zeros < 1 else weights
    value = float(spread[0]) if spread.size else 0.0
    if np.ptp(spread) == 0:
        axes.vlines([value], 0, 1, color=color, linewidth=3)
        reach = abs(value) or 1.0
        axes.set_xlim(value - reach, value + reach)
        axes.set_xticks([value])
        text = f"all {value:.4g}" if spread is weights else f"{zeros:.0%} zeros"
    else:
        bins = int(np.clip(np.sqrt(spread.size), 10, MOST_BINS))
        axes.hist(spread, bins, color=color, histtype="stepfilled", alpha=0.85, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        text = f"std {weights.std():.3g}"
        text += f"\n{zeros:.0%} zeros,\nnot drawn" if spread is not weights else ""
    axes.set_ylim(0, HEADROOM * axes.get_ylim()[1])
    axes.text(1, 1.02, text, transform=axes.transAxes, fontsize=SMALL, color=SOFT, ha="right",
              va="top", linespacing=1.1)  # fmt: skip
