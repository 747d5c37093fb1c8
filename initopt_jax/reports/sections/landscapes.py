"""Charts of the loss of networks: maps with paths or networks on them, curves along lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from initopt_jax.probes.slices.record import NetLandscape
from initopt_jax.reports.charts.captioned import Captioned
from initopt_jax.reports.charts.descriptions import LineChart, Panel, Series
from initopt_jax.reports.charts.function_maps import columns_for
from initopt_jax.reports.charts.net_map import NetMap, NetPanel, NetPath
from initopt_jax.reports.charts.numbers import listed
from initopt_jax.reports.charts.palette import BOLD, Style, styles
from initopt_jax.reports.charts.results import Results
from initopt_jax.reports.charts.scales import Floats, clear_range

ROOM = 1.15  # above and below curves on a logarithmic axis, as a factor
STUCK = 0.02  # of the map: a shorter path is none
MATCHED = ", units matched"
ACROSS = "along the first principal component"
UP = "along the second principal component"


def landscape_figures(results: Results, landscapes: Sequence[NetLandscape]) -> list[Captioned]:
    """A figure per picture, in order, with what it shows in one sentence from its numbers.

    Args:
        results: of the study, for names and colours.
        landscapes: the pictures; those of networks that all diverged are left out.
    """
    shown: list[Captioned] = []
    for picture in landscapes:
        if not np.isfinite(picture.arrays["loss"]).any():
            continue
        chart, caption = _MAKERS[picture.kind](picture, results)
        same = sum(item.name.startswith(f"landscape_{picture.kind}") for item in shown)
        name = f"landscape_{picture.kind}" + (f"_{same + 1}" if same else "")
        shown.append(Captioned(name, chart, caption, section="loss"))
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
    return chart, paths_sentence(picture)


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
        return chart, slice_sentence(picture)
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
    return chart, slice_sentence(picture)


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
    return chart, line_sentence(picture)


def _lanes(picture: NetLandscape, results: Results) -> tuple[NetMap, str]:
    arrays, looks = picture.arrays, _looks(results)
    names = list(zip(picture.labels("initializer"), picture.labels("optimizer"), strict=True))
    seeds = len(names) == 1
    corners = names * 3 if seeds else names
    marks = tuple(
        NetPath(name, looks.of(*name), arrays["coordinates"][row : row + 1], corner(picture, row))
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
    return chart, lanes_sentence(picture)


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


SAME_BASIN = 0.02  # of the loss at the start: a lower barrier is called none
LEARNED = 0.1  # of the loss at the start: below this an end counts as the bottom of a basin
LEVEL = 0.02  # of the highest loss on a line: likewise, where no start is known


def paths_sentence(picture: NetLandscape) -> str:
    """The share of variance that the plane holds, and which ends lie in the basin of the best."""
    arrays = picture.arrays
    names, step = _names(picture), arrays["step"]
    ends, starts = _ends(arrays["path_loss"], step), arrays["path_loss"][:, 0]
    share = f"{float(arrays['explained'].sum()):.0%} of the variance"
    text = f"The plane holds {share} of {_many(len(names), 'path')}"
    if not np.isfinite(ends).any():
        return text + "; every path diverged."
    text += f" (the ends lie {np.nanmean(_ends(arrays['off'], step)):.3g} off it on average)"
    best = int(np.nanargmin(ends))
    text += f"; the lowest end is that of {names[best]}, at a loss of {_number(ends[best])}"
    start = float(np.nanmedian(starts))
    low = [row for row in range(len(names)) if ends[row] <= LEARNED * start and row != best]
    low = [row for row in low if np.isfinite(arrays["barrier"][row])]
    stuck = len(names) - len(low) - 1
    if stuck:
        text += f" ({_many(stuck, 'path')} stayed above a tenth of the loss at the start)"
    if not low:
        return text + "."
    heights = arrays["barrier"][low]
    near = [names[row] for row in low if arrays["barrier"][row] <= SAME_BASIN * start]
    worst = low[int(np.argmax(heights))]
    high = (
        f"on straight lines from it the highest barrier is {_number(arrays['barrier'][worst])}, "
        f"towards {names[worst]}"
    )
    if len(near) == len(low):
        return f"{text}; all the others lie in its basin: {high}."
    if not near:
        return f"{text}; none of the {len(low)} others lies in its basin: {high}."
    which = listed(near) if len(near) <= 3 else f"{len(near)} of the {len(low)} others"
    return f"{text}; {which} {'lies' if len(near) == 1 else 'lie'} in its basin: {high}."


def slice_sentence(picture: NetLandscape) -> str:
    """How far the loss rises from the trained networks to the rim, least and most."""
    arrays = picture.arrays
    losses = arrays["loss"].reshape(len(arrays["loss"]), -1)
    middle = losses[:, losses.shape[1] // 2]
    rise = _rim(arrays["loss"]) - middle
    names, known = _names(picture), np.flatnonzero(np.isfinite(rise))
    if not len(known):
        return "No trained network is finite."
    flat, steep = (int(known[pick(rise[known])]) for pick in (np.argmin, np.argmax))
    reach = f"at ±{float(arrays['x'][-1]):g} filter norms"
    text = f"{names[flat]} lies flattest: the loss rises by {_number(rise[flat])} {reach}"
    if len(known) == 1:
        return text + "."
    return f"{text}, against {_number(rise[steep])} around {names[steep]}, the steepest."


def line_sentence(picture: NetLandscape) -> str:
    """The barriers between two seeds, and what matching of units leaves of them."""
    arrays = picture.arrays
    names, barrier = _names(picture), arrays["barrier"]
    known = np.flatnonzero(np.isfinite(barrier[:, 0]))
    if not len(known):
        return "No pair of networks is finite."
    joined = [row for row in known if barrier[row, 0] <= LEVEL * arrays["loss"][row].max()]
    low, high = (int(known[pick(barrier[known, 0])]) for pick in (np.argmin, np.argmax))
    if len(known) == 1:
        text = f"Between two seeds of {names[low]} the barrier is {_number(barrier[low, 0])}"
    else:
        text = (
            f"Between two seeds the barrier is lowest for {names[low]} "
            f"({_number(barrier[low, 0])}) and highest for {names[high]} "
            f"({_number(barrier[high, 0])})"
        )
    basin = f"the two ends lie in one basin for {len(joined)} of {_many(len(known), 'pair')}"
    both = known[np.isfinite(barrier[known, 1])]
    if not len(both):
        return f"{text}; {basin}."
    left = np.array([barrier[row, 1] / max(barrier[row, 0], 1e-30) for row in both])
    kept = f"with matched units {float(np.median(left)):.0%} of it is left"
    kept += "" if len(both) == 1 else f" (median; {left.min():.0%} to {left.max():.0%})"
    return f"{text}; {kept}; {basin}."


def lanes_sentence(picture: NetLandscape) -> str:
    """How far apart the three networks are, and how high the loss rises between them."""
    arrays = picture.arrays
    points, ends = arrays["coordinates"], arrays["corner_loss"]
    sides = ((0, 1), (0, 2), (1, 2))
    far = [float(np.linalg.norm(points[a] - points[b])) for a, b in sides]
    middle = points.mean(axis=0)
    column = int(np.argmin(np.abs(arrays["x"] - middle[0])))
    row = int(np.argmin(np.abs(arrays["y"] - middle[1])))
    between = float(arrays["loss"][row, column])
    return (
        f"The three networks lie {min(far):.3g} to {max(far):.3g} apart, at losses of "
        f"{_number(float(ends.min()))} to {_number(float(ends.max()))}; in the middle between them "
        f"the loss is {_number(between)}."
    )


def corner(picture: NetLandscape, row: int) -> str:
    """The text beside one of three networks: its loss, and of seeds of one cell its lane."""
    loss = f"loss {_number(float(picture.arrays['corner_loss'][row]))}"
    if len(_names(picture)) == 3:
        return loss
    return f"lane {int(picture.arrays['corners'][row])}, {loss}"


def _names(picture: NetLandscape) -> list[str]:
    pairs = zip(picture.labels("initializer"), picture.labels("optimizer"), strict=True)
    return [f"{initializer} with {optimizer}" for initializer, optimizer in pairs]


def _ends(values: Floats, step: Floats) -> Floats:
    """[C], the value of each row [T] at its last step; NaN where that network diverged."""
    last = np.isfinite(step).sum(axis=1) - 1
    return values[np.arange(len(values)), last]


def _rim(losses: Floats) -> Floats:
    """[C], the mean loss on the rim of curves [C, S] or maps [C, Y, X]."""
    if losses.ndim == 2:
        return losses[:, [0, -1]].mean(axis=1)
    sides = [losses[:, 0], losses[:, -1], losses[:, :, 0], losses[:, :, -1]]
    return np.concatenate(sides, axis=1).mean(axis=1)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("e-0", "e-")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
