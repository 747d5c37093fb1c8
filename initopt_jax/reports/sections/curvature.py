"""Curvature over training: sharpness beside its limit, and the spectrum at both ends."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from initopt_jax.reports.charts.captioned import Captioned
from initopt_jax.reports.charts.descriptions import LineChart, Panel, Series
from initopt_jax.reports.charts.leaves import ratio_bands
from initopt_jax.reports.charts.numbers import listed
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.results import Results
from initopt_jax.reports.charts.scales import Floats, clear_range
from initopt_jax.stats import curve_bands


class Course(NamedTuple):
    """How a number went in one cell: its mean over seeds at every step measured, with its band."""

    initializer: str
    optimizer: str
    step: Floats
    mean: Floats
    low: Floats
    high: Floats

    def after_start(self) -> "Course":
        """Without step 0."""
        later = self.step > 0
        arrays = (array[later] for array in (self.step, self.mean, self.low, self.high))
        return Course(self.initializer, self.optimizer, *arrays)

    def over(self, other: "Course") -> "Course":
        """Its mean over that of another course, where both were measured."""
        known, mine, theirs = np.intersect1d(self.step, other.step, return_indices=True)
        share = self.mean[mine] / other.mean[theirs]
        return Course(self.initializer, self.optimizer, known, share, share, share)


MEANS = (
    "Lines: means over the seeds that did not diverge, geometric unless some are negative; bands: "
    "their 95% intervals."
)
EDGE = Style("#8C8C8C", "dashed", 0)
FIRST = Style("#8C8C8C", "solid", 7)
GRID, SMOOTH = 600, 0.01  # points of a density; its Gaussians' width, as a share of the range
LEAST_DENSITY = 1e-5  # of the largest: what is below is not drawn


class CurvatureCell(NamedTuple):
    """A tuned cell."""

    cell: int
    initializer: str
    optimizer: str


def curvature_figures(results: Results) -> list[Captioned]:
    """The figures of what was recorded of curvature; none where nothing was."""
    makers = (
        (("sharpness", "sharpness_limit"), _sharpness),
        (("stability_share",), _share),
        (("hessian_top",), _top),
        (("density_nodes", "density_weights"), _density),
    )
    shown = []
    for variables, make in makers:
        known = all(name in results.dataset for name in variables)
        if known and np.isfinite(results.dataset[variables[0]].values).any():
            shown.append(make(results))
    return shown


def _cells(results: Results, initializer: str) -> list[CurvatureCell]:
    best = results.best[results.best["initializer"] == initializer]
    return [
        CurvatureCell(int(row.cell), initializer, str(row.optimizer))
        for row in best.itertuples(index=False)
    ]


def _courses(results: Results, variable: str) -> dict[CurvatureCell, Course]:
    """Mean and band of a variable of dims (lane, eval) over the steps of every tuned cell.

    Geometric, as its axis is logarithmic, unless curvature is negative somewhere.
    """
    cells = [cell for name in results.initializers for cell in _cells(results, name)]
    ids = [cell.cell for cell in cells]
    bands = curve_bands if (results.dataset[variable] < 0).any() else ratio_bands
    table = bands(results.dataset, results.lanes, ids, variable)
    found = {}
    for cell in cells:
        rows = table[table["cell"] == cell.cell].dropna(subset=["mean"])
        if len(rows):
            numbers = (rows[name].to_numpy(np.float64) for name in ("step", "mean", "low", "high"))
            found[cell] = Course(cell.initializer, cell.optimizer, *numbers)
    return found


def _line(course: Course, style: Style) -> Series:
    return Series(course.optimizer, style, course.step, course.mean, course.low, course.high)


def _level(label: str, style: Style, x: Floats, y: Floats) -> Series:
    """A line without a band."""
    empty = np.full(len(x), np.nan)
    return Series(label, style, x, y, empty, empty)


def _scales(lines: dict[str, list[Series]]) -> dict[str, Any]:
    """A logarithmic axis of what the lines span, bands aside; a linear one if none is positive."""
    y = np.concatenate([s.y for here in lines.values() for s in here] or [np.zeros(0)])
    ends = clear_range(y, "log")
    if ends is None:
        return {"y_scale": "linear"}
    return {"y_scale": "log", "y_range": (ends[0] / 1.3, ends[1] * 1.3)}


def _drawn(results: Results, lines: dict[str, list[Series]]) -> dict[str, Any]:
    """What charts with a panel per initializer have in common."""
    panels = tuple(
        Panel(name, tuple(lines[name]), note="" if lines[name] else "not finite")
        for name in results.initializers
    )
    return {"panels": panels, "columns": min(4, len(panels)), **_scales(lines)}


def _sharpness(results: Results) -> Captioned:
    """Sharpness over the steps; the limit of each optimizer dashed, in its colour."""
    courses, limits = _courses(results, "sharpness"), _courses(results, "sharpness_limit")
    lines: dict[str, list[Series]] = {name: [] for name in results.initializers}
    for cell, course in courses.items():
        style = results.optimizer_styles[cell.optimizer]
        lines[cell.initializer].append(_line(course, style))
        if cell in limits:
            bound = limits[cell]
            label = f"{cell.optimizer}: limit"
            lines[cell.initializer].append(
                _level(label, style._replace(dash="dashed"), bound.step, bound.mean)
            )
    chart = LineChart(
        title="Sharpness: the largest eigenvalue of the loss's Hessian, each at its "
        f"{results.setting}",
        x_label="steps",
        y_label="sharpness",
        metric="sharpness",
        **_drawn(results, lines),
        foot=f"Dashed: above it the steps of that optimizer grow, if it does not adapt. {MEANS}",
    )
    relative = [course.over(limits[cell]) for cell, course in courses.items() if cell in limits]
    return Captioned("sharpness", chart, limit_sentence("sharpness", relative), "loss")


def _share(results: Results) -> Captioned:
    """Preconditioned sharpness as a share of the optimizer's limit: 1 is the edge of stability."""
    courses = {
        cell: course.after_start()
        for cell, course in _courses(results, "stability_share").items()
        if course.step[-1] > 0
    }
    lines: dict[str, list[Series]] = {name: [] for name in results.initializers}
    for cell, course in courses.items():
        lines[cell.initializer].append(_line(course, results.optimizer_styles[cell.optimizer]))
    for series in lines.values():
        if series:
            ends = np.array([min(s.x[0] for s in series), max(s.x[-1] for s in series)])
            series.append(_level("edge of stability", EDGE, ends, np.ones(2)))
    chart = LineChart(
        title="Curvature as each optimizer meets it, as a share of what it can bear",
        x_label="steps",
        y_label="share of the limit",
        metric="stability_share",
        **_drawn(results, lines),
        foot="The start is left out: there an adaptive method has seen a single gradient at most. "
        + MEANS,
    )
    text = limit_sentence("preconditioned sharpness", list(courses.values()))
    return Captioned("stability_share", chart, text, "loss")


