"""Charts as Plotly figures: plain dictionaries, ready for JSON; no Plotly needed to make them."""

import numpy as np

from initopt_jax.reports.charts.descriptions import (
    Chart,
    HeatChart,
    LineChart,
    Panel,
    PointChart,
    PointPanel,
    Series,
    beyond,
    beyond_text,
    point_ends,
    points_beyond,
    x_span,
    y_ends,
)
from initopt_jax.reports.charts.numbers import count, score
from initopt_jax.reports.charts.palette import SYMBOLS, rgba
from initopt_jax.reports.charts.scales import Floats, Scale, log_ticks, placed, tick_of, whole_ticks
from initopt_jax.reports.charts.texts import in_figure, plotly_text
from initopt_jax.reports.render.plotly_axes import (
    Figure,
    axis_name,
    make_axis,
    make_layout,
    note,
    plain,
)
from initopt_jax.reports.render.plotly_heat import heat_map

LONG_LABEL = 28  # letters
LINE = 28  # pixels of a second line beside a row
DASH = {"solid": "solid", "dashed": "dash", "dotted": "dot", "dashdot": "dashdot"}


def figure(chart: Chart) -> Figure:
    """A chart as a Plotly figure, `data` and `layout`; None stands for what is not finite."""
    chart = in_figure(chart, plotly_text)
    if isinstance(chart, HeatChart):
        made = heat_map(chart)
    elif isinstance(chart, LineChart):
        made = _lines(chart)
    else:
        made = _scatter(chart)
    return plain(made)


# --- lines -------------------------------------------------------------------------------------


