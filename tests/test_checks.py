"""Concrete numbers are held to their range; what has no single value yet passes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax import checks

CHECKS = {
    "number": checks.number,
    "positive": checks.positive,
    "non_negative": checks.non_negative,
    "above": lambda name, value: checks.above(name, value, low=2),
    "probability": checks.probability,
    "fraction": checks.fraction,
    "in_range": lambda name, value: checks.in_range(name, value, low=-1, high=2),
}
ALLOWED = {
    "number": [-3, 0, 2.5],
    "positive": [1e-30, 1, 7.5],
    "non_negative": [0, 0.0, 1e9],
    "above": [2.0001, 1e9],
    "probability": [1e-30, 0.5, 0.9999999],
    "fraction": [0, 0.5, 0.9999999],
    "in_range": [-1, 0.5, 2],
}
REFUSED = {
    "number": [],
    "positive": [0, -1e-30],
    "non_negative": [-1e-30, -1],
    "above": [2, -3],
    "probability": [0, 1, -0.1],
    "fraction": [1, 1.5, -0.1],
    "in_range": [-1.01, 2.01],
}
EACH = pytest.mark.parametrize("kind", list(CHECKS))


@EACH
def test_allowed_numbers_pass_as_python_and_as_numpy(kind):
    for value in ALLOWED[kind]:
        for given in (value, np.float64(value), np.asarray(value)):
            CHECKS[kind]("gain", given)


@EACH
def test_numbers_outside_the_range_are_named(kind):
    for value in REFUSED[kind]:
        for given in (value, np.float64(value), np.asarray(value)):
            with pytest.raises(ValueError, match=f"^gain must be .*, got {re.escape(str(given))}$"):
                CHECKS[kind]("gain", given)


@EACH
@pytest.mark.parametrize("value", [float("nan"), np.float32("nan"), float("inf"), -np.inf])
def test_nan_and_infinity_are_refused(kind, value):
    with pytest.raises(ValueError, match=r"^eps must be .*, got (nan|-?inf)$"):
        CHECKS[kind]("eps", value)


@EACH
@pytest.mark.parametrize("value", ["fast", "0.1", None, True, np.bool_(False), 1j, [0.1], ()])
def test_what_is_not_a_number_is_refused(kind, value):
    with pytest.raises(ValueError, match=r"^learning_rate must be a number, got "):
        CHECKS[kind]("learning_rate", value)


@EACH
def test_an_array_of_several_numbers_is_refused(kind):
    with pytest.raises(ValueError, match="must be a number"):
        CHECKS[kind]("learning_rate", np.array([0.1, 0.2]))


def test_the_message_shows_what_was_written():
    with pytest.raises(ValueError) as refusal:
        checks.number("learning_rate", "fast")
    assert str(refusal.value) == "learning_rate must be a number, got 'fast'"
    with pytest.raises(ValueError) as refusal:
        checks.fraction("rho", np.float64(1.5))
    assert str(refusal.value) == "rho must be at least 0 and below 1, got 1.5"


@EACH
def test_traced_arrays_and_schedules_pass(kind):
    @jax.jit
    def build(value):
        CHECKS[kind]("decay", value)
        return value

    assert build(-5.0) == -5.0  # out of every range, but not known while tracing
    CHECKS[kind]("decay", jnp.float32(np.nan))
    CHECKS[kind]("decay", lambda count: -1.0 * count)


@pytest.mark.parametrize("value", [True, False, np.bool_(True)])
def test_flags_pass(value):
    checks.flag("centered", value)


@pytest.mark.parametrize("value", [1, 0.0, "no", None, jnp.bool_(True)])
def test_what_is_not_a_flag_is_refused(value):
    with pytest.raises(ValueError, match=r"^centered must be True or False, got "):
        checks.flag("centered", value)
