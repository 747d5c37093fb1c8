"""Heat maps as Plotly figures."""

from collections.abc import Sequence

import numpy as np

from initopt_jax.reports.charts.descriptions import (
    HeatChart,
    HeatPanel,
    heat_colors,
    heat_positions,
    text_color,
)
from initopt_jax.reports.render.plotly_axes import Figure, axis_name, make_layout, note


def heat_map(chart: HeatChart) -> Figure:
    """A heat map as a Plotly figure; its texts are escaped already."""
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