def _lines(chart: LineChart) -> Figure:
    rows = -(-len(chart.panels) // chart.columns)
    layout = make_layout(
        90 + (210 if rows > 1 else 300) * rows, legend={"title": {"text": chart.legend}}
    )
    beside_rows = [_beside(label, chart) for label in chart.row_labels]
    if any("<br>" in label for label in beside_rows):
        layout["margin"]["l"] += LINE
    data: list[Figure] = []
    seen: set[str] = set()
    gap_x, gap_y = 0.18 / chart.columns, 0.26 / rows
    wide, tall = (1 - gap_x * (chart.columns - 1)) / chart.columns, (1 - gap_y * (rows - 1)) / rows
    for place, panel in enumerate(chart.panels):
        row, column = divmod(place, chart.columns)
        left, top = column * (wide + gap_x), 1 - row * (tall + gap_y)
        for order, line in enumerate(panel.series):
            layout["annotations"] += _lost(chart, line, place, order)
            # Without any trace a panel would have no axes, without points no place in the legend.
            first = line.label not in seen and bool(_drawn(chart, line).any())
            data += _line(chart, line, place, first=first)
            if first:
                seen.add(line.label)
        if not panel.series:
            nothing = {"x": [None], "y": [None], "showlegend": False, "type": "scatter"}
            axes = {"xaxis": axis_name("x", place), "yaxis": axis_name("y", place)}
            data.append(nothing | axes)
        last = place + chart.columns >= len(chart.panels)
        span = x_span(chart.panels if chart.share_x else (panel,), chart.x_scale)
        layout[f"{axis_name('xaxis', place)}"] = {
            **make_axis(chart.x_scale, span, ""),
            **({"tickvals": whole_ticks(*span)} if chart.whole_x else {}),
            "domain": [left, left + wide],
            "anchor": axis_name("y", place),
            "title": {"text": chart.x_label if last else "", "standoff": 4},
            "showticklabels": last or not chart.share_x,
            **({"matches": "x"} if chart.share_x and place else {}),
        }
        lead = row * chart.columns if chart.row_labels else 0
        beside = chart.panels[lead : lead + chart.columns] if chart.row_labels else chart.panels
        label = beside_rows[row] if chart.row_labels else chart.y_label
        layout["annotations"] += _beyond(chart, panel, place, y_ends(chart, beside))
        layout[f"{axis_name('yaxis', place)}"] = {
            **make_axis(chart.y_scale, y_ends(chart, beside), chart.metric),
            "domain": [max(top - tall, 0.0), top],
            "anchor": axis_name("x", place),
            "title": {"text": label if column == 0 else "", "standoff": 6},
            "showticklabels": column == 0,
            **({"matches": axis_name("y", lead)} if place != lead else {}),
        }
        if panel.note:
            middle = {"xanchor": "center", "yanchor": "middle"}
            layout["annotations"].append(
                note(panel.note.replace("\n", "<br>"), left + wide / 2, top - tall / 2, **middle)
            )
        if row == 0 or not chart.row_labels:
            layout["annotations"].append(note(_heading(panel, chart), left, top, align="left"))
    return {"data": data + _named_only(chart, seen), "layout": layout}


def _named_only(chart: LineChart, seen: set[str]) -> list[Figure]:
    """Places in the legend for lines that are drawn in no panel, such as where all diverged.

    Plotly leaves out what has no points at all, but not a point without a place.
    """
    absent = {s.label: s for panel in chart.panels for s in panel.series if s.label not in seen}
    traces = [_line(chart, series, 0, first=True)[-1] for series in absent.values()]
    return [trace | {"x": [None], "y": [None]} for trace in traces]


def _heading(panel: Panel, chart: LineChart) -> str:
    return panel.title.replace("(", "<br>(", 1) if chart.columns > 4 else panel.title


def _beside(label: str, chart: LineChart) -> str:
    """What stands beside a row, in two lines where one would be longer than the row is high."""
    whole = f"{label} {chart.y_label}"
    return whole if len(whole) < LONG_LABEL else f"{label}<br>{chart.y_label}"


def _drawn(chart: LineChart, line: Series) -> np.ndarray:
    """Which points of a line have a place on the axes."""
    keep = np.isfinite(line.y) & ((line.x > 0) | (chart.x_scale != "log"))
    return keep & ((line.y > 0) | (chart.y_scale != "log"))


def _line(chart: LineChart, line: Series, place: int, *, first: bool) -> list[Figure]:
    keep = _drawn(chart, line)
    x, color = line.x[keep], line.style.color
    y, low, high = (placed(v[keep], chart.y_scale) for v in (line.y, line.low, line.high))
    axes = {
        "xaxis": axis_name("x", place),
        "yaxis": axis_name("y", place),
        "legendgroup": line.label,
    }
    band = np.isfinite(low) & np.isfinite(high)
    if chart.y_scale == "log":
        low = np.where(low <= 0, 1e-12, low)
    bars, traces = {}, []
    if line.marks and band.any():
        bars["error_y"] = _bar(y, low, high)
    elif band.any():
        traces.append(_band(x[band], low[band], high[band], color) | axes)
    if len(line.dots):
        traces.append(_dots(chart.y_scale, line.dots, color) | axes)
    opened = line.open_marks if len(line.open_marks) == len(keep) else np.zeros(len(keep), bool)
    symbol = SYMBOLS[line.style.mark]
    marker = {"size": 7, "symbol": [f"{symbol}-open" if o else symbol for o in opened[keep]]}
    texts = [
        _told(v, a, b, chart.metric)
        for v, a, b in zip(line.y[keep], line.low[keep], line.high[keep], strict=True)
    ]
    traces.append(
        {
            "type": "scatter",
            "mode": "lines+markers" if line.marks else "lines",
            "name": line.label,
            "x": x,
            "y": y,
            "line": {"color": color, "width": 2, "dash": DASH[line.style.dash]},
            "customdata": texts,
            "showlegend": first,
            "hovertemplate": f"<b>{line.label}</b><br>{chart.x_label} %{{x}}<br>%{{customdata}}"
            "<extra></extra>",
            **({"marker": marker} if line.marks else {}),
            **bars,
            **axes,
        }
    )
    return traces


def _band(x: Floats, low: Floats, high: Floats, color: str) -> Figure:
    """A shaded area between two lines."""
    return {
        "type": "scatter",
        "mode": "lines",
        "fill": "toself",
        "hoverinfo": "skip",
        "x": np.concatenate([x, x[::-1]]),
        "y": np.concatenate([high, low[::-1]]),
        "line": {"width": 0},
        "fillcolor": rgba(color, 0.16),
        "showlegend": False,
    }


def _dots(scale: Scale, dots: Floats, color: str) -> Figure:
    """Single seeds."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": dots[:, 0],
        "y": placed(dots[:, 1], scale),
        "marker": {"color": color, "size": 4, "opacity": 0.55},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _lost(chart: LineChart, line: Series, place: int, order: int) -> list[Figure]:
    """Crosses at the panel's foot where every seed had diverged."""
    return [
        {
            "text": "<b>×</b>",
            # Places on a logarithmic axis are given by their logarithm.
            "x": float(np.log10(x)) if chart.x_scale == "log" else x,
            "y": 0.04 + 0.05 * (order % 8),
            "xref": axis_name("x", place),
            "yref": f"{axis_name('y', place)} domain",
            "showarrow": False,
            "hovertext": f"{line.label}: every seed diverged",
            "font": {"size": 16, "color": line.style.color},
        }
        for x in line.lost
        if x > 0 or chart.x_scale != "log"
    ]


def _beyond(chart: LineChart, panel: Panel, place: int, ends: tuple[float, float]) -> list[Figure]:
    """Triangles where lines leave the axis, and how far they go."""
    found = beyond(panel, chart, ends)
    axes = {"xref": axis_name("x", place), "yref": f"{axis_name('y', place)} domain"}
    marks = [
        {
            "text": "▲" if one.upward else "▼",
            "x": float(np.log10(one.x)) if chart.x_scale == "log" else one.x,
            "y": 1.0 if one.upward else 0.0,
            "yanchor": "top" if one.upward else "bottom",
            "showarrow": False,
            "hovertext": f"{one.series.label}: {tick_of(one.value)}",
            "font": {"size": 10, "color": one.series.style.color},
            **axes,
        }
        for one in found
    ]
    small = {"size": 10, "color": "#57606a"}
    for upward, y, anchor in ((True, 1.0, "top"), (False, 0.0, "bottom")):
        texts = [beyond_text(found, upward=upward), "" if upward else panel.aside]
        text = "<br>".join(filter(None, texts)).replace("\n", "<br>")
        if text:
            place_of = {"x": 0.5, "y": y, "xref": f"{axes['xref']} domain", "yanchor": anchor}
            marks.append(axes | place_of | {"text": text, "font": small, "showarrow": False})
    return marks


def _told(value: float, low: float, high: float, metric: str) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return score(value, metric)
    return f"{score(value, metric)} [{score(low, metric)}, {score(high, metric)}]"


# --- scatter -----------------------------------------------------------------------------------


def _scatter(chart: PointChart) -> Figure:
    layout = make_layout(520, legend={"tracegroupgap": 12})
    span = point_ends(chart)
    data, many = [], len(chart.panels)
    wide = (1 - 0.04 * (many - 1)) / many
    for place, panel in enumerate(chart.panels):
        data += _points(chart, panel, place)
        left = place * (wide + 0.04)
        ticks = log_ticks(panel.x_range[0], panel.strip[0])
        layout[axis_name("xaxis", place)] = {
            **make_axis("log", panel.x_range, ""),
            "domain": [left, left + wide],
            "anchor": axis_name("y", place),
            "title": {"text": panel.x_label},
            "tickvals": ticks,
            "ticktext": [count(value) for value in ticks],
        }
        layout[axis_name("yaxis", place)] = {
            **make_axis(chart.y_scale, span, chart.metric),
            "anchor": axis_name("x", place),
            "showticklabels": place == 0,
            "title": {"text": chart.y_label if place == 0 else ""},
            **({"matches": "y"} if place else {}),
        }
        layout["shapes"].append(
            {
                "type": "rect",
                "xref": axis_name("x", place),
                "yref": "paper",
                "x0": panel.strip[0],
                "x1": panel.strip[1],
                "y0": 0,
                "y1": 1,
                "fillcolor": "#f0f1f3",
                "line": {"width": 0},
                "layer": "below",
            }
        )
        layout["annotations"] += _far_points(chart, panel, place)
        middle = (np.log10(panel.strip[0]) + np.log10(panel.strip[1])) / 2
        layout["annotations"].append(
            note("not reached", float(middle), 1.0, xref=axis_name("x", place), xanchor="center")
        )
    for name, mark in chart.marks:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [None],
                "y": [None],
                "name": name,
                "marker": {"symbol": SYMBOLS[mark], "color": "#57606a", "size": 9},
                "legendgroup": "initializer",
                "legendgrouptitle": {"text": "initializer"},
                "hoverinfo": "skip",
            }
        )
    return {"data": data, "layout": layout}