def _ends(
    results: Results, *variables: str
) -> Iterator[tuple[CurvatureCell, list[Floats], list[Floats]]]:
    """Per tuned cell: variables of its report lanes at their first and last evaluation.

    Lanes where the last is not finite have diverged and are left out.
    """
    lanes, dataset = results.lanes, results.dataset
    for name in results.initializers:
        for cell in _cells(results, name):
            wanted = lanes[(lanes["cell"] == cell.cell) & (lanes["role"] == "report")].index
            place = dataset.get_index("lane").get_indexer(wanted)
            place = place[place >= 0]
            values = [dataset[each].values[place].astype(np.float64) for each in variables]
            last = np.isfinite(dataset["step"].values[place]).sum(axis=1) - 1
            ends = [array[np.arange(len(place)), last] for array in values]
            finite = [np.isfinite(end.reshape(len(end), -1)).any(axis=1) for end in ends]
            good = np.all(finite, axis=0)
            if good.any():
                yield cell, [array[good, 0] for array in values], [end[good] for end in ends]


def _top(results: Results) -> Captioned:
    """The largest eigenvalues at both ends."""
    lines: dict[str, list[Series]] = {name: [] for name in results.initializers}
    first, last = {}, {}
    for cell, (start,), (end,) in _ends(results, "hessian_top"):
        number = np.arange(1.0, 1 + end.shape[1])
        if not lines[cell.initializer]:
            values = start.mean(axis=0)
            lines[cell.initializer].append(_dots("first weights", FIRST, number, values))
            first[cell.initializer] = float(values[0])
        values = end.mean(axis=0)
        last[f"{cell.initializer} with {cell.optimizer}"] = float(values[0])
        style = results.optimizer_styles[cell.optimizer]
        lines[cell.initializer].append(_dots(cell.optimizer, style, number, values))
    chart = LineChart(
        title="The largest eigenvalues of the Hessian, before and after training",
        x_label="number of the eigenvalue",
        whole_x=True,
        y_label="eigenvalue",
        metric="hessian_top",
        **_drawn(results, lines),
        foot="Means over the seeds that did not diverge; negative ones are not drawn.",
    )
    return Captioned("hessian_top", chart, top_sentence(first, last), "loss")


