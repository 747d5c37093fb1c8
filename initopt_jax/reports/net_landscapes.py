"""Charts of the cost of networks: maps with paths or networks on them, curves along lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from initopt_jax.probes.slices.record import NetLandscape
from initopt_jax.reports import net_landscape_words as told
from initopt_jax.reports.charts import LineChart, Panel, Series
from initopt_jax.reports.html import Shown
from initopt_jax.reports.landscape import columns_for
from initopt_jax.reports.net_map import NetMap, NetPanel, NetPath
from initopt_jax.reports.palette import BOLD, Style, styles
from initopt_jax.reports.prepare import Results
from initopt_jax.reports.scales import Floats, clear_range

ROOM = 1.15  # above and below curves on a logarithmic axis, as a factor
STUCK = 0.02  # of the map: a shorter path is none
MATCHED = ", units matched"
ACROSS = "along the first principal component"
UP = "along the second principal component"


def landscape_figures_of_nets(results: Results, landscapes: Sequence[NetLandscape]) -> list[Shown]:
    """A figure per picture, in order, with what it shows in one sentence from its numbers.

    Args:
        results: of the study, for names and colours.
        landscapes: the pictures; those of networks that all diverged are left out.
    """
    shown: list[Shown] = []
    for picture in landscapes:
        if not np.isfinite(picture.arrays["loss"]).any():
            continue
        chart, caption = _MAKERS[picture.kind](picture, results)
        same = sum(item.name.startswith(f"landscape_{picture.kind}") for item in shown)
        name = f"landscape_{picture.kind}" + (f"_{same + 1}" if same else "")
        shown.append(Shown(name, chart, caption, section="cost"))
    return shown


@dataclass(frozen=True)
class _Looks:
    """Colours of initializers and marks of optimizers, by the order of the study's config."""

    colors: Mapping[str, Style]
    marks: Mapping[str, Style]

    def of(self, initializer: str, optimizer: str) -> Style:
        """Colour and dash of the one, mark of the other."""
        return Style(*self.colors[initializer][:2], self.marks[optimizer].mark)


def _looks(results: Results) -> _Looks:
    return _Looks(results.initializer_styles, results.optimizer_styles)


def _measured(picture: NetLandscape) -> str:
    return f"Loss on {int(picture.arrays['examples']):,} training examples"


def _paths(picture: NetLandscape, results: Results) -> tuple[NetMap, str]:
    arrays, looks = picture.arrays, _looks(results)
    names = list(zip(picture.labels("initializer"), picture.labels("optimizer"), strict=True))
    paths = tuple(
        NetPath(names[row], looks.of(*names[row]), _known(arrays["coordinates"][row]), text)
        for row, text in enumerate(_stuck(names, arrays["coordinates"]))
    )
    first, second = (float(share) for share in arrays["explained"])
    chart = NetMap(
        title="The ways down: every path on the plane of their first two principal components",
        x_label=f"{ACROSS} ({first:.0%} of the variance)",
        y_label=f"{UP} ({second:.0%})",
        panels=(NetPanel("", arrays["x"], arrays["y"], arrays["loss"], paths),),
        columns=1,
        foot=f"{_measured(picture)}, on the plane; contours at equal ratios, light is low. Hollow "
        "circle: start; filled mark: end. Paths are drawn between stored weights and lie beside "
        "the plane: where a path crosses a contour, its own loss may differ.",
    )
    return chart, told.paths_sentence(picture)


def _slice(picture: NetLandscape, results: Results) -> tuple[NetMap | LineChart, str]:
    arrays, looks = picture.arrays, _looks(results)
    names = list(zip(picture.labels("initializer"), picture.labels("optimizer"), strict=True))
    if arrays["loss"].ndim == 2:
        panels = []
        for optimizer in dict.fromkeys(name for _, name in names):
            rows = [row for row, name in enumerate(names) if name[1] == optimizer]
            lines = (
                _series(
                    names[row][0], looks.colors[names[row][0]], arrays["x"], arrays["loss"][row]
                )
                for row in rows
            )
            panels.append(Panel(optimizer, tuple(lines)))
        chart = _curves(
            "The loss around the end of training",
            "step in filter norms",
            panels,
            arrays["loss"],
            "initializer",
            f"{_measured(picture)}, along a random direction, the same for all, with every filter "
            "as long as the network's own; at 0 stands the trained network.",
        )
        return chart, told.slice_sentence(picture)
    panels = tuple(
        NetPanel(f"{one} with {other}", arrays["x"], arrays["y"], arrays["loss"][row], middle=True)
        for row, (one, other) in enumerate(names)
    )
    chart = NetMap(
        title="The loss around the end of training",
        x_label="step in filter norms",
        y_label="along a second direction",
        panels=panels,
        columns=columns_for(len(panels)),
        foot=f"{_measured(picture)}; contours at equal ratios, the same in all panels, light is "
        "low. Cross: the trained network. The random directions "
        "have every filter as long as the network's own.",
    )
    return chart, told.slice_sentence(picture)


