"""Maps of optimizers on a test function: the numbers behind them, and odd studies drawn."""

import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from initopt_jax import reports
from initopt_jax.reports.charts import surface as told
from initopt_jax.reports.charts.function_maps import (
    basin_chart,
    basin_sentence,
    common_starts,
    motion_chart,
    shares_text,
    speed_sentences,
)
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.profile import profile_chart, solved_chart, stairs
from initopt_jax.reports.charts.surface import Surface, outcomes
from initopt_jax.reports.charts.trajectories import Trajectories, spread_starts
from initopt_jax.reports.render.contours import contour_levels
from initopt_jax.reports.render.figure_layout import apart
from initopt_jax.stats import StudyInfo
from initopt_jax.tasks.function_task import find_function
from initopt_jax.tasks.metrics import Target

STYLE = Style("#0072B2", "solid", 0)
AXIS = np.linspace(0.0, 10.0, 11)
MAPS = {"motion.gif", "trails.png", "trails.pdf", "basins.png", "basins.pdf"}


def surface(minima=((2.0, 2.0), (8.0, 2.0))) -> Surface:
    points = np.array(minima, float).reshape(-1, 2)
    cost = (AXIS[None] - 2) ** 2 + (AXIS[:, None] - 2) ** 2
    return Surface("bowl", AXIS, AXIS, cost, points, (0, 10, 0, 10), (0, 10, 0, 10))


def trajectories(label="adam", start=((1.0, 1.0),), end=((2.0, 2.0),), steps=(4.0,), lost=()):
    path = np.stack([np.array(start, float), np.array(end, float)], axis=1)
    diverged = np.array([lane in lost for lane in range(len(path))])
    step = np.tile([0.0, 10.0], (len(path), 1))
    return Trajectories(label, STYLE, "rate 0.1", path, step, diverged, np.array(steps, float))


# --- which minimum --------------------------------------------------------------------------------


def test_ends_belong_to_the_nearest_minimum_within_the_tolerance():
    plain = surface()
    assert plain.tolerance == pytest.approx(0.025 * np.sqrt(200))  # 0.354
    end = np.array([[2.1, 2.0], [8.0, 2.3], [2.0, 2.4], [5.0, 2.0], [2.0, 2.0], [np.nan, np.nan]])
    lost = np.array([False, False, False, False, True, True])
    none, gone = told.ELSEWHERE, told.DIVERGED
    assert outcomes(end, lost, plain).tolist() == [0, 1, none, none, gone, gone]


def test_without_minima_the_side_by_which_a_path_left_is_told():
    end = np.array([[-3.0, 5.0], [11.0, 12.0], [5.0, -1e30], [5.0, 5.0], [5.0, 99.0], [5.0, 5.0]])
    lost = np.array([False, False, True, False, False, True])
    found = outcomes(end, lost, surface(()))
    sides = [told.LEFT, told.ABOVE, told.BELOW, told.ELSEWHERE, told.ABOVE, told.DIVERGED]
    assert found.tolist() == sides


def test_of_many_minima_only_the_first_few_are_told_apart():
    many = surface([(x, y) for y in range(3) for x in range(4)])
    end = np.array([[0.0, 0.0], [3.0, 2.0]])
    found = outcomes(end, np.zeros(2, bool), many)
    assert found.tolist() == [0, told.ANOTHER]
    assert shares_text(found, many) == "A 50%, another 50%"


def test_basin_chart_names_every_minimum_and_only_outcomes_that_occur():
    one = trajectories(start=[(0, 0), (0, 1), (1, 0), (1, 1)], end=[(2, 2), (2, 2), (8, 2), (5, 5)],
                   steps=[1, 1, 1, np.nan], lost=(3,))  # fmt: skip
    chart = basin_chart([one], surface())
    assert list(chart.names.values()) == ["A (2, 2)", "B (8, 2)", "diverged"]
    assert chart.panels[0].shares == "A 50%, B 25%, diverged 25%"
    assert len(set(chart.colors.values())) == 3


# --- starts ---------------------------------------------------------------------------------------


