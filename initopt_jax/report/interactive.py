"""Charts as Plotly figures: plain dictionaries, ready for JSON; no Plotly needed to make them."""

from collections.abc import Sequence

import numpy as np

from initopt_jax.report.charts import (
    Chart,
    Floats,
    HeatChart,
    HeatPanel,
    LineChart,
    Panel,
    PointChart,
    PointPanel,
    Series,
    heat_colors,
    heat_positions,
    log_ticks,
    placed,
    text_color,
    whole_ticks,
    x_span,
    y_span,
)
from initopt_jax.report.numbers import count, score
from initopt_jax.report.palette import SYMBOLS, rgba
from initopt_jax.report.plotly_axes import Figure, axis_name, make_axis, make_layout, note, plain
from initopt_jax.report.texts import in_texts, plotly_text

LONG_LABEL = 28  # letters
LINE = 28  # pixels of a second line beside a row
DASH = {"solid": "solid", "dashed": "dash", "dotted": "dot", "dashdot": "dashdot"}


def figure(chart: Chart) -> Figure:
    """A chart as a Plotly figure, `data` and `layout`; None stands for what is not finite."""
    chart = in_texts(chart, plotly_text)
    if isinstance(chart, HeatChart):
        made = _heat(chart)
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
        layout[f"{axis_name('yaxis', place)}"] = {
            **make_axis(chart.y_scale, chart.y_range or y_span(beside), chart.metric),
            "domain": [max(top - tall, 0.0), top],
            "anchor": axis_name("x", place),
            "title": {"text": label if column == 0 else "", "standoff": 6},
            "showticklabels": column == 0,
            **({"matches": axis_name("y", lead)} if place != lead else {}),
        }
        if panel.note:
            middle = {"xanchor": "center", "yanchor": "middle"}
            layout["annotations"].append(
                note(panel.note, left + wide / 2, top - tall / 2, **middle)
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
        bars["error_y"] = {
            "type": "data",
            "array": high - y,
            "arrayminus": y - low,
            "thickness": 1,
            "width": 0,
        }
    elif band.any():
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "fill": "toself",
                "hoverinfo": "skip",
                "x": np.concatenate([x[band], x[band][::-1]]),
                "y": np.concatenate([high[band], low[band][::-1]]),
                "line": {"width": 0},
                "fillcolor": rgba(color, 0.16),
                "showlegend": False,
                **axes,
            }
        )
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


def _told(value: float, low: float, high: float, metric: str) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return score(value, metric)
    return f"{score(value, metric)} [{score(low, metric)}, {score(high, metric)}]"


# --- heat map ----------------------------------------------------------------------------------


def _heat(chart: HeatChart) -> Figure:
    layout = make_layout(130 + 46 * len(chart.rows), plot_bgcolor="#d9dce0")
    layout["margin"] |= {"t": 84, "l": 30 + 7 * max(len(name) for name in chart.rows)}
    data, many = [], len(chart.panels)
    wide = (1 - 0.04 * (many - 1)) / many
    for place, panel in enumerate(chart.panels):
        positions, low, high = heat_positions(panel)
        stops = len(panel.colors) - 1
        axes = {"xaxis": axis_name("x", place), "yaxis": axis_name("y", place)}
        data.append(
            {
                "type": "heatmap",
                "z": positions,
                # By number: labels such as 0.1 or 2020-01-01 would be taken for numbers or dates.
                "x": list(range(len(chart.columns))),
                "y": list(range(len(chart.rows))),
                "zmin": low,
                "zmax": high,
                "showscale": False,
                "xgap": 2,
                "ygap": 2,
                "colorscale": [[i / stops, color] for i, color in enumerate(panel.colors)],
                "customdata": [
                    [
                        f"{row} with {column}<br>{_told_cell(*both)}"
                        for column, *both in zip(chart.columns, *lines, strict=True)
                    ]
                    for row, *lines in zip(chart.rows, panel.text, panel.small, strict=True)
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
                **axes,
            }
        )
        layout["annotations"] += _heat_notes(chart, panel, axes)
        left = place * (wide + 0.04)
        layout[axis_name("xaxis", place)] = {
            "domain": [left, left + wide],
            "side": "top",
            "anchor": axes["yaxis"],
            **_named_axis(chart.columns),
        }
        layout[axis_name("yaxis", place)] = {
            "anchor": axes["xaxis"],
            "showticklabels": place == 0,
            **_named_axis(chart.rows, reverse=True),
            **({"matches": "y"} if place else {}),
        }
        title = panel.title.replace("\n", "<br>")
        layout["annotations"].append(note(title, left, 1.0, yshift=26, align="left"))
    return {"data": data, "layout": layout}


def _heat_notes(chart: HeatChart, panel: HeatPanel, axes: dict[str, str]) -> list[Figure]:
    """The text of each cell: what stands large above what stands small."""
    colors, notes = heat_colors(panel), []
    for i, j in np.ndindex(*panel.values.shape):
        text, small = panel.text[i][j], panel.small[i][j].replace("\n", "<br>")
        large = f"<b>{text}</b>" if panel.strong[i, j] else text
        for words, shift, size in ((large, 8 if small else 0, 13), (small, -9, 10)):
            if words:
                notes.append(
                    {
                        "text": words,
                        "x": j,
                        "y": i,
                        "xref": axes["xaxis"],
                        "yref": axes["yaxis"],
                        "yshift": shift,
                        "showarrow": False,
                        "font": {"size": size, "color": text_color(colors[i][j])},
                    }
                )
    return notes


def _named_axis(names: Sequence[str], *, reverse: bool = False) -> Figure:
    """An axis with a name per cell; its range is given, for Plotly finds none without a value."""
    ends = [-0.5, len(names) - 0.5]
    return {
        "range": ends[::-1] if reverse else ends,
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "showgrid": False,
        "zeroline": False,
    }


def _told_cell(text: str, small: str) -> str:
    return f"{text}  {small}".replace("\n", ", ")


# --- scatter -----------------------------------------------------------------------------------


def _scatter(chart: PointChart) -> Figure:
    layout = make_layout(520, legend={"tracegroupgap": 12})
    drawn = [(p.y, p.low, p.high) for p in chart.panels[0].points]
    values = np.concatenate([part for parts in drawn for part in parts])
    span = float(np.nanmin(values)), float(np.nanmax(values))
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
            "ticktext": [count(tick) for tick in ticks],
        }
        layout[axis_name("yaxis", place)] = {
            **make_axis(
                chart.y_scale, span if chart.y_scale == "shortfall" else None, chart.metric
            ),
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


def _points(chart: PointChart, panel: PointPanel, place: int) -> list[Figure]:
    traces = []
    for points in panel.points:
        y, low, high = (placed(v, chart.y_scale) for v in (points.y, points.low, points.high))
        texts = [
            f"<b>{name} with {points.label}</b><br>{_told(value, a, b, chart.metric)}"
            for name, value, a, b in zip(
                points.names, points.y, points.low, points.high, strict=True
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
                "hovertemplate": "%{customdata}<br>%{x:.3s}<extra></extra>",
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
