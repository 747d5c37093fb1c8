"""Depth profiles of a study: what is drawn is what was recorded."""

import numpy as np
import pytest

from initopt_jax.reports.charts.results import make_results
from initopt_jax.reports.render.plotly_charts import figure
from initopt_jax.reports.sections.depth import depth_figures

KERNELS = ["dense_0/kernel", "dense_1/kernel", "head/kernel"]


@pytest.fixture
def study(make_study):
    return make_study(["zeros", "he_normal"], ["sgd", "adam"], rates=1, seeds=3, tuning=1, evals=4)


def recorded(study, values):
    dataset, lanes, info = study
    dataset = dataset.assign_coords(kernel=KERNELS)
    dataset["preactivation_variance"] = (("lane", "eval", "kernel"), values)
    return make_results(dataset, lanes, info)


def test_nothing_recorded_nothing_drawn(study):
    assert depth_figures(make_results(*study)) == []


def test_the_start_and_the_end_of_every_cell(study):
    _, lanes, _ = study
    of = {name: (lanes["initializer"] == name).to_numpy() for name in ("zeros", "he_normal")}
    values = np.full((len(lanes), 4, 3), np.nan)  # taken at the ends only
    values[of["zeros"], 0] = values[of["zeros"], 3] = 0.0
    seeds = lanes["init_seed"].to_numpy()[of["he_normal"], None]
    values[of["he_normal"], 0] = np.array([1.0, 4.0, 16.0]) * 2.0**seeds
    values[of["he_normal"], 3] = 9.0
    *_, lost = np.flatnonzero(of["he_normal"] & (lanes["optimizer"] == "adam"))
    dataset = study[0]
    dataset["diverged"][:] = np.arange(len(lanes)) == lost
    values[lost, 3] = np.inf
    (shown,) = depth_figures(recorded(study, values))
    assert (shown.name, shown.section) == ("depth_preactivation_variance", "weights")
    zeros, he = shown.chart.panels
    assert zeros.note == "exactly zero"
    lines = {line.label: line.y for line in he.series}
    assert list(lines) == ["start", "sgd", "adam"]
    # Of seeds 0, 1 and 2 the geometric mean is that of 1; those of tuning do not count.
    np.testing.assert_allclose(lines["start"], [2, 8, 32], rtol=1e-12)
    np.testing.assert_allclose(lines["adam"], 9.0, rtol=1e-12)
    assert "he_normal: × 16 from the first layer to the last; after it × 1" in shown.caption
    drawn = figure(shown.chart)
    assert [trace["name"] for trace in drawn["data"][-3:]] == ["start", "sgd", "adam"]
