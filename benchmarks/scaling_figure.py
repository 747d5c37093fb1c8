"""The figure of how cost grows, from the JSON that `scaling.py` writes."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.crossover import seconds_at
from initopt_jax.reports.charts.palette import BOLD
from initopt_jax.reports.render.figure_layout import INK, LABEL, SMALL, SOFT, TITLE, dress

ENGINE, TORCH, JAX = BOLD[0], BOLD[1], BOLD[2]
ONE_DEVICE = BOLD[5]
PEER_COLORS = {"PyTorch loop": TORCH, "JAX, one jitted step per call": JAX}
PEER_WORDS = {"PyTorch loop": "PyTorch loop", "JAX, one jitted step per call": "JAX step per call"}
MODEL_COLORS = (BOLD[5], BOLD[0], BOLD[2], BOLD[3], BOLD[1])
Label = tuple[float, str, str]  # height, words, colour
HALO = [effects.withStroke(linewidth=2.5, foreground="white")]


def draw(record: dict[str, Any], file: Path) -> None:
    """Four panels: lanes, crossover, tile width, model width."""
    figure = Figure(figsize=(10, 8.2), facecolor="white")
    axes = figure.subplots(2, 2)
    figure.subplots_adjust(
        left=0.08, right=0.985, top=0.905, bottom=0.115, hspace=0.38, wspace=0.25
    )
    figure.text(
        0.012, 0.982, "How cost grows: many small networks at once, and one at a time",
        fontsize=TITLE, fontweight="bold", color=INK, va="top",
    )  # fmt: skip
    lanes_panel(axes[0, 0], record["lanes"])
    crossover_panel(axes[0, 1], record["lanes"])
    tile_panel(axes[1, 0], record)
    model_panel(axes[1, 1], record["model_width"])
    figure.text(0.012, 0.012, foot(record), fontsize=SMALL, color=SOFT, va="bottom")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def foot(record: dict[str, Any]) -> str:
    """Where and when."""
    known = record["machine"]
    platform = known["jax_devices"][0].partition(":")[0].lower()
    where = (
        f"{known['cpu']}, {known['cores']} cores"
        if "cpu" in platform
        else f"{len(known['jax_devices'])} x {known['device_kind']}"
    )
    versions = known["versions"]
    return (
        f"{where}; JAX {versions['jax']}, PyTorch {versions['torch'] or 'missing'}; "
        f"{record['settings']['dtype']}; {record['date'][:10]}. "
        "Digits MLP 64-h-h-10, tanh, batch 64, Adam (h = 64 in the upper panels).\n"
        "PyTorch and JAX loops train one network after another."
    )


# Panels ------------------------------------------------------------------------------------------


def lanes_panel(axes: Axes, lanes: dict[str, Any]) -> None:
    """Rate over the number of networks, training alone and with everything."""
    across = [point["lanes"] for point in lanes["points"]]
    training = [point["rate_training"] for point in lanes["points"]]
    whole = [point["rate_whole"] for point in lanes["points"]]
    axes.plot(across, training, "o-", color=ENGINE, markersize=4)
    axes.plot(across, whole, "o--", color=ENGINE, markersize=4, markerfacecolor="white")
    for name, loop in lanes["peers"].items():
        axes.axhline(loop["rate"], color=PEER_COLORS[name], linewidth=1.4)
    log_axes(axes, "Networks in the study", "Training steps per second")
    axes.set_title(f"Rate, {lanes['steps']:,} steps each", **title())
    widen(axes, below=1.5, above=1.9)
    note(axes, across[-1], training[-1], "engine, training", ENGINE, "right", 7)
    low = min(1, len(across) - 1)
    note(axes, across[low], whole[low], "engine, compilation and report included", ENGINE, "left",
         -9, right=9)  # fmt: skip
    for name, loop in lanes["peers"].items():
        note(axes, across[-1], loop["rate"], PEER_WORDS[name], PEER_COLORS[name], "right", 4)


def crossover_panel(axes: Axes, lanes: dict[str, Any]) -> None:
    """Seconds over the number of networks, everything included, and where the lines cross."""
    measured = [(point["lanes"], point["seconds"]) for point in lanes["points"]]
    across = np.geomspace(measured[0][0], measured[-1][0], 100)
    axes.plot(*zip(*measured, strict=True), "o", color=ENGINE, markersize=4)
    axes.plot(across, [seconds_at(measured, count) for count in across], color=ENGINE)
    ends: list[Label] = [(measured[-1][1], "engine", ENGINE)]
    for name, loop in lanes["peers"].items():
        line = loop["startup"] + across * lanes["steps"] / loop["rate"]
        axes.plot(across, line, color=PEER_COLORS[name], linewidth=1.4)
        ends.append((line[-1], PEER_WORDS[name], PEER_COLORS[name]))
    log_axes(axes, "Networks in the study", "Seconds, compilation included")
    axes.set_xlim(across[0] / 1.5, across[-1] * 20)
    axes.set_xticks([count for count, _ in measured])
    widen(axes, below=2.5, above=1.3)
    label_ends(axes, across[-1], ends)
    axes.set_title(f"Time for {lanes['steps']:,} steps each: when many at once pays", **title())
    for name, count in lanes["pays_from_lanes"].items():
        if count is not None:
            mark_crossing(axes, lanes, name, count, over=name == "PyTorch loop")


def mark_crossing(axes: Axes, lanes: dict[str, Any], name: str, count: int, *, over: bool) -> None:
    """A ring where the engine overtakes a loop, and from how many networks on that is."""
    loop, color = lanes["peers"][name], PEER_COLORS[name]
    height = loop["startup"] + count * lanes["steps"] / loop["rate"]
    axes.plot([count], [height], "o", color=color, markersize=9, markerfacecolor="none",
              markeredgewidth=1.6)  # fmt: skip
    axes.annotate(
        f"from {count} network{'s' * (count > 1)} on\nfaster than {PEER_WORDS[name]}",
        (count, height), xycoords="data", textcoords="axes fraction",
        xytext=(0.03, 0.86) if over else (0.45, 0.1), fontsize=SMALL, color=color, va="center",
        path_effects=HALO,
        arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8, "shrinkB": 5},
    )  # fmt: skip


def tile_panel(axes: Axes, record: dict[str, Any]) -> None:
    """Operations per second over the tile width, a curve per network, the rule's choice marked."""
    limit = record["matrix_flops_per_second"] / 1e9
    ends = []
    for curve, color in zip(record["tile_width"], MODEL_COLORS, strict=False):
        scale = curve["flops_per_step"] / 1e9
        across = [point["width"] for point in curve["points"]]
        rates = [point["rate"] * scale for point in curve["points"]]
        axes.plot(across, rates, "o-", color=color, markersize=3.5)
        if curve["rule"] in across:
            at = across.index(curve["rule"])
            axes.plot([across[at]], [rates[at]], "o", color=color, markersize=10,
                      markerfacecolor="none", markeredgewidth=1.6)  # fmt: skip
        ends.append((across[-1], rates[-1], network(curve["label"]), color))
    log_axes(axes, "Tile width (networks per compiled step)", "GFLOP/s", base=2)
    widest = max(end[0] for end in ends)
    axes.plot([0.85, widest], [limit, limit], ":", color=INK, linewidth=1.2)
    widen(axes, below=1.3, above=1.6)
    axes.set_xlim(0.85, widest * 9)  # room for the names of networks
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.set_xticks([4**power for power in range(8) if 4**power <= widest])
    label_ends(axes, widest, [*(end[1:] for end in ends), (limit, "matrix products", INK)])
    axes.set_title("Tile width by network (ring: the rule's choice)", **title())


