"""The benchmarks' arithmetic, and that every contender trains; nothing here looks at a clock."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from benchmarks import compile as compile_benchmark
from benchmarks import curvature as curvature_benchmark
from benchmarks import engine, scaling
from benchmarks import initializers as initializers_benchmark
from benchmarks import probes as probes_benchmark
from benchmarks.crossover import crossover, seconds_at
from benchmarks.machine import OtherLoad, machine, matrix_rate
from benchmarks.pace import LEAST_WARM, index_batches, paced
from benchmarks.peers_jax import make_jax_loop
from benchmarks.record import Contender, measure, outcome, show, write_record
from benchmarks.scaling_figure import draw, network, plain
from benchmarks.workloads import HELD_OUT, Case, digits_mlp, mnist_mlp, stand_in
from initopt_jax.config.schema import read_config

JAX_LOOP, TORCH_LOOP = scaling.JAX_LOOP, scaling.TORCH_LOOP


@pytest.fixture
def tiny() -> Case:
    return digits_mlp(4)


def never(_: float) -> float:
    raise AssertionError("not to be run")


# Arithmetic --------------------------------------------------------------------------------------


def test_outcome_takes_ratios_and_shares_within_a_round_and_the_best_variant():
    contenders = [
        Contender("loop", {"slow": never, "fast": never}, goal=4),
        Contender("other", {"only": never}),
        Contender("engine", {"lanes": never}),
    ]
    rates = {
        "loop": {"slow": [1.0, 1.0, 1.0], "fast": [10.0, 5.0, 2.0]},
        "other": {"only": [30.0, 10.0, 8.0]},
        # The machine got slower from round to round: the ratio of medians would be 20 / 5 = 4.
        "engine": {"lanes": [30.0, 20.0, 10.0]},
    }
    loop, other, ours = outcome(contenders, rates, [600.0, 200.0, 100.0], 5.0, share_goal=0.6)
    assert loop["variant"] == "fast"
    assert (loop["median"], loop["low"], loop["high"]) == (5.0, 2.0, 10.0)
    assert (loop["ratio"], loop["ratio_low"], loop["ratio_high"]) == (4.0, 3.0, 5.0)
    assert loop["reached"] is True
    assert other["reached"] is None
    assert other["ratio"] == 1.25
    assert ours["share"] == 0.5  # 5 operations x 20 a second, of 200
    assert ours["reached"] is False
    assert ours["ratio"] == 1


def test_an_aim_that_is_missed_is_no_failure():
    contenders = [Contender("engine", {"lanes": never})]
    (row,) = outcome(contenders, {"engine": {"lanes": [1.0]}}, [100.0], 1.0, share_aim=0.5)
    assert row["share_aim"] == 0.5
    assert row["reached"] is None


def test_rounds_go_back_and_forth_and_products_are_measured_in_each(monkeypatch):
    order: list[str] = []
    limits = iter([1.0, 3.0, 5.0, 2.0])
    monkeypatch.setattr("benchmarks.record.matrix_rate", lambda dtype: (next(limits), dtype))

    def turn(name: str) -> Any:
        def timed(seconds: float) -> float:
            order.append(name)
            return seconds

        return timed

    contenders = [
        Contender("a", {"x": turn("ax"), "y": turn("ay")}),
        Contender("b", {"": turn("b")}),
    ]
    rates, best, ways = measure(contenders, 2, 0.5, "float32", Console(quiet=True))
    assert order == ["ax", "ay", "b", "b", "ay", "ax"]
    assert rates == {"a": {"x": [0.5, 0.5], "y": [0.5, 0.5]}, "b": {"": [0.5, 0.5]}}
    assert (best, ways) == ([3.0, 5.0], ["float32", "float32"])


def test_the_table_says_what_was_reached(capsys):
    contenders = [Contender("loop", {"v": never}, goal=3), Contender("engine", {"v": never})]
    rates = {"loop": {"v": [10.0]}, "engine": {"v": [25.0]}}
    rows = outcome(contenders, rates, [100.0], 2.0, share_goal=0.4)
    show("title", rows, Console(width=140))
    printed = capsys.readouterr().out
    assert "2.5x" in printed
    assert "missed" in printed
    assert "reached" in printed
    assert "50.0%" in printed


def test_crossover_is_the_first_number_of_networks_that_is_faster():
    points = [(1, 4.0), (4, 4.0), (16, 4.5), (64, 6.0)]
    for startup, each in ((0.0, 0.7), (0.5, 0.09), (3.0, 0.3)):
        found = crossover(points, startup, each)
        assert found is not None
        assert seconds_at(points, found) < startup + found * each
        assert seconds_at(points, found - 1) >= startup + (found - 1) * each
    assert crossover(points, startup=5.0, each=0.1) == 1
    assert crossover(points, startup=0.0, each=0.01) is None


def test_rates_of_finished_tiles_leave_the_warm_up_out():
    done = [(10.0, 8), (10.5, 16), (12.5, 24), (12.5, 32)]
    assert engine.finished_rate(done, steps=100, warm_lanes=16) == 16 * 100 / 2


def test_segments_are_short_and_within_bounds():
    assert engine.segment_length(1e9, at_once=16, rate=1e9) == 1
    assert engine.segment_length(1e6, at_once=2, rate=1e9) == 100
    assert engine.segment_length(1.0, at_once=1, rate=1e12) == 500


def test_batches_are_epochs_of_distinct_rows():
    batches = index_batches(10, 3, seed=0)
    first = [next(batches) for _ in range(3)]
    assert len(np.unique(first)) == 9
    again = index_batches(10, 3, seed=0)
    np.testing.assert_array_equal(first[0], next(again))


def test_the_clock_starts_once_warm():
    calls: list[str] = []
    rate = paced(lambda: calls.append("step"), lambda: calls.append("finish"), seconds=0.0)
    warm = calls.index("finish")
    assert warm >= LEAST_WARM
    assert calls[-1] == "finish"
    assert rate == 0.0


# What is trained ---------------------------------------------------------------------------------


def test_the_stand_in_has_the_shape_of_mnist():
    data = stand_in(1000)
    assert data.train.inputs.shape == (1000 - HELD_OUT, 28, 28, 1)
    assert len(data.val.inputs) == len(data.test.inputs) == HELD_OUT
    assert data.outputs == 10
    assert "stand-in" in data.name


def test_configs_of_workloads_are_valid():
    for workload in (digits_mlp(), digits_mlp(dtype="bfloat16"), mnist_mlp(generated=True)):
        config = read_config(engine.study_config(workload, lanes=3, steps=10))
        assert config.seeds.all == 3
    read_config(compile_benchmark.CONFIG, compile_benchmark.SHORTER)


# Contenders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_jax_loop_trains(tiny, on_device, dtype):
    loop = make_jax_loop(tiny.with_model(dtype=dtype), on_device=on_device)
    assert loop(0.01) > 0


def test_the_engine_runs_a_study_and_says_what_it_took(tiny):
    short = replace(tiny, steps=10)
    details: list[dict[str, Any]] = []
    rate = engine.make_engine(short, details, devices=1)(0.0)
    (run,) = details
    assert rate == run["lane_steps_per_second"] > 0
    assert run["lanes"] == engine.TILES * engine.rule_width(short)
    assert run["seconds_to_first_segment"] + run["seconds_training"] <= run["seconds_whole_run"]


def test_steady_rate_of_a_tile_width(tiny):
    assert engine.steady_rate(tiny, 0.01, width=2, rate=1e6) > 0


def test_matrix_products_and_the_machine():
    rate, way = matrix_rate(seconds=0.001)
    assert rate > 1e6
    assert "," in way
    known = machine()
    assert known["versions"]["jax"]
    assert known["device_kind"]
    taken = OtherLoad().cores()
    assert taken is None or taken >= 0


def test_torch_peers_train(tiny):
    pytest.importorskip("torch")
    pytest.importorskip("lightning")
    from benchmarks import peers_torch as peers

    cnn = mnist_mlp(generated=True).with_model(
        name="cnn", channels=[2, 2], kernel=3, pool=2, hidden=[4]
    )
    assert peers.make_torch_loop(tiny, 1)(0.01) > 0
    assert peers.make_torch_loop(cnn, 1, fused=True, channels_last=True)(0.01) > 0
    assert peers.make_torch_vmap(tiny, 3, 1)(0.01) > 0
    assert peers.make_lightning(tiny, 1)(0.01) > 0


# Records and the figure --------------------------------------------------------------------------


def scaling_record() -> dict[str, Any]:
    """A record of `benchmarks.scaling` with made-up but likely numbers."""
    seconds = {1: 4.0, 16: 5.0, 256: 12.0, 4096: 120.0}
    loops = {
        JAX_LOOP: {"rate": 11_000.0, "startup": 0.5, "setting": "rows on device"},
        TORCH_LOOP: {"rate": 1_600.0, "startup": 0.1, "setting": "1 thread"},
    }
    widths = [{"width": 2**power, "rate": 1e4 * (power + 1)} for power in range(6)]
    return {
        "date": "2026-01-01T00:00:00+00:00",
        "settings": {"dtype": "float32"},
        "machine": {
            "cpu": "Some CPU",
            "cores": 2,
            "jax_devices": ["cpu:0", "cpu:1"],
            "device_kind": "cpu",
            "versions": {"jax": "0.10", "torch": None},
        },
        "matrix_flops_per_second": 1.8e11,
        "lanes": {
            "steps": 1000,
            "points": [
                {
                    "lanes": count,
                    "seconds": taken,
                    "rate_training": count * 1000 / (taken - 3.5),
                    "rate_whole": count * 1000 / taken,
                }
                for count, taken in seconds.items()
            ],
            "peers": loops,
            "pays_from_lanes": {JAX_LOOP: None, TORCH_LOOP: 7},
        },
        "tile_width": [
            {"label": "64-16-16-10", "flops_per_step": 5e5, "rule": 16, "points": widths},
            {"label": "784-300-100-10", "flops_per_step": 1e6, "rule": 64, "points": widths[:3]},
        ],
        "model_width": [
            {"hidden": hidden, "engine": {"1": 1e6 / hidden, "2": 2e6 / hidden}, "peers": loops}
            for hidden in (16, 64, 256)
        ],
    }


def test_the_figure_is_drawn_from_a_record(tmp_path: Path):
    record = tmp_path / "scaling.json"
    record.write_text(json.dumps(scaling_record()), encoding="utf-8")
    png = tmp_path / "docs" / "scaling.png"
    assert scaling.main(["--figure", str(record), "--png", str(png)]) == 0
    pixels = imread(png)
    assert pixels.shape[:2] == (1230, 1500)
    assert np.ptp(pixels[..., :3]) > 0.5


def test_the_figure_does_without_pytorch_and_without_a_second_device(tmp_path: Path):
    record = scaling_record()
    del record["lanes"]["peers"][TORCH_LOOP], record["lanes"]["pays_from_lanes"][TORCH_LOOP]
    for row in record["model_width"]:
        row["peers"] = {JAX_LOOP: row["peers"][JAX_LOOP]}
        row["engine"] = {"1": row["engine"]["1"]}
    record["machine"] |= {"jax_devices": ["cuda:0"], "device_kind": "Some GPU"}
    draw(record, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_words_of_the_figure():
    assert network("64-256-256-10") == "h = 256"
    assert network("784-300-100-10") == "784-300-100-10"
    assert [plain(0.1), plain(16), plain(4096)] == ["0.1", "16", "4,096"]


def test_records_carry_their_date(tmp_path: Path):
    file = write_record("throughput", {"settings": {"rounds": 1}}, tmp_path / "new")
    written = json.loads(file.read_text(encoding="utf-8"))
    assert file.name.startswith("throughput-2")
    assert written["settings"] == {"rounds": 1}
    assert file.stem.removeprefix("throughput-")[:4] == written["date"][:4]


def test_first_weights_are_timed_and_recorded(tmp_path, capsys):
    arguments = ["--networks", "4", "--rounds", "1", "--only", "zeros", "uniform"]
    assert initializers_benchmark.main([*arguments, "--out", str(tmp_path)]) == 0
    (record,) = tmp_path.glob("initializers-*.json")
    seconds = json.loads(record.read_text())["seconds_for_1000_networks"]
    assert set(seconds) == {"zeros", "uniform"}
    assert all(value > 0 for values in seconds.values() for value in values)
    assert "784-300-100-10" in capsys.readouterr().out


def test_curvature_is_timed_and_held_against_float64(tmp_path, capsys):
    small = ["--lanes", "2", "--width", "2", "--rounds", "1", "--examples", "16"]
    chosen = ["--only", "first weights", "--iterations", "40", "--exact-iterations", "60"]
    assert curvature_benchmark.main([*small, *chosen, "--out", str(tmp_path)]) == 0
    (record,) = tmp_path.glob("curvature-*.json")
    (row,) = json.loads(record.read_text())["rows"]
    # Both have converged, so that float32's rounding in products and small matrix is left.
    assert row["largest_error"] < 1e-4
    assert row["first"] > 0
    assert len(row["later"]) == 1
    assert "Sharpness of 2 digits networks" in capsys.readouterr().out


def test_light_probes_are_judged_by_the_ratio_of_each_round(tmp_path, capsys, monkeypatch):
    seconds = iter([9.0, 9.0, 12.0, 10.0, 11.0, 20.0, 33.0, 30.0])  # the first two do not count
    asked = []

    def run_study(folder, name, overrides, cache):
        asked.append((name, overrides))
        return {"seconds": next(seconds), "probes": {}}

    monkeypatch.setattr(probes_benchmark, "run_study", run_study)
    arguments = ["--rounds", "3", "--set", "seeds=1", "--out", str(tmp_path)]
    assert probes_benchmark.main([*arguments, "--check"]) == 1
    (record,) = tmp_path.glob("probes-*.json")
    # With against without: 12 / 10, the first round being reversed, 20 / 11 and 33 / 30.
    assert json.loads(record.read_text())["share"] == pytest.approx(0.2)
    assert "missed" in capsys.readouterr().out
    assert [name for name, _ in asked[:4]] == ["0-without", "0-with", "1-with", "1-without"]
    assert asked[0][1] == ["probes=[]", "seeds=1"]
    assert "signals" in asked[1][1][0]
