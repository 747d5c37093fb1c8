"""Axes show what is there: far values do not flatten the others, and none is hidden in silence."""

import io

import numpy as np
import pytest
from PIL import Image

from initopt_jax.reports.charts.depth import gradient_chart, missing_words
from initopt_jax.reports.charts.descriptions import (
    LineChart,
    Panel,
    Series,
    beyond,
    point_ends,
    y_ends,
)
from initopt_jax.reports.charts.numbers import count, score, tick
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.probing import Look, PropagationData
from initopt_jax.reports.charts.results import curve_chart, heat_chart, make_results, rate_chart
from initopt_jax.reports.charts.scales import clear_range, from_error_position
from initopt_jax.reports.charts.tradeoff import tradeoff_chart
from initopt_jax.reports.render.matplotlib_charts import draw
from initopt_jax.reports.render.plotly_charts import figure

X = np.arange(3.0)
EMPTY = np.full(3, np.nan)


def line(*y, label="sgd"):
    return Series(label, Style("#0072B2", "solid", 0), X, np.array(y), EMPTY, EMPTY)


def texts(made):
    return [one["text"] for one in made["layout"]["annotations"]]


@pytest.mark.parametrize("far", [1e36, -1e14])
def test_one_far_value_leaves_the_range_of_the_others(far):
    near = [0.1, 0.2, 0.15, 0.12, 0.3, 0.22]
    assert clear_range([*near, far], "linear") == (0.1, 0.3)
    assert clear_range([*near, abs(far)], "log") == (0.1, 0.3)
    assert clear_range([*near, np.inf, np.nan], "linear") == (0.1, 0.3)


@pytest.mark.parametrize("scale", ["linear", "log", "error"])
@pytest.mark.parametrize(
    "values", [[0.5], [0.1, 0.9], [0.2] * 9 + [0.9], np.linspace(0.01, 0.99, 50)]
)
def test_what_is_not_far_off_is_shown_whole(values, scale):
    assert clear_range(values, scale) == (min(values), max(values))


def test_a_range_without_values_is_none():
    assert clear_range([], "linear") is None
    assert clear_range([0.0, -1.0, np.nan], "log") is None


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_line_that_leaves_the_axis_is_marked_with_its_number(scale):
    lines = tuple(line(0.1 * k, 0.2 * k, 0.15 * k, label=str(k)) for k in range(1, 6))
    panel = Panel("", (*lines, line(1e36, 1e36, 1e36, label="far")))
    span = clear_range(np.concatenate([one.y for one in panel.series]), scale)
    y_range = span if scale == "log" else None
    chart = LineChart("", "steps", "loss", (panel,), 1, y_scale=scale, y_range=y_range)
    ends = y_ends(chart, chart.panels)
    assert ends[1] < 2
    (found,) = beyond(panel, chart, ends)
    assert (found.series.label, found.upward, found.value) == ("far", True, 1e36)
    assert {"▲", "↑ to 1e36"} <= set(texts(figure(chart)))
    assert Image.open(io.BytesIO(draw(chart)["png"])).size[0] < 2000


def test_numbers_beyond_the_prefixes_have_powers_of_ten():
    assert [count(1e26), tick(1e26), tick(1e14)] == ["1e26", "1e26", "1e14"]
    assert [score(1e36, "val_loss"), score(-1e14, "test_r2")] == ["1e36", "−1e14"]
    far = LineChart("", "", "", (Panel("", (line(1e35, 2e36, 3e36),)),), 1)
    assert figure(far)["layout"]["yaxis"]["exponentformat"] == "power"


def test_a_study_with_one_exploded_cell_is_drawn_around_the_others(make_study):
    dataset, lanes, info = make_study(3, 3, 3, 6, 1, evals=4, probe=False, regression=True)
    own = (lanes["initializer"] == lanes["initializer"].iloc[0]) & (lanes["optimizer"] == "adam")
    for name, value in (("val_loss", 1e36), ("test_r2", -1e14)):
        dataset[name].loc[{"lane": lanes.index[own]}] = value
    results = make_results(dataset, lanes, info)
    curves, rates, both = (make(results) for make in (curve_chart, rate_chart, tradeoff_chart))
    assert y_ends(curves, curves.panels)[1] < 10
    assert y_ends(rates, rates.panels)[0] > -1
    assert point_ends(both)[0] > 0.5
    assert "▼ −1e14" in texts(figure(both))
    assert "↓ to −1e14" in texts(figure(rates))


