"""What each method does where the answer is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import transforms
from initopt_jax.transforms.numerics import one_minus_power

GRADIENT = np.array([3.0, -0.02])


def steps(transform, gradients):
    """The updates for a given sequence of gradients [T, ...], one after another."""
    gradients = jnp.asarray(gradients, jnp.float32)

    def step(state, gradient):
        updates, state = transform.update(gradient, state)
        return state, updates

    return np.asarray(
        jax.lax.scan(step, transform.init(jnp.zeros_like(gradients[0])), gradients)[1]
    )


def constant(count):
    return np.tile(GRADIENT, (count, 1))


def descend(transform, curvature, start, count):
    """The path [T, D] on `f(x) = sum(curvature * x^2) / 2`."""

    def step(carry, _):
        params, state = carry
        updates, state = transform.update(curvature * params, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return np.asarray(jax.lax.scan(step, (start, transform.init(start)), length=count)[1])


# The number of the step, as a column against the two weights.
T = np.arange(1, 21)[:, None]
SIGN = np.sign(GRADIENT)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        pytest.param(transforms.sgd(0.5), -0.5 * GRADIENT * T**0, id="sgd"),
        # The velocity is a geometric series of decay.
        pytest.param(
            transforms.momentum(0.5, 0.75), -0.5 * GRADIENT * (1 - 0.75**T) / 0.25, id="momentum"
        ),
        pytest.param(
            transforms.momentum(0.5, 0.75, ema=True), -0.5 * GRADIENT * (1 - 0.75**T), id="ema"
        ),
        # Nesterov is one step ahead of the heavy ball where the gradient stays the same.
        pytest.param(
            transforms.nesterov(0.5, 0.75),
            -0.5 * GRADIENT * (1 - 0.75 ** (T + 1)) / 0.25,
            id="nesterov",
        ),
        pytest.param(transforms.adagrad(0.5, eps=0.0), -0.5 * SIGN / np.sqrt(T), id="adagrad"),
        # The mean square is g^2 * (1 - decay^t).
        pytest.param(
            transforms.rmsprop(0.5, 0.75, eps=0.0), -0.5 * SIGN / np.sqrt(1 - 0.75**T), id="rmsprop"
        ),
        # The variance is g^2 * decay^t * (1 - decay^t).
        pytest.param(
            transforms.rmsprop(0.5, 0.75, eps=0.1, centered=True),
            -0.5 * GRADIENT / np.sqrt(GRADIENT**2 * 0.75**T * (1 - 0.75**T) + 0.1),
            id="rmsprop, centred",
        ),
        pytest.param(transforms.adam(0.5, eps=0.0), -0.5 * SIGN * T**0.0, id="adam"),
        pytest.param(
            transforms.adam(0.5, 0.75, 0.9375, eps=0.01, bias_correction=False),
            -0.5 * GRADIENT * (1 - 0.75**T) / (np.sqrt(GRADIENT**2 * (1 - 0.9375**T)) + 0.01),
            id="adam, uncorrected",
        ),
        pytest.param(
            transforms.momentum_dampened(0.5, 0.75, dampening=0.5),
            -0.5 * GRADIENT * (0.5 * (1 - 0.75**T) / 0.25 + 0.5 * 0.75 ** (T - 1)),
            id="dampened",
        ),
        pytest.param(
            transforms.qhm(0.5, 0.75, nu=0.5), -0.5 * GRADIENT * (1 - 0.5 * 0.75**T), id="qhm"
        ),
        pytest.param(
            transforms.aggmo(0.5, 2, scale=0.25),
            -0.25 * GRADIENT * (1 + (1 - 0.75**T) / 0.25),
            id="aggmo",
        ),
        pytest.param(transforms.signum(0.5), -0.5 * SIGN * T**0.0, id="signum"),
        pytest.param(
            transforms.adagrad_torch(0.5, lr_decay=0.25, eps=0.0),
            -0.5 * SIGN / np.sqrt(T) / (1 + 0.25 * (T - 1)),
            id="adagrad, torch",
        ),
        pytest.param(transforms.adamax(0.5), -0.5 * SIGN * T**0.0, id="adamax"),
        pytest.param(
            transforms.amsgrad(0.5, 0.75, 0.9375, eps=0.0),
            -0.5 * SIGN * (1 - 0.75**T) / np.sqrt(1 - 0.9375**T),
            id="amsgrad",
        ),
        # The mean square of g - m is that of g * b1^k.
        pytest.param(
            transforms.adabelief(0.5, 0.5, 0.75, eps=0.0),
            -0.5
            * SIGN
            * np.sqrt((1 - 0.75**T) / (0.25 * 0.25 * (0.75**T - 0.25**T) / (0.75 - 0.25))),
            id="adabelief",
        ),
        # The mean square grows by a 32nd of g^2 at each step, until it is there.
        pytest.param(
            transforms.yogi(0.5, 0.0, 0.96875, eps=0.0),
            -0.5 * SIGN / np.sqrt(T / 32),
            id="yogi",
        ),
    ],
)
def test_steps_under_a_constant_gradient(transform, expected):
    np.testing.assert_allclose(steps(transform, constant(20)), expected, rtol=3e-6)


def test_first_step_of_adadelta():
    eps, rho = 1e-6, 0.95
    expected = -0.5 * np.sqrt(eps) / np.sqrt((1 - rho) * GRADIENT**2 + eps) * GRADIENT
    first = steps(transforms.adadelta(0.5, rho, eps), constant(1))[0]
    np.testing.assert_allclose(first, expected, rtol=1e-6)


def test_adadelta_does_not_see_the_scale_of_the_cost():
    # Both square roots scale alike where eps is negligible against the squared gradients.
    gradients = np.random.default_rng(0).normal(size=(50, 4))
    tiny = transforms.scale_by_adadelta(eps=1e-30)
    np.testing.assert_allclose(steps(tiny, gradients), steps(tiny, 7 * gradients), rtol=1e-5)


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.999), (0.5, 0.75)])
def test_first_step_of_adam_without_bias_correction(b1, b2):
    transform = transforms.adam(0.01, b1, b2, eps=0.0, bias_correction=False)
    expected = -0.01 * SIGN * (1 - b1) / np.sqrt(1 - b2)
    # 0.999 as a float32 is 1.3e-5 off in 1 - b2, half as much under the root.
    np.testing.assert_allclose(steps(transform, constant(1))[0], expected, rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999, 0.99999])
def test_bias_correction_keeps_the_precision_of_float32(decay):
    # The rate t * log(decay) is rounded once or twice, at worst 6e-8 of it each, and the bracket is
    # never more sensitive than proportional: a few times 1e-7, for any count.
    for count in (1, 2, 10, 1000, 10**6, 2**31 - 1):
        ours = jax.jit(one_minus_power)(np.float32(decay), jnp.int32(count), jnp.zeros(()))
        exact = -np.expm1(count * np.log(np.float64(np.float32(decay)))) if decay else 1.0
        np.testing.assert_allclose(ours, exact, rtol=5e-7)


def test_the_count_of_adam_stops_at_its_maximum():
    transform = transforms.scale_by_adam()
    last = jnp.iinfo(jnp.int32).max
    state = transform.init(jnp.zeros(2))._replace(step_count=jnp.int32(last))
    updates, state = transform.update(jnp.ones(2), state)
    assert state.step_count == last
    assert state.step_count.dtype == jnp.int32
    # By now the corrections are 1: m = 0.1, v = 0.001.
    np.testing.assert_allclose(updates, 0.1 / np.sqrt(0.001), rtol=1e-5)


def test_centred_rmsprop_survives_gradients_that_hardly_vary():
    # In float32, n - m^2 of these is a difference of numbers near 10^6, whose spacing is 0.06,
    # while the variance is about 0.01.
    t = np.arange(1, 301)
    gradients = (1000 + 0.1 * (-1.0) ** t)[:, None]
    n, m = 0.0, 0.0
    for g in gradients.astype(np.float32).astype(np.float64):
        n, m = 0.9 * n + 0.1 * g**2, 0.9 * m + 0.1 * g
    expected = -g / np.sqrt(n - m**2 + 1e-8)
    last = steps(transforms.rmsprop(1.0, 0.9, centered=True), gradients)[-1]
    # A mean near 1000 is known to 3e-5 in float32, of a deviation of 0.1.
    np.testing.assert_allclose(last, expected, rtol=1e-3)


def test_nesterov_is_the_look_ahead_of_sutskever():
    # Sutskever et al. (2013), eq. 3 and 4, in float64: their theta is ours minus decay * v.
    rate, decay, curvature = 0.05, 0.9, np.array([1.0, 4.0, 10.0])
    start = np.array([1.0, -2.0, 0.5])
    theta, v, ahead = start, np.zeros(3), []
    for _ in range(200):
        v = decay * v - rate * curvature * (theta + decay * v)
        theta = theta + v
        ahead.append(theta + decay * v)
    with jax.enable_x64(True):
        ours = descend(
            transforms.nesterov(rate, decay), jnp.asarray(curvature), jnp.asarray(start), 200
        )
    np.testing.assert_allclose(ours, ahead, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["gd", "sgd"])
def test_gradient_descent_is_stable_up_to_two_over_the_curvature(name):
    curvature, start = jnp.array([4.0, 1.0]), jnp.array([1.0, 1.0])
    make = transforms.REGISTRY[name].make
    # Along the first axis each step multiplies by 1 - rate * 4: -0.98, then -1.02.
    below = descend(make(0.99 * 2 / 4.0), curvature, start, 500)
    above = descend(make(1.01 * 2 / 4.0), curvature, start, 500)
    np.testing.assert_allclose(np.abs(below[:, 0]), 0.98 ** np.arange(1, 501), rtol=1e-3)
    np.testing.assert_allclose(np.abs(above[:, 0]), 1.02 ** np.arange(1, 501), rtol=1e-3)
    assert np.max(np.abs(above[:, 1])) < 1  # the second axis is far from its own limit


def test_momentum_zero_is_sgd():
    gradients = np.random.default_rng(0).normal(size=(10, 3))
    expected = steps(transforms.sgd(0.1), gradients)
    for make in (transforms.momentum, transforms.nesterov):
        np.testing.assert_array_equal(steps(make(0.1, decay=0.0), gradients), expected)


def test_squares_too_small_for_float32_are_no_numbers_rather_than_a_weight_that_stands_still():
    for make in (transforms.adagrad, transforms.rmsprop):
        tiny = jnp.array([1e-30, 1.0])
        transform = make(1.0, eps=0.0)
        updates, _ = transform.update(tiny, transform.init(tiny))
        assert jnp.isnan(updates[0])
        assert updates[1] < 0
