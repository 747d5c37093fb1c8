"""Sentences say what the numbers allow, and tables agree with them."""

from dataclasses import replace

import numpy as np
import pytest

from initopt_jax.reports.charts import captions
from initopt_jax.reports.charts.descriptions import heat_colors
from initopt_jax.reports.charts.results import curve_chart, heat_chart, make_results, rate_chart
from initopt_jax.reports.charts.scales import (
    error_position,
    error_ticks,
    from_error_position,
    log_ticks,
)
from initopt_jax.reports.charts.tradeoff import tradeoff_chart
from initopt_jax.reports.page.tables import best_table, crossed
from initopt_jax.reports.render.plotly_charts import figure


@pytest.fixture(scope="module")
def results(make_study):
    return make_results(*make_study(seeds=6, tuning=2, evals=6))


def test_scale_counts_the_lanes(results):
    text = captions.scale_sentence(results)
    assert text.startswith("1,344 networks (mlp 64-64-64-10, tanh) were trained on digits")
    assert "448 more on other seeds for tuning" in text
    assert "8 initializers × 7 optimizers, 224 settings in all, 6 seeds each" in text


def test_best_pair_is_the_highest_mean_of_those_that_never_diverged(results):
    calm = results.best[results.best["n_diverged"] == 0]
    top = calm.loc[calm["test_accuracy_mean"].idxmax()]
    assert captions.best_sentence(results).startswith(
        f"Best: {top['initializer']} with {top['optimizer']}, "
    )


def test_each_initializer_has_its_sentence_and_verdict(results):
    sentences = captions.comparison_sentences(results)
    assert len(sentences) == 8
    for sentence, label in zip(sentences, results.initializers, strict=True):
        assert sentence.startswith(label + ": ")
        interval = sentence[sentence.index("[") + 1 : sentence.index("]")].replace("−", "-")
        low, high = (float(bound) for bound in interval.split(","))
        assert ("not distinguishable" in sentence) == (low <= 0 <= high)


def test_zeros_are_told_apart_from_learning(results):
    (sentence,) = captions.constant_sentences(results)
    assert "at most 10.4%, so nothing was learned from it" in sentence
    assert "Every kernel stayed exactly zero" in sentence


@pytest.mark.parametrize(("chance", "what"), [(0.01, "nothing"), (100, "something")])
def test_where_lower_is_better_the_constant_answer_bounds_from_below(make_study, chance, what):
    dataset, lanes, info = make_study(seeds=4, tuning=1, evals=4)
    info = replace(info, primary="loss", metrics={"loss": "min"}, target=None, chance=chance)
    (sentence,) = captions.constant_sentences(make_results(dataset, lanes, info))
    number = sentence.partition("no less than ")[2].partition(",")[0]
    assert float(number) == chance
    assert f"input can give no less than {number}, so {what} was learned" in sentence


def test_divergence_counts_by_optimizer_and_rate(results):
    first, *rest = captions.divergence_sentences(results)
    report = results.finals[results.finals["role"] == "report"]
    assert first.startswith(f"{int(report['diverged'].sum())} of the 1,344")
    adam = report[report["optimizer"] == "adam"]
    assert f"adam: {int(adam['diverged'].sum())} of {len(adam)} (" in "\n".join(rest)


def test_speed_names_the_fastest_and_how_many_arrived(results):
    (sentence,) = captions.speed_sentences(results)
    arrived = int(results.best["steps_to_target_median"].notna().sum())
    assert sentence.startswith(f"{arrived} of 56 pairs reached validation accuracy ≥ 0.95")
    assert f"median {results.best['steps_to_target_median'].min():.0f} steps" in sentence


def test_one_seed_claims_no_ranking(make_study):
    alone = make_results(*make_study(2, 2, 2, 1, 1, evals=4))
    assert "no ranking is claimed" in captions.best_sentence(alone)
    assert all("too few seeds to tell" in text for text in captions.comparison_sentences(alone))


def test_all_diverged_is_said_so(make_study):
    lost = make_results(*make_study(2, 2, 2, 3, 1, diverge_all=True))
    assert captions.best_sentence(lost) == "Every network diverged: there is no best pair."
    assert captions.divergence_sentences(lost)[0].startswith("24 of the 24 reported networks")
    assert [entry.text for entry in best_table(lost.best, lost.lanes, lost.info).rows[0]][3:] == [
        "n/a",
        "not reached",
        "3/3",
    ]