def test_a_spread_of_starts_is_the_same_for_any_order_and_never_repeats():
    grid = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)
    found = spread_starts(grid)
    assert len(np.unique(found, axis=0)) == 4
    np.testing.assert_array_equal(np.sort(spread_starts(grid[::-1]), 0), np.sort(found, 0))
    few = np.array([[0.0, 0.0], [0.01, 0.0], [-1.0, 1.0], [1.5, -1.5]])
    assert sorted(spread_starts(few)[:, 0].tolist()) in ([-1, 0, 1.5], [-1, 0.01, 1.5])
    assert spread_starts(grid[:1]).tolist() == [[0.0, 0.0]]
    assert spread_starts(grid[:0]).shape == (0, 2)


def test_optimizers_are_compared_on_the_starts_that_all_have():
    one = trajectories(start=[(0, 0), (1, 1), (0, 0)], end=[(2, 2)] * 3, steps=[5, 6, 7])
    other = trajectories("sgd", start=[(1, 1), (9, 9)], end=[(2, 2)] * 2, steps=[1, 2])
    same = common_starts([one, other])
    assert [part.start.tolist() for part in same] == [[[1.0, 1.0]]] * 2
    assert [part.steps.tolist() for part in same] == [[6.0], [1.0]]


def test_the_film_shows_the_start_that_tells_optimizers_apart():
    starts = [(1, 5), (6, 1), (9, 6)]
    one = trajectories(start=starts, end=[(2, 2), (2, 2), (8, 2)], steps=[1, 1, 1])
    other = trajectories("sgd", start=starts, end=[(2, 2), (8, 2), (8, 2)], steps=[9, 1, 1])
    chart = motion_chart([one, other], surface())
    assert [part.start.tolist() for part in chart.trajectories] == [[[6.0, 1.0]]] * 2


# --- shares and words -----------------------------------------------------------------------------


def test_stairs_rise_at_each_time_and_end_at_the_share_solved():
    line = stairs("adam", STYLE, np.array([10.0, 20.0, np.nan, 20.0]), (5.0, 40.0))
    assert line.x.tolist() == [5, 10, 10, 20, 20, 40]
    assert line.y.tolist() == [0, 0, 0.25, 0.25, 0.75, 0.75]


def test_profiles_start_at_the_share_of_problems_on_which_each_was_fastest():
    times = np.array([[10.0, 20.0], [10.0, 10.0], [np.nan, 7.0], [np.nan, np.nan]])
    chart = profile_chart(["adam", "sgd"], times, "starts")
    assert chart is not None
    first, second = chart.panels[0].series
    assert (first.y[0], first.y[-1]) == (0.5, 0.5)
    assert (second.y[0], second.y[-1]) == (0.5, 0.75)
    assert profile_chart(["adam", "sgd"], np.full((3, 2), np.nan), "starts") is None
    assert solved_chart([trajectories(steps=[np.nan])], "loss ≤ 1") is None


def test_sentences_say_who_was_fastest_and_who_cannot_be_told_apart():
    starts = [(x, 1.0) for x in range(6)]
    fast = trajectories("adam", starts, [(2, 2)] * 6, [3.0] * 6)
    slow = trajectories("sgd", starts, [(2, 2)] * 5 + [(5, 5)], [9.0] * 5 + [np.nan])
    text = " ".join(speed_sentences([fast, slow], "loss ≤ 1"))
    assert "most often: adam, from 6 of 6 starts (95% interval 61% to 100%)" in text
    assert "half of its starts by step 3" in text
    assert "adam was faster than sgd more often than chance explains" in text
    level = speed_sentences([fast, replace(fast, label="twin")], "loss ≤ 1")
    assert "no other more often than chance" in level[-1]
    assert basin_sentence([fast, slow], surface()).startswith(
        "From 5 of 6 starts all optimizers ended at the same minimum. Most paths that reached no "
        "known minimum: sgd, 17%"
    )


def test_names_at_the_ends_of_lines_stay_apart_and_inside():
    found = np.sort(apart(np.array([1.0, 1.0, 1.0, 0.2]), 0.1))
    assert np.diff(found).min() >= 0.1 - 1e-9
    assert found.max() <= 1.0