def _dots(label: str, style: Style, x: Floats, y: Floats) -> Series:
    empty = np.full(len(x), np.nan)
    return Series(label, style, x, y, empty, empty, marks=True)


class Spectrum(NamedTuple):
    """Nodes and weights of quadrature of some lanes, flat; weights add up to 1."""

    nodes: Floats
    weights: Floats

    def on(self, grid: Floats, width: float) -> Floats:
        """The density on a grid, smoothed by Gaussians."""
        bells = np.exp(-(((grid[:, None] - self.nodes) / width) ** 2) / 2)
        return bells @ self.weights / (width * np.sqrt(2 * np.pi))

    def bulk(self) -> float:
        """The share of eigenvalues that are smaller than 1% of the largest, in size."""
        small = np.abs(self.nodes) <= 0.01 * np.abs(self.nodes).max()
        return float(self.weights[small].sum())


def _spectrum(nodes: Floats, weights: Floats) -> Spectrum:
    flat = [array.ravel() for array in (nodes, weights)]
    good = np.isfinite(flat[0]) & np.isfinite(flat[1])
    total = flat[1][good].sum()
    return Spectrum(flat[0][good], flat[1][good] / (total or 1.0))


def _density(results: Results) -> Captioned:
    """The density of the Hessian's eigenvalues at both ends."""
    spectra: dict[str, dict[str, Spectrum]] = {name: {} for name in results.initializers}
    for cell, first, last in _ends(results, "density_nodes", "density_weights"):
        here = spectra[cell.initializer]
        here.setdefault("first weights", _spectrum(*first))
        here[cell.optimizer] = _spectrum(*last)
    found = [one for here in spectra.values() for one in here.values() if one.nodes.size]
    low = min((float(one.nodes.min()) for one in found), default=0.0)
    high = max((float(one.nodes.max()) for one in found), default=1.0)
    width = SMOOTH * (high - low) or 1.0
    grid = np.linspace(low - 4 * width, high + 4 * width, GRID)
    looks = {"first weights": FIRST, **results.optimizer_styles}
    lines = {
        name: [
            _level(label, looks[label], grid, one.on(grid, width)) for label, one in here.items()
        ]
        for name, here in spectra.items()
    }
    peak = max((float(s.y.max()) for here in lines.values() for s in here), default=1.0)
    chart = LineChart(
        title="The density of the Hessian's eigenvalues, before and after training",
        x_label="eigenvalue",
        y_label="density",
        metric="density_weights",
        **_drawn(results, lines) | {"y_scale": "log", "y_range": (LEAST_DENSITY * peak, 2 * peak)},
        foot=f"Smoothed by Gaussians of standard deviation {width:.3g}; of all seeds that did not "
        "diverge.",
    )
    bulks = {
        kind: [one.bulk() for here in spectra.values() for label, one in here.items()
               if (label == "first weights") == (kind == "first")]
        for kind in ("first", "last")
    }  # fmt: skip
    return Captioned(
        "hessian_density", chart, density_sentence(bulks["first"], bulks["last"]), "loss"
    )


