"""What a study costs before it runs, what is told of it, and how long it still takes."""

import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.cli import show
from initopt_jax.engine.plan import Tile
from initopt_jax.errors import ConfigError
from initopt_jax.studies import preview
from initopt_jax.studies.forecast import REACHED, Forecast, duration
from initopt_jax.studies.manifest import study_info
from initopt_jax.studies.preview import all_tiles, prepare
from initopt_jax.studies.run import run
from initopt_jax.studies.training import StudyProgress
from initopt_jax.types import Model


def smoothed(*, outputs):
    """A linear model whose kernel passes through a Fourier transform."""

    def init(key, inputs):
        return {"mix": jnp.zeros((inputs.shape[-1], outputs))}, {}

    def apply(params, state, inputs, *, key=None, train=False):
        return inputs @ jnp.real(jnp.fft.fft(params["mix"], axis=0)), state

    return Model(init, apply)


def test_shares_by_hand(small_config):
    """Examples evaluated times forward, against steps times batch times forward and backward."""
    experiment = prepare(small_config)
    forecast, tiles = Forecast(experiment), all_tiles(experiment)
    train, val, test = forecast.measured
    data = experiment.workload.dataset
    assert (train, val, test) == tuple(len(s.inputs) for s in (data.train, data.val, data.test))
    products = 2 * (64 * 8 + 8 * 10)
    assert products < forecast.example < 1.2 * products
    training, evaluation = forecast.operations(tiles)
    stochastic = 24 * (5 * (train + val) + test)  # 24 lanes at steps 0, 5, 10, 15, 20
    full = 4 * (5 * (train + val) + test)  # 4 of gd at steps 0 to 4
    assert evaluation == pytest.approx((stochastic + full) * forecast.example)
    steps = {program.index: forecast.step(program.index).count for program in experiment.programs}
    by_hand = sum(len(tile.lanes) * tile.steps * steps[tile.program] for tile in tiles)
    assert training == by_hand
    assert sum(forecast.seconds(tile, 1e15) for tile in tiles) >= 5e-5 * sum(t.steps for t in tiles)


def test_evaluation_that_costs_more_than_training_is_told(small_config):
    small_config |= {"optimizers": [{"name": "sgd", "learning_rate": 0.1}], "eval_every": 2}
    (note,) = preview.plan(small_config, devices=1).notes
    assert "% of the operations (1,078 training and 359 validation examples" in note
    assert "eval_every above 2 steps, or eval_train below 1,078 examples would lower it" in note
    small_config |= {"eval_train": 64, "eval_every": 20}
    assert preview.plan(small_config, devices=1).notes == ()


def test_leaves_of_unknown_use_are_told_and_recorded(small_config, study_dir):
    small_config |= {
        "model": {"name": f"{__name__}:smoothed"},
        "initializers": [{"name": "normal", "stddev": 0.1}],
        "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
        "steps": 5,
    }
    said = set()
    study = run(
        small_config, study_dir, devices=1, progress=lambda so_far: said.update(so_far.notes)
    )
    (note,) = study.manifest["network_notes"]
    assert note.startswith("how the network uses leaf 'mix' (64, 10) is unknown (its numbers pass")
    assert note in said
    assert note in study.notes
    assert ("about the network", note) in study_info(study.manifest).manifest
    assert prepare(small_config | {"model": {"name": "mlp", "hidden": [8]}}).network_notes == []
    fourier = small_config | {"initializers": ["he_normal"]}
    with pytest.raises(ConfigError, match=r"leaf 'mix'.*layout: .i o.\}\}.*stddev: 0.02"):
        prepare(fourier)


def test_a_plan_says_operations_time_and_what_the_time_rests_on(small_config, capsys):
    small_config["optimizers"][2] = {"name": "shampoo", "learning_rate": 0.1}
    planned = preview.plan(small_config, devices=2)
    show.plan(planned)
    text = " ".join(capsys.readouterr().out.split())
    share = planned.evaluation / (planned.training + planned.evaluation)
    assert f"{share:.0%} of them for evaluation" in text
    assert "loops whose length depends on numbers are counted as one round" in text
    assert f"roughly {duration(planned.seconds)}: a guess" in text
    assert f"{REACHED:.0%} of the" in text


def test_a_study_records_and_shows_what_evaluation_took(small_config, study_dir):
    small_config["optimizers"] = small_config["optimizers"][:1]
    said = []
    study = run(
        small_config, study_dir, devices=1, progress=lambda so_far: said.append(so_far.notes)
    )
    counted = study.manifest["operations"]
    assert min(counted["evaluation"], counted["training"]) > 0
    (program,) = study.manifest["programs"]
    assert program["evaluation_seconds"] > 0
    assert 0 < program["timed_seconds"] < program["run_seconds"]
    rows = dict(study_info(study.manifest).manifest)
    share = counted["evaluation"] / sum(counted.values())
    assert rows["evaluation"].startswith(f"{share:.0%} of the operations; about ")
    assert said[0] == said[-1]


def tile(number, lanes, steps=10):
    return Tile(number, 0, steps, np.arange(lanes))


def tally_of(*tiles, weights):
    lane_steps = sum(len(t.lanes) * t.steps for t in tiles)
    lanes = sum(len(t.lanes) for t in tiles)
    return StudyProgress(lanes, lane_steps, 0, 0, 0, weights=dict(enumerate(weights)))


def test_time_left_goes_by_work_and_not_by_steps_or_compilation():
    """The second tile has nine times the work of the first, in as many steps."""
    cheap, dear = tile(0, 4), tile(1, 4)
    counts = tally_of(cheap, dear, weights=[10.0, 90.0])
    assert counts.seconds_left(500.0) is None
    counts.advance(cheap, 20, now=500.0)  # after minutes of compilation: the clock starts here
    assert counts.seconds_left(501.0) is None
    counts.advance(cheap, 20, now=502.0)
    counts.end(cheap, skipped=0)
    assert counts.seconds_left(502.0) == pytest.approx(90 * 2 / 5)  # 5 of work in 2 s
    counts.advance(dear, 20, now=520.0)
    assert counts.seconds_left(520.0) == pytest.approx(45 * 20 / 50)
    counts.end(dear, skipped=20)  # early stop
    assert counts.seconds_left(521.0) == 0
    assert (counts.lane_steps, counts.lane_steps_done) == (60, 60)


def test_a_tile_taken_up_from_its_checkpoint_is_no_speed():
    whole, rest = tile(0, 2), tile(1, 2)
    counts = tally_of(whole, rest, weights=[1.0, 1.0])
    counts.advance(whole, 4, now=0.0)  # 12 of its 20 lane-steps were done before
    counts.advance(whole, 4, now=1.0)
    counts.end(whole, skipped=0)
    assert counts.seconds_left(1.0) == pytest.approx(1.0 / 0.2)
    assert (counts.lane_steps_done, counts.resumed_steps) == (20, 12)
