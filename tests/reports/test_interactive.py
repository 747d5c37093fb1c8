"""Lines as Plotly draws them: legends, axes and ticks."""

import numpy as np
import pytest

from initopt_jax.reports.charts.descriptions import LineChart, Panel, Series
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.render.plotly_charts import figure

X = np.arange(1.0, 4.0)


def series(label, y, marks=False):
    unknown = np.full(3, np.nan)
    return Series(label, Style("#0072B2", "solid", 0), X, np.array(y), unknown, unknown, marks)


def chart(*panels, **more):
    drawn = tuple(Panel("", lines) for lines in panels)
    return LineChart(
        "", "layer", "norm", drawn, len(drawn), y_scale="log", y_range=(0.1, 10.0), **more
    )


def test_a_name_stands_once_in_the_legend_where_its_line_has_points():
    first = (series("start", [0.0, 0.0, 0.0]), series("lost", [np.nan] * 3))
    made = figure(chart(first, (series("start", [1.0, 2.0, 3.0]),)))
    named = [trace for trace in made["data"] if trace["showlegend"]]
    assert [(trace["name"], trace["xaxis"]) for trace in named] == [("start", "x2"), ("lost", "x")]
    assert named[0]["y"] == [1.0, 2.0, 3.0]
    assert named[1]["x"] == named[1]["y"] == [None]  # Plotly names no line of no points


def test_a_panel_without_a_point_keeps_its_axes():
    made = figure(chart((series("start", [0.0, 0.0, 0.0]),), (series("start", [1.0, 2.0, 3.0]),)))
    assert {trace["yaxis"] for trace in made["data"]} == {"y", "y2"}


def test_a_mark_without_a_band_has_no_bar():
    (trace,) = figure(chart((series("adam", [0.0, 0.0, 2.0], marks=True),)))["data"]
    assert (trace["x"], trace["y"]) == ([3.0], [2.0])
    assert "error_y" not in trace


def test_there_is_no_half_layer():
    made = figure(chart((series("adam", [1.0, 2.0, 3.0]),), whole_x=True))
    assert made["layout"]["xaxis"]["tickvals"] == [1, 2, 3]


@pytest.mark.parametrize(("label", "lines"), [("b", 1), ("dense_0/kernel, the first layer", 2)])
def test_two_lines_beside_a_row_have_room(label, lines):
    one = (series("adam", [1.0, 2.0, 3.0]),)
    layout = figure(chart(one, row_labels=(label,)))["layout"]
    assert layout["yaxis"]["title"]["text"].count("<br>") == lines - 1
    plain = figure(chart(one))["layout"]["margin"]["l"]
    assert layout["margin"]["l"] == plain + 28 * (lines - 1)