def limit_sentence(what: str, shares: Sequence[Course]) -> str:
    """How near to its limit each optimizer came.

    >>> steps, share = np.array([0.0, 10.0, 20.0]), np.array([0.1, 0.985, 0.5])
    >>> limit_sentence("sharpness", [Course("zeros", "gd", steps, share, share, share)])
    "gd's sharpness rises from 0.10 to 0.98 of its limit at step 10 and ends at 0.50 (zeros)."
    """
    nearest: dict[str, Course] = {}
    for course in shares:
        best = nearest.get(course.optimizer)
        if course.mean.size and (best is None or course.mean.max() > best.mean.max()):
            nearest[course.optimizer] = course
    if not nearest:
        return f"No optimizer here has a limit that its {what} could be held against."
    several = len({course.initializer for course in shares}) > 1
    texts = [_course(what, one, first=place == 0) for place, one in enumerate(nearest.values())]
    text = "; ".join(texts) + "."
    return text + (" The initializer that came nearest is named." if several else "")


def _course(what: str, course: Course, *, first: bool) -> str:
    most = int(np.argmax(course.mean))
    begin, peak, end = (f"{_two(course.mean[place])}" for place in (0, most, -1))
    named = f"{course.optimizer}'s {what}" if first else f"{course.optimizer}'s"
    if most == 0:
        step = f"step {course.step[0]:.0f}" if course.step[0] else "the start"
        way = f"is nearest to its limit at {step}, {begin} of it, and ends at {end}"
        return f"{named} {way} ({course.initializer})"
    limit = "of its limit " if first else ""
    way = f"rises from {begin} to {peak} {limit}at step {course.step[most]:.0f}"
    if most == len(course.mean) - 1:
        return f"{named} {way}, the last ({course.initializer})"
    return f"{named} {way} and ends at {end} ({course.initializer})"


def _two(value: float) -> str:
    """Two decimals, or two digits of what is smaller; never rounded up to a limit not reached."""
    if abs(value) < 0.095:
        return f"{value:.2g}"
    return f"{np.floor(100 * value + 1e-9) / 100:.2f}" if value < 100 else f"{value:.3g}"


def top_sentence(first: Mapping[str, float], last: Mapping[str, float]) -> str:
    """Between what the largest eigenvalue lies, by initializer before, by pair after training.

    >>> top_sentence({"zeros": 0.5}, {"zeros with gd": 0.25, "zeros with adam": 40.0})
    'The largest eigenvalue of the first weights is 0.5 (zeros), after training between 0.25 (zeros
    with gd) and 40 (zeros with adam).'
    """
    if not last:
        return "No eigenvalue is finite after training."
    before, after = _between(first), _between(last)
    return f"The largest eigenvalue of the first weights is {before}, after training {after}."


def _between(values: Mapping[str, float]) -> str:
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    texts = [f"{values[name]:.3g} ({name})" for name in dict.fromkeys((low, high))]
    return texts[0] if len(texts) == 1 else f"between {listed(texts)}"


def density_sentence(first: Sequence[float], last: Sequence[float]) -> str:
    """How many eigenvalues are next to nothing beside the largest.

    >>> density_sentence([0.5, 0.6], [0.9])
    'Eigenvalues of less than 1% of the largest, in size: 50% to 60% of all before training, 90%
    after.'
    """
    if not last:
        return "No spectrum is finite after training."
    return (
        "Eigenvalues of less than 1% of the largest, in size: "
        f"{_range(first)} of all before training, {_range(last)} after."
    )


def _range(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low} to {high}"
