"""Probes in a study: what they are given, when they are taken, what they may not do."""

import textwrap

import numpy as np
import pytest
import zarr

import initopt_jax as iox
from initopt_jax.engine import plan
from initopt_jax.errors import ConfigError, StudyError
from initopt_jax.studies.preview import prepare
from initopt_jax.studies.verify import verify

MINE = '''
import jax
import jax.numpy as jnp


def norms(params, state, batch, key, *, power=2.0, places=2):
    """Of all weights; and the first examples of the batch."""
    total = sum(jnp.sum(jnp.abs(leaf) ** power) for leaf in jax.tree.leaves(params))
    return {"total": total, "seen": batch.inputs.reshape(-1)[:places]}


norms.dims = {"seen": ("place",)}


def slope(loss, params, batch):
    grads = jax.grad(loss)(params, batch)
    return jnp.stack([jnp.linalg.norm(leaf) for leaf in jax.tree.leaves(grads)])


slope.dims = {"slope": ("leaf",)}


def moved(params, start, optimizer, batch, loss, key, batch_size, method, hyperparameters):
    """The next step of the optimizer on this batch, and what is known of it."""
    grads = jax.grad(loss)(optimizer.params, batch)
    updates, _ = optimizer.transform.update(grads, optimizer.state, optimizer.params)
    size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(updates))
    way = sum(
        jnp.sum((a - b) ** 2)
        for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(start), strict=True)
    )
    return {
        "update_size": size,
        "way": way,
        "rate_seen": hyperparameters["learning_rate"],
        "batch_seen": jnp.float32(batch_size),
        "adam_seen": jnp.float32(method == "adam"),
        "drawn": jax.random.normal(key),
    }


def taken(params):
    return {"val_loss": jnp.zeros(())}


def wrong_size(params):
    return jnp.zeros(3)


wrong_size.dims = {"wrong_size": ("leaf",)}


def spaced(params):
    return {"two words": jnp.zeros(())}


def nothing(params):
    return {}


def texts(params):
    return {"key": jax.random.key(0)}


def stray(params):
    return jnp.zeros(())


stray.dims = {"strey": ()}


def broken(params):
    return params["no such leaf"]


def greedy(params, labels):
    return jnp.zeros(())
'''
SLOTS = {4: {1}, 8: {2}, 128: {5}}  # of programs that are evaluated five times
PROBES = [
    "weight_norm",
    {"name": "mine:norms", "power": 1.0, "places": 3, "examples": 5, "at": 2},
    {"name": "mine:slope", "at": "ends"},
    "mine:moved",
]


@pytest.fixture
def mine(working_dir):
    """A file of the user's own, in the folder where they run."""
    (working_dir / "mine.py").write_text(textwrap.dedent(MINE))
    return working_dir


@pytest.fixture
def config(small_config):
    return small_config | {"initializers": ["glorot_uniform"], "tuning": {"seeds": 0}}


def arrays(folder):
    group = zarr.open_group(folder / "results.zarr", mode="r")
    return {name: group[name][:] for name in group.array_keys()}


def test_probes_are_taken_where_asked_and_change_no_byte(config, mine):
    quiet = iox.run(config | {"probes": []}, "quiet")
    study = iox.run(config | {"probes": PROBES, "keep": "final"}, "probed")
    plain, probed = arrays(quiet.dir), arrays(study.dir)
    assert plain
    for name, values in plain.items():
        assert values.tobytes() == probed[name].tobytes(), name

    data, lanes = study.dataset.load(), study.lanes
    assert data["seen"].dims == ("lane", "eval", "place")
    assert data["slope"].dims == ("lane", "eval", "leaf")
    long = (lanes["steps"] == 20).to_numpy()
    assert np.isfinite(data["total"].to_numpy()[long]).all(axis=0).tolist() == [1, 0, 1, 0, 1]
    taken = np.isfinite(data["slope"].to_numpy()[long]).all(axis=(0, 2))
    assert taken.tolist() == [1, 0, 0, 0, 1]
    assert (data["seen"].to_numpy()[:, 0] == data["seen"].to_numpy()[0, 0]).all()

    first = data.isel(eval=0)
    assert (first["way"] == 0).all()
    assert (data["way"].isel(eval=1) > 0).all()
    rates = lanes["optimizer.learning_rate"].to_numpy(np.float32)
    assert np.array_equal(first["rate_seen"].to_numpy(), rates)
    assert np.array_equal(first["batch_seen"].to_numpy(), lanes["optimizer.batch_size"])
    assert np.array_equal(first["adam_seen"].to_numpy(), lanes["optimizer"] == "adam")
    drawn = data["drawn"].to_numpy()[long]
    assert len(np.unique(drawn)) == 5 * len(lanes["noise_seed"].unique())  # paired by seed
    cost = study.manifest["probes"]
    assert set(cost) == {"weight_norm", "mine:norms", "mine:slope", "mine:moved"}
    assert all(entry["times"] > 0 and entry["seconds"] > 0 for entry in cost.values())
    assert cost["mine:slope"]["times"] < cost["weight_norm"]["times"]