def _line(picture: NetLandscape, results: Results) -> tuple[LineChart, str]:
    arrays, looks = picture.arrays, styles(results.optimizers, BOLD)
    names = list(zip(picture.labels("initializer"), picture.labels("optimizer"), strict=True))
    matched = bool(np.isfinite(arrays["matched"]).any())
    panels = []
    for initializer in dict.fromkeys(name for name, _ in names):
        lines = []
        for row, (one, optimizer) in enumerate(names):
            if one != initializer:
                continue
            style = looks[optimizer]._replace(dash="solid")
            lines.append(_series(optimizer, style, arrays["x"], arrays["loss"][row]))
            if matched:
                other = style._replace(dash="dotted")
                lines.append(
                    _series(optimizer + MATCHED, other, arrays["x"], arrays["matched"][row])
                )
        panels.append(Panel(initializer, tuple(lines)))
    chart = _curves(
        "From one network to another: the loss on the straight line between two seeds",
        "share of the second network",
        panels,
        np.concatenate([arrays["loss"], arrays["matched"]]),
        "optimizer",
        f"{_measured(picture)}."
        + (" Dotted: with the second network's units in the first's order." if matched else ""),
    )
    return chart, told.line_sentence(picture)


def _lanes(picture: NetLandscape, results: Results) -> tuple[NetMap, str]:
    arrays, looks = picture.arrays, _looks(results)
    names = list(zip(picture.labels("initializer"), picture.labels("optimizer"), strict=True))
    seeds = len(names) == 1
    corners = names * 3 if seeds else names
    marks = tuple(
        NetPath(
            name, looks.of(*name), arrays["coordinates"][row : row + 1], told.corner(picture, row)
        )
        for row, name in enumerate(corners)
    )
    chart = NetMap(
        title="The plane through three trained networks",
        x_label="distance along the line from the first network to the second",
        y_label="distance from that line",
        panels=(NetPanel("", arrays["x"], arrays["y"], arrays["loss"], marks),),
        columns=1,
        foot=f"{_measured(picture)}; contours at equal ratios, light is low. The networks lie on "
        "the plane itself; distances are those of the weights.",
    )
    return chart, told.lanes_sentence(picture)


_Made = tuple[NetMap | LineChart, str]
_MAKERS: Mapping[str, Callable[[NetLandscape, Results], _Made]] = {
    "paths": _paths,
    "slice": _slice,
    "line": _line,
    "lanes": _lanes,
}


def _stuck(names: Sequence[tuple[str, str]], coordinates: Floats) -> list[str]:
    """Per path a text beside it: where none of an initializer's paths leads anywhere, its name."""
    size = np.nanmax(coordinates, axis=(0, 1)) - np.nanmin(coordinates, axis=(0, 1))
    lengths = {
        name: np.nanmax(np.abs(path - path[0]) / np.maximum(size, 1e-30), initial=0.0)
        for name, path in zip(names, coordinates, strict=True)
    }
    found, told_of = [], set[str]()
    for initializer, _ in names:
        own = [length for name, length in lengths.items() if name[0] == initializer]
        stays = max(own) < STUCK and initializer not in told_of
        told_of |= {initializer} if stays else set()
        found.append(f"{initializer}: stays here" if stays else "")
    return found


def _known(points: Floats) -> Floats:
    return points[np.isfinite(points).all(axis=1)]


def _series(label: str, style: Style, x: Floats, y: Floats) -> Series:
    nothing = np.full(len(x), np.nan)
    return Series(label, style, np.asarray(x), np.asarray(y, np.float64), nothing, nothing)


def _curves(
    title: str, x_label: str, panels: Sequence[Panel], losses: Floats, legend: str, foot: str
) -> LineChart:
    known = losses[np.isfinite(losses)]
    positive = bool((known > 0).all())
    ends = clear_range(known, "log") or (1.0, 1.0)
    span = ends[0] / ROOM, ends[1] * ROOM
    return LineChart(
        title=title,
        x_label=x_label,
        y_label="loss",
        panels=tuple(panels),
        columns=columns_for(len(panels)),
        y_scale="log" if positive else "linear",
        y_range=span if positive else None,
        metric="train_loss",
        legend=legend,
        foot=foot,
    )
