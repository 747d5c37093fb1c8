"""The promise of bits as a property: random small studies, run in every way that must not matter.

The number of compiled programs is bounded: structures come from a pool, all else is traced or
changes only what runs when.
"""

import dataclasses
import threading
from collections import Counter
from contextlib import closing

import jax
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from initopt_jax.engine.events import Finished, Saved
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.plan import cut_tiles
from initopt_jax.studies.preview import initial_weights, prepare
from initopt_jax.studies.training import Recorder, make_work

EXAMPLES = 20
WILD = 1e30  # no loss stays finite under such a learning rate

NETS = '''
import numpy as np
from flax import linen as nn


class Noisy(nn.Module):
    """Batch statistics and dropout: a state that changes, and draws from the noise stream."""

    outputs: int

    @nn.compact
    def __call__(self, inputs, train=False):
        hidden = nn.BatchNorm(use_running_average=not train)(nn.Dense(6)(inputs))
        hidden = nn.Dropout(0.3, deterministic=not train)(nn.relu(hidden))
        return nn.Dense(self.outputs)(hidden)


def noisy(outputs):
    return Noisy(outputs)


def blobs():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 70)
    return 2 * generator.standard_normal((3, 5))[labels] + generator.random((70, 5)), labels


def waves():
    inputs = np.random.default_rng(1).standard_normal((70, 4))
    return inputs, np.stack([np.sin(inputs[:, 0]), inputs[:, 1] * inputs[:, 2]], 1)
'''


@dataclasses.dataclass(frozen=True)
class Structure:
    """What is compiled: model, data, transform, batch, rhythm, width. Every field is static."""

    model: dict
    optimizer: dict
    classes: bool = True
    batch: int | str = 8
    width: int = 3
    segment: int = 2
    every: int = 4
    steps: int = 12


def mlp(*hidden, activation="tanh"):
    return {"name": "mlp", "hidden": list(hidden), "activation": activation}


NOISY = {"name": "nets:noisy"}
LINEAR = {"name": "linear"}
STRUCTURES = (
    Structure(mlp(5), {"name": "sgd"}),
    Structure(mlp(4, 3, activation="relu"), {"name": "adam"}, width=4),
    Structure(LINEAR, {"name": "gd"}, classes=False, batch="full", width=2, steps=8),
    Structure(NOISY, {"name": "momentum"}, width=5, segment=3, every=6),
    Structure(NOISY, {"name": "optax.lion"}, width=1, segment=1, every=3, steps=6),
    Structure(mlp(7, activation="gelu"), {"name": "optax.adamw"}, classes=False, width=2),
    Structure(mlp(3, activation="sigmoid"), {"name": "adadelta"}, classes=False, width=5),
    Structure(mlp(6, 6, activation="selu"), {"name": "rmsprop"}, segment=5, every=10, steps=20),
    Structure(LINEAR, {"name": "adagrad"}, batch=21, width=4, segment=1, every=2, steps=6),
    Structure(NOISY, {"name": "gd"}, classes=False, batch="full", segment=1, every=2, steps=6),
    Structure(mlp(2, activation="softplus"), {"name": "nesterov"}, batch=5, width=1),
    Structure(
        mlp(), {"name": "optax.sgd", "momentum": 0.9, "nesterov": True}, classes=False, width=4
    ),
)


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What a study varies without compiling anew."""

    rates: tuple[float, ...]
    stddev: float
    first_seed: int
    seeds: int


@dataclasses.dataclass(frozen=True)
class Cut:
    """An end: by a kill, after so many events, or by `stop`, after so many looks at it."""

    after: int
    kill: bool


class StopAfter(threading.Event):
    """An event that is set by being asked: workers, not this thread, decide how far they come."""

    def __init__(self, asked):
        super().__init__()
        self.left = asked

    def is_set(self):
        self.left -= 1
        return super().is_set() or self.left < 0


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """The folder of the user's own model and data; every segment may be saved."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("initopt_jax.engine.worker.SAVE_ON_STOP", 0.0)
        yield folder


