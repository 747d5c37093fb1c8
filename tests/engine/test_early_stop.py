"""Lanes that end before their last step: the steps that ran keep their bits."""

import threading

import jax
import numpy as np
import pytest

from initopt_jax.engine.events import Finished, Progress, Saved
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.plan import cut_tiles
from initopt_jax.studies.preview import all_tiles, initial_weights, prepare
from initopt_jax.studies.training import Recorder, make_work


@pytest.fixture
def config(small_config):
    """Lanes that reach the target at different times, never, at once; and some that diverge."""
    return small_config | {
        "model": {"name": "mlp", "hidden": [8], "activation": "identity"},
        "optimizers": [
            {"name": "sgd", "learning_rate": [1e-4, 0.1, 1.0]},
            {"name": "sgd", "label": "wild", "learning_rate": [1e20, 1e25]},
            {"name": "adam", "learning_rate": [0.03, 0.1]},
        ],
        "target": {"metric": "val_accuracy", "at_least": 0.7},
        "steps": 40,
        "early_stop": True,
    }


def train(config, chosen=None, devices=2, stop=None, checkpoints=lambda tile: None):
    experiment = prepare(config)
    work, recorder = make_work(experiment, initial_weights(experiment)), Recorder(experiment)
    tiles = all_tiles(experiment)
    if chosen is not None:
        tiles = cut_tiles(experiment.programs, work.lanes, np.asarray(chosen))
    rows, events = {}, []
    stop = stop or threading.Event()
    for event in run_tiles(work, tiles, jax.devices()[:devices], stop, checkpoints):
        events.append(event)
        if isinstance(event, Finished):
            record = recorder.complete(event.tile, event.record)
            for slot, lane in enumerate(event.tile.lanes):
                rows[int(lane)] = {name: value[slot] for name, value in record.items()}
    return experiment, rows, events


@pytest.fixture(scope="module")
def known():
    """What was run once, for tests that only read it."""
    return {}


@pytest.fixture
def early(config, known):
    if "early" not in known:
        known["early"] = train(config)
    return known["early"]


def same(one, other):
    return one.keys() == other.keys() and all(
        np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes() for name in one
    )


def test_steps_that_ran_keep_their_bits(config, early):
    _, full, _ = train(config | {"early_stop": False})
    _, rows, _ = early
    ended_early = 0
    for lane, record in rows.items():
        ran = np.isfinite(record["step"])
        ended_early += not ran.all()
        for name, value in record.items():
            if np.ndim(value) and name not in ("step", "examples_seen"):
                assert value[ran].tobytes() == full[lane][name][ran].tobytes(), (lane, name)
                assert np.isnan(value[~ran]).all(), (lane, name)
        assert same({"a": record["steps_to_target"]}, {"a": full[lane]["steps_to_target"]})
    assert 0 < ended_early < len(rows)


def test_lane_ends_where_it_diverged_or_reached_the_target(early):
    experiment, rows, _ = early
    ends = set()
    for lane, record in rows.items():
        last = int(np.isfinite(record["step"]).sum()) - 1
        good = record["val_accuracy"][: last + 1] >= 0.7
        wild = experiment.lanes.loc[lane, "optimizer"] == "wild"
        assert record["diverged"] == wild
        assert not good[:-1].any(), "it went on behind the target"
        if wild:
            ends.add("diverged")
            assert last == 1
            assert record["diverged_step"] < 5
        elif good[-1]:
            ends.add("target")
            assert record["steps_to_target"] == record["step"][last]
        else:
            ends.add("steps")
            assert last == 40 // 5
    assert ends == {"diverged", "target", "steps"}


def test_test_metrics_are_those_of_the_end(config, early):
    """A lane that ended at step s tests like one that was never to go further than s."""
    _, rows, _ = early
    ends = {lane: int(np.nanmax(record["step"])) for lane, record in rows.items()}
    checked = 0
    for end in sorted(set(ends.values()) - {0, 40}):
        _, short, _ = train(config | {"early_stop": False, "steps": end})
        for lane, record in rows.items():
            if ends[lane] == end:
                checked += 1
                for name in ("test_loss", "test_accuracy"):
                    assert record[name].tobytes() == short[lane][name].tobytes()
    assert checked > 3


def test_record_does_not_depend_on_the_neighbours(config, early):
    """A tile goes on for its slowest lane; nothing of that shows in the others."""
    _, rows, _ = early
    for chosen in (sorted(rows)[::3], sorted(rows)[1::5]):
        _, again, _ = train(config, chosen=chosen, devices=1)
        for lane, record in again.items():
            assert same(record, rows[lane]), f"lane {lane}"


def test_tile_ends_with_its_last_lane(config, early):
    experiment, rows, events = early
    lane_steps = sum(event.lane_steps for event in events if isinstance(event, Progress))
    skipped = sum(event.skipped for event in events if isinstance(event, Finished))
    assert lane_steps + skipped == len(rows) * 40
    by_hand = 0
    for tile in all_tiles(experiment):
        slowest = max(np.nanmax(rows[int(lane)]["step"]) for lane in tile.lanes)
        by_hand += (40 - slowest) * len(tile.lanes)
    assert skipped == by_hand > 0


def test_lanes_that_ended_stay_ended_over_a_checkpoint(config, early, monkeypatch):
    monkeypatch.setattr("initopt_jax.engine.worker.SAVE_ON_STOP", 0.0)
    _, rows, _ = early

    class StopAfter(threading.Event):
        asked = 0

        def is_set(self):
            self.asked += 1
            return super().is_set() or self.asked > 6

    _, first, events = train(config, devices=1, stop=StopAfter())
    saved = {event.tile.index: event.checkpoint for event in events if isinstance(event, Saved)}
    assert saved
    assert len(first) < len(rows)
    assert any((checkpoint.record["last_eval"] >= 0).any() for checkpoint in saved.values())
    _, again, _ = train(config, checkpoints=lambda tile: saved.get(tile.index))
    for lane, record in again.items():
        assert same(record, rows[lane]), f"lane {lane}"


def test_without_a_target_only_diverged_lanes_end(config):
    _, rows, _ = train(config | {"target": None})
    for record in rows.values():
        assert np.isfinite(record["step"]).all() != record["diverged"]
