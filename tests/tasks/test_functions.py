"""Test functions of two variables: their minima, their values, and functions of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.tasks.functions import REGISTRY, from_function

SMOOTH = [name for name, entry in REGISTRY.items() if entry.minima() and name != "ackley"]
VALUES = {  # by hand, from the formulas
    "rosenbrock": [((-1.2, 1.0), 24.2), ((0.0, 0.0), 1.0)],
    "beale": [((0.0, 0.0), 14.203125), ((1.0, 1.0), 14.203125)],
    "himmelblau": [((0.0, 0.0), 170.0), ((1.0, 1.0), 106.0)],
    "rastrigin": [((0.5, 0.5), 40.5), ((1.0, 1.0), 2.0)],
    "ackley": [((0.5, 0.0), 20 + np.e - 20 * np.exp(-0.2 * np.sqrt(0.125)) - 1)],
    "saddle": [((2.0, 1.0), 3.0), ((1.0, 2.0), -3.0)],
    "monkey_saddle": [((2.0, 1.0), 2.0), ((-1.0, 0.0), -1.0)],
    "ravine": [((2.0, 0.0), 2.0), ((0.0, 2.0), 200.0)],
    "plateau": [((0.5, 0.5), 1 - np.exp(-1.0)), ((3.0, 0.0), 1 - np.exp(-18.0))],
}


@pytest.mark.parametrize("name", REGISTRY)
def test_known_values(name):
    points, values = zip(*VALUES[name], strict=True)
    with jax.enable_x64(True):
        x, y = jnp.asarray(points, jnp.float64).T
        value = REGISTRY[name].value(x, y)
        np.testing.assert_allclose(value, values, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", SMOOTH)
def test_minima_are_minima(name):
    entry = REGISTRY[name]

    def at(point):
        return entry.value(point[0], point[1])

    with jax.enable_x64(True):
        points = np.array(entry.minima())
        both = jax.jit(jax.vmap(lambda point: (jax.grad(at)(point), jax.hessian(at)(point))))
        slopes, hessians = jax.tree.map(np.asarray, both(points))
    curvature = np.linalg.eigvalsh(hessians)
    assert curvature.min() > 0
    # A point that is right to its last digit (relative 1.1e-16, sizes below 5.2) is off by less
    # than 6e-16 per axis; the slope by that times the curvature, and by rounding of its terms.
    assert np.abs(slopes).max() < 4 * 6e-16 * curvature.max()
    x, y = points.T
    low_x, high_x, low_y, high_y = entry.domain
    assert ((low_x < x) & (x < high_x) & (low_y < y) & (y < high_y)).all()


def test_the_lowest_minima_come_first_and_solve():
    for entry in REGISTRY.values():
        values = [float(entry.value(x, y)) for x, y in entry.minima()]
        assert values == sorted(values) or entry.name == "himmelblau"  # four of value 0, up to bits
        assert (entry.target is None) == (not values)
        assert not values or values[0] < entry.target


def test_rastrigin_knows_its_lattice():
    points = np.array(REGISTRY["rastrigin"].minima())
    assert len(points) == 121
    assert len(np.unique(np.round(points), axis=0)) == 121
    assert np.abs(points).max() < 4.98  # drawn from 5 towards the middle of the bowl


def test_ackley_has_a_tip_and_a_finite_slope_everywhere():
    value = REGISTRY["ackley"].value
    slopes = jax.vmap(jax.grad(value, argnums=(0, 1)))(jnp.array([0.0, 1e-3]), jnp.zeros(2))
    np.testing.assert_allclose(slopes[0][0], 0.0)
    # d/dx of -20 exp(-0.2 |x| / sqrt 2) at 0+, plus 4 pi^2 e / 2 of the ripple per unit of x.
    np.testing.assert_allclose(slopes[0][1], 4 / np.sqrt(2) + 2 * np.pi**2 * np.e * 1e-3, rtol=1e-3)


def test_saddles_have_no_minima_and_a_flat_origin():
    for name in ("saddle", "monkey_saddle"):
        entry = REGISTRY[name]
        assert entry.minima() == ()
        assert [float(slope) for slope in jax.grad(entry.value, argnums=(0, 1))(0.0, 0.0)] == [0, 0]


def test_options_change_the_cost():
    assert float(REGISTRY["ravine"].value(0.0, 1.0, condition=7.0)) == 3.5
    assert REGISTRY["ravine"].minima(condition=7.0) == ((0.0, 0.0),)
    assert float(REGISTRY["rosenbrock"].value(0.0, 1.0, steepness=3.0)) == 4.0
    assert float(REGISTRY["plateau"].value(1.0, 0.0, width=1e6)) < 1e-6


def test_a_function_of_ones_own_carries_what_is_known_of_it():
    def dip(x, y, *, depth=1.0):
        """A dip."""
        return depth * (x**2 + y**2)

    dip.minima = lambda depth=1.0: [(0, 0)] if depth > 0 else []
    dip.domain, dip.target = [-1, 1, -3, 3], 1e-3
    entry = from_function("mine:dip", dip)
    assert (entry.name, entry.value, entry.formula) == ("mine:dip", dip, "A dip.")
    assert (entry.domain, entry.target) == ((-1.0, 1.0, -3.0, 3.0), 1e-3)
    assert (entry.minima(), entry.minima(depth=-1.0)) == (((0.0, 0.0),), ())


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("minima", [1.0, 2.0], "minima must be 2 numbers, got 1.0"),
        ("minima", 3, "minima must be a list of points"),
        ("domain", [0, 1], "domain must be 4 numbers"),
        ("domain", [1, 0, 0, 1], "domain must be .x_low, x_high, y_low, y_high."),
        ("target", "low", "target must be a number"),
    ],
)
def test_attributes_that_make_no_sense(attribute, value, message):
    def mine(x, y):
        return x + y

    setattr(mine, attribute, value)
    with pytest.raises(ValueError, match=message):
        from_function("mine:mine", mine).minima()


def test_a_function_of_one_variable_is_none():
    with pytest.raises(ValueError, match="two variables"):
        from_function("mine:one", lambda x: x)
