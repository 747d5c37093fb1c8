"""Biases against their formulas, in one leaf for all gates and in Flax's own cells."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from initopt_jax.audits import audit_params, check
from initopt_jax.initializers import REGISTRY, chrono, forget_gate, initialize, prior_log_odds


@pytest.mark.parametrize("prior", [1e-6, 0.01, 0.5, 0.51, 0.999])
def test_sigmoid_of_the_bias_is_the_prior(prior):
    bias = np.asarray(prior_log_odds(jax.random.key(0), (3,), prior=prior), np.float64)
    np.testing.assert_allclose(bias, -math.log((1 - prior) / prior), rtol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), prior, rtol=1e-5)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_certain_priors_are_refused(prior):
    with pytest.raises(ValueError, match="prior must be above 0 and below 1"):
        prior_log_odds(jax.random.key(0), (3,), prior=prior)


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        ("f", [2, 2, 2, 2, 2, 2, 2, 2]),
        ("ifgo", [0, 0, 2, 2, 0, 0, 0, 0]),
        ("igfo", [0, 0, 0, 0, 2, 2, 0, 0]),  # the order of TensorFlow 1
    ],
)
def test_forget_gate(gates, expected):
    bias = forget_gate(jax.random.key(0), (8,), value=2.0, gates=gates)
    np.testing.assert_array_equal(bias, expected)


@pytest.mark.parametrize("t_max", [3.0, 100.0])
def test_chrono_is_the_logarithm_of_a_uniform(t_max):
    """Tallec and Ollivier (2018), eq. 16."""
    bias = np.asarray(chrono(jax.random.key(1), (8000,), t_max=t_max, gates="ifgo"), np.float64)
    b_i, b_f, b_g, b_o = bias.reshape(4, 2000)
    np.testing.assert_array_equal(b_i, -b_f)
    np.testing.assert_array_equal([b_g, b_o], 0)
    assert stats.kstest(np.exp(b_f), stats.uniform(1, t_max - 2).cdf).pvalue > 1e-6
    assert b_f.max() <= math.log(t_max - 1) + 1e-6


def test_one_key_gives_opposite_gates():
    key = jax.random.key(2)
    np.testing.assert_array_equal(chrono(key, (5,), gates="i"), -chrono(key, (5,)))


@pytest.mark.parametrize("name", ["chrono", "forget_gate"])
@pytest.mark.parametrize("gates", ["", "ff", "go", "ffgo"])
def test_gates_that_make_no_sense(name, gates):
    for call in [lambda: REGISTRY[name].draw(jax.random.key(0), (8,), gates=gates),
                 lambda: REGISTRY[name].distribution((8,), gates=gates)]:  # fmt: skip
        with pytest.raises(ValueError, match="gates must name each gate"):
            call()


@pytest.mark.parametrize("shape", [(), (10,)])
def test_leaf_must_hold_all_gates(shape):
    for name in ("chrono", "forget_gate"):
        with pytest.raises(ValueError, match="must be a multiple of the 4 gates 'ifgo'"):
            REGISTRY[name].draw(jax.random.key(0), shape, gates="ifgo")


@pytest.mark.parametrize("t_max", [2.0, 1.0])
def test_too_short_a_memory_is_refused(t_max):
    with pytest.raises(ValueError, match="t_max must be a finite number above 2"):
        chrono(jax.random.key(0), (3,), t_max=t_max)


def miss(name, bias, **options):
    rules = {"bias": lambda key, shape, dtype: bias}
    distributions = {"bias": lambda shape: REGISTRY[name].distribution(shape, **options)}
    return audit_params({"bias": bias}, rules, distributions=distributions)[0].reason


@pytest.mark.parametrize("gates", ["f", "i", "ifgo", "fo"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_audit_passes_all_arrangements(gates, dtype):
    for name in ("chrono", "forget_gate"):
        if name == "forget_gate" and gates == "i":
            continue
        bias = REGISTRY[name].draw(jax.random.key(3), (2000,), dtype, gates=gates)
        assert miss(name, bias, gates=gates) == ""


def test_audit_refuses_another_arrangement():
    key = jax.random.key(4)
    assert "differ" in miss("forget_gate", forget_gate(key, (8,), gates="igfo"), gates="ifgo")
    good = chrono(key, (2000,), gates="ifgo")
    assert "must be 0" in miss("chrono", chrono(key, (2000,), gates="igfo"), gates="ifgo")
    assert "b_i must be -b_f" in miss("chrono", good.at[0].add(0.5), gates="ifgo")
    assert miss("chrono", good, gates="ifgo", t_max=60.0) != ""
    assert miss("chrono", jnp.zeros(2000)) != ""
    assert miss("prior_log_odds", prior_log_odds(key, (4,)), prior=0.02) != ""


def shapes_of(cell):
    inputs = jnp.ones((2, 5))
    carry = jax.eval_shape(lambda: cell.initialize_carry(jax.random.key(0), inputs.shape))
    return jax.eval_shape(cell.init, jax.random.key(0), carry, inputs)["params"]


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.OptimizedLSTMCell])
def test_rules_find_the_gates_of_flax_lstm(cell):
    def input_gate(key, shape, dtype):
        return chrono(key, shape, dtype, t_max=20.0, gates="i")

    rules = {"hf/bias": "chrono", "hi/bias": input_gate, "*bias": "zeros", "*": "lecun_normal"}
    params = initialize(jax.random.key(5), shapes_of(cell(7)), rules)
    assert float(params["hf"]["bias"].min()) > 0
    assert float(params["hi"]["bias"].max()) < 0
    np.testing.assert_array_equal(params["hg"]["bias"], 0)
    check(audit_params(params, rules))


@pytest.mark.parametrize(("cell", "leaf"), [(nn.GRUCell, "iz"), (nn.MGUCell, "if")])
def test_which_gate_keeps_the_state(cell, leaf):
    inputs = jnp.ones((2, 5))
    carry = jnp.full((2, 7), 0.5)
    params = cell(7).init(jax.random.key(6), carry, inputs)["params"]
    for bias, kept in [(10.0, True), (-10.0, False)]:
        params[leaf]["bias"] = jnp.full(7, bias)
        state, _ = cell(7).apply({"params": params}, carry, inputs)
        assert bool(jnp.abs(state - carry).max() < 0.01) == kept
