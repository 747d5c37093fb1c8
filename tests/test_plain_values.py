"""What a config may hold: only what JSON gives back, and numbers that a dtype tells apart."""

import datetime as dt
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initopt_jax.config.entries import ScheduleConfig
from initopt_jax.config.overrides import apply_override
from initopt_jax.config.schema import validate
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.options import swept_axes
from initopt_jax.plain_values import plain
from initopt_jax.planning.resolve import resolve
from initopt_jax.precision import in_precision

FUNCTION = {
    "name": "f",
    "task": {"name": "test_function", "function": {"name": "ravine", "ratio": 4.0}},
    "initializers": ["grid"],
    "optimizers": [{"name": "gd", "learning_rate": 0.1}],
}
WHOLE = {
    "name": "w",
    "task": {
        "name": "classification",
        "dataset": {"name": "mine:data", "noise": 0.0},
        "split": {"val": 0.2},
        "augment": [{"name": "gaussian_noise", "stddev": 0.0}],
    },
    "model": {"name": "mlp", "hidden": [8, 4], "scale": {"deep": [1.0]}},
    "initializers": [
        {
            "name": "jax.normal",
            "stddev": [0.1],
            "bias": {"name": "constant", "value": 0.0},
            "rules": {"*kernel": {"name": "normal", "stddev": 0.1}},
        },
    ],
    "optimizers": [
        {
            "name": "optax.adam",
            "learning_rate": [0.1, 0.2],
            "static": {"eps_root": 0.0},
            "per_leaf": {"name": "mup", "scale": 1.0},
            "schedule": {"name": "cosine", "warmup": 0.1},
            "modifiers": [{"name": "clip_by_global_norm", "max_norm": [1.0]}],
        }
    ],
    "probes": [{"name": "mine:probe", "reach": 1.0}],
    "keep": "final",
    "landscapes": [{"name": "slice", "reach": 1.0}],
    "tuning": {"seeds": 3},
    "target": {"metric": "val_loss", "at_most": 0.1},
    "checkpoint_every": 30.0,
}


def places(value, place=()):
    """Paths of all numbers, texts and options of a config."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for part, item in items:
        yield from places(item, (*place, part))
    if isinstance(value, float):
        yield place


def replaced(config, place, value):
    config = json.loads(json.dumps(config))
    part = config
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return config


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("inf"), 10**400])
@pytest.mark.parametrize("config", [FUNCTION, WHOLE], ids=["function", "network"])
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(config, value):
    validate(config)
    found = list(places(config))
    assert len(found) > 1
    for place in found:
        with pytest.raises(ConfigError) as error:
            validate(replaced(config, place, value))
        assert ".".join(map(str, place)) in str(error.value)


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e999"])
def test_a_text_that_stands_for_no_finite_number_is_no_number(text):
    """Fields that take numbers also take them as texts."""
    for place in (("target", "at_most"), ("checkpoint_every",), ("landscapes", 0, "reach")):
        with pytest.raises(ConfigError, match=place[-1]):
            validate(replaced(WHOLE, place, text))


def test_an_override_and_a_part_built_in_python_are_no_way_around():
    raw = json.loads(json.dumps(FUNCTION))
    apply_override(raw, "optimizers.0.learning_rate=[0.1, .inf]")
    with pytest.raises(ConfigError, match=r"optimizers\.0\.learning_rate\.1 must be a finite"):
        validate(raw)
    schedule = ScheduleConfig.model_validate({"name": "cosine", "warmup": math.nan})
    with pytest.raises(ConfigError, match=r"optimizers\.0\.schedule\.warmup must be a finite"):
        validate(
            replaced(FUNCTION, ("name",), "f")
            | {
                "optimizers": [{"name": "gd", "schedule": schedule}],
            }
        )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (dt.date(2024, 1, 31), "date .*in quotes: '2024-01-31'"),
        ({1, 2}, "list or a mapping, got set"),
        (b"x", "got bytes"),
        (1j, "got complex"),
        (print, "'module:function'"),
        ("\ud800", r"surrogate pair.*'\\ud800'"),
        ("a\0", r"the character NUL.*'a\\x00'"),
        ({1: 2}, "keys of model.option must be texts, got 1"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value, message):
    with pytest.raises(ConfigError, match=message) as error:
        validate(WHOLE | {"model": {"name": "mine:net", "option": value}})
    assert "model.option" in str(error.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner) | st.tuples(inner),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_what_is_accepted_comes_back_from_json_as_it_was(value):
    made = plain(value)
    again = json.loads(json.dumps(made))
    assert again == made
    assert repr(again) == repr(made)  # -0.0, and True beside 1


def test_numbers_of_arrays_become_numbers():
    made = plain({"a": np.float32(0.5), "b": (np.int64(3), jnp.array([1, 2])), "c": np.bool_(True)})
    assert repr(made) == "{'a': 0.5, 'b': [3, [1, 2]], 'c': True}"


def rate(learning_rate=0.1):
    return learning_rate


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, 0.1000000001], r"holds 0\.1 and 0\.1000000001, the same number in float32: 0\.1"),
        ([2**24, 0.5, 2**24 + 1], "holds 16777216.0 and 16777217.0, the same number in float32"),
        ([0.1, 0.2, 0.1], r"holds a value twice: 0\.1 and 0\.1"),
        ([0.0, -0.0], r"holds a value twice: 0\.0 and -0\.0"),
        ([1, 1.0], r"holds a value twice"),
        ([1e39, 2e39], r"holds 1e\+39 and 2e\+39, the same number in float32: inf"),
        ([1e-46, 0.0], "holds 1e-46 and 0.0, the same number in float32: 0"),
    ],
)
def test_swept_values_that_are_one_number_are_refused(values, message):
    with pytest.raises(ConfigError, match=f"optimizer 'x': learning_rate {message}"):
        swept_axes("optimizer", "x", rate, {"learning_rate": values})


def test_float64_tells_more_values_apart():
    values = [0.1, 0.1000000001, 2.0**24, 2.0**24 + 1, 1e39, 1e-46, 0.0]
    with in_precision("float64"):
        axes, _ = swept_axes("optimizer", "x", rate, {"learning_rate": values})
        assert axes == {"learning_rate": values}
        with pytest.raises(ConfigError, match=r"twice: 0\.1 and 0\.1$"):
            swept_axes("optimizer", "x", rate, {"learning_rate": [0.1, 0.1]})


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("optimizers", 0, "learning_rate"), 1e39, "is 1e.39, which is infinite in float32"),
        (("optimizers", 0, "learning_rate"), [0.1, 1e-46], "is 1e-46, which is 0 in float32"),
        (("optimizers", 0, "learning_rate"), -1e-40, "is -1e-40, which is 0 in float32"),
        (("task", "function", "ratio"), 1e39, "the largest number is 3.4e.38"),
    ],
)
def test_numbers_that_a_dtype_loses_are_refused(place, value, message):
    where = r"\.".join(map(str, place))
    with pytest.raises(ConfigError, match=rf"^{where}.* {message}.*set precision: float64"):
        resolve(validate(replaced(FUNCTION, place, value)))
