"""The report's parts in their order."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.probes.slices.record import NetLandscape
from initopt_jax.reports.charts import captions
from initopt_jax.reports.charts.captioned import Captioned
from initopt_jax.reports.charts.descriptions import Chart, LineChart
from initopt_jax.reports.charts.function_maps import (
    MapChart,
    basin_chart,
    basin_sentence,
    motion_chart,
    motion_sentence,
    speed_sentences,
    trail_chart,
    trail_sentence,
)
from initopt_jax.reports.charts.net_map import NetMap
from initopt_jax.reports.charts.profile import solved_chart
from initopt_jax.reports.charts.results import (
    Results,
    curve_chart,
    examples_chart,
    heat_chart,
    make_results,
    rate_chart,
)
from initopt_jax.reports.charts.surface import make_surface
from initopt_jax.reports.charts.tradeoff import tradeoff_chart
from initopt_jax.reports.charts.trajectories import all_starts, make_trajectories
from initopt_jax.reports.page.html import render
from initopt_jax.reports.page.tables import PAIR, summary_csv
from initopt_jax.reports.render.matplotlib_charts import draw
from initopt_jax.reports.render.matplotlib_maps import draw_function_map
from initopt_jax.reports.render.net_maps import draw_net_map
from initopt_jax.reports.render.ridges import RidgeChart, draw_ridges
from initopt_jax.reports.sections.curvature import curvature_figures
from initopt_jax.reports.sections.depth import depth_figures
from initopt_jax.reports.sections.landscapes import landscape_figures
from initopt_jax.reports.sections.weights import weights_figures
from initopt_jax.stats import StudyInfo
from initopt_jax.tasks.function_task import TestFunction

LINES: tuple[tuple[str, Callable[[Results], LineChart | None], Callable[[LineChart], str]], ...] = (
    ("learning_curves", curve_chart, captions.curve_caption),
    ("learning_curves_examples", examples_chart, captions.curve_caption),
    ("learning_rate", rate_chart, captions.rate_caption),
)

# What stands in the page as a picture, and who draws it; other charts are drawn there anew.
PICTURES: dict[type, Callable[[Any], dict[str, bytes]]] = {
    **dict.fromkeys(get_args(MapChart), draw_function_map),
    RidgeChart: draw_ridges,
    NetMap: draw_net_map,
}


def files(
    dataset: xr.Dataset,
    lanes: pd.DataFrame,
    info: StudyInfo,
    landscapes: Sequence[NetLandscape] = (),
) -> dict[str, bytes]:
    """Every file of the report; see `report.build`."""
    results = make_results(dataset, lanes, info)
    shown = figures(results) + landscape_figures(results, named(results, landscapes))
    made = {"summary.csv": summary_csv(results)}
    pictures: dict[str, bytes] = {}
    for item in shown:
        chart: Any = item.chart
        picture = PICTURES.get(type(chart))
        drawn = (picture or draw)(chart)
        if picture:
            pictures[item.name] = drawn.get("png") or drawn["gif"]
        for ending, content in drawn.items():
            made[f"figures/{item.name}.{ending}"] = content
    made["report.html"] = render(results, shown, pictures)
    return made


def named(results: Results, landscapes: Sequence[NetLandscape]) -> list[NetLandscape]:
    """The pictures with the labels that the report shows."""

    def shown(picture: NetLandscape, kind: str) -> np.ndarray:
        return np.array([results.names[kind][label] for label in picture.labels(kind)])

    return [
        replace(picture, arrays={**picture.arrays, **{kind: shown(picture, kind) for kind in PAIR}})
        for picture in landscapes
    ]


def figures(results: Results) -> list[Captioned]:
    """The figures that this study has something for."""
    if results.info.test_function is not None and "point" in results.dataset:
        return function_figures(results, results.info.test_function)
    shown = [Captioned("heatmap", heat_chart(results), captions.heat_caption(results))]
    tradeoff: Chart | None = tradeoff_chart(results)
    if tradeoff is not None:
        name = "speed_loss" if results.info.is_function else "speed_accuracy"
        shown.append(Captioned(name, tradeoff, " ".join(captions.speed_sentences(results))))
    for name, make, caption in LINES:
        chart = make(results)
        if chart is not None:
            shown.append(Captioned(name, chart, caption(chart)))
    made = (weights_figures, depth_figures, curvature_figures)
    return shown + [item for make in made for item in make(results)]


def function_figures(results: Results, test_function: TestFunction) -> list[Captioned]:
    """The figures of a study on a test function of two variables: what a map can show."""
    trajectories = make_trajectories(results)
    surface = make_surface(test_function, all_starts(trajectories))
    trails = trail_chart(trajectories, surface, results.setting)
    motion = motion_chart(trajectories, surface)
    shown = [
        Captioned("motion", motion, motion_sentence(motion)),
        Captioned("trails", trails, trail_sentence(trails)),
        Captioned(
            "basins", basin_chart(trajectories, surface), basin_sentence(trajectories, surface)
        ),
    ]
    target = results.info.target_text
    solved = solved_chart(trajectories, target)
    if solved:
        shown.append(Captioned("solved", solved, " ".join(speed_sentences(trajectories, target))))
    curves = curve_chart(results)
    shown.append(Captioned("learning_curves", curves, captions.curve_caption(curves)))
    rates = rate_chart(results)
    return shown + (
        [Captioned("learning_rate", rates, captions.rate_caption(rates))] if rates else []
    )