def test_contours_are_logarithmic_above_a_minimum_and_even_without_one():
    heights, levels = contour_levels(surface())
    assert heights.max() == pytest.approx(np.log10(128.0))
    assert np.diff(levels).min() > 0
    even, _ = contour_levels(surface(()))
    np.testing.assert_array_equal(even, surface().values)
    assert len(contour_levels(replace(surface(), values=np.ones((11, 11))))[1]) == 1


# --- whole reports --------------------------------------------------------------------------------


def study(function="himmelblau", side=3, optimizers=("adam", "sgd"), target=True, lost=False):
    """Straight ways from a grid of starts to a point near (3, 2), four evaluations long."""
    found = find_function(function, {})
    left, right, bottom, top = found.domain
    axes = np.linspace(left, right, side), np.linspace(bottom, top, side)
    grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    rows = [
        {
            "cell": cell, "role": "report", "initializer": "grid", "optimizer": optimizer,
            "optimizer.learning_rate": 0.1, "optimizer.batch_size": 1, "init_seed": seed,
            "data_seed": seed, "noise_seed": seed,
        }
        for cell, optimizer in enumerate(optimizers) for seed in range(len(grid))
    ]  # fmt: skip
    lanes = pd.DataFrame(rows).rename_axis("lane")
    start = np.tile(grid, (len(optimizers), 1))
    share = np.array([0.0, 0.5, 0.9, 1.0])[None, :, None]
    point = start[:, None] * (1 - share) + np.array([3.0, 2.0]) * share
    cost = np.asarray(found.value(point[..., 0], point[..., 1]), float)
    if lost:
        point[:, 2:] = cost[:, 2:] = np.nan
    many, both = len(lanes), ("lane", "eval")
    step = np.tile([0.0, 10.0, 20.0, 30.0], (many, 1))
    variables = {
        "step": (both, step), "examples_seen": (both, step), "train_loss": (both, cost),
        "val_loss": (both, cost), "test_loss": (("lane",), cost[:, -1]),
        "diverged": (("lane",), np.full(many, lost)), "point": ((*both, "coordinate"), point),
    }  # fmt: skip
    if target:
        variables["steps_to_target"] = (("lane",), np.full(many, np.nan if lost else 30.0))
    info = StudyInfo(
        name="map", task="test_function", dataset=function, model=function, primary="loss",
        metrics={"loss": "min"}, test_function=found,
        target=Target("val_loss", at_most=1.0) if target else None,
    )  # fmt: skip
    coords = {"lane": lanes.index.to_numpy(), "coordinate": ["x", "y"]}
    return xr.Dataset(variables, coords), lanes, info


ODD = {
    "usual": ({}, True),
    "one_start_one_optimizer": ({"side": 1, "optimizers": ("adam",)}, True),
    "no_minima_no_target": ({"function": "saddle", "target": False}, False),
    "all_diverged": ({"lost": True}, False),
}


@pytest.mark.parametrize("case", ODD, ids=list(ODD))
def test_reports_of_odd_studies(case):
    options, solved = ODD[case]
    files = reports.build(*study(**options))
    drawn = {path.removeprefix("figures/") for path in files if path.startswith("figures/")}
    assert drawn >= MAPS
    assert ("solved.png" in drawn) == solved
    assert not any(name.startswith(("heatmap", "weight_norms")) for name in drawn)
    animation = Image.open(io.BytesIO(files["figures/motion.gif"]))
    assert getattr(animation, "n_frames", 1) == 4  # one per evaluation: the clock moves in any case
    assert len(files["figures/motion.gif"]) < 3e6
    html = files["report.html"].decode()
    sources = re.findall(r'<img [^>]*src="([^"]{0,22})', html)
    assert sorted(sources) == ["data:image/gif;base64,", *["data:image/png;base64,"] * 2]
    visible = re.sub(r"(?s)<script>.*?</script>|<style>.*?</style>|<[^>]+>", " ", html)
    assert not re.search(r"\bnan\b|\binf\b", visible)


def test_equal_maps_give_equal_bytes():
    first, second = (reports.build(*study(side=2))["figures/motion.gif"] for _ in range(2))
    assert first == second
