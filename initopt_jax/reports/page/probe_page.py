"""The page of a look into untrained networks: one HTML file that opens without a network."""

from dataclasses import replace

import numpy as np

from initopt_jax.reports.charts.captioned import Captioned
from initopt_jax.reports.charts.depth import (
    correlation_chart,
    gradient_chart,
    share_chart,
    size_chart,
    step_chart,
)
from initopt_jax.reports.charts.numbers import rate
from initopt_jax.reports.charts.probing import Look, PropagationData, SignalVerdict, judge
from initopt_jax.reports.charts.texts import in_texts, one_line, shown_names
from initopt_jax.reports.page.html import fill_page
from initopt_jax.reports.page.tables import Table, TableCell
from initopt_jax.reports.render.phase import phase_figure
from initopt_jax.reports.render.plotly_charts import figure
from initopt_jax.reports.sections.depth import (
    correlation_sentence,
    findings,
    gradient_sentence,
    phase_sentence,
    share_sentence,
    size_sentence,
    step_sentence,
)

JACOBIAN = "jacobian_mean_square"


def render(probing: PropagationData) -> bytes:
    """The page.

    Args:
        probing: what was found.

    Returns:
        UTF-8 HTML; plotly.js is inside.
    """
    names = shown_names(look.label for look in probing.looks)
    probing = in_texts(probing, one_line)
    looks = tuple(
        replace(look, label=label)
        for look, label in zip(probing.looks, names.values(), strict=True)
    )
    probing = replace(probing, looks=looks)
    verdicts = [judge(look, probing) for look in probing.looks]
    charts = {
        "sizes": (size_chart(probing), size_sentence(probing)),
        "gradients": (gradient_chart(probing), gradient_sentence(probing)),
        "correlations": (correlation_chart(probing), correlation_sentence(probing)),
        "shares": (share_chart(probing), share_sentence(probing)),
    }
    steps = step_chart(probing)
    shown = [Captioned(name, chart, caption) for name, (chart, caption) in charts.items()]
    figures = {name: figure(chart) for name, (chart, _) in charts.items()}
    if steps:
        shown.append(Captioned("steps", steps, step_sentence(probing)))
        figures["steps"] = figure(steps)
    phase = ""
    if probing.activation and any(look.phase for look in probing.looks):
        figures["phase_diagram"] = phase_figure(probing, probing.activation)
        phase = phase_sentence(probing)
    return fill_page(
        "probe.html.jinja",
        figures,
        probing=probing,
        scale=scale_sentence(probing),
        findings=findings(probing, verdicts),
        verdicts=[
            (look.label, verdict) for look, verdict in zip(probing.looks, verdicts, strict=True)
        ],
        table=number_table(probing, verdicts),
        shown=shown,
        phase=phase,
        plain=any(look.predicted for look in probing.looks),
    )


def scale_sentence(probing: PropagationData) -> str:
    """How much was looked at."""
    seeds = len(probing.looks[0].sigma_w)
    many = len(probing.looks)
    return (
        f"{many} initializer{'s' if many > 1 else ''}, {seeds} seed{'s' if seeds > 1 else ''} "
        f"each, {len(probing.kernels)} weight matrices. Nothing was trained."
    )


def number_table(probing: PropagationData, verdicts: list[SignalVerdict]) -> Table:
    """A row of numbers per initializer."""
    headings = [
        "initializer", "signals", "× depth", "gradients", "× depth", "correlation", "dead",
        "saturated", "copied",
    ]  # fmt: skip
    jacobian = any(JACOBIAN in look.values for look in probing.looks)
    headings += ["Jacobian mean s²", "its spread"] if jacobian else []
    phases = any(look.phase for look in probing.looks)
    headings += ["σ_w", "σ_b"] + (["χ₁", "c*", "ξ_c"] if phases else [])
    rows = []
    for look, verdict in zip(probing.looks, verdicts, strict=True):
        row = [
            TableCell(look.label, look.label),
            TableCell(verdict.signal, verdict.signal),
            _number(verdict.signal_factor),
            TableCell(verdict.gradient, verdict.gradient),
            _number(verdict.gradient_factor),
            _number(verdict.correlation),
            _share(verdict.dead),
            _share(verdict.saturated),
            _share(verdict.copied),
        ]
        if jacobian:
            row += [_number(float(look.mean(name))) for name in (JACOBIAN, "jacobian_spread")]
        rows.append(row + _sigmas(look, probing, phases))
    return Table(headings, rows)


def _sigmas(look: Look, probing: PropagationData, phases: bool) -> list[TableCell]:
    inner = list(probing.inner)
    pair = [float(np.sqrt(np.mean(part[:, inner] ** 2))) for part in (look.sigma_w, look.sigma_b)]
    made = [_number(value) for value in pair]
    if phases and look.phase is None:
        made += [TableCell("", "nan")] * 3
    elif phases and look.phase is not None:
        made += [_number(getattr(look.phase, name)) for name in ("chi", "c", "depth")]
    return made


def _number(value: float) -> TableCell:
    if np.isinf(value):
        return TableCell("∞", value)
    return TableCell(rate(value), value)


def _share(value: float) -> TableCell:
    return TableCell(f"{value:.0%}" if np.isfinite(value) else "n/a", value)
