import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from initopt_jax.errors import ConfigError
from initopt_jax.models import as_model, from_linen
from initopt_jax.models.linear import linear
from initopt_jax.tree import named_leaves

MOMENTUM = 0.9


class Normed(nn.Module):
    """Batch normalization and dropout, switched by `train`."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, inputs, train=False):
        values = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, name="norm")(inputs)
        return nn.Dropout(self.rate, deterministic=not train)(values)


class Plain(nn.Module):
    """Takes no `train`."""

    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(2, name="out")(inputs)


@pytest.fixture
def inputs():
    return np.random.default_rng(2).normal(3.0, 2.0, size=(64, 4)).astype(np.float32)


def test_batch_statistics_are_state_and_move_only_in_training(inputs):
    model = from_linen(Normed(rate=0.0))
    params, state = model.init(jax.random.key(0), inputs)
    assert [path for path, _ in named_leaves(params)] == ["norm/bias", "norm/scale"]
    assert [path for path, _ in named_leaves(state)] == [
        "batch_stats/norm/mean",
        "batch_stats/norm/var",
    ]
    outputs, same = model.apply(params, state, inputs, train=False)
    # running mean 0 and variance 1 at first: x / sqrt(1 + 1e-5)
    np.testing.assert_allclose(outputs, inputs / np.sqrt(1 + 1e-5), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, same, state)

    outputs, moved = jax.jit(model.apply, static_argnames="train")(
        params, state, inputs, key=jax.random.key(1), train=True
    )
    x = inputs.astype(np.float64)
    normalized = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    np.testing.assert_allclose(outputs, normalized, atol=1e-5)
    statistics = moved["batch_stats"]["norm"]
    np.testing.assert_allclose(statistics["mean"], (1 - MOMENTUM) * x.mean(axis=0), rtol=1e-5)
    expected = MOMENTUM + (1 - MOMENTUM) * x.var(axis=0)
    np.testing.assert_allclose(statistics["var"], expected, rtol=1e-5)
    assert jax.tree.structure(moved) == jax.tree.structure(state)


def test_dropout_follows_its_key_and_only_in_training(inputs):
    model = from_linen(Normed(rate=0.25))
    params, state = model.init(jax.random.key(0), inputs)

    def dropped(seed, train=True):
        outputs, _ = model.apply(params, state, inputs, key=jax.random.key(seed), train=train)
        return np.asarray(outputs) == 0

    np.testing.assert_array_equal(dropped(1), dropped(1))
    assert (dropped(1) != dropped(2)).any()
    assert not dropped(1, train=False).any()
    # 256 draws: 5 standard errors of a proportion of 0.25
    assert abs(dropped(1).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 256)


def test_state_is_carried_by_scan_and_lanes(inputs):
    model = from_linen(Normed())
    keys = jax.random.split(jax.random.key(0), 3)
    params, state = jax.vmap(lambda key: model.init(key, inputs))(keys)

    def train(params, state, key):
        def step(carry, step_key):
            outputs, carry = model.apply(params, carry, inputs, key=step_key, train=True)
            return carry, jnp.mean(outputs)

        return jax.lax.scan(step, state, jax.random.split(key, 5))

    lanes, _ = jax.jit(jax.vmap(train))(params, state, keys)
    # five steps towards the batch mean: 1 - 0.9^5 of the way
    expected = (1 - MOMENTUM**5) * inputs.mean(axis=0, dtype=np.float64)
    for mean in lanes["batch_stats"]["norm"]["mean"]:
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_modules_that_take_no_train_are_not_given_it(inputs, train):
    model = from_linen(Plain())
    params, state = model.init(jax.random.key(0), inputs)
    outputs, after = model.apply(params, state, inputs, key=jax.random.key(1), train=train)
    layer = params["out"]
    np.testing.assert_allclose(
        outputs,
        inputs @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]),
        rtol=1e-5,
        atol=1e-5,
    )
    assert state == after == {}


def test_users_models_and_modules_are_taken_and_others_refused(inputs):
    model = linear(outputs=2)
    assert as_model(model) is model
    params, _ = as_model(Plain()).init(jax.random.key(0), inputs)
    assert params["out"]["kernel"].shape == (4, 2)
    with pytest.raises(ConfigError, match="mine:net must return an instance of Plain, got the cla"):
        as_model(Plain, "mine:net")
    with pytest.raises(ConfigError, match=r"a flax\.linen\.Module or a flax\.nnx\.Module, got int"):
        as_model(3)
