"""What every registered initializer contracts, whatever it draws."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.conformance import initializers as conformance
from initopt_jax.initializers import REGISTRY
from initopt_jax.types import option_names

ENTRIES = [pytest.param(entry, id=name) for name, entry in REGISTRY.items()]
# Few shapes, shared with the other tests of initializers: each costs a compilation per family.
SHAPE, CONVOLUTION, LARGE = (64, 10), (3, 3, 4, 8), (400, 250)
SKIP = ("key", "shape", "dtype")
# Options that multiply every weight, and values that others may take.
SCALES = ("gain", "scale", "stddev", "value")
VALUES = dict.fromkeys(SCALES, (0.25, 1.0, 2.0)) | {
    "connections": (1.0, 15.0, 100.0),
    "omega": (0.5, 1.0, 30.0),
    "prior": (0.01, 0.3, 0.9),
    "sigma_b": (0.1, 0.5, 2.0),
    "t_max": (3.0, 100.0, 1000.0),
}
ANY_SIGN = ("value",)


def numbers_of(entry):
    """The options that may be traced."""
    options = option_names(entry.draw, skip=SKIP)
    return {name: default for name, default in options.items() if type(default) is float}


def scale_of(entry):
    return next((name for name in numbers_of(entry) if name in SCALES), None)


SCALED = [parameter for parameter in ENTRIES if scale_of(parameter.values[0])]


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry_describes_itself(entry):
    assert REGISTRY[entry.name] is entry
    assert entry.draw.__name__ == entry.name
    assert entry.distribution.__name__ == f"{entry.name}_distribution"
    assert any(letter in entry.formula for letter in "Wb")
    assert any(character.isdigit() for character in entry.reference)


# Those about compilation and lanes are held below, over many values of the options.
CONTRACTS = (
    conformance.returns_what_was_asked,
    conformance.draws_finite_weights,
    conformance.depends_on_the_key_alone,
    conformance.listens_to_the_key,
    conformance.keeps_its_distribution,
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_contracts(entry):
    for contract in CONTRACTS:
        contract(entry)  # raises where it is broken, or cannot be looked at


@pytest.mark.parametrize("entry", ENTRIES)
def test_arguments(entry):
    parameters = inspect.signature(entry.draw).parameters
    assert tuple(parameters)[:3] == SKIP
    assert parameters["dtype"].default is jnp.float32
    options = option_names(entry.draw, skip=SKIP)
    for name, default in options.items():
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert isinstance(default, float | str | bool)
        assert not isinstance(default, float) or name in VALUES
    assert option_names(entry.distribution, skip=("shape",)) == options


@pytest.mark.parametrize("entry", ENTRIES)
def test_jit_and_vmap_over_keys_and_options(entry):
    traces = []

    def draw(key, options):
        traces.append(1)
        return entry.draw(key, SHAPE, **options)

    compiled = jax.jit(jax.vmap(draw))
    for seed, backwards in [(3, 1), (4, -1)]:
        keys = jax.random.split(jax.random.key(seed), 3)
        options = {name: jnp.array(VALUES[name][::backwards]) for name in numbers_of(entry)}
        many = compiled(keys, options)
        for lane, (key, weights) in enumerate(zip(keys, many, strict=True)):
            # Last bits may differ between vmap widths: some 1e-7 of the largest weight.
            one = entry.draw(key, SHAPE, **{name: float(v[lane]) for name, v in options.items()})
            np.testing.assert_allclose(weights, one, atol=1e-5 * float(jnp.abs(one).max()))
    assert len(traces) == 1


@pytest.mark.parametrize("entry", SCALED)
def test_options_scale_the_draw(entry):
    name = scale_of(entry)
    one, four = (entry.draw(jax.random.key(4), SHAPE, **{name: value}) for value in (0.5, 2.0))
    np.testing.assert_array_equal(4 * one, four)  # powers of two scale without rounding


@pytest.mark.parametrize("entry", ENTRIES)
def test_wrong_options_are_named(entry):
    for name in numbers_of(entry):
        negative = () if name in ANY_SIGN else (-1.0,)
        for value in (math.nan, math.inf, "wide", True, *negative):
            with pytest.raises(ValueError, match=f"{name} must be"):
                entry.draw(jax.random.key(0), SHAPE, **{name: value})
            with pytest.raises(ValueError, match=f"{name} must be"):
                entry.distribution(SHAPE, **{name: value})


@pytest.mark.parametrize("entry", ENTRIES)
def test_unknown_text_is_named(entry):
    options = option_names(entry.draw, skip=SKIP)
    for name in [name for name, default in options.items() if isinstance(default, str)]:
        for call in [lambda **text: entry.draw(jax.random.key(0), SHAPE, **text),
                     lambda **text: entry.distribution(SHAPE, **text)]:  # fmt: skip
            with pytest.raises(ValueError, match=f"{name}.*'no such'"):
                call(**{name: "no such"})


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.complex64])
def test_refuses_what_is_not_real(entry, dtype):
    with pytest.raises(ValueError, match="dtype must be a real floating dtype"):
        entry.draw(jax.random.key(0), SHAPE, dtype)