def test_no_probe_changes_a_byte(config, working_dir, full_reports):
    few = config | {"optimizers": config["optimizers"][1:2], "seeds": 1, "steps": 10}
    quiet = iox.run(few | {"probes": []}, "quiet")
    every = [name for name in iox.probes.REGISTRY if name != "point"]
    probed = iox.run(few | {"probes": every, "keep": "every"}, "probed")
    plain, found = arrays(quiet.dir), arrays(probed.dir)
    assert plain
    for name, values in plain.items():
        assert values.tobytes() == found[name].tobytes(), name
    taken = {name for probe in every for name in iox.probes.REGISTRY[probe].dims}
    for name in taken - {"sharpness_limit"}:  # Adam's belongs to the preconditioned sharpness
        assert np.isfinite(probed.dataset[name].isel(eval=-1)).any(), name
    report = (probed.dir / "report.html").read_text()
    assert 'id="weights"' in report
    assert 'id="loss"' in report


@pytest.fixture
def kept(config, mine):
    return iox.run(config | {"probes": PROBES, "keep": "every"}, "kept")


def test_kept_states_are_those_of_the_run(kept):
    last = kept.dataset["step"].notnull().sum("eval").to_numpy() - 1
    for name, options in (("mine:moved", {}), ("mine:slope", {})):
        for at in (0, 4):
            found = kept.probe(name, at=at, lanes=[0, 5, 9], **options)
            for variable, values in found.data_vars.items():
                there = kept.dataset[variable].isel(lane=[0, 5, 9])
                recorded = there.isel(eval=at if at == 0 else int(last[0])).to_numpy()
                same = last[[0, 5, 9]] == 4 if at else np.ones(3, bool)
                assert np.array_equal(values.to_numpy()[same], recorded[same]), variable
    weights = kept.params(0, at=4)
    norm = float(np.linalg.norm(weights["dense_0"]["kernel"]))
    place = kept.dataset["leaf"].to_numpy().tolist().index("dense_0/kernel")
    recorded = float(kept.dataset["weight_norm"].isel(lane=0, eval=4, leaf=place))
    assert norm == pytest.approx(recorded, rel=1e-6)
    assert "kept_state" in kept.kept
    assert not any(name.startswith("kept") for name in kept.dataset)
    assert verify(kept.dir, lanes=[0, 9]).exit_code == 0


@pytest.mark.parametrize("buffer", [4, 8, 128])  # states at once: 1, 2 or all of 4 lanes
def test_what_is_looked_at_together_stands_where_it_was_taken(
    config, working_dir, monkeypatch, buffer
):
    monkeypatch.setattr(plan, "CPU_BUFFER", buffer)
    probed = config | {"probes": ["weight_norm", "distance", "update"], "keep": "every"}
    study = iox.run(probed | {"early_stop": True}, "buffered")
    assert {program.probe_slots for program in prepare(probed).programs} == SLOTS[buffer]
    data = study.dataset.load()
    there = data["step"].notnull()
    assert len(np.unique(there.sum("eval"))) > 1, "no lane ended early"
    for place, leaf in enumerate(data["leaf"].to_numpy()):
        kept = study.kept[f"kept_params.{leaf.replace('/', '.')}"].to_numpy().astype(np.float64)
        weights = kept.reshape(*kept.shape[:2], -1)
        found = data.isel(leaf=place)
        norm = np.where(there, np.linalg.norm(weights, axis=2), np.nan)
        moved = np.where(there, np.linalg.norm(weights - weights[:, :1], axis=2), np.nan)
        np.testing.assert_allclose(found["weight_norm"], norm, rtol=1e-5)
        np.testing.assert_allclose(found["distance"], moved, rtol=1e-4, atol=1e-6)
    looked = there.to_numpy() & data["effective_rate"].notnull().any("leaf").to_numpy()
    assert (looked == there.to_numpy()).all()
    sgd = (study.lanes["optimizer"] == "sgd").to_numpy()
    rates = study.lanes["optimizer.learning_rate"].to_numpy()[sgd]
    found = data["effective_rate"].to_numpy()[sgd]
    there_too = np.isfinite(found)
    expected = np.broadcast_to(rates[:, None, None], found.shape)[there_too]
    np.testing.assert_allclose(found[there_too], expected, rtol=1e-4)
    assert study.manifest["probes"]["weight_norm"]["times"] >= 5 * 3


