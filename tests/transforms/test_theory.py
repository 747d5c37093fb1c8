"""What papers prove or claim of their methods, measured: units, counter-examples, regret."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import transforms

# Units -------------------------------------------------------------------------------------------

GRADIENTS = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)


def adadelta_steps(gradients, scale_of_weights=1.0, scale_of_gradients=1.0):
    """Updates [T, 4] from averages that are already there, in the units of weights and gradients.

    eps, which has no unit, is next to nothing; with averages of 0 it would set the first steps.
    """
    transform = transforms.scale_by_adadelta(rho=0.95, eps=1e-30)
    state = transform.init(jnp.zeros(4))
    state = state._replace(
        mean_square_gradient=jnp.full(4, 0.5 * scale_of_gradients**2),
        mean_square_step=jnp.full(4, 0.25 * scale_of_weights**2),
    )
    return jax.lax.scan(
        lambda state, g: transform.update(g, state)[::-1], state, jnp.asarray(gradients)
    )[1]


@pytest.mark.parametrize("scale", [4.0, 2.0**-10])
def test_steps_of_adadelta_have_the_unit_of_the_weights(scale):
    # Zeiler (2012), section 3.2. Weights measured in another unit: gradients are divided by what
    # weights are multiplied by, and the steps come out in the new unit. Powers of two scale
    # without rounding, if nothing but products, quotients and roots is at work.
    plain = adadelta_steps(GRADIENTS)
    rescaled = adadelta_steps(GRADIENTS / np.float32(scale), scale, 1 / scale)
    np.testing.assert_array_equal(rescaled, scale * plain)
    # Those of gradient descent come out in the inverse unit.
    sgd = [transforms.sgd(0.1).update(g, ())[0] for g in (GRADIENTS, GRADIENTS / scale)]
    np.testing.assert_allclose(sgd[1], sgd[0] / scale, rtol=1e-6)


@pytest.mark.parametrize("scale", [4.0, 2.0**-10])
def test_steps_of_adadelta_do_not_see_the_scale_of_the_cost(scale):
    plain = adadelta_steps(GRADIENTS)
    rescaled = adadelta_steps(GRADIENTS * np.float32(scale), 1.0, scale)
    np.testing.assert_array_equal(rescaled, plain)


# The counter-example of Reddi, Kale and Kumar (2018), theorem 1 ----------------------------------

C = 3.0


def average_of_the_last(transform, count):
    """Where `x` in [-1, 1] stays, from 0, under costs C x, -x, -x, again and again."""

    def step(carry, t):
        x, state = carry
        g = jnp.where(t % 3 == 0, C, -1.0)
        updates, state = transform.update(g, state, x)
        x = jnp.clip(x + updates, -1.0, 1.0)
        return (x, state), x

    start = jnp.zeros(())
    _, path = jax.lax.scan(step, (start, transform.init(start)), jnp.arange(count))
    return float(jnp.mean(path[-300:]))


@pytest.mark.parametrize(
    ("make", "end"),
    [
        # Over a period the costs are (C - 2) x: -1 is best. Adam divides the rare large gradient
        # by about itself, and the frequent small ones by about 1.
        pytest.param(transforms.adam, 1.0, id="adam"),
        pytest.param(optax.amsgrad, -1.0, id="amsgrad"),
    ],
)
def test_adam_ends_at_the_worst_point_and_amsgrad_at_the_best(make, end):
    def rate(count):
        return 0.5 / jnp.sqrt(count + 1)

    transform = make(rate, b1=0.0, b2=1 / (1 + C**2), eps=1e-12)
    # Steps at the end are of the size of the rate, 0.5 / sqrt(6000) = 0.0065, over C at most.
    assert average_of_the_last(transform, 6000) == pytest.approx(end, abs=0.01)


# Regret of Adagrad: Duchi, Hazan and Singer (2011) ------------------------------------------------


def play(transform, gradients):
    """Points [T, D] played in [-1, 1]^D under linear costs `g_t x`, from 0."""

    def step(carry, g):
        x, state = carry
        updates, state = transform.update(g, state, x)
        return (jnp.clip(x + updates, -1.0, 1.0), state), x

    start = jnp.zeros_like(gradients[0])
    return jax.lax.scan(step, (start, transform.init(start)), gradients)[1]


def slope(values, times):
    return np.polyfit(np.log(times), np.log(values), 1)[0]


def test_average_regret_of_adagrad_falls_with_the_root_of_time():
    # Under +x, -x, +x, ... the two costs of a pair add to the step between them, eta / sqrt(t),
    # and no fixed point pays anything: the regret is eta (sqrt(T) - 0.43 + ...), with
    # 0.43 = (1 / sqrt(2) - 1) zeta(1/2). Between T = 256 and 16384 that takes 0.006 off a slope of
    # -1/2. With a fixed rate, the average regret does not fall at all.
    times = 2 ** np.arange(8, 15)
    gradients = jnp.tile(jnp.array([[1.0], [-1.0]]), (times[-1] // 2, 1))
    found = {}
    for name, transform in (
        ("adagrad", transforms.adagrad(0.3, eps=0.0)),
        ("sgd", transforms.sgd(0.3)),
    ):
        points = play(transform, gradients)
        regret = np.cumsum(np.asarray(points * gradients, np.float64).sum(axis=1))
        found[name] = slope(regret[times - 1] / times, times)
    assert found["adagrad"] == pytest.approx(-0.5, abs=0.01)
    assert found["sgd"] == pytest.approx(0.0, abs=0.01)


def test_regret_of_adagrad_stays_below_the_bound_of_its_paper():
    # Theorem 5: R(T) <= max_t |x* - x_t|_inf^2 / (2 eta) * S + eta * S, S the sum over weights of
    # the norm of their gradients so far. Gradients are sparse, of unequal size, and drift.
    random = np.random.default_rng(1)
    lanes, count, eta = 16, 2000, np.sqrt(2)  # the eta that the paper takes for a width of 2
    sizes, often = np.array([5.0, 1.0, 0.1]), np.array([0.02, 0.5, 1.0])
    drift = random.uniform(-0.4, 0.4, size=(lanes, 1, 3))
    gradients = (
        sizes
        * (random.uniform(size=(lanes, count, 3)) < often)
        * (random.choice([-1.0, 1.0], size=(lanes, count, 3)) + drift)
    )
    with jax.enable_x64(True):
        transform = transforms.adagrad(eta, eps=0.0)
        points = np.asarray(jax.vmap(lambda g: play(transform, g))(jnp.asarray(gradients)))
    tight = []
    for steps in (10, 100, 1000, 2000):
        g, x = gradients[:, :steps], points[:, :steps]
        best = -np.sign(g.sum(axis=1))
        regret = (g * (x - best[:, None])).sum(axis=(1, 2))
        norms = np.sqrt((g**2).sum(axis=1)).sum(axis=1)
        width = np.abs(best[:, None] - x).max(axis=(1, 2))
        bound = (width**2 / (2 * eta) + eta) * norms
        assert np.all(regret <= bound)
        tight.append(np.max(regret / bound))
    assert max(tight) > 0.1  # the bound is one that a worse method would break
