"""Depth profiles of a study: signals and gradients of every layer at the start and at the end."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from initopt_jax.reports.charts.captioned import Captioned
from initopt_jax.reports.charts.depth import kernel_names, log_range
from initopt_jax.reports.charts.descriptions import LineChart, Panel, Series
from initopt_jax.reports.charts.numbers import listed, rate
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.probing import STEP, PropagationData, SignalVerdict, judge, short
from initopt_jax.reports.charts.results import Results
from initopt_jax.reports.charts.scales import Floats

START = Style("#57606a", "dashed", 0)


class _Profile(NamedTuple):
    """A variable that is drawn over depth: its title, axis and whether that is logarithmic."""

    variable: str
    title: str
    label: str
    log: bool


PROFILES = (
    _Profile("preactivation_variance", "Size of signals", "q = mean h²", True),
    _Profile("backward_norm", "Gradients by pre-activations", "|∂loss/∂h|, rms", True),
    _Profile("input_correlation", "Correlation of two inputs", "correlation", False),
    _Profile("saturated_share", "Flat slopes", "saturated share", False),
)


def depth_figures(results: Results) -> list[Captioned]:
    """A figure per recorded variable of `signals`: a panel per initializer, a line per optimizer.

    Args:
        results: of the study.

    Returns:
        The figures, for the report's section on weights; none where nothing was recorded.
    """
    dataset = results.dataset
    shown = []
    for profile in PROFILES:
        if profile.variable not in dataset or "kernel" not in dataset[profile.variable].dims:
            continue
        chart = _chart(results, profile)
        name = f"depth_{profile.variable}"
        shown.append(Captioned(name, chart, _sentence(chart, profile), "weights"))
    return shown


def _chart(results: Results, profile: _Profile) -> LineChart:
    kernels = [str(name) for name in results.dataset["kernel"].values]
    x = np.arange(1.0, len(kernels) + 1)
    panels = []
    for initializer in results.initializers:
        rows = results.best[results.best["initializer"] == initializer]
        found = [
            (optimizer, *_ends(results, int(cell), profile.variable))
            for cell, optimizer in zip(rows["cell"], rows["optimizer"], strict=True)
        ]
        series = [_series("start", START, x, found[0][1], profile)] if found else []
        series += [
            _series(optimizer, results.optimizer_styles[optimizer], x, last, profile)
            for optimizer, _, last in found
        ]
        series = [line for line in series if np.isfinite(line.y).any()]
        drawn = np.concatenate([line.y for line in series] or [np.zeros(0)])
        # A logarithmic axis has no zero: lines that never leave it are told in words.
        zero = profile.log and drawn.size > 0 and float(np.nanmax(drawn)) == 0.0
        panels.append(Panel(initializer, tuple(series), "exactly zero" if zero else ""))
    every = [line.y for panel in panels for line in panel.series] or [np.zeros(0)]
    return LineChart(
        title=f"{profile.title} through depth, before and after training, "
        f"each at its {results.setting}",
        x_label="layer",
        whole_x=True,
        y_label=profile.label,
        panels=tuple(panels),
        columns=min(4, len(panels)),
        y_scale="log" if profile.log else "linear",
        y_range=log_range(np.concatenate(every)) if profile.log else (-0.04, 1.04),
        metric="share" if profile.variable == "saturated_share" else "",
        foot=kernel_names(kernels) + " Dashed: before training. Lines: mean over the seeds that "
        "did not diverge" + (", geometric." if profile.log else "."),
    )


def _ends(results: Results, cell: int, variable: str) -> tuple[Floats, Floats]:
    """A tuned cell's reported lanes [lane, kernel] at the first and the last evaluation taken."""
    lanes, dataset = results.lanes, results.dataset
    own = list(lanes.index[(lanes["cell"] == cell) & (lanes["role"] == "report")])
    values, sizes = (
        dataset[name].sel(lane=own).transpose("lane", "eval", "kernel").to_numpy().astype(float)
        for name in (
            variable,
            PROFILES[0].variable if PROFILES[0].variable in dataset else variable,
        )
    )
    # Where nothing was taken there is no number at all; a correlation may have none for a reason.
    taken: Any = ~np.isnan(sizes).all(axis=2)
    last = values.shape[1] - 1 - np.argmax(taken[:, ::-1], axis=1)
    ends = values[np.arange(len(values)), last]
    lost = dataset["diverged"].sel(lane=own).to_numpy().astype(bool)
    return values[:, 0], np.where(lost[:, None], np.nan, ends)


