"""The report's parts in their order."""

from collections.abc import Callable

import pandas as pd
import xarray as xr

from initopt_jax.report import words
from initopt_jax.report.charts import Chart, LineChart
from initopt_jax.report.figures import draw
from initopt_jax.report.html import Shown, render
from initopt_jax.report.prepare import (
    Results,
    curve_chart,
    examples_chart,
    heat_chart,
    make_results,
    norm_chart,
    rate_chart,
)
from initopt_jax.report.tables import summary_csv
from initopt_jax.report.tradeoff import tradeoff_chart
from initopt_jax.stats import StudyInfo

LINES: tuple[tuple[str, Callable[[Results], LineChart | None], Callable[[LineChart], str]], ...] = (
    ("learning_curves", curve_chart, words.curve_caption),
    ("learning_curves_examples", examples_chart, words.curve_caption),
    ("learning_rate", rate_chart, words.rate_caption),
    ("weight_norms", norm_chart, words.norm_caption),
)


def files(dataset: xr.Dataset, lanes: pd.DataFrame, info: StudyInfo) -> dict[str, bytes]:
    """Every file of the report; see `report.build`."""
    results = make_results(dataset, lanes, info)
    shown = figures(results)
    made = {"summary.csv": summary_csv(results)}
    for item in shown:
        for ending, content in draw(item.chart).items():
            made[f"figures/{item.name}.{ending}"] = content
    made["report.html"] = render(results, shown)
    return made


def figures(results: Results) -> list[Shown]:
    """The figures that this study has something for."""
    shown = [Shown("heatmap", heat_chart(results), words.heat_caption(results))]
    tradeoff: Chart | None = tradeoff_chart(results)
    if tradeoff is not None:
        name = "speed_cost" if results.info.is_function else "speed_accuracy"
        shown.append(Shown(name, tradeoff, " ".join(words.speed_sentences(results))))
    for name, make, caption in LINES:
        chart = make(results)
        if chart is not None:
            shown.append(Shown(name, chart, caption(chart)))
    return shown
