"""The audit never cries wolf on healthy leaves, and sees each way in which weights go wrong."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from initopt_jax import audits, initializers
from initopt_jax.audits import AuditError, audit_leaf, audit_params, distributions
from initopt_jax.initializers import REGISTRY, default_rules, initialize
from initopt_jax.types import DistributionSpec

STD = 0.1
TRUNCATED = REGISTRY["truncated_normal"].distribution((1,), stddev=STD)
UNIFORM = REGISTRY["uniform"].distribution((1,), scale=STD * math.sqrt(3))
NORMAL = DistributionSpec("normal", std=STD)


def sample(distribution, shape, rng):
    """Draws from a distribution by NumPy and SciPy."""
    if distribution.kind == "normal":
        return rng.normal(0, distribution.std, shape)
    if distribution.kind == "uniform":
        return rng.uniform(distribution.low, distribution.high, shape)
    if distribution.kind == "truncated_normal":
        scale = distribution.std / stats.truncnorm(-2, 2).std()
        return stats.truncnorm.rvs(-2, 2, scale=scale, size=shape, random_state=rng)
    return distribution.gain * stats.ortho_group.rvs(shape[0], random_state=rng)[:, : shape[1]]


def verdict(weights, distribution, dtype=np.float32):
    weights = np.asarray(weights)
    return audit_leaf("w", "*", weights.astype(dtype), distribution, (1, 1)).verdict


@pytest.mark.parametrize(
    "distribution", [NORMAL, UNIFORM, TRUNCATED], ids=lambda distribution: distribution.kind
)
def test_no_false_alarm_on_healthy_leaves(distribution):
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 5, 10, 64, 1000):
        for weights in sample(distribution, (100, n), rng):
            assert verdict(weights, distribution) == "ok"


@pytest.mark.parametrize(
    "distribution", [NORMAL, UNIFORM, TRUNCATED], ids=lambda distribution: distribution.kind
)
def test_each_test_alarms_as_often_as_it_says(distribution, monkeypatch):
    """At level 0.01 the five tests alarm on at least 0.1 % and at most 5 % of healthy leaves.

    2,000 leaves: five standard errors of a rate of 5 % are 2.4 points. The lower limit, half of one
    test's level less, shows that tolerances are not idly wide.
    """
    monkeypatch.setattr(distributions, "ALARM", 0.01)
    monkeypatch.setattr(distributions, "Z", stats.norm.isf(0.005))
    for n in (1, 30, 300):
        leaves = sample(distribution, (2000, n), np.random.default_rng(n))
        alarms = np.mean([verdict(weights, distribution) == "fails" for weights in leaves])
        assert 0.001 <= alarms <= 0.05 + 0.024


@pytest.mark.parametrize("name", REGISTRY)
def test_registered_initializers_pass(name):
    """Single weights, and rounded ones; `keeps_its_distribution` holds the usual leaves."""
    entry = REGISTRY[name]
    smallest = (1, 2) if name == "looks_linear" else (1, 1)  # its units come in pairs
    cases = [
        (smallest, jnp.float32),
        *((s, jnp.bfloat16) for s in (smallest, (64, 10), (400, 250))),
    ]
    for shape, dtype in cases:
        weights = np.asarray(entry.draw(jax.random.key(1), shape, dtype))
        result = audit_leaf("w", "*", weights, entry.distribution(shape), initializers.fans(shape))
        assert (result.verdict, result.reason) == ("ok", "")


@pytest.mark.parametrize("shape", [(784, 300), (512, 512)])
def test_large_orthogonal_leaf_passes(shape):
    weights = np.asarray(initializers.orthogonal(jax.random.key(2), shape, gain=2.0))
    assert verdict(weights, REGISTRY["orthogonal"].distribution(shape, gain=2.0)) == "ok"


@pytest.mark.parametrize(
    "distribution", [NORMAL, UNIFORM, TRUNCATED], ids=lambda distribution: distribution.kind
)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w * math.sqrt(2),
        lambda w: w / math.sqrt(2),
        lambda w: w + 0.5 * STD,
        np.abs,
        lambda w: 0 * w,
        lambda w: np.where(np.arange(len(w)) == 3, np.nan, w),
        lambda w: np.where(np.arange(len(w)) == 3, np.inf, w),
        lambda w: np.where(np.arange(len(w)) == 3, 12 * STD, w),
        lambda w: STD * np.sign(w),
    ],
    ids=["wide", "narrow", "shifted", "one-sided", "zeros", "nan", "inf", "outlier", "signs"],
)
def test_defects_are_caught(distribution, spoil):
    for seed in range(20):
        weights = sample(distribution, 640, np.random.default_rng(seed))
        result = audit_leaf("w", "*", spoil(weights).astype(np.float32), distribution, (64, 10))
        assert result.verdict == "fails"
        assert result.reason


@pytest.mark.parametrize(
    ("asked", "drawn", "n"),
    [
        (NORMAL, TRUNCATED, 1_000),  # no tails
        (TRUNCATED, NORMAL, 1_000),  # beyond the bounds
        (UNIFORM, NORMAL, 1_000),
        (NORMAL, UNIFORM, 1_000),
        (TRUNCATED, UNIFORM, 20_000),  # narrower support, seen by the shape alone
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_right_variance_in_the_wrong_shape_is_caught(asked, drawn, n):
    for seed in range(20):
        assert verdict(sample(drawn, n, np.random.default_rng(seed)), asked) == "fails"


def test_shape_is_seen_where_range_and_moments_agree():
    """95 % uniform and 5 % wide normal weights, scaled: mean, variance and reach of a normal."""
    rng = np.random.default_rng(0)
    weights = np.where(
        rng.random(20_000) < 0.05,
        rng.normal(0, 1.5, 20_000),
        rng.uniform(-(3**0.5), 3**0.5, 20_000),
    )
    weights *= STD / weights.std()
    assert "not normal" in audit_leaf("w", "*", weights, NORMAL, (1, 1)).reason


def test_zeros_are_caught_in_the_smallest_leaf():
    assert verdict(np.zeros(1), NORMAL) == "fails"
    assert verdict(np.array([STD]), NORMAL) == "ok"


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (25, 25)])
def test_orthogonal_defects(shape):
    distribution = REGISTRY["orthogonal"].distribution(shape, gain=2.0)
    tall = sample(distribution, (max(shape), min(shape)), np.random.default_rng(1))
    good = tall if shape[0] >= shape[1] else tall.T
    assert verdict(good, distribution) == "ok"
    assert verdict(good, distribution, jnp.bfloat16) == "ok"
    assert verdict(good * 1.001, distribution) == "fails"
    assert (
        verdict(np.random.default_rng(2).normal(0, distribution.std, shape), distribution)
        == "fails"
    )
    assert verdict(0 * good, distribution) == "fails"


def test_identity_is_not_a_random_rotation():
    assert verdict(np.eye(64), REGISTRY["orthogonal"].distribution((64, 64))) == "fails"


def test_constants_are_exact_up_to_the_dtype():
    distribution = REGISTRY["constant"].distribution((3,), value=0.1)
    assert verdict(np.full(3, 0.1), distribution) == "ok"
    assert verdict(np.full(3, 0.1), distribution, jnp.bfloat16) == "ok"
    assert verdict(np.full(3, 0.1 + 1e-6), distribution) == "fails"
    assert verdict(np.zeros(3), REGISTRY["zeros"].distribution((3,))) == "ok"
    assert verdict(np.full(3, 1e-30), REGISTRY["zeros"].distribution((3,))) == "fails"


def test_no_distribution():
    weights = np.random.default_rng(0).normal(size=5)
    result = audit_leaf("w", "*", weights, None, (5, 5))
    assert (result.verdict, result.distribution, result.asked_std) == (
        "no distribution",
        None,
        None,
    )
    assert verdict([1.0, math.nan], None) == "fails"


def test_empty_leaf():
    result = audit_leaf("w", "*", np.zeros((0, 3), np.float32), NORMAL, (0, 3))
    assert (result.verdict, result.mean, result.std) == ("ok", None, None)


def test_impossible_truncated_law_is_refused():
    distribution = DistributionSpec("truncated_normal", std=1.0, low=-1.0, high=1.0)
    with pytest.raises(ValueError, match="std of a truncated normal must be below"):
        audit_leaf("w", "*", np.array([1.0, -1.0]), distribution, (2, 2))


def test_far_truncation_is_a_normal():
    distribution = dataclasses.replace(NORMAL, kind="truncated_normal")  # without bounds
    assert verdict(sample(NORMAL, 5_000, np.random.default_rng(0)), distribution) == "ok"


class Mlp(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.LayerNorm()(nn.Dense(300)(x)))
        return nn.Dense(10)(x)


@pytest.fixture(scope="module")
def flax_params():
    return jax.jit(Mlp().init)(jax.random.key(0), jnp.zeros((1, 64)))["params"]


def test_healthy_network(flax_params):
    rules = default_rules("he_normal")
    leaves = audit_params(initialize(jax.random.key(1), flax_params, rules), rules)
    assert [leaf.verdict for leaf in leaves] == ["ok"] * 6
    kernel = next(leaf for leaf in leaves if leaf.path == "Dense_0/kernel")
    assert (kernel.initializer, kernel.pattern, kernel.distribution) == ("he_normal", "*", "normal")
    assert (kernel.shape, kernel.fan_in, kernel.fan_out) == ((64, 300), 64, 300)
    assert kernel.asked_std == pytest.approx(math.sqrt(2 / 64))
    assert kernel.std == pytest.approx(kernel.asked_std, rel=0.05)
    audits.check(leaves)


def test_initializer_that_never_reached_the_network(flax_params):
    """Flax's own LeCun draws are still there: every kernel fails, biases and scales agree."""
    for weights in ("he_normal", "lecun_normal", "glorot_uniform", "zeros"):
        leaves = audit_params(flax_params, default_rules(weights))
        assert {leaf.path for leaf in audits.failures(leaves)} == {
            "Dense_0/kernel",
            "Dense_1/kernel",
        }
    with pytest.raises(AuditError, match=r"Dense_0/kernel \(zeros\): weights differ from 0"):
        audits.check(leaves)


def test_laws_by_option_by_mapping_and_by_attribute(flax_params):
    draw = functools.partial(initializers.normal, stddev=0.3)
    kernels = initialize(jax.random.key(2), flax_params, default_rules(draw))
    leaves = audit_params(kernels, default_rules(draw))
    assert {leaf.asked_std for leaf in leaves} == {0.0, 0.3}
    assert not audits.failures(leaves)

    def mine(key, shape, dtype):
        return draw(key, shape, dtype)

    unknown = audit_params(kernels, default_rules(mine))
    assert {leaf.verdict for leaf in unknown if leaf.pattern == "*"} == {"no distribution"}
    assert {leaf.initializer for leaf in unknown if leaf.pattern == "*"} == {"mine"}
    wrong = {"*": functools.partial(REGISTRY["normal"].distribution, stddev=0.2)}
    mapped = audit_params(kernels, default_rules(mine), distributions=wrong, label="cell 3")
    assert len(audits.failures(mapped)) == 2
    assert {leaf.initializer for leaf in mapped} == {"cell 3"}
    mine.distribution = functools.partial(REGISTRY["normal"].distribution, stddev=0.3)
    stated = audit_params(kernels, default_rules(mine))
    assert {leaf.verdict for leaf in stated} == {"ok"}
