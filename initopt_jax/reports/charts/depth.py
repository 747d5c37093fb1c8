"""Depth profiles: sizes of signals and gradients, layer by layer."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from initopt_jax.reports.charts.descriptions import LineChart, Panel, Series
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.probing import STEP, Look, PropagationData, short
from initopt_jax.reports.charts.scales import Floats, clear_range

MEASURED, THEORY, LIMIT = (
    Style("#0072B2", "solid", 0),
    Style("#D55E00", "dashed", 1),
    Style("#8C8C8C", "dotted", 2),
)
THEORY_LABEL = "theory"
DEAD = Style("#000000", "dashdot", 3)
DECADES = 12.0  # most of a logarithmic axis: what falls below leaves the panel
SMALLEST = 1e-37
MOST_NAMES = 14


def size_chart(probing: PropagationData) -> LineChart:
    """The second moment of pre-activations, a panel per initializer, with what theory says."""

    def lines(look: Look, x: Floats) -> list[Series]:
        made = [_band("measured", MEASURED, x, look.values["preactivation_variance"])]
        if look.predicted:
            made.append(_line(THEORY_LABEL, THEORY, x, look.predicted.sizes))
        return made

    return _chart(
        probing, "Size of signals through depth", "q = mean h²", lines, "preactivation_variance"
    )


def gradient_chart(probing: PropagationData) -> LineChart:
    """The norm of gradients by pre-activations."""

    def lines(look: Look, x: Floats) -> list[Series]:
        made = [_band("measured", MEASURED, x, look.values["backward_norm"])]
        if look.predicted:
            _, last = probing.ends
            height = look.course("backward_norm")[last]
            made.append(_line(THEORY_LABEL, THEORY, x, height * look.predicted.gradients))
        return made

    title = "Gradients by pre-activations through depth"
    return _chart(probing, title, "|∂loss/∂h|, rms", lines, "backward_norm")


def correlation_chart(probing: PropagationData) -> LineChart:
    """The correlation of two inputs, with the one that theory says it comes to."""

    def lines(look: Look, x: Floats) -> list[Series]:
        made = [_band("measured", MEASURED, x, look.values["input_correlation"])]
        if look.predicted:
            made.append(_line(THEORY_LABEL, THEORY, x, look.predicted.correlations))
        if look.phase and np.isfinite(look.phase.c):
            made.append(_line("c*", LIMIT, x, np.full(len(x), look.phase.c)))
        return made

    title = "Correlation of two inputs through depth"
    return _chart(probing, title, "correlation", lines, "input_correlation", log=False)


def share_chart(probing: PropagationData) -> LineChart:
    """Saturated entries and dead units."""

    def lines(look: Look, x: Floats) -> list[Series]:
        return [
            _band("saturated", MEASURED, x, look.values["saturated_share"]),
            _band("dead units", DEAD, x, look.values["dead_units"]),
        ]

    title = "Flat slopes and dead units through depth"
    return _chart(probing, title, "share", lines, "saturated_share", log=False)


def step_chart(probing: PropagationData) -> LineChart | None:
    """Gradients along the steps of a recurrent network; None for others."""
    steps = max(look.values[STEP].shape[1] if STEP in look.values else 0 for look in probing.looks)
    if steps < 2:
        return None
    x = np.arange(1.0, steps + 1)
    panels = []
    for look in probing.looks:
        line = _band("measured", MEASURED, x, look.values[STEP])
        missing = missing_words(look.values[STEP], log=True, what="step")
        drawn = bool((line.y > 0).any())
        text = {"aside": missing} if drawn else {"note": missing}
        panels.append(Panel(look.label, (line,) if drawn else (), **text))
    every = [series.y for panel in panels for series in panel.series] or [np.zeros(0)]
    return LineChart(
        title="Gradients by pre-activations along the steps",
        x_label="step",
        whole_x=True,
        y_label="|∂loss/∂h|, rms",
        panels=tuple(panels),
        columns=min(4, len(panels)),
        y_scale="log",
        y_range=log_range(np.concatenate(every)),
        legend="",
        foot="Of the recurrent layers together. Bands: from the smallest to the largest seed.",
    )


def kernel_names(kernels: Sequence[str]) -> str:
    """What the numbers on a depth axis stand for.

    >>> kernel_names(["dense_0/kernel", "dense_1/kernel"])
    'Layers: 1 dense_0, 2 dense_1.'
    """
    names = [f"{place + 1} {short(path)}" for place, path in enumerate(kernels)]
    if len(names) > MOST_NAMES:
        half = MOST_NAMES // 2
        names = [*names[:half], "…", *names[-half:]]
    return f"Layers: {', '.join(names)}."


def missing_words(values: Floats, *, log: bool, what: str = "layer") -> str:
    r"""Where there is nothing to draw, and why.

    Args:
        values: [S, layers] of the seeds.
        log: whether the axis is logarithmic, which has no place for 0.
        what: a column is.

    >>> missing_words(np.array([[0.0, 0.0, 1.0, np.inf, np.nan]]), log=True)
    '0 in layers 1–2\ninfinite in layer 4\nundefined in layer 5'
    >>> missing_words(np.zeros((2, 3)), log=True)
    '0 in every layer'
    """
    infinite, undefined = np.isinf(values).any(axis=0), np.isnan(values).any(axis=0)
    zero = (values <= 0).any(axis=0) if log else np.zeros(values.shape[1], bool)
    kinds = (("0", zero & ~infinite & ~undefined), ("infinite", infinite))
    parts = []
    for word, here in (*kinds, ("undefined", undefined & ~infinite)):
        places = np.flatnonzero(here) + 1
        if len(places) == values.shape[1]:
            return f"{word} in every {what}"
        if len(places):
            parts.append(f"{word} in {what}{'s' if len(places) > 1 else ''} {_runs(places)}")
    return "\n".join(parts)


def _runs(places: npt.NDArray[np.int64]) -> str:
    """Whole numbers, those that follow each other as a run."""
    groups = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return ", ".join(f"{g[0]}" if len(g) == 1 else f"{g[0]}–{g[-1]}" for g in groups)


def log_range(values: Floats) -> tuple[float, float]:
    """Ends of a logarithmic axis around positive numbers: one to twelve decades.

    >>> [float(f"{end:.2g}") for end in log_range(np.array([0.0, 1e-30, 1.0]))]
    [5.2e-13, 1.9]
    """
    ends = clear_range(values[values > SMALLEST], "log") or (0.1, 1.0)
    low, high = (float(np.log10(end)) for end in ends)
    low = max(low, high - DECADES)
    room = 0.024 * (high - low) if high - low > 1 else (1 - high + low) / 2
    return 10 ** (low - room), 10 ** (high + room)


def _chart(
    probing: PropagationData,
    title: str,
    y_label: str,
    lines: Callable[[Look, Floats], list[Series]],
    variable: str,
    *,
    log: bool = True,
) -> LineChart:
    x = np.arange(1.0, len(probing.kernels) + 1)
    panels = []
    for look in probing.looks:
        values = look.values[variable]
        # A line with nothing to draw would take its label's place in the legend.
        drawn = [one for one in lines(look, x) if (one.y > (0 if log else -np.inf)).any()]
        missing = missing_words(values, log=log)
        measured = any(one.style == MEASURED for one in drawn)
        text = {"aside": missing} if measured else {"note": missing}
        panels.append(Panel(look.label, tuple(drawn), **text))
    every = [series.y for panel in panels for series in panel.series] or [np.zeros(0)]
    foot = kernel_names(probing.kernels) + " Bands: from the smallest to the largest seed."
    if any(one.label == THEORY_LABEL for panel in panels for one in panel.series):
        foot += " Dashed: mean-field theory, from the first layer's number and the weights' sigmas."
    return LineChart(
        title=title,
        x_label="layer",
        whole_x=True,
        y_label=y_label,
        panels=tuple(panels),
        columns=min(4, len(panels)),
        y_scale="log" if log else "linear",
        y_range=log_range(np.concatenate(every)) if log else (-0.04, 1.04),
        metric="" if log or variable == "input_correlation" else "share",
        legend="",
        foot=foot,
    )


def _band(label: str, style: Style, x: Floats, values: Floats) -> Series:
    """Seeds [S, kernel] as their mean, geometric where all are positive, and their range."""
    known = np.isfinite(values).all(axis=0)
    shown = np.where(known, values, np.nan)
    log = bool((shown[:, known] > 0).all()) and label == "measured"
    mean = np.exp(np.mean(np.log(shown), axis=0)) if log else np.mean(shown, axis=0)
    low, high = shown.min(axis=0), shown.max(axis=0)
    one = len(values) < 2
    blank = np.full(len(x), np.nan)
    # A layer between such that have no place on the axis is a point, not a line.
    seen = np.isfinite(mean) & ((mean != 0) | (label != "measured"))
    alone = seen & ~np.append(seen[1:], False) & ~np.append(False, seen[:-1])
    ends = (blank, blank) if one else (low, high)
    return Series(label, style, x, mean, *ends, marks=bool(alone.any()))


def _line(label: str, style: Style, x: Floats, y: Floats) -> Series:
    blank = np.full(len(x), np.nan)
    return Series(label, style, x, y, blank, blank)