def make_experiment(structure, numbers, folder, *, probes=True, often=False):
    """The experiment of a structure and numbers, in segments as short as it says."""
    config = {
        "name": "bits",
        "task": {
            "name": "classification" if structure.classes else "regression",
            "dataset": "nets:blobs" if structure.classes else "nets:waves",
            "batch_size": structure.batch,
        },
        "model": structure.model,
        "initializers": ["orthogonal", {"name": "normal", "stddev": numbers.stddev}],
        "optimizers": [structure.optimizer | {"learning_rate": list(numbers.rates)}],
        "seeds": {"all": numbers.seeds, "first": numbers.first_seed},
        "tuning": {"seeds": 0},
        "steps": structure.steps,
        "eval_every": structure.every,
        "probes": ["weight_norm"] if probes else [],
        "tile_width": structure.width,
        "checkpoint_every": 1e-9 if often else 30.0,
    }
    seen = 42 if structure.batch == "full" else structure.batch  # 60 % of 70 examples train
    with pytest.MonkeyPatch.context() as patch:
        size = 4 * structure.width * seen * structure.segment
        patch.setattr("initopt_jax.engine.plan.SEGMENT_INDEX_BYTES", size)
        experiment = prepare(config, first=[folder])
    assert experiment.programs[0].segment_steps == structure.segment
    return experiment


def train(
    experiment,
    *,
    chosen=None,
    devices=1,
    order=None,
    cuts=(),
    seen=None,
    spoil_work=lambda work: work,
    spoil_checkpoint=lambda checkpoint: checkpoint,
):
    """Records by lane, however often the run is cut and taken up.

    Args:
        chosen: lanes; by default all.
        order: a generator that shuffles the tiles.
        cuts: where runs end; a last one goes to the end.
        seen: counts what happened.
        spoil_work, spoil_checkpoint: make the engine wrong.
    """
    work = spoil_work(make_work(experiment, initial_weights(experiment)))
    recorder = Recorder(experiment)
    chosen = np.arange(len(work.lanes)) if chosen is None else chosen
    tiles = cut_tiles(experiment.programs, work.lanes, chosen)
    if order is not None:
        tiles = [tiles[place] for place in order.permutation(len(tiles))]
    seen = Counter() if seen is None else seen
    rows, saved = {}, {}

    def checkpoint_of(tile):
        if (found := saved.get(tile.index)) is None:
            return None
        between = found.step % experiment.programs[0].eval_every
        seen["taken up between evaluations" if between else "taken up at an evaluation"] += 1
        return spoil_checkpoint(found)

    for cut in (*cuts, None):
        left = [tile for tile in tiles if int(tile.lanes[0]) not in rows]
        stop = StopAfter(cut.after) if cut and not cut.kill else threading.Event()
        if cut:
            seen["killed" if cut.kill else "stopped"] += 1
        events = run_tiles(work, left, jax.devices()[:devices], stop, checkpoint_of)
        with closing(events):
            for count, event in enumerate(events):
                if isinstance(event, Saved):
                    saved[event.tile.index] = event.checkpoint
                elif isinstance(event, Finished):
                    record = recorder.complete(event.tile, event.record)
                    for slot, lane in enumerate(event.tile.lanes):
                        rows[int(lane)] = {name: value[slot] for name, value in record.items()}
                if cut and cut.kill and count >= cut.after:
                    break
    return rows


def assert_same(rows, reference):
    """Every variable of every lane, byte for byte; a probe may be off in one of the two."""
    for lane, record in rows.items():
        for name in record.keys() & reference[lane].keys():
            one, other = np.asarray(record[name]), np.asarray(reference[lane][name])
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes(), f"lane {lane}: {name}: {one} is not {other}"


numbers_of = st.builds(
    Numbers,
    rates=st.lists(st.floats(1e-3, 0.5), min_size=2, max_size=3, unique=True).map(tuple),
    stddev=st.floats(0.01, 1.0),
    first_seed=st.integers(0, 10_000),
    seeds=st.integers(1, 3),
)
cuts_of = st.lists(
    st.builds(Cut, after=st.integers(0, 12), kill=st.booleans()), min_size=1, max_size=2
)


