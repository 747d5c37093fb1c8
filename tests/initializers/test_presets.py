"""The frameworks' own layers have the distribution of their presets."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from initopt_jax.audits import audit_leaf, audit_params
from initopt_jax.config.entries import InitializerConfig
from initopt_jax.initializers import (
    REGISTRY,
    default_rules,
    flax_default,
    initialize,
    torch_default_bias,
)
from initopt_jax.networks.fans import fans
from initopt_jax.planning.sweep import expand_initializers

# A layer of each kind: inputs 400, units 250; a 3x3 convolution from 4 to 8 channels.
DENSE, CONVOLUTION = (400, 250), (3, 3, 4, 8)


def same_distribution(theirs, name, shape):
    """Their weights keep our distribution, and both samples come from one distribution."""
    theirs, entry = np.asarray(theirs), REGISTRY[name]
    assert theirs.shape == shape
    result = audit_leaf("kernel", "*", theirs, entry.distribution(shape), fans(shape))
    assert (result.verdict, result.reason) == ("ok", "")
    ours = np.asarray(entry.draw(jax.random.key(0), shape))
    assert stats.ks_2samp(ours.ravel(), theirs.ravel()).pvalue > 1e-6


@pytest.mark.parametrize(
    ("layer", "inputs", "shape"),
    [
        (nn.Dense(250), jnp.ones((1, 400)), DENSE),
        (nn.Conv(8, (3, 3)), jnp.ones((1, 5, 5, 4)), CONVOLUTION),
    ],
)
def test_flax(layer, inputs, shape):
    params = layer.init(jax.random.key(1), inputs)["params"]
    same_distribution(params["kernel"], "flax_default", shape)
    np.testing.assert_array_equal(params["bias"], 0)
    # From one key even the weights are the same, but for rounding.
    theirs = nn.linear.default_kernel_init(jax.random.key(2), shape)
    ours = flax_default(jax.random.key(2), shape)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    dense, convolution = torch.nn.Linear(400, 250), torch.nn.Conv2d(4, 8, 3)
    same_distribution(dense.weight.detach().numpy().T, "torch_default", DENSE)
    kernel = convolution.weight.detach().numpy().transpose(2, 3, 1, 0)
    same_distribution(kernel, "torch_default", CONVOLUTION)
    for bias, fan_in in [(dense.bias, 400), (convolution.bias, 36)]:
        value = bias.detach().numpy()
        distribution = torch_default_bias.distribution(value.shape, fan_in=fan_in)
        assert audit_leaf("bias", "*", value, distribution, (1, 1)).verdict == "ok"


def test_keras():
    keras = pytest.importorskip("keras")
    dense = keras.layers.Dense(250)
    dense.build((None, 400))
    same_distribution(np.asarray(dense.kernel), "keras_default", DENSE)
    convolution = keras.layers.Conv2D(8, 3)
    convolution.build((None, 5, 5, 4))
    same_distribution(np.asarray(convolution.kernel), "keras_default", CONVOLUTION)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flax_default", stats.truncnorm(-2, 2, scale=0.05 / stats.truncnorm(-2, 2).std())),
        ("torch_default", stats.uniform(-0.05, 0.1)),
        ("keras_default", stats.uniform(-math.sqrt(6 / 650), 2 * math.sqrt(6 / 650))),
    ],
)
def test_documented_distributions(name, expected):
    weights = np.asarray(REGISTRY[name].draw(jax.random.key(3), DENSE), np.float64).ravel()
    assert stats.kstest(weights, expected.cdf).pvalue > 1e-6
    distribution = REGISTRY[name].distribution(DENSE)
    assert distribution.std == pytest.approx(expected.std())
    assert distribution.high == pytest.approx(expected.support()[1])


def test_torch_bias_in_rules_and_configs():
    """Without a fan-in it is refused; with one the audit knows its distribution."""
    name = "initopt_jax.initializers:torch_default_bias"
    with pytest.raises(ValueError, match="needs fan_in"):
        expand_initializers([InitializerConfig(name="torch_default", bias={"name": name})])
    given = {"name": name, "fan_in": 400}
    (cell,) = expand_initializers([InitializerConfig(name="torch_default", bias=given)])
    shapes = {"kernel": jax.ShapeDtypeStruct(DENSE, "float32"),
              "bias": jax.ShapeDtypeStruct((250,), "float32")}  # fmt: skip
    params = initialize(jax.random.key(4), shapes, cell.rules)
    assert 0.045 < float(jnp.abs(params["bias"]).max()) <= 0.05
    audits = audit_params(params, cell.rules, distributions=cell.distributions)
    assert [(audit.verdict, audit.distribution) for audit in audits] == [("ok", "uniform")] * 2
    with pytest.raises(ValueError, match="fan_in must be a finite number above 0"):
        torch_default_bias(jax.random.key(0), (3,), fan_in=0)


def test_a_preset_is_not_the_others():
    rules = default_rules("torch_default")
    shapes = {"kernel": jax.ShapeDtypeStruct(DENSE, "float32")}
    params = initialize(jax.random.key(5), shapes, rules)
    for other in ("flax_default", "keras_default", "lecun_uniform"):
        assert audit_params(params, default_rules(other))[0].verdict == "fails"
