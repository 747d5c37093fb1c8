"""Lanes on tiles: right numbers, the same bits whatever runs beside them, nothing lost."""

import json
import threading

import jax
import numpy as np
import optax
import pytest

from initopt_jax.engine.batches import batch_indices
from initopt_jax.engine.events import Compiled, Finished, Saved
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.plan import cut_tiles
from initopt_jax.keys import stream_key
from initopt_jax.studies.preview import all_tiles, initial_weights, prepare
from initopt_jax.studies.training import Recorder, make_work


def train(config, *, chosen=None, devices=2, order=1, stop=None, checkpoints=None):
    """Records by lane, and the other events, of a config's lanes."""
    experiment = prepare(config)
    work, recorder = make_work(experiment, initial_weights(experiment)), Recorder(experiment)
    tiles = all_tiles(experiment)
    if chosen is not None:
        tiles = cut_tiles(experiment.programs, work.lanes, np.asarray(chosen))
    rows, others = {}, []
    stop = stop or threading.Event()
    events = run_tiles(
        work, tiles[::order], jax.devices()[:devices], stop, checkpoints or (lambda tile: None)
    )
    for event in events:
        if isinstance(event, Finished):
            record = recorder.complete(event.tile, event.record)
            for slot, lane in enumerate(event.tile.lanes):
                rows[int(lane)] = {name: value[slot] for name, value in record.items()}
        else:
            others.append(event)
    return experiment, rows, others


@pytest.fixture(scope="module")
def undisturbed():
    """`train(small_config)` of each config, run once: (experiment, records by lane)."""
    known = {}

    def get(config):
        text = json.dumps(config, sort_keys=True)
        if text not in known:
            known[text] = train(config)[:2]
        return known[text]

    return get


def same(one, other):
    return one.keys() == other.keys() and all(
        np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes() for name in one
    )


