"""A training split that stays on the host: the bits of one on the device, in bounded memory."""

import threading
from contextlib import closing

import jax
import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.data import SplitSpec, as_dataset
from initopt_jax.engine import programs, streaming
from initopt_jax.engine.events import Compiled, Finished, Saved
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.streaming import BUFFERS, Streamed, piece_lengths
from initopt_jax.errors import ConfigError, OutOfMemory, StudyError
from initopt_jax.initializers import OnHost
from initopt_jax.studies.preview import all_tiles, initial_weights, plan, prepare
from initopt_jax.studies.training import make_work
from initopt_jax.studies.verify import verify
from initopt_jax.types import Dataset, Split

STEP = 2 * 32 * 260 + 32 * 4 * 6  # two seeds, 32 examples of 65 numbers, six lanes' batches
LIMIT = f"{BUFFERS * 3 * STEP / 1024 + 1:.0f}KiB"  # three steps to a chunk


@pytest.fixture
def config(small_config):
    """Tiles of six lanes with two data seeds each; segments of 7 steps: chunks of 3, 2 and 2."""
    return small_config | {
        "task": small_config["task"] | {"split": {"val": 0.05, "test": 0.05}},
        "initializers": ["glorot_uniform", {"name": "normal", "stddev": 0.1}],
        "optimizers": [{"name": "adam", "learning_rate": [0.01, 0.1]}],
        "tuning": {"seeds": 1},
        "steps": 21,
        "eval_every": 7,
        "eval_train": 100,
        "target": None,
        "tile_width": 6,
    }


def train(config, *, devices=2, stop=None, checkpoints=None):
    """Records by lane, the other events, and how tiles were fed."""
    experiment = prepare(config)
    work = make_work(experiment, initial_weights(experiment))
    tiles, used = all_tiles(experiment), jax.devices()[:devices]
    stop, found = stop or threading.Event(), checkpoints or (lambda tile: None)
    rows, others = {}, []
    for event in run_tiles(work, tiles, used, stop, found):
        if isinstance(event, Finished):
            for slot, lane in enumerate(event.tile.lanes):
                rows[int(lane)] = {name: value[slot] for name, value in event.record.items()}
        else:
            others.append(event)
    return rows, others


def assert_same(rows, reference):
    assert rows.keys() == reference.keys()
    for lane, record in rows.items():
        for name, value in record.items():
            other = np.asarray(reference[lane][name])
            assert np.asarray(value).tobytes() == other.tobytes(), f"lane {lane}: {name}"


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]


def wait_for_readers():
    for thread in readers():
        thread.join(10)
    assert not readers()


