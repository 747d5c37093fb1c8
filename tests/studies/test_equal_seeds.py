"""Seeds differ in all that is drawn from them; where they do not, the study says so."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import initopt_jax as iox
from initopt_jax.engine import worker
from initopt_jax.errors import ConfigError, Interrupted
from initopt_jax.models import from_nnx
from initopt_jax.studies.preview import prepare
from initopt_jax.studies.verify import verify

HERE = __name__


class Features(nn.Module):
    """Random features, drawn once and never learnt."""

    outputs: int

    @nn.compact
    def __call__(self, inputs):
        shape = (inputs.shape[-1], 8)
        make = lambda: jax.random.normal(self.make_rng("params"), shape)  # noqa: E731
        return nn.Dense(self.outputs)(jnp.cos(inputs @ self.variable("fixed", "w", make).value))


class Drawn(nnx.Variable):
    """Numbers that are not learnt."""


class NnxFeatures(nnx.Module):
    def __init__(self, outputs, rngs):
        self.drawn = Drawn(rngs.params.normal((64, 8)))
        self.out = nnx.Linear(8, outputs, rngs=rngs)

    def __call__(self, inputs):
        return self.out(jnp.cos(inputs @ self.drawn.get_value()))


def nnx_instance(*, outputs):
    return NnxFeatures(outputs, nnx.Rngs(0))


def nnx_function(*, outputs):
    return from_nnx(lambda rngs: NnxFeatures(outputs, rngs))


def ignores_its_key(key, shape, dtype=jnp.float32):
    del key
    return jax.random.normal(jax.random.key(0), shape, dtype)


def draws_by_itself(learning_rate):
    def update(updates, state, params=None):
        key = jax.random.fold_in(jax.random.key(7), state)
        noise = jax.tree.map(lambda g: g + jax.random.normal(key, g.shape), updates)
        return jax.tree.map(lambda g: -learning_rate * g, noise), state + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


@pytest.fixture
def tiny(small_config):
    sgd = [{"name": "sgd", "learning_rate": 0.1}]
    return small_config | {
        "initializers": ["he_normal"],
        "optimizers": sgd,
        "target": None,
        "steps": 4,
        "eval_every": 2,
        "tile_width": 2,
    }


def first_losses(study):
    return study.dataset["val_loss"].values[:, 0]


def test_the_state_of_a_model_is_drawn_from_each_seed(tiny, study_dir):
    fixed = {"initializers": ["identity"], "keep": "final"}
    config = tiny | fixed | {"model": f"{HERE}:Features"}
    study = iox.run(config, study_dir, devices=1)
    # Weights are the same for all: what differs is the state.
    losses = first_losses(study)
    assert len(set(losses)) == len(losses) > 1
    wide = iox.run(config | {"tile_width": 3, "keep": None}, study_dir.with_name("wide"), devices=1)
    # of evaluations alone: training in another width may change last bits
    np.testing.assert_allclose(first_losses(wide), first_losses(study), rtol=1e-6)
    assert verify(study_dir, sample=1, devices=1).exit_code == 0
    with pytest.raises(ConfigError, match="state is drawn from the seed of each network"):
        iox.run(config | {"landscapes": ["slice"]}, study_dir.with_name("no"), devices=1)


@pytest.mark.parametrize(("name", "random"), [("nnx_instance", False), ("nnx_function", True)])
def test_an_nnx_instance_has_one_state_and_says_so(tiny, name, random):
    experiment = prepare(tiny | {"model": f"{HERE}:{name}"})
    one, other = (jax.tree.leaves(experiment.workload.states(seed))[0] for seed in (0, 1))
    assert (np.asarray(one) != np.asarray(other)).any() == random
    said = "the state drawn of the NNX module is that of the instance, the same for every seed"
    assert [note[: len(said)] for note in experiment.notes] == ([] if random else [said])


def test_batch_statistics_need_no_key(tiny):
    batch = prepare(tiny | {"model": "tests.conformance.broken_models:Counted"})
    assert jax.tree.leaves(batch.workload.model_state)
    assert not batch.workload.states.random


def test_what_sees_the_whole_network_sees_the_state_of_its_seed(tiny):
    experiment = prepare(tiny | {"model": f"{HERE}:Features"})
    few = experiment.workload.network.inputs[:3]
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), experiment.workload.params)
    for seed in (3, 4):
        expected, _ = experiment.workload.model.apply(params, experiment.workload.states(seed), few)
        found = experiment.workload.network_of(seed).apply(params, few)
        np.testing.assert_array_equal(found, expected)


def test_equal_seeds_are_told(tiny, study_dir):
    full = [{"name": "gd", "learning_rate": 0.1}]
    both = tiny | {"initializers": [f"{HERE}:ignores_its_key", "zeros"], "optimizers": full}
    own = [*full, {"name": f"{HERE}:draws_by_itself", "learning_rate": 0.1}]
    study = iox.run(both | {"optimizers": own}, study_dir, devices=1)
    by_itself, inert, curves = study.notes
    assert by_itself.startswith(f"optimizer '{HERE}:draws_by_itself' draws random numbers from a k")
    assert inert == (
        f"initializer '{HERE}:ignores_its_key' gives dense_0/kernel, dense_1/kernel the same "
        "weights for every seed: it does not use its key"
    )
    # Of the full batch, and of constants, nothing is drawn; the other has its order of batches.
    assert curves.startswith(
        f"different seeds have the same curves, bit for bit: {HERE}:ignores_its_key with gd, zeros "
        "with gd; "
    )
    assert study.manifest["seed_notes"] == study.notes
    assert ("about the seeds", curves) in study.info.manifest


def test_starts_that_a_symmetry_makes_alike_are_not_equal_seeds(study_dir):
    symmetric = {
        "name": "symmetric",
        "task": {"name": "test_function", "function": {"name": "ravine", "condition": 1.0}},
        "initializers": ["grid"],
        "optimizers": [{"name": "gd", "learning_rate": 0.1}],
        "seeds": 4,
        "steps": 2,
        "tuning": {"seeds": 0},
    }
    study = iox.run(symmetric, study_dir, devices=1)
    assert len(np.unique(study.dataset["val_loss"].to_numpy(), axis=0)) == 1
    assert study.notes == []


def test_seeds_that_differ_are_not_spoken_of(tiny, study_dir):
    assert (
        iox.run(tiny | {"initializers": ["zeros", "orthogonal"]}, study_dir, devices=1).notes == []
    )


def test_noise_of_optax_is_that_of_the_seed_and_can_be_stored_and_taken_up(
    tiny, study_dir, monkeypatch
):
    monkeypatch.setattr(worker, "SAVE_ON_STOP", 0.0)
    noisy = [{"name": "optax.noisy_sgd", "learning_rate": [0.1, 0.2]}]
    probes = [{"name": "update", "at": "every"}]
    # The same zeros, and the full batch: only noise tells seeds apart.
    same = {"initializers": ["zeros"], "task": tiny["task"] | {"batch_size": "full"}}
    config = tiny | same | {"optimizers": noisy, "keep": "every", "probes": probes}
    whole = iox.run(config, study_dir, devices=1)
    assert whole.notes == []
    stop = threading.Event()
    again = study_dir.with_name("again")
    with pytest.raises(Interrupted):
        iox.run(config, again, devices=1, stop=stop, progress=lambda counts: stop.set())
    resumed = iox.run(config, again, devices=1)
    for name in whole.kept.data_vars:
        np.testing.assert_array_equal(whole.kept[name], resumed.kept[name])
    np.testing.assert_array_equal(whole.dataset["val_loss"], resumed.dataset["val_loss"])
    with pytest.raises(ConfigError, match="key comes from the seed of each lane; leave it out"):
        prepare(config | {"optimizers": [noisy[0] | {"static": {"key": 3}}]})