def network(label: str) -> str:
    """A digits MLP by its hidden width, another network by its widths.

    >>> network("64-256-256-10"), network("784-300-100-10")
    ('h = 256', '784-300-100-10')
    """
    first, hidden, *_ = label.split("-")
    return f"h = {int(hidden):,}" if first == "64" else label


def model_panel(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Rate over the hidden width, by devices, with the loops."""
    across = [row["hidden"] for row in rows]
    counts = list(rows[0]["engine"])
    curves = []
    for count, color in zip(reversed(counts), (ENGINE, ONE_DEVICE), strict=False):
        words = f"engine, {count} device{'s' * (count != '1')}"
        curves.append(([row["engine"][count] for row in rows], words, color))
    curves += [
        ([row["peers"][name]["rate"] for row in rows], PEER_WORDS[name], PEER_COLORS[name])
        for name in rows[0]["peers"]
    ]
    for rates, _, color in curves:
        axes.plot(across, rates, "o-", color=color, markersize=4)
    log_axes(axes, "Hidden width h", "Training steps per second", base=2)
    widen(axes, below=1.2, above=1.5)
    axes.set_xlim(across[0] / 9, across[-1] * 1.25)
    axes.set_xticks(across)
    label_ends(axes, across[0], [(rates[0], words, color) for rates, words, color in curves], -1)
    axes.set_title("Rate by hidden width", **title())


# Drawing -----------------------------------------------------------------------------------------


def title() -> dict[str, Any]:
    return {"fontsize": LABEL + 0.5, "color": INK, "loc": "left", "pad": 8}


def log_axes(axes: Axes, across: str, up: str, base: int = 4) -> None:
    """Quiet logarithmic axes with plain numbers; ticks across are powers of `base`."""
    dress(axes)
    axes.set_xscale("log", base=base)
    axes.set_yscale("log")
    for axis, locator in ((axes.xaxis, LogLocator(base)), (axes.yaxis, LogLocator(10))):
        axis.set_major_locator(locator)
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.set_xlabel(across, fontsize=LABEL, color=INK)
    axes.set_ylabel(up, fontsize=LABEL, color=INK)


def plain(value: float) -> str:
    """A tick's number.

    >>> plain(0.1), plain(16), plain(4096), plain(100_000), plain(1e6)
    ('0.1', '16', '4,096', '100,000', '1,000,000')
    """
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def widen(axes: Axes, *, below: float, above: float) -> None:
    """More room under and over the curves, as factors."""
    low, high = axes.get_ylim()
    axes.set_ylim(low / below, high * above)


def note(
    axes: Axes, x: float, y: float, words: str, color: str, align: str, up: float, right: float = 0
) -> None:
    """A label beside a point, `up` points over it."""
    axes.annotate(
        words, (x, y), xytext=(right, up), textcoords="offset points", fontsize=SMALL, color=color,
        ha=align, va="bottom" if up > 0 else "center", path_effects=HALO,
    )  # fmt: skip


def label_ends(axes: Axes, across: float, labels: Sequence[Label], side: int = 1) -> None:
    """Labels beside the ends of curves at `across`: right of them, or left with side -1."""
    for height, words, color in spread(axes, labels):
        axes.annotate(
            words, (across, height), xytext=(8 * side, 0), textcoords="offset points",
            fontsize=SMALL, color=color, va="center", ha="left" if side > 0 else "right",
            path_effects=HALO,
        )  # fmt: skip


def spread(axes: Axes, labels: Sequence[Label], gap: float = 0.062) -> list[Label]:
    """Labels at heights that leave `gap` of the axes' height between neighbours."""
    to_axes = axes.transLimits.transform
    scale = axes.yaxis.get_transform()
    places = []
    for height, words, color in sorted(labels, key=lambda label: label[0]):
        place = to_axes((0, scale.transform(height)))[1]
        places.append([place, words, color])
    for below, above in itertools.pairwise(places):
        above[0] = max(above[0], below[0] + gap)
    back = axes.transLimits.inverted().transform
    return [
        (float(scale.inverted().transform(back((0, place))[1])), words, color)
        for place, words, color in places
    ]