@pytest.mark.parametrize("width", [4, 1])  # a tile of one lane has no lane axis
def test_lane_equals_a_plain_optax_loop(small_config, undisturbed, width):
    """The engine against the loop that anyone would write, in float32."""
    experiment, rows = undisturbed(small_config | {"tile_width": width})
    lanes = experiment.lanes
    lane = int(lanes.query("optimizer == 'adam' and role == 'report'").index[1])
    row = lanes.loc[lane]
    weights = experiment.initializer_cells[row["initializer_cell"]]
    params = initial_weights(experiment)(row["initializer_cell"], int(row["init_seed"]))
    assert weights.label == row["initializer"]
    data = experiment.workload.dataset
    transform = optax.adam(row["optimizer.learning_rate"])
    state = transform.init(params)

    def cost(params, inputs, targets):
        outputs, _ = experiment.workload.model.apply(params, {}, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    gradient = jax.jit(jax.grad(cost))
    for batch in batch_indices(int(row["data_seed"]), 0, 20, len(data.train.inputs), 32):
        grads = gradient(params, data.train.inputs[batch], data.train.targets[batch])
        updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    for split, name in ((data.train, "train_loss"), (data.val, "val_loss")):
        np.testing.assert_allclose(rows[lane][name][-1], cost(params, *split), rtol=2e-4)
    np.testing.assert_allclose(rows[lane]["test_loss"], cost(params, *data.test), rtol=2e-4)


def test_full_batch_descent_sees_every_example(small_config, undisturbed):
    experiment, rows = undisturbed(small_config)
    lane = int(experiment.lanes.query("optimizer == 'gd'").index[0])
    params = initial_weights(experiment)(0, 0)
    data = experiment.workload.dataset

    def cost(params):
        outputs, _ = experiment.workload.model.apply(params, {}, data.train.inputs)
        return experiment.workload.task.loss(outputs, data.train.targets).mean()

    losses = []
    for _ in range(5):
        loss, grads = jax.jit(jax.value_and_grad(cost))(params)
        losses.append(float(loss))
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    np.testing.assert_allclose(rows[lane]["train_loss"], losses, rtol=2e-5)
    np.testing.assert_allclose(rows[lane]["examples_seen"], np.arange(5) * 1078)


def test_comparisons_are_paired(small_config, undisturbed):
    """One seed: the same first weights under every optimizer, the same first loss to the bit."""
    experiment, rows = undisturbed(small_config)
    lanes = experiment.lanes
    for _, group in lanes.groupby(["initializer", "init_seed"]):
        first = {rows[lane]["val_loss"][0].tobytes() for lane in group.index}
        # gd has one setting, so nothing of it is tuned.
        assert len(group) == (4 if set(group["role"]) == {"tuning"} else 5)
        assert len(first) == 1


@pytest.mark.parametrize("change", ["one device", "other order", "few lanes", "other tiles"])
def test_bits_depend_on_nothing_around_a_lane(small_config, undisturbed, change):
    _, rows = undisturbed(small_config)
    if change == "one device":
        _, again, _ = train(small_config, devices=1)
    elif change == "other order":
        _, again, _ = train(small_config, order=-1)
    elif change == "few lanes":
        _, again, _ = train(small_config, chosen=[1, 7, 20])
        assert sorted(again) == [1, 7, 20]
    else:
        _, again, _ = train(small_config, chosen=sorted(rows)[::2])
    assert again
    for lane, record in again.items():
        assert same(record, rows[lane]), f"lane {lane}"


def test_probes_change_no_bits(small_config, undisturbed):
    _, rows = undisturbed(small_config)
    _, without, _ = train({**small_config, "probes": []})
    for lane, record in without.items():
        with_probe = {name: value for name, value in rows[lane].items() if name != "weight_norm"}
        assert same(record, with_probe)


def test_one_compilation_per_program_and_device(small_config):
    small_config["optimizers"][1]["learning_rate"] = [0.001, 0.01, 0.1, 0.3]
    small_config["optimizers"][1]["b1"] = [0.5, 0.9]
    experiment, _, events = train(small_config)
    compiled = [(e.program, e.device) for e in events if isinstance(e, Compiled)]
    assert len(set(compiled)) == len(compiled)
    assert {program for program, _ in compiled} == {0, 1, 2}
    assert len(experiment.programs) == 3


def test_diverged_lanes_are_counted_and_touch_no_neighbour(small_config):
    small_config["optimizers"] = [{"name": "sgd", "learning_rate": [0.01, 0.02]}]
    small_config["model"]["activation"] = "identity"
    small_config["task"] = {"name": "regression", "dataset": "diabetes", "batch_size": 32}
    small_config["target"] = None
    _, calm, _ = train(small_config)
    small_config["optimizers"][0]["learning_rate"] = [0.01, 1e20]
    experiment, rows, _ = train(small_config)
    assert not any(record["diverged"] for record in calm.values())
    wild = experiment.lanes["optimizer.learning_rate"] > 1
    assert wild.any()
    for lane, record in rows.items():
        if wild[lane]:
            assert record["diverged"]
            assert 0 < record["diverged_step"] < 20
            assert not np.isfinite(record["val_loss"][-1])
        else:
            assert not record["diverged"]
            assert np.isnan(record["diverged_step"])
            assert same(record, calm[lane])


def test_stopped_tile_goes_on_from_its_checkpoint(small_config, monkeypatch):
    """Stopped in mid-interval: the checkpoint, taken up, leads to the same bits."""
    monkeypatch.setattr("initopt_jax.engine.worker.SAVE_ON_STOP", 0.0)
    monkeypatch.setattr("initopt_jax.engine.plan.SEGMENT_INDEX_BYTES", 4 * 4 * 32 * 1)
    _, rows, _ = train(small_config)

    class StopAfter(threading.Event):
        """Set by being asked a few times: in the middle of a tile."""

        asked = 0

        def is_set(self):
            self.asked += 1
            return super().is_set() or self.asked > 14

    _, first, events = train(small_config, devices=1, stop=StopAfter())
    saved = {event.tile.index: event.checkpoint for event in events if isinstance(event, Saved)}
    assert len(saved) == 1
    assert len(first) < len(rows)
    (checkpoint,) = saved.values()
    assert checkpoint.step % 5 != 0, "the stop should fall between two evaluations"
    _, again, _ = train(small_config, checkpoints=lambda tile: saved.get(tile.index))
    assert again.keys() == rows.keys()
    for lane, record in again.items():
        assert same(record, rows[lane]), f"lane {lane}"


def test_targets_are_counted_in_steps_examples_and_work(small_config, undisturbed):
    experiment, rows = undisturbed(small_config)
    reached = 0
    for lane, record in rows.items():
        good = record["val_accuracy"] >= 0.8
        if not good.any():
            assert np.isnan(record["steps_to_target"])
            continue
        reached += 1
        at = int(np.argmax(good))
        batch = experiment.lanes.loc[lane, "optimizer.batch_size"]
        assert record["steps_to_target"] == record["step"][at]
        assert record["examples_to_target"] == record["step"][at] * batch
        assert record["flops_to_target"] == record["step"][at] * record["flops_per_step"]
    assert 0 < reached < len(rows)


def test_flops_of_a_step_are_those_of_its_matrix_products(small_config, undisturbed):
    """Forward and two backward products of each layer but the first layer's input gradient."""
    experiment, rows = undisturbed(small_config)
    lane = int(experiment.lanes.query("optimizer == 'sgd'").index[0])
    products = 2 * 32 * (64 * 8 * 2 + 8 * 10 * 3)
    assert products < rows[lane]["flops_per_step"] < 1.5 * products


def test_failing_worker_stops_all_and_raises(small_config):
    experiment = prepare(small_config)
    work = make_work(experiment, initial_weights(experiment))

    def broken(tile):
        raise RuntimeError("no such disk")

    with pytest.raises(RuntimeError, match="no such disk"):
        list(run_tiles(work, all_tiles(experiment), jax.devices(), threading.Event(), broken))
    assert not [t for t in threading.enumerate() if t.name.startswith("lanes on")]


def test_consumer_that_gives_up_leaves_no_thread(small_config):
    experiment = prepare(small_config)
    work = make_work(experiment, initial_weights(experiment))
    events = run_tiles(work, all_tiles(experiment), jax.devices(), threading.Event())
    next(events)
    events.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("lanes on")]


def test_streams_are_independent():
    keys = {bytes(jax.random.key_data(stream_key(0, name))) for name in ("init", "data", "noise")}
    assert len(keys) == 3