def test_table_lists_every_pair_with_its_rate(results):
    table = best_table(results.best, results.lanes, results.info)
    assert table.headings[:4] == ["initializer", "optimizer", "setting", "test accuracy"]
    assert len(table.rows) == 56
    for row, (_, cell) in zip(table.rows, results.best.iterrows(), strict=True):
        assert row[2].text.startswith(f"rate {cell['optimizer.learning_rate']:.3g}")
        assert row[3].key == cell["test_accuracy_mean"]


def test_markdown_crosses_initializers_with_optimizers(results):
    table = best_table(results.best, results.lanes, results.info)
    scores, steps = (part.split("\n") for part in crossed(table).split("\n\n"))
    assert scores[0] == f"| test accuracy | {' | '.join(results.optimizers)} |"
    assert [line.split(" | ")[0].removeprefix("| ") for line in scores[2:]] == results.initializers
    texts = [[entry.text for entry in row] for row in table.rows]
    first = next(row for row in texts if row[1] == results.optimizers[0])
    assert scores[2].split(" | ")[1].startswith(f"{first[3]} (rate ")
    assert steps[0].startswith("| steps to target |")
    assert len(scores) == len(steps) == 2 + len(results.initializers)


def test_heat_chart_marks_each_rows_best(results):
    panel = heat_chart(results).panels[0]
    assert (panel.strong.sum(axis=1) == 1).all()
    places = np.nanargmax(panel.values, axis=1)
    assert panel.strong[np.arange(8), places].all()
    colors = heat_colors(panel)
    low, high = np.nanargmin(panel.values), np.nanargmax(panel.values)
    assert colors[low // 7][low % 7] == panel.colors[0]
    assert colors[high // 7][high % 7] == panel.colors[-1]


def test_rates_keep_their_order_and_diverged_marks(results):
    chart = rate_chart(results)
    assert [panel.title for panel in chart.panels] == results.optimizers
    for panel in chart.panels:
        for line in panel.series:
            assert (np.diff(line.x) > 0).all()
            rows = results.summary[
                (results.summary["optimizer"] == panel.title)
                & (results.summary["initializer"] == line.label)
            ].sort_values("optimizer.learning_rate")
            kept = rows[rows["n_finite"] > 0]
            np.testing.assert_array_equal(line.open_marks, kept["n_diverged"] > 0)
            assert len(line.lost) == (rows["n_finite"] == 0).sum()


def test_points_that_never_arrived_stand_in_the_strip(results):
    for panel in tradeoff_chart(results).panels:
        for points in panel.points:
            medians = results.best[results.best["optimizer"] == points.label]
            parked = points.x >= panel.strip[0]
            np.testing.assert_array_equal(parked, medians["steps_to_target_median"].isna())
            assert (points.x <= panel.strip[1]).all()


def test_optimizers_keep_their_color_across_figures(results):
    curves, points = curve_chart(results), tradeoff_chart(results).panels[0].points
    for panel in curves.panels:
        assert {line.label: line.style for line in panel.series} == results.optimizer_styles
    assert {series.label: series.style for series in points} == results.optimizer_styles


def test_interactive_lines_carry_the_same_numbers(results):
    chart = curve_chart(results)
    made = figure(chart)
    lines = [trace for trace in made["data"] if trace.get("fill") is None]
    series = [line for panel in chart.panels for line in panel.series]
    assert len(lines) == len(series) == 56
    for trace, line in zip(lines, series, strict=True):
        np.testing.assert_allclose(trace["y"], line.y, rtol=1e-5)
    assert sum(trace["showlegend"] for trace in lines) == 7


def test_error_spaces_nines_evenly_and_inverts():
    np.testing.assert_allclose(np.diff(error_position([0.9, 0.99, 0.999])), [1.0, 1.0], atol=1e-9)
    values = np.array([-3.0, 0.0, 0.5, 0.97])
    np.testing.assert_allclose(from_error_position(error_position(values)), values)
    assert np.isfinite(error_position([1.0, 1.1])).all()


@pytest.mark.parametrize("span", [(0.09, 0.98), (0.969, 0.976), (0.2, 0.3), (-5.0, 0.999)])
def test_score_ticks_are_few_inside_and_in_order(span):
    ticks = error_ticks(*span)
    assert 2 <= len(ticks) <= 7
    assert all(span[0] <= tick <= span[1] for tick in ticks)
    assert ticks == sorted(ticks)


@pytest.mark.parametrize("span", [(0.06, 3.0), (1e-8, 1e8), (90.0, 130.0), (2e3, 3e5)])
def test_log_ticks_are_few_and_inside(span):
    ticks = log_ticks(*span)
    assert 2 <= len(ticks) <= 5
    assert all(span[0] <= tick <= span[1] for tick in ticks)
