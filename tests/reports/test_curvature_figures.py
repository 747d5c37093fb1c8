"""Figures of curvature: what stands in them, and that their sentences say what the numbers do."""

import numpy as np
import pytest

from initopt_jax.reports.charts.results import make_results
from initopt_jax.reports.render.matplotlib_charts import draw
from initopt_jax.reports.render.plotly_charts import figure
from initopt_jax.reports.sections.curvature import curvature_figures

NAMES = ["glorot_uniform", "he_normal"]
OPTIMIZERS = ["momentum", "adam"]


@pytest.fixture
def curved(make_study):
    """A study of two initializers and two optimizers whose curvature is known."""
    dataset, lanes, info = make_study(NAMES, OPTIMIZERS, rates=1, seeds=3, tuning=0, evals=5)
    dataset = dataset.copy()
    dataset["diverged"][:] = False
    count, evals = dataset.sizes["lane"], dataset.sizes["eval"]
    momentum = (lanes["optimizer"] == "momentum").to_numpy()
    he = (lanes["initializer"] == "he_normal").to_numpy()
    course = np.array([1.0, 3.0, 9.85, 5.0, 4.0])
    raw = np.where(he[:, None], course, course / 2)
    dataset["sharpness"] = ("lane", "eval"), raw
    limit = np.where(momentum, 10.0, np.nan)
    dataset["sharpness_limit"] = ("lane", "eval"), np.repeat(limit[:, None], evals, axis=1)
    share = np.where(momentum[:, None], raw / 10, [900.0, 0.2, 0.4, 0.5, 1.01])
    dataset["stability_share"] = ("lane", "eval"), share
    top = np.full((count, evals, 3), np.nan)
    top[:, 0] = [3.0, 2.0, -1.0]
    top[:, -1] = np.where(he, 40.0, 20.0)[:, None] / [1, 2, 4]
    dataset["hessian_top"] = ("lane", "eval", "eigenvalue"), top
    nodes = np.full((count, evals, 2, 3), np.nan)
    nodes[:, [0, -1]] = [-1.0, 0.0, 10.0]
    weights = np.full_like(nodes, np.nan)
    weights[:, 0], weights[:, -1] = [0.3, 0.5, 0.2], [0.05, 0.9, 0.05]
    dataset["density_nodes"] = ("lane", "eval", "draw", "node"), nodes
    dataset["density_weights"] = ("lane", "eval", "draw", "node"), weights
    return dataset, lanes, info


def shown(study):
    return {item.name: item for item in curvature_figures(make_results(*study))}


def test_nothing_is_drawn_of_what_was_not_recorded(curved, make_study):
    assert curvature_figures(make_results(*make_study(NAMES, OPTIMIZERS, rates=1, seeds=2))) == []
    dataset, lanes, info = curved
    fewer = dataset.drop_vars(["stability_share", "density_nodes"])
    assert list(shown((fewer, lanes, info))) == ["sharpness", "hessian_top"]


def test_the_limit_is_a_dashed_line_in_the_optimizers_colour(curved):
    found = shown(curved)["sharpness"]
    assert [panel.title for panel in found.chart.panels] == NAMES
    for panel in found.chart.panels:
        lines = {series.label: series for series in panel.series}
        assert set(lines) == {"momentum", "momentum: limit", "adam"}
        assert lines["momentum: limit"].style.dash == "dashed"
        assert lines["momentum: limit"].style.color == lines["momentum"].style.color
        np.testing.assert_allclose(lines["momentum: limit"].y, 10.0)
    assert found.caption == (
        "momentum's sharpness rises from 0.10 to 0.98 of its limit at step 150 and ends at 0.40 "
        "(he_normal). The initializer that came nearest is named."
    )
    assert found.section == "loss"


def test_shares_of_the_limit_begin_after_the_start(curved):
    found = shown(curved)["stability_share"]
    for panel in found.chart.panels:
        lines = {series.label: series for series in panel.series}
        np.testing.assert_allclose(lines["edge of stability"].y, 1.0)
        assert lines["adam"].x[0] == 75
        assert lines["adam"].y.max() == pytest.approx(1.01)
    assert "adam's rises from 0.20 to 1.01 at step 300, the last" in found.caption


def test_eigenvalues_and_density_at_both_ends(curved):
    found = shown(curved)
    lines = {series.label: series for series in found["hessian_top"].chart.panels[1].series}
    np.testing.assert_allclose(lines["first weights"].y, [3, 2, -1])
    np.testing.assert_allclose(lines["adam"].y, [40, 20, 10])
    assert "of the first weights is 3 (glorot_uniform)" in found["hessian_top"].caption
    assert "and 40 (he_normal with momentum)" in found["hessian_top"].caption
    density = found["hessian_density"]
    for series in density.chart.panels[0].series:
        np.testing.assert_allclose(np.trapezoid(series.y, series.x), 1, rtol=1e-3)
    wanted = "50% of all before training, 90% after."
    assert density.caption.endswith(wanted)


def test_all_are_drawn_and_lost_lanes_leave_notes(curved):
    dataset, lanes, info = curved
    for item in shown(curved).values():
        assert draw(item.chart)["png"].startswith(b"\x89PNG")
        assert figure(item.chart)["data"]
    lost = (lanes["initializer"] == "he_normal").to_numpy()
    dataset = dataset.copy(deep=True)
    for name in ("sharpness", "stability_share", "hessian_top", "density_nodes"):
        dataset[name][lost] = np.nan
    for item in shown((dataset, lanes, info)).values():
        assert item.chart.panels[0].series
        assert item.chart.panels[1].note == "not finite"
        assert draw(item.chart)["png"].startswith(b"\x89PNG")
