"""One method as the limit of another, and the learning rates up to which each is stable."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import transforms

CURVATURE = np.array([4.0, 1.0, 0.25])
START = np.array([1.0, -2.0, 0.5])


def descend(transform, curvature, start, count):
    """Points [T, D] and states on `f(x) = sum(curvature * x^2) / 2`."""

    def step(carry, _):
        params, state = carry
        updates, state = transform.update(curvature * params, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state)

    return jax.lax.scan(step, (start, transform.init(start)), length=count)[1]


# One method as another ---------------------------------------------------------------------------


def test_adam_with_a_huge_eps_is_momentum():
    # Choi et al. (2019), section 3.1: with eps -> infinity and rate / eps fixed, v is not felt. It
    # is felt by sqrt(v) / eps, below 8 / 10^6 here.
    rate, b1, eps = 0.05, 0.9, 1e6
    with jax.enable_x64(True):
        curvature, start = jnp.asarray(CURVATURE), jnp.asarray(START)
        adam = transforms.adam(rate * eps, b1, 0.999, eps, bias_correction=False)
        ours, _ = descend(adam, curvature, start, 200)
        expected, _ = descend(transforms.momentum(rate, b1, ema=True), curvature, start, 200)
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert np.abs(expected[-1] - START).max() > 1
    gap = np.linalg.norm(ours - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert gap.max() < 1e-4


def test_rmsprop_with_a_decay_of_one_minus_one_over_t_is_adagrad():
    # n_t is then the mean of the squares so far, s_t / t; a rate that falls with 1 / sqrt(t) takes
    # the t out again.
    gradients = np.random.default_rng(0).normal(size=(300, 4)) * [1e-3, 1.0, 7.0, 100.0]

    def step(states, given):
        g, t = given
        rmsprop = transforms.scale_by_rmsprop(decay=1 - 1 / t, eps=0.0)
        one, of_rmsprop = rmsprop.update(g, states[0])
        other, of_adagrad = adagrad.update(g, states[1])
        return (of_rmsprop, of_adagrad), (one / jnp.sqrt(t), other)

    with jax.enable_x64(True):
        adagrad = transforms.scale_by_adagrad(eps=0.0)
        zero = jnp.zeros(4)
        states = (transforms.scale_by_rmsprop().init(zero), adagrad.init(zero))
        times = jnp.arange(1.0, 301.0)
        _, (ours, expected) = jax.lax.scan(step, states, (jnp.asarray(gradients), times))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_nesterov_is_momentum_with_a_decay_of_each_eigenmode():
    # Sutskever et al. (2013), theorem 2.1: along the mode of curvature lambda, the decay mu is
    # mu * (1 - lambda * rate). Their parameters are ours minus decay * velocity.
    rate, decay = 0.1, 0.95
    with jax.enable_x64(True):
        curvature, start = jnp.asarray(CURVATURE), jnp.asarray(START)
        ahead, (_, state) = descend(transforms.nesterov(rate, decay), curvature, start, 300)
        ours = ahead - decay * state.velocity

        def mode(mode_decay, mode_curvature, mode_start):
            return descend(transforms.momentum(rate, mode_decay), mode_curvature, mode_start, 300)

        decays = decay * (1 - curvature * rate)
        expected = jax.vmap(mode)(decays, curvature, start)[0].T
    # 300 steps of rounding, of numbers that start near 1.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    assert np.abs(np.asarray(expected[-1]) - START).max() > 0.1


# Stability ---------------------------------------------------------------------------------------

SHARPEST, FLAT = 4.0, 1.0
DECAY = 0.9


def grows(make, state_of=None, curvature=(SHARPEST, FLAT)):
    """`rates [L] -> [L]`: whether the path on a quadratic ever gets a thousand times further out.

    Half a percent beyond the limit of gradient descent the sharp weight grows by 1% a step, e^20
    times in 2,000; the others grow faster. A stable path overshoots 1 / (1 - decay) times at most.
    """

    def path(rate):
        transform = make(rate)
        start = jnp.ones(len(curvature))
        state = transform.init(start) if state_of is None else state_of(transform.init(start))
        sharp = jnp.asarray(curvature)

        def step(carry, _):
            params, state, largest = carry
            updates, state = transform.update(sharp * params, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state, jnp.maximum(largest, jnp.max(jnp.abs(params)))), None

        start = (start, state, jnp.zeros(()))
        return ~(jax.lax.scan(step, start, length=2000)[0][2] < 1000)  # NaN is no small number

    return jax.jit(jax.vmap(path))


def bracket(make, guess, **options):
    """The largest stable and the smallest unstable rate, 0.5% apart, by sections of 32."""
    run = grows(make, **options)
    low, high = guess / 5, guess * 3  # the guess itself is none of the rates
    while high / low > 1.005:
        rates = jnp.geomspace(low, high, 33)
        unstable = np.asarray(run(rates))
        assert not unstable[0]
        assert unstable[-1]
        first = int(np.argmax(unstable))
        assert unstable[first:].all(), "stable again beyond the limit"
        low, high = float(rates[first - 1]), float(rates[first])
    return low, high


def frozen(state):
    """Squared gradients as they are in the state and stay."""
    adam, scale = state
    return (adam._replace(mean_square=jnp.array([100.0, 0.01])), scale)


def adam_of_frozen(rate):
    return transforms.adam(rate, DECAY, 1 - 1e-15, eps=0.0, bias_correction=False)


# On x -> x - rate * lambda * x and its kin, a path is stable until a root of the characteristic
# polynomial passes -1; the limits follow with z = -1 put in.
LIMITS = {
    # z = 1 - r.
    "gd": (transforms.sgd, 2 / SHARPEST, {}),
    # z^2 - (1 + mu - r) z + mu, with r = rate * lambda.
    "heavy ball": (
        lambda rate: transforms.momentum(rate, DECAY),
        2 * (1 + DECAY) / SHARPEST,
        {},
    ),
    # z^2 - (1 + mu) (1 - r) z + mu (1 - r).
    "nesterov": (
        lambda rate: transforms.nesterov(rate, DECAY),
        2 * (1 + DECAY) / ((1 + 2 * DECAY) * SHARPEST),
        {},
    ),
    # Heavy ball with (1 - b1) * rate on the Hessian divided by the root of the squares (Cohen et
    # al. 2022, section 3): stable while its sharpness is below (2 + 2 b1) / ((1 - b1) * rate). With
    # squares of 100 and 0.01 it is 4 / 10 and 1 / 0.1: the flat weight decides.
    "adam, frozen squares": (
        adam_of_frozen,
        (2 + 2 * DECAY) / ((1 - DECAY) * (FLAT / 0.1)),
        {"state_of": frozen},
    ),
    # The same with eps for the root, which is 1e-5 of it at most where the path is cut off.
    "adam, huge eps": (
        lambda rate: transforms.adam(rate, DECAY, 0.999, eps=1e9, bias_correction=False),
        (2 + 2 * DECAY) / ((1 - DECAY) * (SHARPEST / 1e9)),
        {},
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_limit_of_stability(name):
    make, limit, options = LIMITS[name]
    with jax.enable_x64(True):
        low, high = bracket(make, limit, **options)
    # A path needs a growth of 0.35% a step to be found out: 0.17% beyond the limit of descent.
    assert low < limit * 1.002
    assert high > limit
    assert high / low < 1.02
