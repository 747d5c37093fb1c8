"""Whatever the user's own code raises, wherever it is called: one line that names it."""

import json
import sys

import pytest

from initopt_jax.config.schema import validate
from initopt_jax.errors import ConfigError, StudyError
from initopt_jax.lookup.names import importable_from
from initopt_jax.lookup.user_code import user_code, users_failures
from initopt_jax.planning.resolve import resolve

MODULE = """
import sys
class Odd(BaseException):
    def __str__(self):
        raise ValueError("no text")
def exits(count=0, steps=0, *given, **options): sys.exit(0)
def odd(count=0, steps=0, *given, **options): raise Odd
def deep(count=0, steps=0, *given, **options): return deep()
def memory(count=0, steps=0, *given, **options): raise MemoryError
def reads(count=0, steps=0, *given, **options): raise EOFError
"""
SGD = {"name": "sgd", "learning_rate": 0.1}
PLACES = {
    "dataset": {"task": {"name": "regression", "dataset": "raising:{}"}},
    "task": {"task": {"name": "raising:{}", "dataset": "diabetes"}},
    "model": {"model": "raising:{}"},
    "initializer": {"initializers": ["raising:{}"]},
    "optimizer": {"optimizers": ["raising:{}"]},
    "schedule": {"optimizers": [SGD | {"schedule": "raising:{}"}]},
    "modifier": {"optimizers": [SGD | {"modifiers": ["raising:{}"]}]},
    "probe": {"probes": ["raising:{}"]},
    "function": {"task": {"name": "test_function", "function": "raising:{}"}, "model": None,
                 "probes": []},
}  # fmt: skip


def named(value, function):
    if isinstance(value, dict):
        return {key: named(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [named(item, function) for item in value]
    return value.format(function) if isinstance(value, str) else value


@pytest.fixture
def raising(working_dir):
    (working_dir / "raising.py").write_text(MODULE)
    with importable_from(working_dir):
        yield
    sys.modules.pop("raising", None)


@pytest.mark.parametrize("place", PLACES)
def test_what_ends_the_program_is_told_with_the_name_of_what_did(raising, place):
    base = {
        "name": "raising",
        "task": {"name": "regression", "dataset": "diabetes"},
        "model": "linear",
        "initializers": ["zeros"],
        "optimizers": [SGD],
        "seeds": 1,
        "steps": 2,
    }
    for function, said in (
        ("exits", "it ends the program (sys.exit)"),
        ("odd", "Odd"),
        ("deep", "RecursionError"),
        ("memory", "MemoryError"),
        ("reads", "EOFError"),
    ):
        config = validate(base | named(PLACES[place], function))
        with pytest.raises(ConfigError, match="raising") as caught:
            resolve(config)
        assert f"{place} 'raising:{function}'" in str(caught.value)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_module_that_ends_the_program_when_it_is_imported(working_dir):
    (working_dir / "ends_at_import.py").write_text("raise SystemExit(0)")
    given = {
        "name": "ends", "task": {"name": "ends_at_import:task", "dataset": "diabetes"},
        "model": "linear", "initializers": ["zeros"], "optimizers": ["adam"],
    }  # fmt: skip
    with importable_from(working_dir), pytest.raises(ConfigError, match="importing it failed: it"):
        resolve(validate(given))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StudyError("locked"), ConfigError("x")])
def test_a_ctrl_c_and_our_own_errors_pass(error):
    for context in (user_code("model"), users_failures("training")):
        with pytest.raises(type(error)) as caught, context:
            raise error
        assert caught.value is error


def test_an_error_of_no_users_file_stays_what_it_is():
    with pytest.raises(json.JSONDecodeError):
        users_failures("training")(json.loads)("{")
    with (
        pytest.raises(ConfigError, match=r"training: ZeroDivisionError: .*test_user_code.py"),
        users_failures("training"),
    ):
        _ = 1 / 0