def _far_points(chart: PointChart, panel: PointPanel, place: int) -> list[Figure]:
    """Triangles and numbers at the edge for points beyond it."""
    top = point_ends(chart)[1]
    return [
        {
            "text": f"{'▲' if y > top else '▼'} {tick_of(y)}",
            "x": float(np.log10(x)),
            "y": 1.0 if y > top else 0.0,
            "xref": axis_name("x", place),
            "yref": f"{axis_name('y', place)} domain",
            "yanchor": "top" if y > top else "bottom",
            "showarrow": False,
            "hovertext": points.label,
            "font": {"size": 11, "color": points.style.color},
        }
        for points, x, y in points_beyond(chart, panel)
    ]


def _points(chart: PointChart, panel: PointPanel, place: int) -> list[Figure]:
    traces = []
    for points in panel.points:
        y, low, high = (placed(v, chart.y_scale) for v in (points.y, points.low, points.high))
        if len(points.dots):
            own = {"xaxis": axis_name("x", place), "yaxis": axis_name("y", place)}
            traces.append(_dots(chart.y_scale, points.dots, points.style.color) | own)
        texts = [
            f"<b>{name} with {points.label}</b><br>{_told(value, a, b, chart.metric)}"
            f"<br>{'not reached' if x >= panel.strip[0] else count(x)}"
            for name, x, value, a, b in zip(
                points.names, points.x, points.y, points.low, points.high, strict=True
            )
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": points.label,
                "x": points.x,
                "y": y,
                "xaxis": axis_name("x", place),
                "yaxis": axis_name("y", place),
                "legendgroup": "optimizer",
                "legendgrouptitle": {"text": "optimizer"},
                "showlegend": place == 0,
                "customdata": texts,
                "hovertemplate": "%{customdata}<extra></extra>",
                "marker": {
                    "color": points.style.color,
                    "size": 9,
                    "symbol": [SYMBOLS[m] for m in points.marks],
                    "line": {"color": "white", "width": 0.6},
                },
                "error_y": _bar(y, low, high),
                "error_x": _bar(points.x, points.x_low, points.x_high),
            }
        )
    return traces


def _bar(middle: Floats, low: Floats, high: Floats) -> Figure:
    up, down = np.maximum(high - middle, 0.0), np.maximum(middle - low, 0.0)
    return {"type": "data", "array": up, "arrayminus": down, "thickness": 1, "width": 0}
