"""Programs, widths and tiles."""

import time
import tracemalloc

import numpy as np
import pytest

from initopt_jax.config.schema import validate
from initopt_jax.engine.model_size import ModelSize
from initopt_jax.engine.plan import (
    CPU_ACTIVATION_BYTES,
    CPU_WEIGHT_BYTES,
    segment_steps,
    tile_width,
)
from initopt_jax.errors import ConfigError
from initopt_jax.studies.preview import all_tiles, prepare


@pytest.mark.parametrize("batch", [1, 64, 1000, 60_000])
@pytest.mark.parametrize("activations", [5, 400, 200_000])
@pytest.mark.parametrize("parameters", [10, 9_000, 50_000, 266_610, 10**7])
def test_width_is_a_power_of_two_that_fits(parameters, activations, batch):
    cost = ModelSize(parameters, activations, 2 * parameters)
    width = tile_width("cpu", cost, batch)
    assert width in (1, 2, 4, 8, 16)
    assert width == 1 or 16 * width * parameters <= CPU_WEIGHT_BYTES
    assert width == 1 or 4 * width * batch * activations <= CPU_ACTIVATION_BYTES
    assert tile_width("gpu", cost, batch) >= width


def test_full_batch_programs_have_narrower_tiles(small_config):
    small_config["tile_width"] = None
    small_config["model"]["hidden"] = [64, 64]
    assert [program.width for program in prepare(small_config).programs] == [16, 16, 2]
    small_config["tile_width"] = [4, 2, 3]
    assert [program.width for program in prepare(small_config).programs] == [4, 2, 3]
    small_config["tile_width"] = [4, 2]
    with pytest.raises(ConfigError, match="lists 2 widths"):
        prepare(small_config)


@pytest.mark.parametrize("every", [1, 7, 30, 1000])
@pytest.mark.parametrize("flops", [100, 10**8])
def test_segment_divides_the_interval(every, flops):
    steps = segment_steps(every, width=16, batch=64, flops=flops)
    assert every % steps == 0
    assert steps >= 1


def test_every_lane_is_in_one_tile(small_config):
    experiment = prepare(small_config)
    tiles = all_tiles(experiment)
    lanes = np.concatenate([tile.lanes for tile in tiles])
    assert sorted(lanes.tolist()) == list(range(len(experiment.lanes)))
    table = experiment.lane_table()
    for tile in tiles:
        assert set(table.program[tile.lanes]) == {tile.program}
        assert set(table.steps[tile.lanes]) == {tile.steps}
        assert len(tile.padded(4)) == 4


def test_numbers_never_make_another_program(small_config):
    """Rates, decays and even separate entries share a program; structure and batch size do not."""
    small_config["optimizers"] = [
        {"name": "adam", "learning_rate": [0.1, 0.01]},
        {"name": "adam", "label": "fast adam", "learning_rate": 0.1, "b1": [0.5, 0.7]},
        {"name": "adam", "label": "raw adam", "learning_rate": 0.1, "bias_correction": False},
        {"name": "adam", "label": "wide adam", "learning_rate": 0.1, "batch_size": 64},
    ]
    experiment = prepare(small_config)
    assert [program.label for program in experiment.programs] == [
        "adam, batch 32",
        "adam, batch 32",
        "adam, batch 64",
    ]
    assert experiment.lanes.groupby("optimizer")["program"].first().to_dict() == {
        "adam": 0,
        "fast adam": 0,
        "raw adam": 1,
        "wide adam": 2,
    }


def test_only_optimizers_with_a_choice_have_tuning_lanes(small_config):
    """gd has one learning rate: nothing could be chosen by networks on other seeds."""
    lanes = prepare(small_config).lanes
    found = lanes.groupby("optimizer")["role"].value_counts().unstack(fill_value=0)
    assert found["report"].to_dict() == {"sgd": 8, "adam": 8, "gd": 4}
    assert found["tuning"].to_dict() == {"sgd": 4, "adam": 4, "gd": 0}
    assert lanes.index.tolist() == list(range(28))


