"""Figures about weights: what they show is what was recorded, and their sentences say so."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from initopt_jax import reports
from initopt_jax.reports.charts.results import make_results
from initopt_jax.reports.render.ridges import draw_ridges, ridge_panel, shown_evaluations
from initopt_jax.reports.sections.weights import shown_optimizer, weights_figures

KERNELS = [f"dense_{i}/kernel" for i in range(3)]
NAMES = ["zeros", "normal(stddev=0.01)", "he_normal"]
BINS = 32
FIGURES = [
    "weight_norms",
    "weight_histograms",
    "weight_distance",
    "update_ratio",
    "effective_rate",
    "weight_spectra",
    "symmetry",
]


def with_probes(study):
    """A synthetic study with everything that probes of weights and updates record."""
    dataset, lanes, info = study
    count, evals, leaves = dataset["weight_norm"].shape
    draw = np.random.default_rng(0)
    wide = np.array([{"zeros": 0.0, "he_normal": 0.2}.get(n, 0.01) for n in lanes["initializer"]])
    growth = np.linspace(0, 1, evals)
    spread = wide[:, None] + 0.1 * growth * (wide[:, None] > 0)
    edges = np.linspace(-3, 3, BINS + 1)
    bell = np.exp(-0.5 * ((edges[1:] + edges[:-1]) / 2) ** 2)
    counts = np.broadcast_to(np.round(1e4 * bell / bell.sum()), (count, evals, leaves, BINS)).copy()
    ends = 3 * spread[:, :, None, None] * [-1.0, 1.0] * np.ones((1, 1, leaves, 1))
    gone = ~np.isfinite(dataset["val_loss"].values)
    counts[gone], ends[gone] = np.nan, np.nan
    noise = np.exp(0.05 * draw.normal(size=(count, evals, leaves)))
    small = wide[:, None, None] == 0
    three, per_kernel = ("lane", "eval", "leaf"), ("lane", "eval", "kernel")
    moved = np.where(small, np.nan, growth[:, None] * noise / np.maximum(wide, 1e-3)[:, None, None])
    copies = np.zeros((count, evals, 3)) + np.where(small, [63, 63, 9], 0)
    copies[:, -1, 2] = 0
    rank = np.where(small, np.nan, 50.0 - 20 * growth[:, None] * (wide[:, None, None] < 0.1))
    rank = rank * np.ones(3)
    for values in (copies, rank):
        values[:, 1:-1] = np.nan  # taken at the ends
    rate = lanes["optimizer.learning_rate"].to_numpy()[:, None, None]
    return (
        dataset.assign(
            weight_histogram=((*three, "bin"), counts),
            weight_range=((*three, "end"), ends),
            relative_distance=(three, moved),
            update_ratio=(three, np.where(small, np.nan, 0.01 * noise)),
            effective_rate=(three, rate * (1 + growth[:, None]) * np.ones(leaves)),
            gradient_norm=(three, noise),
            effective_rank=(per_kernel, rank),
            spectral_norm=(per_kernel, np.where(small, 0.0, rank)),
            copies=(per_kernel, copies),
            units=(per_kernel, np.where(np.isfinite(copies), [64.0, 64.0, 10.0], np.nan)),
        ).assign_coords(kernel=KERNELS),
        lanes,
        info,
    )


@pytest.fixture(scope="module")
def study(make_study):
    return with_probes(make_study(NAMES, ["gd", "adam"], 2, 4, 1, evals=7))


@pytest.fixture(scope="module")
def results(study):
    return make_results(*study)


@pytest.fixture(scope="module")
def shown(results):
    return {item.name: item for item in weights_figures(results)}


def test_nothing_is_shown_of_what_was_not_recorded(make_study):
    nothing = make_study(2, 2, 2, 3, 1, evals=4, probe=False)
    assert weights_figures(make_results(*nothing)) == []


def test_every_figure_is_there_with_one_sentence(shown):
    assert list(shown) == FIGURES
    for item in shown.values():
        assert re.fullmatch(r"[A-Z][^\n]*\.", item.caption), item.caption
        assert not re.search(r"\bnan\b|\binf\b", item.caption)


def test_ridges_are_the_recorded_histograms(shown, results):
    chart = shown["weight_histograms"].chart
    assert chart.columns == tuple(NAMES)
    assert chart.rows == tuple(KERNELS)
    assert chart.steps == tuple(np.linspace(0, 300, 7))
    zeros, normal, he = chart.panels[:3]
    assert zeros.note == "all 0\nthroughout"
    # A bell that is cut at three standard deviations: 0.9866 of its own.
    growth = np.linspace(0, 1, 7)
    np.testing.assert_allclose(normal.spread, 0.9866 * (0.01 + 0.1 * growth), rtol=0.005)
    np.testing.assert_allclose(he.spread, 0.9866 * (0.2 + 0.1 * growth), rtol=0.005)
    assert (he.heights.max(axis=1) == 1).all()
    peaks = he.x[he.heights.argmax(axis=1)]
    assert np.abs(peaks).max() < 0.05
    half = [np.ptp(he.x[row > 0.5]) for row in he.heights]
    # The width of a bell at half of its height is 2.355 standard deviations.
    np.testing.assert_allclose(half, 2.355 * he.spread / 0.9866, rtol=0.06)
    text = shown["weight_histograms"].caption
    assert "under normal(stddev=0.01) grows most, from 0.0099 to 0.11;" in text
    assert "under he_normal changes least, from 0.197 to 0.296." in text
    assert f"with {shown_optimizer(results)}" in chart.title


def test_needles_and_lost_seeds_of_a_ridge():
    counts = np.zeros((3, 2, 4))
    counts[:, :, 2] = 10
    ends = np.array([[[1.0, 1.0], [3.0, 3.0]], [[1.0, 1.0], [3.0, 3.0]], [[np.nan] * 2] * 2])
    panel = ridge_panel(counts, ends)
    np.testing.assert_allclose(panel.x[panel.heights.argmax(axis=1)], [1, 3], atol=0.01)
    np.testing.assert_array_equal(panel.spread, [0, 0])
    lost = ridge_panel(counts[2:], ends[2:])
    assert lost.note == "diverged"
    assert np.isnan(lost.spread).all()


def test_shown_evaluations_keep_both_ends():
    for many in range(1, 60):
        chosen = shown_evaluations(range(many))
        assert (chosen[0], chosen[-1]) == (0, many - 1)
        assert len(chosen) == len(set(chosen)) <= 7


def test_ratios_are_geometric_means(shown, study, results):
    dataset, lanes, _ = study
    chart = shown["update_ratio"].chart
    panel = chart.panels[2]  # the first kernel under he_normal
    for line in panel.series:
        best = results.best
        cell = best[(best["initializer"] == "he_normal") & (best["optimizer"] == line.label)]
        own = (lanes["cell"] == cell["cell"].iloc[0]) & (lanes["role"] == "report")
        own &= ~dataset["diverged"].values
        values = dataset["update_ratio"].sel(lane=lanes.index[own], leaf="dense_0/kernel").values
        np.testing.assert_allclose(line.y, np.exp(np.log(values).mean(axis=0)), rtol=1e-6)
        assert (line.low <= line.y).all()
        assert (line.y <= line.high).all()
    assert chart.panels[0].note == "not defined"
    lines = [line.y for one in chart.panels for line in one.series if np.isfinite(line.y).all()]
    first, last = (f"{100 * np.median([y[end] for y in lines]):.2g}%" for end in (0, -1))
    text = f"by {first} of its norm at the start and by {last} at the end"
    assert text in shown["update_ratio"].caption


def test_effective_rate_is_that_of_all_leaves(shown, results):
    chart = shown["effective_rate"].chart
    assert [panel.title for panel in chart.panels] == ["gd", "adam"]
    for panel in chart.panels:
        for line in panel.series:
            best = results.best
            cell = best[(best["initializer"] == line.label) & (best["optimizer"] == panel.title)]
            rate = cell["optimizer.learning_rate"].iloc[0]
            np.testing.assert_allclose(line.y, rate * (1 + np.linspace(0, 1, 7)), rtol=1e-6)
    best = results.best[results.best["initializer"] == "he_normal"].set_index("optimizer")
    for optimizer in ("gd", "adam"):
        rate = best.loc[optimizer, "optimizer.learning_rate"]
        assert f"of {optimizer} goes from {rate:.2g} to {2 * rate:.2g}" in (
            shown["effective_rate"].caption
        )


def test_spectra_and_symmetry_compare_the_ends(shown):
    start, end = shown["weight_spectra"].chart.panels
    assert start.text[0] == ["zero"] * 3
    assert start.text[1] == ["50.0"] * 3
    assert end.text[1] == ["30.0"] * 3
    caption = "The effective rank of dense_0 under normal(stddev=0.01) changes most, from 50 to 30."
    assert shown["weight_spectra"].caption == caption
    start, end = shown["symmetry"].chart.panels
    assert start.text == [["1", "1", "1"], *[["64", "64", "10"]] * 2]
    assert end.text[0] == ["1", "1", "10"]
    assert start.small[0] == ["of 64", "of 64", "of 10"]
    assert shown["symmetry"].caption == (
        "Under zeros, dense_0 starts with 1 distinct unit of 64 and still has 1 at the end; under "
        "the other 2 no layer starts with two units alike."
    )


def test_the_picture_is_whole_and_the_same_every_time(shown):
    chart = shown["weight_histograms"].chart
    drawn = draw_ridges(chart)
    assert drawn == draw_ridges(chart)
    pixels = np.asarray(Image.open(io.BytesIO(drawn["png"])).convert("L"))
    edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    assert all((edge == 255).all() for edge in edges)
    assert (pixels < 128).any()


def test_studies_that_diverged_have_their_figures(make_study):
    lost = with_probes(make_study(NAMES, ["gd", "adam"], 2, 3, 1, evals=4, diverge_all=True))
    said = {item.name: item.caption for item in weights_figures(make_results(*lost))}
    assert list(said) == FIGURES
    for name in ("weight_distance", "update_ratio", "effective_rate"):
        assert said[name] == "Every network diverged."


def test_the_report_holds_them(study):
    files = reports.build(*study)
    assert {f"figures/{name}.png" for name in FIGURES} <= set(files)
    html = files["report.html"].decode()
    assert 'id="weight_histograms" src="data:image/png' in html