def test_final_states_of_lanes_that_end_early(config, mine):
    early = config | {"probes": ["mine:moved"], "keep": "final", "early_stop": True}
    study = iox.run(early | {"target": {"metric": "val_accuracy", "at_least": 0.5}}, "early")
    steps = study.dataset["step"].max("eval").to_numpy()
    assert len(np.unique(steps)) > 1, "no lane ended early"
    found = study.probe("mine:moved")
    last = study.dataset["step"].notnull().sum("eval").to_numpy() - 1
    recorded = study.dataset["way"].to_numpy()[np.arange(len(last)), last]
    assert np.array_equal(found["way"].to_numpy(), recorded)


def test_states_at_steps(config, mine):
    config = config | {"optimizers": config["optimizers"][:1], "probes": ["mine:moved"]}
    study = iox.run(config | {"keep": [0, 10]}, "steps")
    assert study.kept["kept"].to_numpy().tolist() == ["0", "10"]
    assert (study.probe("mine:moved", at=0)["way"] == 0).all()
    recorded = study.dataset["way"].isel(eval=2).to_numpy()
    assert np.array_equal(study.probe("mine:moved", at=10)["way"].to_numpy(), recorded)
    with pytest.raises(StudyError, match=r"unknown stored state '7'.*Allowed: 0, 10"):
        study.probe("mine:moved", at=7)
    with pytest.raises(StudyError, match="lane 99 does not exist"):
        study.params(99)
    with pytest.raises(ConfigError, match="did you mean 'weight_norm'"):
        study.probe("weight_norms")


def test_a_study_without_states_says_how_to_get_them(config, working_dir):
    study = iox.run(config | {"optimizers": config["optimizers"][:1]}, "none")
    with pytest.raises(StudyError, match="keep: final"):
        study.probe("weight_norm")


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (["weight_norms"], "did you mean 'weight_norm'"),
        ([{"name": "weight_norm", "power": 3}], "unknown option 'power'"),
        ([{"name": "mine:norms", "pover": 3}], "did you mean 'power'"),
        ([{"name": "weight_norm", "at": "end"}], "did you mean 'ends'"),
        ([{"name": "weight_norm", "at": 0}], "probes.0.at: must be every, ends or a number"),
        ([{"name": "weight_norm", "examples": 0}], "probes.0.examples"),
        (["mine:taken"], "gives 'val_loss', which the study has already"),
        (["mine:norms", {"name": "mine:norms"}], "each probe may be named once"),
        (["mine:wrong_size"], "has 3 along 'leaf', which has 4 in this study"),
        (["mine:spaced"], "'two words' cannot name a variable"),
        (["mine:nothing"], "gives nothing"),
        (["mine:texts"], "must give numbers"),
        (["mine:stray"], "dims name .'strey'., and it gives stray"),
        (["mine:broken"], r"probe 'mine:broken': KeyError.*mine.py"),
        (["mine:greedy"], "needs labels"),
        (["mine:absent"], "unknown name 'absent'"),
    ],
)
def test_bad_probes_are_refused_before_anything_runs(config, mine, probes, message):
    with pytest.raises(ConfigError, match=message):
        iox.run(config | {"probes": probes}, "refused")
    assert not (mine / "refused").exists()


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("finl", "keep: must be final, every or a list of steps; did you mean 'final'"),
        ([0.5], "keep: steps must be whole numbers"),
        ([5, 0], "ascending"),
        ([0, 7], "step 7 is no evaluation of optimizer 'sgd', which has one every 5 of 20 steps"),
        ([20], "step 20 is no evaluation of optimizer 'gd'"),
    ],
)
def test_bad_keeps_are_refused(config, working_dir, keep, message):
    with pytest.raises(ConfigError, match=message):
        iox.run(config | {"keep": keep}, "refused")