def test_seeds_are_tied_crossed_and_apart_from_tuning(small_config):
    lanes = prepare(small_config).lanes
    report = lanes[lanes["role"] == "report"]
    assert set(report["init_seed"]) == {0, 1}
    assert (report["init_seed"] == report["data_seed"]).all()
    tuning = lanes[lanes["role"] == "tuning"]
    assert not set(tuning["init_seed"]) & set(report["init_seed"])
    small_config["seeds"] = {"init": 2, "data": 3, "first": 5}
    crossed = prepare(small_config).lanes.query("role == 'report' and cell == 0")
    pairs = set(zip(crossed["init_seed"], crossed["data_seed"], strict=True))
    assert pairs == {(i, d) for i in (5, 6) for d in (5, 6, 7)}


def test_hundred_thousand_lanes_are_planned_quickly_and_small(small_config):
    """1.5 s and 0.1 GB on a free core; a plan that grows faster than the lanes takes minutes."""
    small_config["seeds"] = 5000
    small_config["optimizers"][0]["learning_rate"] = np.linspace(0.01, 1, 8).tolist()
    config = validate(small_config)
    tracemalloc.start()  # slows the plan down, within the same bound
    began = time.process_time()
    tiles = all_tiles(prepare(config))
    seconds = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(tile.lanes) for tile in tiles) == 5001 * 2 * 10 + 5000 * 2
    assert seconds < 10
    assert peak < 2**30


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizers", [{"name": "adma", "learning_rate": 0.1}], "did you mean 'adam'"),
        ("optimizers", [{"name": "sgd"}], "needs learning_rate"),
        ("optimizers", [{"name": "sgd", "learning_rate": "fast"}], "learning_rate.*'fast'"),
        ("optimizers", [{"name": "sgd", "learning_rate": []}], "empty list"),
        ("optimizers", [{"name": "sgd", "learning_rate": [0.1, 0.1]}], "twice"),
        ("optimizers", [{"name": "sgd", "learning_rate": -1}], "learning_rate.*-1"),
        ("optimizers", [{"name": "sgd", "rate": 0.1}], "unknown option 'rate'"),
        ("optimizers", [{"name": "adam", "b1": [0.9, 1.5]}], "b1.*1.5"),
        ("optimizers", [{"name": "optax.adm", "learning_rate": 1}], "did you mean 'optax.adam'"),
        ("optimizers", [{"name": "no_such_module:f", "learning_rate": 1}], "no module"),
        ("optimizers", [{"name": "jax.nn:reluu", "learning_rate": 1}], "did you mean 'relu'"),
        ("optimizers", [{"name": "math:cos", "learning_rate": 1}], "math:cos"),
        ("optimizers", [{"name": "sgd", "learning_rate": 1, "batch_size": 5000}], "1078"),
        ("optimizers", [{"name": "sgd", "learning_rate": 1}] * 2, "listed twice"),
        ("initializers", ["he_norml"], "did you mean 'he_normal'"),
        ("initializers", [{"name": "normal", "std": 1}], "did you mean 'stddev'"),
        ("initializers", [{"name": "normal", "stddev": -1}], "stddev.*-1"),
        ("initializers", [{"name": "zeros", "rules": {"*kernal": "ones"}}], "kernal.*no leaf"),
        ("initializers", ["zeros", "zeros"], "listed twice"),
        ("model", {"name": "mpl"}, "did you mean 'mlp'"),
        ("model", {"name": "mlp", "hidden": [0]}, "hidden"),
        ("model", {"name": "mlp", "activation": "rely"}, "did you mean 'relu'"),
        ("eval_every", 7, "must divide.*14 or 21"),
        ("target", {"metric": "val_acuracy", "at_least": 1}, "did you mean 'val_accuracy'"),
        ("target", {"metric": "val_loss", "at_least": 1}, "at_most"),
        ("tuning", {"metric": "test_accuracy"}, "val_accuracy"),
        ("probes", ["weight_norms"], "did you mean 'weight_norm'"),
        ("task", {"name": "clasification", "dataset": "digits"}, "did you mean 'classification'"),
        ("task", {"name": "classification", "dataset": "digit"}, "did you mean 'digits'"),
        ("task", {"name": "regression", "dataset": "digits"}, "regression"),
    ],
)
def test_mistakes_are_named_before_anything_runs(small_config, key, value, message):
    small_config[key] = value
    with pytest.raises(ConfigError, match=message):
        prepare(small_config)
