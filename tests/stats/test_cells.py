"""Cells, tuning and comparisons on small studies whose answers are known by hand."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats as scipy_stats

from initopt_jax.stats import (
    StudyInfo,
    Target,
    best_cells,
    best_per,
    cell_summary,
    compare_cells,
    compare_many,
    curve_bands,
    final_frame,
)
from initopt_jax.stats.intervals import within_bounds

INFO = StudyInfo(
    "tiny", "classification", "toy", "mlp", target=Target("val_accuracy", at_least=0.9)
)


def study(cells: list[dict[str, Any]], seeds: int = 3, tuning: int = 2) -> Any:
    """A study of cells that each give, where they differ from the defaults:

    `initializer`, `optimizer`, `rate`, final `val_loss` and `test` score by seed, and which seeds
    diverged: `lost` of the report seeds, `lost_tuning` of the tuning seeds.
    """
    rows, tested, val, lost = [], [], [], []
    for number, cell in enumerate(cells):
        for role, n, base in (("report", seeds, 0), ("tuning", tuning, 100)):
            for seed in range(n):
                key = base + seed
                rows.append(
                    {
                        "cell": number,
                        "role": role,
                        "initializer": cell.get("initializer", "he"),
                        "optimizer": cell.get("optimizer", "sgd"),
                        "optimizer.learning_rate": cell.get("rate", 0.1),
                        "optimizer.batch_size": 8,
                        "optimizer.steps": 20,
                        "init_seed": key,
                        "data_seed": key,
                        "noise_seed": key,
                    }
                )
                tested.append(np.resize(cell.get("test", [0.5]), n)[seed])
                val.append(np.resize(cell.get("val_loss", [1.0]), n)[seed])
                bad = cell.get("lost" if role == "report" else "lost_tuning", ())
                lost.append(seed in bad)
    lanes = pd.DataFrame(rows).rename_axis("lane")
    many, lost = len(rows), np.array(lost)
    step = np.tile([0.0, 10.0, 20.0, np.nan], (many, 1))  # the last evaluation is padding
    loss = np.stack([np.full(many, 2.0), np.full(many, 1.5), val, np.full(many, np.nan)], 1)
    loss[lost, 2] = np.nan
    curve, one = ("lane", "eval"), ("lane",)
    dataset = xr.Dataset(
        {
            "step": (curve, step),
            "examples_seen": (curve, step * 8),
            "train_loss": (curve, loss.astype(np.float32)),
            "val_loss": (curve, loss.astype(np.float32)),
            "test_accuracy": (one, np.array(tested)),
            "diverged": (one, lost),
            "steps_to_target": (one, np.where(lost | (np.array(tested) < 0.5), np.nan, 10.0)),
        },
        {"lane": lanes.index.to_numpy()},
    )
    return dataset, lanes, INFO


def test_summary_is_over_report_seeds_at_the_last_real_evaluation():
    dataset, lanes, info = study([{"test": [0.5, 0.6, 0.7], "val_loss": [0.4]}])
    row = cell_summary(dataset, lanes, info).loc[0]
    half = scipy_stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    low, high = within_bounds(0.6, half, (0.0, 1.0))
    parts = [f"test_accuracy_{part}" for part in ("mean", "low", "high", "min", "max")]
    np.testing.assert_allclose(row[parts].astype(float), [0.6, low, high, 0.5, 0.7])
    np.testing.assert_allclose(row["val_loss_mean"], 0.4, rtol=1e-6)
    assert (row["n_seeds"], row["n_finite"], row["n_reached"]) == (3, 3, 3)


def test_diverged_lanes_leave_the_mean_and_stay_in_the_counts():
    dataset, lanes, info = study([{"test": [0.9, 0.1, 0.8], "lost": (1,)}])
    row = cell_summary(dataset, lanes, info).loc[0]
    assert (row["n_seeds"], row["n_finite"], row["n_diverged"]) == (3, 2, 1)
    assert row["test_accuracy_mean"] == pytest.approx(0.85)
    assert row["diverged_share"] == pytest.approx(1 / 3)
    expected = scipy_stats.binomtest(1, 3).proportion_ci(method="wilson")
    np.testing.assert_allclose([row["diverged_low"], row["diverged_high"]], expected)


def test_a_cell_that_always_diverged_has_no_mean_but_a_row():
    dataset, lanes, info = study([{"lost": (0, 1, 2), "lost_tuning": (0, 1)}])
    row = cell_summary(dataset, lanes, info).loc[0]
    assert row["n_finite"] == 0
    assert np.isnan(row["test_accuracy_mean"])
    best = best_cells(dataset, lanes, info)
    assert best["cell"].tolist() == [0]


def test_tuning_by_steps_puts_arriving_first_then_speed_then_the_loss_of_the_run():
    cells = [{"rate": rate, "val_loss": [loss]} for rate, loss in ((1, 0.1), (2, 0.9), (3, 0.5))]
    dataset, lanes, _ = study(cells)
    info = replace(INFO, selection="steps_to_target")
    tuning = (lanes["role"] == "tuning").to_numpy()

    def chosen(*steps: list[float]) -> list[int]:
        times = np.full(len(lanes), 5.0)
        times[tuning] = np.concatenate(steps)
        return best_cells(dataset.assign(steps_to_target=("lane", times)), lanes, info)[
            "cell"
        ].tolist()

    never = np.nan
    assert chosen([10, never], [20, 30], [40, 50]) == [1]
    assert chosen([20, 30], [20, 20], [20, never]) == [1]
    assert chosen([never, never], [never, never], [never, never]) == [0]
    assert chosen([never, never], [9, never], [9, never]) == [2]


def test_tuning_chooses_by_other_seeds_and_shows_fresh_ones():
    cells = [
        {"rate": 0.1, "val_loss": [0.5], "test": [0.99]},  # luckier on the report seeds
        {"rate": 0.2, "val_loss": [0.3], "test": [0.80]},
    ]
    best = best_cells(*study(cells))
    assert best["cell"].tolist() == [1]
    assert best["test_accuracy_mean"].tolist() == pytest.approx([0.8])
    assert best["chosen_on"].tolist() == ["tuning"]


def test_a_diverged_tuning_lane_ranks_a_cell_last():
    cells = [
        {"rate": 0.1, "val_loss": [0.9]},
        {"rate": 0.2, "val_loss": [0.1], "lost_tuning": (0,)},
    ]
    assert best_cells(*study(cells))["cell"].tolist() == [0]


def test_ties_go_to_the_lower_cell():
    cells = [{"rate": rate, "val_loss": [0.5]} for rate in (0.1, 0.2, 0.3)]
    assert best_cells(*study(cells))["cell"].tolist() == [0]


@pytest.mark.parametrize(
    ("losses", "edge"),
    [
        ([0.9, 0.5, 0.3], True),  # still improving at the end
        ([0.9, 0.3, 0.5], False),  # the best lies inside
        ([0.300, 0.3001, 0.31], False),  # flat: a wider grid would not help
        ([0.3, 0.5, 0.9], True),  # improving towards smaller rates
    ],
)
def test_edge_of_the_grid(losses, edge):
    cells = [{"rate": 0.1 * 2**i, "val_loss": [loss]} for i, loss in enumerate(losses)]
    assert best_cells(*study(cells))["at_edge"].tolist() == [edge]


def test_edge_next_to_a_diverged_rate_and_a_single_rate():
    cells = [{"rate": 0.1, "val_loss": [0.5]}, {"rate": 0.2, "lost_tuning": (0, 1)}]
    assert best_cells(*study(cells))["at_edge"].tolist() == [True]
    assert best_cells(*study(cells[:1]))["at_edge"].tolist() == [False]


def test_edge_within_noise_is_no_edge():
    # A gain of 0.1 with standard errors of 0.3 each: well under two errors of the difference.
    cells = [{"rate": 0.1, "val_loss": [0.7, 1.3]}, {"rate": 0.2, "val_loss": [0.6, 1.2]}]
    assert best_cells(*study(cells))["at_edge"].tolist() == [False]


def test_pairs_come_in_config_order_and_tell_how_they_were_chosen():
    cells = [
        {"initializer": "z", "optimizer": "sgd"},
        {"initializer": "z", "optimizer": "adam"},
        {"initializer": "a", "optimizer": "sgd"},
        {"initializer": "a", "optimizer": "adam", "rate": 0.1},
        {"initializer": "a", "optimizer": "adam", "rate": 0.2},
    ]
    dataset, lanes, info = study(cells, tuning=0)
    best = best_cells(dataset, lanes, info)
    assert list(zip(best["initializer"], best["optimizer"], strict=True)) == [
        ("z", "sgd"),
        ("z", "adam"),
        ("a", "sgd"),
        ("a", "adam"),
    ]
    assert best["chosen_on"].tolist() == ["only cell"] * 3 + ["report"]


def test_a_pair_with_one_setting_needs_no_tuning_lanes():
    """It is the only cell; the others are chosen by their tuning lanes as ever."""
    cells = [
        {"optimizer": "sgd", "rate": 0.1, "val_loss": [0.1]},
        {"optimizer": "adam", "rate": 0.1, "val_loss": [0.5]},
        {"optimizer": "adam", "rate": 0.2, "val_loss": [0.3], "test": [0.8]},
    ]
    dataset, lanes, info = study(cells)
    kept = lanes[(lanes["role"] == "report") | (lanes["optimizer"] == "adam")]
    best = best_cells(dataset.sel(lane=kept.index), kept, info)
    assert best["cell"].tolist() == [0, 2]
    assert best["chosen_on"].tolist() == ["only cell", "tuning"]
    assert best["n_seeds"].tolist() == [3, 3]
    alone = kept[kept["optimizer"] == "sgd"]
    assert best_cells(dataset.sel(lane=alone.index), alone, info)["cell"].tolist() == [0]


def test_comparison_pairs_by_seed_and_not_by_row():
    dataset, lanes, info = study(
        [{"test": [0.1, 0.5, 0.9]}, {"rate": 0.2, "test": [0.0, 0.4, 0.8]}]
    )
    shuffled = lanes.sample(frac=1.0, random_state=0)
    finals = final_frame(dataset, shuffled, info)
    found = compare_cells(finals, 0, 1, "test_accuracy")
    # Constant differences have no spread, though each cell's values spread widely.
    np.testing.assert_allclose(found, [0.1, 0.1, 0.1, 3], atol=1e-12)
    assert found.excludes_zero


def test_compare_many_keeps_the_order_and_counts_missing_pairs():
    cells = [{"test": [0.9]}, {"test": [0.5], "lost": (0,)}, {"test": [0.8]}]
    dataset, lanes, info = study(cells)
    table = compare_many(final_frame(dataset, lanes, info), 0, [2, 1], "test_accuracy")
    assert table.index.tolist() == [2, 1]
    np.testing.assert_allclose(table["mean"], [0.1, 0.4])
    assert table["n"].tolist() == [3, 2]


def test_best_per_initializer_says_whether_it_is_distinguishable():
    cells = [
        {"initializer": "a", "optimizer": "sgd", "test": [0.70, 0.71, 0.72]},
        {"initializer": "a", "optimizer": "adam", "test": [0.90, 0.91, 0.93]},
        {"initializer": "b", "optimizer": "sgd", "test": [0.50, 0.90, 0.70]},
        {"initializer": "b", "optimizer": "adam", "test": [0.90, 0.50, 0.71]},
        {"initializer": "c", "optimizer": "sgd", "test": [0.5]},
        {"initializer": "c", "optimizer": "adam", "test": [0.9], "lost": (2,)},
    ]
    dataset, lanes, info = study(cells)
    finals = final_frame(dataset, lanes, info)
    table = best_per(finals, best_cells(dataset, lanes, info), info, "test_accuracy")
    table = table.set_index("initializer")
    assert table["winner"].to_dict() == {"a": "adam", "b": "adam", "c": "sgd"}
    assert table["distinguishable"].to_dict() == {"a": True, "b": False, "c": False}
    assert table.loc["c", "difference"].n == 2  # two equal differences tell nothing of a third
    crosswise = best_per(
        finals, best_cells(dataset, lanes, info), info, "test_accuracy", by="optimizer"
    )
    assert crosswise["winner"].tolist() == ["a", "a"]


def test_curves_stop_at_padding_and_leave_diverged_lanes_out():
    dataset, lanes, _ = study([{"val_loss": [0.4]}, {"val_loss": [0.6], "lost": (0,)}])
    table = curve_bands(dataset, lanes, [0, 1], "val_loss").set_index(["cell", "step"])
    assert len(table) == 6
    np.testing.assert_allclose(
        table.loc[(1, 20.0), ["mean", "n"]].astype(float), [0.6, 2], rtol=1e-6
    )
    assert table.loc[(0, 20.0), "n"] == 3
    assert table.loc[(0, 20.0), "examples_seen"] == 160
    assert not table["diverged"].any()


def test_curves_of_a_lost_cell_run_until_it_diverged():
    dataset, lanes, _ = study([{"lost": (0, 1, 2)}])
    table = curve_bands(dataset, lanes, [0], "val_loss").set_index("step")
    assert table["diverged"].all()
    assert table["mean"].tolist()[:2] == [2.0, 1.5]
    assert np.isnan(table.loc[20.0, "mean"])


def test_lanes_that_the_dataset_lacks_are_left_out():
    dataset, lanes, info = study([{"test": [0.5, 0.6, 0.7]}])
    part = dataset.isel(lane=slice(0, 2))
    assert cell_summary(part, lanes, info).loc[0, "n_seeds"] == 2


def test_a_hundred_thousand_lanes_take_seconds():
    many, evals = 100_000, 6
    draw = np.random.default_rng(0)
    seed = np.arange(many) % 10
    cell = np.arange(many) // 10
    lanes = pd.DataFrame(
        {
            "cell": cell,
            "role": np.where(seed < 7, "report", "tuning"),
            "initializer": np.char.add("init", (cell % 50).astype(str)),
            "optimizer": np.char.add("opt", (cell // 50 % 40).astype(str)),
            "optimizer.learning_rate": 10.0 ** -(cell // 2000),
            "init_seed": seed,
            "data_seed": seed,
            "noise_seed": seed,
        }
    ).rename_axis("lane")
    step = np.tile(np.arange(evals) * 10.0, (many, 1))
    curve = ("lane", "eval")
    dataset = xr.Dataset(
        {
            "step": (curve, step),
            "val_loss": (curve, draw.random((many, evals))),
            "test_accuracy": (("lane",), draw.random(many)),
            "diverged": (("lane",), draw.random(many) < 0.01),
            "steps_to_target": (("lane",), draw.random(many)),
        },
        {"lane": np.arange(many)},
    )
    start = time.perf_counter()
    best = best_cells(dataset, lanes, INFO)
    # About a second on one core; the bound is for a busy machine, and far below any Python loop.
    assert time.perf_counter() - start < 15
    assert len(best) == 2000


def test_study_info_refuses_unknown_metrics_and_double_bounds():
    with pytest.raises(ValueError, match=r"primary: unknown metric 'f1'\. Allowed: accuracy, loss"):
        StudyInfo("x", "classification", "toy", "mlp", primary="f1")
    with pytest.raises(ValueError, match="selection: unknown metric 'auc'"):
        StudyInfo("x", "classification", "toy", "mlp", selection="val_auc")
    with pytest.raises(ValueError, match="exactly one of at_least and at_most"):
        Target("val_loss", at_least=1.0, at_most=2.0)