def _series(label: str, style: Style, x: Floats, values: Floats, profile: _Profile) -> Series:
    """The mean over lanes that have numbers; those that diverged have none."""
    good = np.isfinite(values).any(axis=1)
    kept, blank = values[good], np.full(len(x), np.nan)
    if not len(kept):
        return Series(label, style, x, blank, blank, blank)
    with np.errstate(divide="ignore"):
        mean = np.exp(np.log(kept).mean(axis=0)) if profile.log else kept.mean(axis=0)
    # A single layer that is not zero is a point on a logarithmic axis, not a line.
    alone = profile.log and int((mean > 0).sum()) == 1
    return Series(label, style, x, mean, blank, blank, marks=alone)


def _sentence(chart: LineChart, profile: _Profile) -> str:
    """The steepest course at the start, and what training made of it."""
    found = []
    for panel in chart.panels:
        lines = {line.label: line.y[np.isfinite(line.y)] for line in panel.series}
        start = lines.pop("start", np.zeros(0))
        ends = [y for y in lines.values() if len(y)]
        if not len(start) or not ends:
            continue
        if not profile.log:
            change = float(np.median([y.mean() for y in ends]) - start.mean())
            found.append((abs(change), start.mean(), start.mean() + change, panel.title))
        elif len(start) > 1 and start[0] > 0 and start[-1] > 0:
            after = float(np.median([_ratio(y) for y in ends]))
            found.append((abs(np.log(_ratio(start))), _ratio(start), after, panel.title))
    if not found:
        return "No initializer has numbers both before and after training."
    _, before, after, label = max(found)
    if profile.log:
        return (
            f"The steepest course before training is that of {label}: × {rate(before)} from the "
            f"first layer to the last; after it × {rate(after)}, the median over optimizers."
        )
    return (
        f"Training moves it most for {label}: from {_two_digits(before)} to {_two_digits(after)}, "
        "mean over layers and median over optimizers."
    )


def _two_digits(value: float) -> str:
    """Two digits behind the point, and no zero below zero.

    >>> _two_digits(-0.25), _two_digits(-0.004)
    ('−0.25', '0.00')
    """
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _ratio(y: Floats) -> float:
    return float(y[-1] / y[0]) if y[0] > 0 else float("nan")


MOST = 6


def findings(probing: PropagationData, verdicts: Sequence[SignalVerdict]) -> list[str]:
    """The few sentences at the head of the page."""
    labels = [look.label for look in probing.looks]
    told = []
    good = [
        label
        for label, verdict in zip(labels, verdicts, strict=True)
        if verdict.signal == verdict.gradient == "passes" and verdict.copied < 0.5
    ]
    total = len(labels)
    if good:
        told.append(
            f"With {len(good)} of {total} initializers signals and gradients pass through the "
            f"whole depth and units differ: {_some(good)}."
        )
    else:
        told.append(f"None of the {total} initializers passes on both signals and gradients.")
    for what, kind in (("Signals", "signal"), ("Gradients", "gradient")):
        for course, verb in (("vanishes", "vanish"), ("explodes", "explode"), ("is zero", "are 0")):
            own = [
                label
                for label, verdict in zip(labels, verdicts, strict=True)
                if getattr(verdict, kind) == course
            ]
            if own:
                told.append(f"{what} {verb} with {_some(own)}.")
    return told


def size_sentence(probing: PropagationData) -> str:
    """From the largest fall to the largest rise, and how far theory is off."""
    text = _range_sentence(probing, "signal_factor", "Over the depth the size of signals changes")
    errors = []
    for look in probing.looks:
        if look.predicted is None:
            continue
        measured, theory = look.course("preactivation_variance"), look.predicted.sizes
        good = np.isfinite(measured) & (measured > 0) & np.isfinite(theory) & (theory > 0)
        errors += np.abs(np.log(measured[good] / theory[good]))[1:].tolist()
    if errors:
        middle = np.exp(float(np.median(errors))) - 1
        text += f" Theory and measurement differ by {middle:.0%} in the median over layers."
    return text


