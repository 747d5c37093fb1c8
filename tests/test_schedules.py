"""Schedules: values by hand, the ends of each, and that everything may be traced."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.schedules import REGISTRY
from initopt_jax.types import option_names


def curve(name, steps=100, **options):
    shape = REGISTRY[name].multiplier
    return np.asarray(jax.vmap(lambda count: shape(count, steps, **options))(jnp.arange(steps)))


@pytest.mark.parametrize("name", REGISTRY)
def test_stays_between_0_and_1_and_reaches_1(name):
    values = curve(name)
    assert np.all(values >= 0)
    assert np.max(values) == pytest.approx(1.0, abs=2e-3)
    entry = REGISTRY[name]
    assert entry.reference
    assert ">>> " in (inspect.getdoc(entry.multiplier) or "")


@pytest.mark.parametrize("name", REGISTRY)
def test_every_number_is_traced(name):
    shape = REGISTRY[name].multiplier
    numbers = option_names(shape, skip=("count", "steps"))
    traces = []

    @jax.jit
    def traced(count, steps, numbers):
        traces.append(1)
        return shape(count, steps, **numbers)

    for scale in (1.0, 0.9):
        chosen = {key: value * scale for key, value in numbers.items()}
        ours = traced(jnp.int32(30), jnp.float32(100), jax.tree.map(jnp.float32, chosen))
        np.testing.assert_allclose(ours, shape(30, 100, **chosen), rtol=1e-6)
    assert len(traces) == 1


def test_warmup_rises_in_equal_parts_to_1():
    for name in ("constant", "cosine", "linear", "step", "inverse_time", "warmup_stable_decay"):
        values = curve(name, warmup=0.1)
        np.testing.assert_allclose(values[:10], np.arange(1, 11) / 10, rtol=1e-6)
        np.testing.assert_allclose(values[10], 1, rtol=1e-6)
    np.testing.assert_allclose(curve("inverse_sqrt", warmup=0.1)[:10], np.arange(1, 11) / 10)


def test_the_rest_of_a_schedule_has_what_the_warmup_leaves():
    p = np.arange(80) / 80
    np.testing.assert_allclose(
        curve("cosine", warmup=0.2, end=0.1)[20:],
        0.1 + 0.9 * (1 + np.cos(np.pi * p)) / 2,
        rtol=1e-5,
    )
    np.testing.assert_allclose(curve("linear", warmup=0.2, end=0.1)[20:], 1 - 0.9 * p, rtol=1e-5)
    np.testing.assert_allclose(
        curve("inverse_time", warmup=0.2, decay=9.0)[20:], 1 / (1 + 9 * p), rtol=1e-5
    )
    t = np.arange(20, 101)
    np.testing.assert_allclose(curve("inverse_sqrt", warmup=0.2)[19:], np.sqrt(20 / t), rtol=1e-5)


@pytest.mark.parametrize("steps", [10, 30, 300, 3_000, 90_000])
def test_step_falls_at_the_step_it_should(steps):
    # A third and a tenth have no exact float: rounding must not move the fall.
    for every in (1 / 3, 0.1, 0.25):
        values = curve("step", steps, every=every, factor=0.5)
        exact = np.floor(np.arange(steps) / np.float64(np.float32(every)) / steps + 1e-6)
        np.testing.assert_allclose(values, 0.5**exact, rtol=1e-5)


def test_one_cycle_starts_peaks_and_ends_as_asked():
    values = curve("one_cycle", rise=0.3, start=0.04, end=0.01)
    assert values[0] == pytest.approx(0.04)
    assert int(np.argmax(values)) == 30
    assert values[30] == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.01, abs=2e-3)
    assert np.all(np.diff(values[:31]) > 0)
    assert np.all(np.diff(values[30:]) < 0)


def test_warmup_stable_decay_has_a_plateau():
    values = curve("warmup_stable_decay", warmup=0.1, decay=0.2, end=0.0)
    np.testing.assert_allclose(values[10:81], 1.0)
    np.testing.assert_allclose(values[81:], np.arange(19, 0, -1) / 20, rtol=1e-4)


@pytest.mark.parametrize("name", REGISTRY)
def test_wrong_numbers_are_refused(name):
    shape = REGISTRY[name].multiplier
    for key in option_names(shape, skip=("count", "steps")):
        for bad in ("fast", float("nan"), -0.5):
            with pytest.raises(ValueError, match=f"^{key} must be "):
                shape(0, 10, **{key: bad})
