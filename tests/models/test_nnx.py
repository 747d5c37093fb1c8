"""NNX modules as models: their weights, their own variables and their random streams."""

import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import initopt_jax as iox
from initopt_jax.errors import ConfigError
from initopt_jax.models import as_model, from_nnx
from initopt_jax.studies.verify import verify
from initopt_jax.tree import named_leaves

MINE = textwrap.dedent(
    """
    import jax.numpy as jnp
    from flax import nnx


    class Passes(nnx.Variable):
        pass


    class Net(nnx.Module):
        def __init__(self, features, outputs, *, rngs, rate=0.5, width=8):
            self.layers = nnx.List(
                [nnx.Linear(features, width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)]
            )
            self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
            self.drops = nnx.List([nnx.Dropout(rate, rngs=rngs) for _ in range(2)])
            self.head = nnx.Linear(width, outputs, rngs=rngs)
            self.passes = Passes(jnp.zeros(()))

        def __call__(self, inputs):
            self.passes.set_value(self.passes.get_value() + 1)
            for layer, drop in zip(self.layers, self.drops):
                inputs = drop(nnx.relu(layer(inputs)))
            return self.head(self.norm(inputs))


    def net(*, outputs, width=8):
        return Net(64, outputs, rngs=nnx.Rngs(0), rate=0.2, width=width)
    """
)
OWN = {}
exec(compile(MINE, "mine.py", "exec"), OWN)  # the very text that the study imports
Net = OWN["Net"]


class Told(nnx.Module):
    """Takes `train` itself."""

    def __init__(self, *, rngs):
        self.layer = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, inputs, train=False):
        return self.layer(inputs) * (2.0 if train else 1.0)


@pytest.fixture
def inputs():
    return np.random.default_rng(2).normal(3.0, 2.0, size=(64, 4)).astype(np.float32)


def test_weights_and_other_variables_are_trees_of_their_own(inputs):
    model = from_nnx(lambda rngs: Net(4, 3, rngs=rngs))
    params, state = model.init(jax.random.key(0), inputs)
    assert [path for path, _ in named_leaves(params)] == [
        "head/bias",
        "head/kernel",
        "layers/0/bias",
        "layers/0/kernel",
        "layers/1/bias",
        "layers/1/kernel",
        "norm/bias",
        "norm/scale",
    ]
    assert [path for path, _ in named_leaves(state)] == ["norm/mean", "norm/var", "passes"]
    again, _ = model.init(jax.random.key(0), inputs)
    other, _ = model.init(jax.random.key(1), inputs)
    np.testing.assert_array_equal(again["head"]["kernel"], params["head"]["kernel"])
    assert (other["head"]["kernel"] != params["head"]["kernel"]).any()
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0), inputs)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)


def test_state_moves_only_in_training_as_the_module_itself_moves_it(inputs):
    module = Net(4, 3, rngs=nnx.Rngs(0), rate=0.0)
    model = from_nnx(module)
    params, state = model.init(jax.random.key(5), inputs)
    np.testing.assert_array_equal(params["head"]["kernel"], module.head.kernel.get_value())

    outputs, same = model.apply(params, state, inputs)
    assert same is state
    trained, moved = model.apply(params, state, inputs, key=jax.random.key(1), train=True)
    assert float(module.passes.get_value()) == 0.0  # the user's object is left alone
    np.testing.assert_array_equal(module.norm.mean.get_value(), state["norm"]["mean"])
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    assert float(moved["passes"]) == 1.0

    module.train()
    np.testing.assert_allclose(trained, module(inputs), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved["norm"]["mean"], module.norm.mean.get_value(), rtol=1e-5)
    np.testing.assert_allclose(moved["norm"]["var"], module.norm.var.get_value(), rtol=1e-5)
    assert (np.asarray(outputs) != np.asarray(trained)).any()


def test_dropout_follows_its_key_and_rests_in_evaluation(inputs):
    model = from_nnx(nnx.Dropout(0.25, rngs=nnx.Rngs(0)))
    params, state = model.init(jax.random.key(0), inputs)
    assert (params, state) == ({}, {})

    def dropped(seed, train=True):
        key = None if seed is None else jax.random.key(seed)
        return np.asarray(model.apply(params, state, inputs, key=key, train=train)[0]) == 0

    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert (dropped(1) != dropped(2)).any()
    assert not dropped(1, train=False).any()
    assert not dropped(None, train=False).any()
    # 256 draws: 5 standard errors of a proportion of 0.25
    assert abs(dropped(1).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 256)
    with pytest.raises(ConfigError, match="Dropout has random streams: training it needs a key"):
        dropped(None)


def test_two_dropouts_do_not_drop_the_same_units(inputs):
    class Twice(nnx.Module):
        def __init__(self, *, rngs):
            self.drops = nnx.List([nnx.Dropout(0.5, rngs=rngs) for _ in range(2)])

        def __call__(self, inputs):
            return jnp.concatenate([drop(inputs) for drop in self.drops], axis=-1)

    model = as_model(Twice(rngs=nnx.Rngs(0)))
    outputs, _ = model.apply({}, {}, inputs, key=jax.random.key(0), train=True)
    left, right = np.split(np.asarray(outputs) == 0, 2, axis=-1)
    # both drop a unit by chance in a fourth of 256 places: 5 standard errors
    assert abs((left & right).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 256)


def test_modules_that_take_train_are_given_it(inputs):
    model = as_model(Told(rngs=nnx.Rngs(0)))
    params, state = model.init(jax.random.key(0), inputs)
    quiet, _ = model.apply(params, state, inputs)
    loud, _ = model.apply(params, state, inputs, train=True)
    np.testing.assert_allclose(loud, 2 * np.asarray(quiet), rtol=1e-6)


def test_what_is_no_module_is_refused():
    with pytest.raises(ConfigError, match="mine:net must return an instance of Told, got the clas"):
        as_model(Told, "mine:net")
    for wrong in (3, Told):
        with pytest.raises(ConfigError, match=r"takes an instance of nnx\.Module, or a function"):
            from_nnx(wrong)
    with pytest.raises(ConfigError, match=r"must make an nnx\.Module, got dict"):
        from_nnx(lambda rngs: {"rngs": rngs})


def test_a_study_trains_it_and_comes_out_the_same_again(working_dir):
    (working_dir / "mine.py").write_text(MINE)
    study = iox.run(
        {
            "name": "nnx",
            "task": {"name": "classification", "dataset": "digits", "batch_size": 32},
            "model": {"name": "mine:net", "width": 16},
            "initializers": ["he_normal"],
            "optimizers": [{"name": "momentum", "learning_rate": 0.1}],
            "seeds": 2,
            "steps": 60,
            "eval_every": 30,
            "tile_width": 2,
        },
        "study",
        devices=1,
    )
    accuracy = study.dataset["val_accuracy"]
    assert bool(study.dataset["val_loss"].notnull().all())
    # chance is a tenth; the largest class has less than an eighth of the pictures
    assert float(accuracy.isel(eval=-1).min()) > 0.5
    result = verify("study", sample=2, devices=1)
    assert (len(result.lanes), result.exit_code) == (2, 0)
