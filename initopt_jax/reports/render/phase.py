"""The phase diagram of order and chaos, with the networks of a config on it, as Plotly."""

from typing import Any

import numpy as np

from initopt_jax.probes.signals.theory import Diagram, diagram
from initopt_jax.reports.charts.palette import MUTED, SYMBOLS, rgba, styles
from initopt_jax.reports.charts.probing import PropagationData
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.texts import in_texts, plotly_text
from initopt_jax.reports.render.plotly_axes import Figure, make_axis, make_layout, plain

LEAST_W, LEAST_B = 2.5, 0.5  # how far the axes reach at least
MOST_W, MOST_B = 4.0, 3.0  # points beyond stand at the edge
# Blue for order, white at criticality, red for chaos.
COLORS = [
    [0.0, "#2f6f9f"],
    [0.45, "#dbe8f1"],
    [0.5, "#ffffff"],
    [0.55, "#f7dfd6"],
    [1.0, "#b3432b"],
]


def phase_figure(probing: PropagationData, activation: str) -> Figure:
    """chi_1 over (sigma_w, sigma_b), the critical line, and a point per initializer.

    The large mark stands at the root mean square of its inner layers' sigmas over seeds, the small
    ones at each of these layers. Marks beyond the axes stand at their edge.
    """
    probing = in_texts(probing, plotly_text)
    points = [look.phase for look in probing.looks if look.phase]
    right = max([LEAST_W, *(1.1 * one.sigma_w for one in points if one.sigma_w < MOST_W)])
    top = max([LEAST_B, *(1.15 * one.sigma_b for one in points if one.sigma_b < MOST_B)])
    found = diagram(activation, (0.02, right), (0.0, top))
    layout = make_layout(560, legend={"title": {"text": "initializer"}})
    layout["margin"] |= {"t": 30}
    layout["xaxis"] = make_axis("linear", (0.0, right), "") | {"title": {"text": "σ_w"}}
    layout["yaxis"] = make_axis("linear", (-0.04 * top, top), "") | {"title": {"text": "σ_b"}}
    return plain({"data": [*_contours(found), *_marks(probing, right, top)], "layout": layout})


def _contours(found: Diagram) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "x": found.sigma_w,
            "y": found.sigma_b,
            "z": np.clip(found.chi, 0.0, 2.0),
            "zmin": 0.0,
            "zmax": 2.0,
            "zsmooth": "best",
            "colorscale": COLORS,
            "colorbar": {"title": {"text": "χ₁"}, "x": 1.0, "y": 0.0, "yanchor": "bottom",
                         "len": 0.45, "thickness": 14},
            "hovertemplate": "σ_w %{x:.2f}, σ_b %{y:.2f}<br>χ₁ %{z:.2f}<extra></extra>",
        }
    ]  # fmt: skip
    if len(found.line):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "critical, χ₁ = 1",
                "x": found.line[:, 0],
                "y": found.line[:, 1],
                "line": {"color": "#1b1f24", "width": 2},
                "hoverinfo": "name",
            }
        )
    else:
        traces.append(
            {
                "type": "contour",
                "x": found.sigma_w,
                "y": found.sigma_b,
                "z": found.chi,
                "contours": {"coloring": "none", "start": 1, "end": 1, "size": 1},
                "line": {"color": "#1b1f24", "width": 2},
                "showscale": False,
                "hoverinfo": "skip",
                "name": "critical, χ₁ = 1",
                "showlegend": True,
            }
        )
    return traces


def _marks(probing: PropagationData, right: float, top: float) -> list[dict[str, Any]]:
    looks = [look for look in probing.looks if look.phase]
    looked = styles([look.label for look in looks], MUTED)
    inner = list(probing.inner)
    traces = []
    for look in looks:
        style, point = looked[look.label], look.phase
        if point is None:
            continue
        group = {"legendgroup": look.label, "type": "scatter", "mode": "markers"}
        x, y = (_root_mean(part[:, inner]) for part in (look.sigma_w, look.sigma_b))
        traces.append(
            group
            | {
                "x": _inside(x, right),
                "y": _inside(y, top),
                "marker": {"color": rgba(style.color, 0.45), "size": 5},
                "showlegend": False,
                "hoverinfo": "skip",
            }
        )
        depth = "∞" if np.isinf(point.depth) else f"{point.depth:.3g}"
        traces.append(
            group
            | {
                "name": look.label,
                "x": _inside(np.array([point.sigma_w]), right),
                "y": _inside(np.array([point.sigma_b]), top),
                "marker": {"color": style.color, "size": 12, "symbol": SYMBOLS[style.mark],
                           "line": {"color": "white", "width": 1}},
                "hovertemplate": f"<b>{look.label}</b><br>σ_w {point.sigma_w:.3g}, σ_b "
                f"{point.sigma_b:.3g}<br>χ₁ {point.chi:.3g}, ξ_c {depth} layers<extra></extra>",
            }
        )  # fmt: skip
    return traces


def _root_mean(values: Floats) -> Floats:
    return np.sqrt(np.mean(values**2, axis=0))


def _inside(values: Floats, end: float) -> Floats:
    return np.minimum(values, 0.99 * end)
