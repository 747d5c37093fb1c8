"""What each initializer draws, against moments and distribution functions from SciPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from initopt_jax import initializers

SHAPE = (400, 250)  # fan-in 400, fan-out 250
N = 400 * 250
# All comparisons are at five standard errors: a healthy draw fails one in two million times, and
# the keys are fixed.
FIVE = 5.0


def uniform_of_std(std):
    bound = std * math.sqrt(3)
    return stats.uniform(-bound, 2 * bound)


def truncated_of_std(std):
    # Scale of the underlying normal such that what is left within +-2 of it has this std.
    return stats.truncnorm(-2, 2, scale=std / stats.truncnorm(-2, 2).std())


EXPECTED = {
    ("normal", ()): stats.norm(0, 0.01),
    ("normal", (("stddev", 0.3),)): stats.norm(0, 0.3),
    ("truncated_normal", ()): truncated_of_std(0.01),
    ("truncated_normal", (("stddev", 2.0),)): truncated_of_std(2.0),
    ("uniform", ()): stats.uniform(-0.05, 0.1),
    ("uniform", (("scale", 0.7),)): stats.uniform(-0.7, 1.4),
    ("lecun_normal", ()): stats.norm(0, 1 / 20),
    ("lecun_uniform", ()): uniform_of_std(1 / 20),
    ("glorot_normal", ()): stats.norm(0, math.sqrt(2 / 650)),
    ("glorot_uniform", ()): uniform_of_std(math.sqrt(2 / 650)),
    ("glorot_uniform", (("gain", 5 / 3),)): uniform_of_std(5 / 3 * math.sqrt(2 / 650)),
    ("he_normal", ()): stats.norm(0, math.sqrt(2 / 400)),
    ("he_normal", (("gain", 0.5),)): stats.norm(0, 0.5 * math.sqrt(2 / 400)),
    ("he_uniform", ()): uniform_of_std(math.sqrt(2 / 400)),
}
CASES = [
    pytest.param(name, dict(options), expected, id="-".join([name, *(f"{k}" for k, _ in options)]))
    for (name, options), expected in EXPECTED.items()
]


@pytest.mark.parametrize(("name", "options", "expected"), CASES)
def test_moments_and_shape(name, options, expected):
    draw = initializers.REGISTRY[name].draw(jax.random.key(3), SHAPE, **options)
    weights = np.asarray(draw, np.float64).ravel()
    std = expected.std()
    kurtosis = float(expected.stats("k")) + 3
    # Standard errors: of a mean, sigma / sqrt(n); of a variance, sigma^2 sqrt((kurtosis - 1) / n).
    assert abs(weights.mean()) < FIVE * std / math.sqrt(N)
    assert abs(weights.var() / std**2 - 1) < FIVE * math.sqrt((kurtosis - 1) / N)
    # Fourth moment of the standardized weights: its standard error comes from the eighth moment.
    fourth = np.mean((weights / std) ** 4)
    eighth = expected.expect(lambda x: (x / std) ** 8)
    assert abs(fourth - kurtosis) < FIVE * math.sqrt((eighth - kurtosis**2) / N)
    # Symmetry: the sign is a fair coin.
    assert abs(np.mean(weights > 0) - 0.5) < FIVE * 0.5 / math.sqrt(N)
    assert stats.kstest(weights, expected.cdf).pvalue > 1e-6
    # Neighbours are not related: their correlation has a standard error of 1 / sqrt(n).
    assert abs(np.mean(weights[1:] * weights[:-1])) / std**2 < FIVE / math.sqrt(N)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("uniform", 0.05),
        ("truncated_normal", 0.01 * 2 / stats.truncnorm(-2, 2).std()),
        ("he_uniform", math.sqrt(6 / 400)),
    ],
)
def test_bounds_are_reached_and_kept(name, bound):
    weights = np.asarray(initializers.REGISTRY[name].draw(jax.random.key(4), SHAPE), np.float64)
    assert weights.max() <= bound * (1 + 1e-6)
    assert weights.min() >= -bound * (1 + 1e-6)
    # The density at the bound is at least a tenth of 1 / bound, so that of 100,000 weights none in
    # the outer thousandth has a probability below exp(-10) on either side.
    assert weights.max() > 0.999 * bound
    assert weights.min() < -0.999 * bound


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [("zeros", {}, 0.0), ("ones", {}, 1.0), ("constant", {}, 0.1), ("constant", {"value": -3}, -3)],
)
def test_constants(name, options, value):
    draw = initializers.REGISTRY[name].draw(jax.random.key(0), (2, 3), **options)
    np.testing.assert_array_equal(draw, np.full((2, 3), value, np.float32))


def test_convolution_counts_its_receptive_field():
    weights = np.asarray(initializers.he_normal(jax.random.key(5), (5, 5, 16, 64)), np.float64)
    n = weights.size
    assert abs(weights.var() / (2 / (5 * 5 * 16)) - 1) < FIVE * math.sqrt(2 / n)


def test_bfloat16_is_the_rounded_float32_draw():
    for entry in initializers.REGISTRY.values():
        wide = entry.draw(jax.random.key(6), (64, 10), jnp.float32)
        narrow = entry.draw(jax.random.key(6), (64, 10), jnp.bfloat16)
        np.testing.assert_array_equal(wide.astype(jnp.bfloat16), narrow, err_msg=entry.name)