@pytest.fixture(scope="module")
def unreached(make_study):
    dataset, lanes, info = make_study(3, 2, 1, 6, 1, evals=3, probe=False)
    for name in ("steps", "examples", "flops"):
        dataset[f"{name}_to_target"][:] = np.nan
    return make_results(dataset, lanes, info)


def test_a_target_that_no_pair_reached_leaves_the_heat_map_its_cells(unreached):
    chart = heat_chart(unreached)
    assert [row[0] for row in chart.panels[1].small] == ["not reached"] * 3
    assert "No pair reached validation accuracy ≥ 0.95" in chart.foot
    layout = figure(chart)["layout"]
    # Plotly finds no range for cells without values: it has to be given.
    assert layout["xaxis2"]["range"] == [-0.5, 1.5]
    assert layout["yaxis2"]["range"] == [2.5, -0.5]
    assert layout["xaxis2"]["ticktext"] == list(chart.columns)
    assert texts(figure(chart)).count("not reached") == 6


def test_where_nobody_arrived_the_scatter_is_the_strip(unreached):
    (panel, _) = tradeoff_chart(unreached).panels
    assert panel.x_range == panel.strip


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_every_bar_and_seed_of_speed_against_accuracy_is_inside(make_study, seeds):
    results = make_results(*make_study(4, 4, 2, seeds, 1, evals=9, probe=False))
    chart = tradeoff_chart(results)
    low, high = point_ends(chart)
    for panel in chart.panels:
        for points in panel.points:
            drawn = np.concatenate([points.y, points.low, points.high, points.dots[:, 1]])
            assert np.nanmin(drawn) > low
            assert np.nanmax(drawn) < high
            across = np.concatenate([points.x, points.x_low, points.x_high])
            assert np.nanmin(across) > panel.x_range[0]
            assert np.nanmax(across) <= panel.x_range[1]
            # Four seeds or fewer are shown themselves, and have no bar.
            assert (len(points.dots) == seeds * len(points.y)) == (seeds <= 4)
            assert np.isfinite(points.low).any() == (seeds > 4)
    axis = figure(chart)["layout"]["yaxis"]["range"]
    np.testing.assert_allclose(from_error_position(np.array(axis)), [low, high], rtol=1e-5)


def look(label, norms):
    """One seed of one initializer; only gradients matter here."""
    values = {"backward_norm": np.array([norms])}
    return Look(label, values, *np.ones((3, 1, len(norms))))


@pytest.mark.parametrize(
    ("norms", "drawn", "said"),
    [
        ([0.0, 0.0, 0.5], 1, "0 in layers 1–2"),
        ([0.0, 0.0, 0.0], 0, "0 in every layer"),
        ([np.inf, 0.5, 0.5], 1, "infinite in layer 1"),
        ([np.nan] * 3, 0, "undefined in every layer"),
    ],
)
def test_a_panel_with_nothing_to_draw_says_why(norms, drawn, said):
    looks = (look("odd", norms), look("plain", [0.1, 0.2, 0.5]))
    chart = gradient_chart(PropagationData("demo", ("a", "b", "c"), (0, 1), (1,), None, looks))
    odd = chart.panels[0]
    assert len(odd.series) == drawn
    assert (odd.aside if drawn else odd.note) == said
    made = figure(chart)
    assert said in texts(made)
    own = [trace for trace in made["data"] if trace["xaxis"] == "x"]
    assert own  # without a trace Plotly draws no axes
    if np.isfinite(norms).sum() and drawn and norms[0] == 0:
        assert own[-1]["mode"] == "lines+markers"  # a single point is no line


def test_missing_layers_are_told_by_kind():
    values = np.array([[0.0, 1.0, np.inf], [0.5, 1.0, np.nan]])
    assert missing_words(values, log=True) == "0 in layer 1\ninfinite in layer 3"
    assert missing_words(values[:, :2], log=False) == ""