@pytest.mark.parametrize("steps", [1, 7, 12, 97])
@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_pieces_make_up_a_segment(steps, most):
    lengths = piece_lengths(steps, most)
    assert sum(lengths) == steps
    assert max(lengths) <= most
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) <= 2 * -(-steps // most)


def new_arrays(others):
    """Arrays on devices beside `others`, which earlier tests may have left."""
    known = set(map(id, others))
    return [array for array in jax.live_arrays() if id(array) not in known]


def test_streamed_bits_are_those_of_the_split_on_the_device(config, monkeypatch):
    """On one device and two; at most two chunks, and nothing longer, are alive on the device."""
    reference, _ = train(config)
    shapes, alive, others = [], [], jax.live_arrays()
    placed = streaming._DataChunks.__next__

    def spied(self):
        chunk = placed(self)
        shapes.append(chunk.batches.shape)
        sizes = [array.shape for array in new_arrays(others) if array.shape[1:] == (64,)]
        alive.append(sizes.count(chunk.data.inputs.shape))
        assert max(size[0] for size in sizes) <= 3 * 2 * 32
        return chunk

    monkeypatch.setattr(streaming._DataChunks, "__next__", spied)
    again, events = train(config | {"device_data": LIMIT}, devices=1)
    assert_same(again, reference)
    assert shapes[:3] == [(3, 6, 32), (2, 6, 32), (2, 6, 32)]
    assert max(alive) <= BUFFERS
    assert len([event for event in events if isinstance(event, Compiled)]) == 1
    monkeypatch.undo()
    assert_same(train(config | {"device_data": LIMIT})[0], reference)
    wait_for_readers()


def test_initializers_fetch_batches_and_draw_the_same_weights(config, monkeypatch):
    """Two devices at once, each with a batch and never the whole split."""
    config |= {"initializers": ["data_dependent"], "audit": False}
    reference = initial_weights(prepare(config))
    streamed = initial_weights(prepare(config | {"device_data": LIMIT}))
    drawn, fetched, alive, others = {}, [], set(), jax.live_arrays()
    fetch = OnHost._fetched

    def spied(self, rows):
        fetched.append(rows.shape)
        alive.update(len(array) for array in new_arrays(others) if array.shape[1:] == (64,))
        return fetch(self, rows)

    monkeypatch.setattr(OnHost, "_fetched", spied)

    def draw(seed, device):
        drawn[seed] = streamed(0, seed, device)

    used = jax.devices()[:2]  # of accelerators there may be one
    threads = [threading.Thread(target=draw, args=item) for item in enumerate(used)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(drawn) == list(range(len(used)))
    for seed, params in drawn.items():
        jax.tree.map(np.testing.assert_array_equal, params, reference(0, seed))
    assert set(fetched) == {(256,)}
    assert all(length <= 256 for length in alive)


def test_stopped_in_mid_interval_it_goes_on_streamed_or_not(config, monkeypatch):
    monkeypatch.setattr("initopt_jax.engine.worker.SAVE_ON_STOP", 0.0)
    config |= {"eval_every": 21, "device_data": LIMIT}
    monkeypatch.setattr("initopt_jax.engine.plan.SEGMENT_INDEX_BYTES", 4 * 6 * 32 * 7)
    reference, _ = train(config | {"device_data": "2GiB"})

    class StopAfter(threading.Event):
        """Set by being asked a few times: in the middle of a tile."""

        asked = 0

        def is_set(self):
            self.asked += 1
            return super().is_set() or self.asked > 2

    first, events = train(config, devices=1, stop=StopAfter())
    saved = {event.tile.index: event.checkpoint for event in events if isinstance(event, Saved)}
    assert [checkpoint.step for checkpoint in saved.values()] == [14]
    assert len(first) < len(reference)
    for limit in (LIMIT, "2GiB"):
        again, _ = train(
            config | {"device_data": limit}, checkpoints=lambda tile: saved.get(tile.index)
        )
        assert_same(again, reference)


def test_streamed_study_is_recorded_verified_and_resumed_elsewhere(config, study_dir):
    config |= {"initializers": ["glorot_uniform"], "device_data": LIMIT}
    assert plan(config).streamed
    assert plan(config).bytes < plan(config, ["device_data=2GiB"]).bytes
    study = iox.run(config, study_dir, devices=min(2, len(jax.devices())))
    assert study.manifest["streamed"] is True
    assert study.manifest["config"]["device_data"] == LIMIT
    assert verify(study_dir, lanes=[0, 3, 5]).exit_code == 0  # tiles of other seeds than in the run
    again = iox.run(config | {"device_data": "1GiB"}, study_dir)
    assert again.dataset.identical(study.dataset)


def test_what_cannot_be_streamed_is_refused_with_sizes(config):
    config |= {"initializers": ["glorot_uniform"], "device_data": LIMIT}
    prepare(config)
    full = config | {"optimizers": [{"name": "gd", "learning_rate": 0.5}]}
    with pytest.raises(ConfigError, match=r"'gd, full batch' takes the whole .* takes 41\d.*KiB"):
        prepare(full)
    prepare(full | {"device_data": "1MiB"})
    with pytest.raises(ConfigError, match=r"two batches of 32 examples for 3 data seeds"):
        prepare(config | {"device_data": "30KiB"})
    with pytest.raises(ConfigError, match=r"what is measured .*eval_train 1,000: .*, val: 2"):
        prepare(config | {"eval_train": 1000})
    for wrong in ("lots", "0KiB", "2GB", 5):
        with pytest.raises(ConfigError, match="device_data: "):
            prepare(config | {"device_data": wrong})


def test_failing_reader_is_told_in_one_line_and_ends(config, monkeypatch):
    def broken(self, program, seeds, first, steps):
        raise OSError("the disk is gone")

    monkeypatch.setattr("initopt_jax.engine.streaming.Streamed.read", broken)
    with pytest.raises(StudyError, match="steps 0 to 2 cannot be read: OSError: the disk") as told:
        train(config | {"device_data": LIMIT})
    assert "\n" not in str(told.value)
    wait_for_readers()


def test_consumer_that_gives_up_leaves_no_reader(config):
    experiment = prepare(config | {"device_data": LIMIT})
    work = make_work(experiment, initial_weights(experiment))
    with closing(run_tiles(work, all_tiles(experiment), jax.devices(), threading.Event())) as seen:
        next(seen)
    wait_for_readers()


def test_memory_of_both_buffers_is_counted(config, monkeypatch):
    """A limit that one buffer would fit in, and two do not."""
    config |= {"device_data": LIMIT}
    needs = []

    def noted(compiled):
        needs.append(measured(compiled))
        return needs[-1]

    measured = programs.memory_needed
    monkeypatch.setattr(programs, "memory_needed", noted)
    monkeypatch.setattr(programs, "memory_limit", lambda device, sharing: needs[-1] + 3 * STEP - 1)
    with pytest.raises(OutOfMemory, match="a tile of 6 lanes"):
        train(config, devices=1)
    monkeypatch.setattr(programs, "memory_limit", lambda device, sharing: needs[-1] + 3 * STEP)
    train(config, devices=1)


def test_a_mapped_training_split_is_never_read_into_memory(tmp_path):
    """What a user's function maps is what is streamed, checked and limited, but not copied."""
    draws = np.random.default_rng(0)
    np.save(tmp_path / "inputs.npy", draws.normal(size=(40, 3)).astype(np.float32))
    mapped = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    labels = np.arange(40, dtype=np.int32) % 2
    few = Split(np.array(mapped[:10]), labels[:10])
    train = Split(mapped, labels)
    given = Dataset("mine", "classification", train, few, few, 2, "", shuffled=True)
    for limit in (None, 30):
        made = as_dataset("mine:map", given, kind="classification", split=SplitSpec(), limit=limit)
        assert np.shares_memory(made.train.inputs, mapped)
        assert len(made.train.inputs) == (limit or 40)
        held = Streamed(made.train, None, {}, 2**10, jax.devices()[0])._train
        assert np.shares_memory(held.inputs, mapped)