def gradient_sentence(probing: PropagationData) -> str:
    """From the largest fall to the largest rise of gradients."""
    return _range_sentence(
        probing, "gradient_factor", "From the last hidden layer to the first gradients change"
    )


def correlation_sentence(probing: PropagationData) -> str:
    """Who keeps inputs apart, and who makes them one."""
    _, last = probing.ends
    found = [
        (float(look.mean("input_correlation")[last]), look.label)
        for look in probing.looks
        if np.isfinite(look.mean("input_correlation")[last])
    ]
    where = short(probing.kernels[last])
    if not found:
        return f"In {where} no initializer has signals that could be compared."
    low, high = min(found), max(found)
    if len(found) == 1:
        return f"In {where} two inputs have a mean correlation of {low[0]:.3f} ({low[1]})."
    return (
        f"In {where} two inputs have a mean correlation between {low[0]:.3f} ({low[1]}) and "
        f"{high[0]:.3f} ({high[1]})."
    )


def step_sentence(probing: PropagationData) -> str:
    """How much of the gradient at the last step is left at the second, at worst and at best."""
    found: list[tuple[float, str]] = []
    for look in probing.looks:
        norms = look.course(STEP)
        early, late = float(norms[min(1, len(norms) - 1)]), float(norms[-1])
        if late > 0 and np.isfinite(early / late):
            found.append((early / late, look.label))
    if not found:
        return "No gradient along the steps could be measured."
    low, high = min(found), max(found)
    return (
        f"Of the gradient at the last step a share of {rate(low[0])} ({low[1]}) to {rate(high[0])} "
        f"({high[1]}) is left at the second."
    )


def share_sentence(probing: PropagationData) -> str:
    """The most dead units, and the flattest layer."""
    verdicts = [(judge(look, probing), look.label) for look in probing.looks]
    dead = max(((v.dead, label) for v, label in verdicts if np.isfinite(v.dead)), default=None)
    flat = max(
        ((v.saturated, label) for v, label in verdicts if np.isfinite(v.saturated)), default=None
    )
    if dead is None or flat is None:
        return "No slopes could be measured."
    first = (
        f"The most dead units of a layer are {dead[0]:.0%} ({dead[1]})"
        if dead[0] > 0
        else "No unit is dead"
    )
    return f"{first}; the largest saturated share of a layer is {flat[0]:.0%} ({flat[1]})."


def phase_sentence(probing: PropagationData) -> str:
    """Which initializers stand in order, near the line, and in chaos."""
    groups: dict[str, list[str]] = {"in order": [], "within 5% of criticality": [], "in chaos": []}
    for look in probing.looks:
        if look.phase is None:
            continue
        chi = look.phase.chi
        side = "in order" if chi < 1 else "in chaos"
        groups["within 5% of criticality" if abs(chi - 1) <= 0.05 else side].append(look.label)
    parts = [f"{where}: {_some(labels)}" for where, labels in groups.items() if labels]
    text = "; ".join(parts) or "no initializer has layers that the diagram could place"
    return f"{text[0].upper()}{text[1:]}."


def _range_sentence(probing: PropagationData, which: str, opening: str) -> str:
    found: list[tuple[float, str]] = []
    zero: list[str] = []
    lost: list[str] = []
    for look in probing.looks:
        factor = getattr(judge(look, probing), which)
        if factor == 0:
            zero.append(look.label)
        elif np.isfinite(factor):
            found.append((factor, look.label))
        else:
            lost.append(look.label)
    text = ""
    if found:
        low, high = min(found), max(found)
        text = (
            f"{opening} by factors from {rate(low[0])} ({low[1]}) to {rate(high[0])} ({high[1]})."
        )
        if len(found) == 1:
            text = f"{opening} by a factor of {rate(low[0])} ({low[1]})."
    if zero:
        text += f"{' ' if text else ''}They are exactly 0 with {_some(zero)}."
    if lost:
        text += f"{' ' if text else ''}They are not finite with {_some(lost)}."
    return text or "No factor over the depth could be measured."


def _some(names: list[str]) -> str:
    if len(names) <= MOST:
        return listed(names)
    return f"{', '.join(names[: MOST - 1])} and {len(names) - MOST + 1} more"