@pytest.mark.slow
def test_a_lane_depends_on_nothing_around_it(nets):
    """Devices, order, neighbours wild or absent, probes, kills: the reference's bytes each time."""
    seen = Counter()

    @settings(max_examples=EXAMPLES, phases=[Phase.generate])  # to shrink would take minutes
    @given(
        structure=st.sampled_from(STRUCTURES),
        numbers=numbers_of,
        devices=st.integers(1, 4),
        shuffle=st.integers(0, 2**32 - 1),
        some=st.booleans(),
        probes=st.booleans(),
        wild=st.sampled_from(["nowhere", "here", "everywhere"]),
        cuts=cuts_of,
    )
    def holds(structure, numbers, devices, shuffle, some, probes, wild, cuts):
        changed = dataclasses.replace(numbers, rates=(*numbers.rates[:-1], WILD))
        if wild == "everywhere":
            numbers = changed
        reference = train(make_experiment(structure, numbers, nets))
        generator = np.random.default_rng(shuffle)
        here = changed if wild == "here" else numbers
        experiment = make_experiment(structure, here, nets, probes=probes, often=True)
        lanes = np.arange(len(reference))
        chosen = lanes[generator.random(len(lanes)) < 0.6] if some else lanes
        chosen = chosen if len(chosen) else lanes[:1]
        rows = train(
            experiment, chosen=chosen, devices=devices, order=generator, cuts=cuts, seen=seen
        )
        assert sorted(rows) == chosen.tolist()
        rates = experiment.lanes["optimizer.learning_rate"]
        seen["lanes"] += len(rows)
        seen["diverged"] += sum(bool(record["diverged"]) for record in rows.values())
        seen[f"{devices} devices"] += 1
        seen["padded"] += bool(len(chosen) % structure.width)
        seen[STRUCTURES.index(structure)] += 1
        same = [lane for lane in rows if wild != "here" or rates[lane] != WILD]
        assert_same({lane: rows[lane] for lane in same}, reference)

    holds()
    for what in (
        "taken up between evaluations",
        "killed",
        "stopped",
        "diverged",
        "4 devices",
        "padded",
    ):
        assert seen[what] > 1, f"the examples hold too few of: {what}; {seen}"
    assert sum(number in seen for number in range(len(STRUCTURES))) > len(STRUCTURES) // 2


def with_lanes(**change):
    """A work whose lane table has some columns changed."""

    def spoil(work):
        columns = {name: function(work.lanes) for name, function in change.items()}
        return dataclasses.replace(work, lanes=dataclasses.replace(work.lanes, **columns))

    return spoil


def next_rates(lanes):
    """Every hyperparameter moved to the next float32."""
    return {
        name: np.nextafter(values.astype(np.float32), np.float32(9))
        for name, values in lanes.hyperparameters.items()
    }


WRONG = {
    "other batches": {"spoil_work": with_lanes(data_seed=lambda lanes: lanes.data_seed + 1)},
    "other noise": {"spoil_work": with_lanes(noise_seed=lambda lanes: lanes.noise_seed + 1)},
    "one unit of the rate": {"spoil_work": with_lanes(hyperparameters=next_rates)},
    "losses since the evaluation lost": {
        "spoil_checkpoint": lambda kept: kept._replace(interval_loss=0 * kept.interval_loss)
    },
    "one step too far": {"spoil_checkpoint": lambda kept: kept._replace(step=kept.step + 3)},
    "a neighbour's weights": {
        "spoil_checkpoint": lambda kept: kept._replace(
            leaves=[np.roll(leaf, 1, axis=0) for leaf in kept.leaves]
        )
    },
}


@pytest.mark.parametrize("wrong", [None, *WRONG])
def test_a_wrong_engine_is_noticed(nets, wrong):
    """The comparison that the property rests on sees what each of these mistakes changes."""
    structure, numbers = STRUCTURES[3], Numbers((0.1, 0.2), 0.5, first_seed=7, seeds=2)
    reference = train(make_experiment(structure, numbers, nets))
    experiment = make_experiment(structure, numbers, nets, often=True)
    seen = Counter()
    rows = train(experiment, cuts=[Cut(1, kill=False)], seen=seen, **WRONG.get(wrong, {}))
    assert seen["taken up between evaluations"] == 1
    if wrong is None:
        assert_same(rows, reference)
    else:
        with pytest.raises(AssertionError, match=r"lane \d+: \w+"):
            assert_same(rows, reference)
