"""Learning rates that belong to a start, in a study: muP, the spectral condition, NTK."""

import jax
import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.errors import ConfigError
from initopt_jax.initializers.model_level import mup_multipliers
from initopt_jax.studies.preview import prepare
from initopt_jax.studies.verify import verify


@pytest.fixture
def config(small_config):
    return small_config | {
        "model": {"name": "mlp", "hidden": [32, 32]},
        "initializers": [{"name": "mup", "base_width": 8}],
        "seeds": 2,
        "tuning": {"seeds": 0},
    }


def optimizer(name="adam", per_leaf="mup", **keys):
    return {"name": name, "learning_rate": 0.01, "per_leaf": per_leaf, **keys}


def one_update(experiment, program=0):
    """What a program makes of gradients of 1, by path."""
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), experiment.workload.params)
    program = experiment.programs[program]
    rows = experiment.lanes[experiment.lanes["program"] == program.index]
    numbers = {name: rows[f"optimizer.{name}"].iloc[0] for name in program.hyperparameters}
    transform = program.make_transform(numbers)
    updates, _ = transform.update(params, transform.init(params), params)
    leaves = jax.tree_util.tree_leaves_with_path(updates)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def test_rates_are_those_of_the_parametrization(config):
    given = {"name": "mup", "base_width": 8}
    experiment = prepare(config | {"optimizers": [optimizer("sgd", given), optimizer("sgd", None)]})
    network = experiment.workload.network
    expected = mup_multipliers(network.anatomy, experiment.workload.params, 8, kind="sgd")
    scaled, plain = one_update(experiment, 0), one_update(experiment, 1)
    assert len(set(expected.values())) > 1
    for path, rate in expected.items():
        np.testing.assert_allclose(scaled[path], rate * plain[path], rtol=1e-6)


def test_kind_follows_the_optimizer(config):
    given = {"name": "mup", "base_width": 8}
    rates = {}
    for name in ("sgd", "momentum", "adam", "rmsprop"):
        experiment = prepare(config | {"optimizers": [optimizer(name, given)]})
        update = one_update(experiment)
        rates[name] = float(update["dense_1/kernel"].ravel()[0] / update["dense_1/bias"][0])
    assert rates["sgd"] == pytest.approx(rates["momentum"])
    assert rates["adam"] == pytest.approx(rates["rmsprop"])
    assert rates["sgd"] == pytest.approx(rates["adam"])  # hidden against bias: 1 : 4, 1/4 : 1


def test_a_study_with_rates_per_leaf_is_remade(working_dir, config):
    optimizers = [optimizer("adam", "spectral"), optimizer("sgd", "ntk"), optimizer("adam", None)]
    study = iox.run(config | {"optimizers": optimizers}, out=working_dir / "study", devices=1)
    assert set(study.lanes["optimizer"]) == {"adam(per_leaf=spectral)", "sgd(per_leaf=ntk)", "adam"}
    losses = study.dataset["train_loss"].isel(eval=-1)
    by_optimizer = losses.groupby(study.lanes["optimizer"].to_xarray()).mean()
    assert len(set(np.asarray(by_optimizer).tolist())) == 3
    assert verify(working_dir / "study").exit_code == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (optimizer(per_leaf="mupp"), "mup"),
        (optimizer(per_leaf={"name": "mup", "base": 3}), "base_width"),
        (optimizer(per_leaf={"name": "mup", "base_width": -3}), "must be a finite number above 0"),
        (optimizer(per_leaf={"name": "mup", "kind": "lion"}), "kind"),
        (optimizer("optax.lion"), "needs kind: sgd where updates are linear"),
    ],
)
def test_what_does_not_fit_is_refused(config, given, message):
    with pytest.raises(ConfigError, match=message):
        prepare(config | {"optimizers": [given]})


def test_optax_optimizers_say_their_kind(config):
    given = optimizer("optax.lion", {"name": "mup", "kind": "adam"})
    assert prepare(config | {"optimizers": [given]}).programs
