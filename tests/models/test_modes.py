"""Whether it trains reaches a model by the usual flags; what is not understood is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from initopt_jax.errors import ConfigError
from initopt_jax.models import as_model, declared, require_modes
from initopt_jax.models.fit import forms_of
from initopt_jax.models.modes import refuse_flags
from initopt_jax.types import Model

SHAPE, RATE, MOMENTUM = (3,), 0.5, 0.9


def layers(inputs, drop, norm, rate=RATE):
    """Batch normalization and dropout, each in training where it is told so."""
    values = nn.BatchNorm(use_running_average=not norm, momentum=MOMENTUM, name="norm")(inputs)
    return nn.Dropout(rate, deterministic=not drop)(values)


class Deterministic(nn.Module):
    @nn.compact
    def __call__(self, inputs, deterministic=True):
        return layers(inputs, not deterministic, not deterministic)


class Required(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, is_training):
        return layers(inputs, is_training, is_training)


class Both(nn.Module):
    @nn.compact
    def __call__(self, inputs, use_running_average, training: bool = True):
        return layers(inputs, training, not use_running_average)


class Attribute(nn.Module):
    deterministic: bool = True

    @nn.compact
    def __call__(self, inputs):
        return layers(inputs, not self.deterministic, not self.deterministic)


class Merged(nn.Module):
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, inputs, deterministic=None):
        told = nn.merge_param("deterministic", self.deterministic, deterministic)
        return layers(inputs, not told, not told)


class Holder(nn.Module):
    inner: nn.Module

    @nn.compact
    def __call__(self, inputs):
        return self.inner(inputs)


class Nnx(nnx.Module):
    """With a flag of its own."""

    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(*SHAPE, momentum=MOMENTUM, rngs=rngs)
        self.drop = nnx.Dropout(RATE, rngs=rngs)
        self.is_training = False

    def __call__(self, inputs):
        values = self.norm(inputs, use_running_average=not self.is_training)
        return self.drop(values, deterministic=not self.is_training)


class NnxCalled(Nnx):
    def __call__(self, inputs, *, deterministic=True, rngs=None):
        values = self.norm(inputs, use_running_average=deterministic)
        return self.drop(values, deterministic=deterministic, rngs=rngs)


def pure(flag, key_name):
    """Two pure functions whose flag and key are called so."""
    linen = as_model(Deterministic())

    def apply(params, state, inputs, **options):
        train = options[flag] == (flag == "training")
        return linen.apply(params, state, inputs, key=options[key_name], train=train)

    names = f"{key_name}=None, {flag}={flag != 'training'}"
    space = {"apply": apply}
    given = f"{key_name}={key_name}, {flag}={flag}"
    exec(f"def named(p, s, x, *, {names}): return apply(p, s, x, {given})", space)
    return Model(linen.init, space["named"])


TOLD = {
    "deterministic": Deterministic,
    "required": Required,
    "both": Both,
    "attribute": Attribute,
    "merged": Merged,
    "merged, set": lambda: Merged(deterministic=True),
    "held": lambda: Holder(Attribute()),
    "sequential": lambda: nn.Sequential([nn.BatchNorm(momentum=MOMENTUM), nn.Dropout(RATE)]),
    "nnx attribute": lambda: Nnx(nnx.Rngs(0)),
    "nnx call": lambda: NnxCalled(nnx.Rngs(0)),
    "pure training": lambda: pure("training", "key"),
    "pure deterministic": lambda: pure("deterministic", "rng"),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_usual_flags_switch_dropout_and_statistics(name):
    made = TOLD[name]()
    model = as_model(made)
    inputs = np.random.default_rng(0).normal(3.0, 2.0, (200, *SHAPE)).astype(np.float32)
    params, state = model.init(jax.random.key(0), inputs)
    trained, moved = model.apply(params, state, inputs, key=jax.random.key(1), train=True)
    other, _ = model.apply(params, state, inputs, key=jax.random.key(2), train=True)
    evaluated, same = model.apply(params, state, inputs, train=False)
    # running mean 0 and variance 1 at first: x / sqrt(1 + 1e-5), and nothing dropped
    np.testing.assert_allclose(evaluated, inputs / np.sqrt(1 + 1e-5), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    dropped = np.asarray(trained) == 0
    # 600 draws: 5 standard errors of a half
    assert abs(dropped.mean() - RATE) < 5 * np.sqrt(RATE * (1 - RATE) / dropped.size)
    assert (dropped != (np.asarray(other) == 0)).any()
    x = inputs.astype(np.float64)
    normalized = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5) / (1 - RATE)
    np.testing.assert_allclose(trained, np.where(dropped, 0, normalized), atol=1e-4)
    means = [leaf for path, leaf in jax.tree.leaves_with_path(moved) if "mean" in str(path)]
    np.testing.assert_allclose(means[0], (1 - MOMENTUM) * x.mean(axis=0), rtol=1e-5)
    require_modes("mine", model, declared(made, {}), forms_of("mine", model, SHAPE), SHAPE)


class Attention(nn.Module):
    @nn.compact
    def __call__(self, inputs, train=False):
        layer = nn.MultiHeadDotProductAttention(1, qkv_features=2, dropout_rate=0.1)
        return layer(inputs[..., None], deterministic=True)[..., 0]


class Frozen(nn.Module):
    @nn.compact
    def __call__(self, inputs, train=False):
        return layers(inputs, train, norm=False)


class Depth(nn.Module):
    """Stochastic depth, from a stream of its own."""

    drop_path: float = 0.2
    acts: bool = True

    @nn.compact
    def __call__(self, inputs, train=False):
        branch = nn.Dense(*SHAPE)(inputs)
        if train and self.acts:
            kept = jax.random.bernoulli(self.make_rng("depth"), 1 - self.drop_path, (len(branch),))
            branch = branch * kept[:, None] / (1 - self.drop_path)
        return inputs + branch


class NnxStuck(Nnx):
    def __call__(self, inputs):
        return self.drop(self.norm(inputs), deterministic=True)


class NnxFrozen(Nnx):
    def __call__(self, inputs):
        return self.drop(self.norm(inputs, use_running_average=True))


class NnxWrong(Nnx):
    def __call__(self, inputs):
        return self.drop(self.norm(inputs), deterministic=False)


def a_pair(draws):
    def apply(params, state, inputs, *, key=None, train=False):
        if train and draws:
            inputs = inputs * jax.random.bernoulli(key, 0.5, inputs.shape)
        return inputs * params["w"][None], state

    return Model(lambda key, inputs: ({"w": jnp.ones(3)}, {}), apply)


# Module, options of the user's function, what is said.
DEAF = {
    "attention": (Attention, {}, "declares MultiHeadDotProductAttention_0.dropout_rate=0.1"),
    "statistics": (Frozen, {}, "never move, in training either: batch_stats/norm/mean"),
    "depth": (lambda: Depth(acts=False), {}, "declares Depth.drop_path=0.2"),
    "nnx": (lambda: NnxStuck(nnx.Rngs(0)), {}, "declares drop.rate=0.5"),
    "nnx statistics": (lambda: NnxFrozen(nnx.Rngs(0)), {}, "never move, in training either: norm"),
    "nnx evaluation": (lambda: NnxWrong(nnx.Rngs(0)), {}, "draws random numbers in evaluation"),
    "option": (lambda: a_pair(draws=False), {"dropout": 0.1}, "declares dropout=0.1"),
}
HEEDS = {
    "rate 0": (lambda: Depth(drop_path=0.0, acts=False), {"dropout": 0.0}),
    "own stream": (Depth, {}),
    "keeps all": (lambda: a_pair(draws=False), {"dropout_keep_prob": 1.0}),
    "option": (lambda: a_pair(draws=True), {"dropout": 0.1}),
}


def hold(made, options):
    model = as_model(made)
    require_modes("mine", model, declared(made, options), forms_of("mine", model, SHAPE), SHAPE)


@pytest.mark.parametrize("name", DEAF)
def test_what_is_declared_and_never_acts_is_refused(name):
    make, options, said = DEAF[name]
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")) as refused:
        hold(make(), options)
    assert "flags that are understood are train, training" in str(refused.value)


@pytest.mark.parametrize("name", HEEDS)
def test_what_acts_or_has_a_rate_of_zero_is_taken(name):
    make, options = HEEDS[name]
    hold(make(), options)


def test_streams_of_other_names_draw_from_the_key():
    model = as_model(Depth(drop_path=0.5))
    inputs = np.ones((64, 3), np.float32)
    params, state = model.init(jax.random.key(0), inputs)
    one, same, other = (
        np.asarray(model.apply(params, state, inputs, key=jax.random.key(k), train=True)[0])
        for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def takes(text):
    space = {"nn": nn}
    exec(f"def call(self, x, {text}):\n    return nn.Dense(3)(x)", space)
    return type("Net", (nn.Module,), {"__call__": nn.compact(space["call"])})()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("mask", "Net.__call__ needs 'mask', and a study gives it its inputs alone"),
        ("train, *, positions", "Net.__call__ needs 'positions'"),
        ("mode='train'", "Net.__call__ takes mode='train'; flags that are understood"),
        ("train='yes'", "Net.__call__ takes train='yes', which must be true or false"),
    ],
)
def test_arguments_that_are_not_understood_are_named(arguments, said):
    with pytest.raises(ConfigError) as refused:
        as_model(takes(arguments))
    assert str(refused.value).startswith(said)
    assert as_model(takes("scale=2.0, mask=None, padding='SAME'"))


def test_flags_are_no_options_of_a_config():
    with pytest.raises(ConfigError, match="model 'mine:Attribute': deterministic is set by the st"):
        refuse_flags("model 'mine:Attribute'", Attribute, {"deterministic": False})
