"""Studies of a bare test function: what a config may not say, and in which words it is told."""

import json

import pytest

import initopt_jax as iox
from initopt_jax.config.schema import validate
from initopt_jax.planning.resolve import resolve
from initopt_jax.studies.preview import plan

OWN = """
import jax.numpy as jnp

def constant(x, y):
    return 1.0

def pair(x, y):
    return jnp.stack([x, y])

def nothing(x, y):
    x + y

def counts(x, y):
    return jnp.int32(x)

def breaks(x, y):
    raise RuntimeError("no such surface")

def branches(x, y):
    return x if x > 0 else y

def one(x):
    return x

def lost(x, y):
    return x * y

lost.minima = [(1, 2, 3)]
"""

NETWORK = {
    "task": {"name": "classification", "dataset": "digits"},
    "model": "mlp",
    "initializers": ["zeros"],
    "probes": ["weight_norm"],
}
TASK = {"name": "test_function", "function": "saddle"}
DIABETES = {"name": "regression", "dataset": "diabetes"}


def test_tuning_by_steps_needs_a_target():
    steps = {"seeds": 1, "metric": "steps_to_target"}
    with pytest.raises(iox.ConfigError, match="steps_to_target needs a target"):
        resolve(validate(config(task=TASK, tuning=steps)))
    assert resolve(validate(config(tuning=steps))).target is not None


def config(**changes):
    return {
        "name": "functions",
        "task": {"name": "test_function", "function": "himmelblau"},
        "initializers": ["grid"],
        "optimizers": [{"name": "sgd", "learning_rate": [0.01]}],
        "seeds": 9,
        "steps": 40,
        **changes,
    }


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("himelblau", "unknown function 'himelblau'; did you mean 'himmelblau'"),
        ({"name": "ravine", "conditon": 3}, "unknown option 'conditon'; did you mean 'condition'"),
        ({"name": "ravine", "condition": [3, 4]}, "condition must be one number"),
        ({"name": "ravine", "x": 3}, "unknown option 'x'"),
        ("mine:pair", r"must return one real number for two, got shape \(2,\)"),
        ("mine:nothing", "must return one real number for two, got NoneType"),
        ("mine:counts", r"must return one real number for two, got shape \(\) and type int32"),
        (
            "mine:breaks",
            r"two numbers x and y: RuntimeError: no such surface \(mine.py, line 17\)",
        ),
        ("mine:branches", r"x and y: it asks for the values of an array .*\(mine.py, line \d+\)"),
        ("mine:one", "must take two variables"),
        ("mine:lost", "minima must be 2 numbers"),
        ("mine:absent", "unknown name 'absent'"),
    ],
)
def test_functions_that_cannot_be_used(working_dir, function, message):
    (working_dir / "mine.py").write_text(OWN)
    with pytest.raises(iox.ConfigError, match=message):
        iox.run(config(task={"name": "test_function", "function": function}))
    assert not (working_dir / "runs").exists()


def test_a_constant_is_a_function(working_dir):
    (working_dir / "mine.py").write_text(OWN)
    planned = plan(config(task={"name": "test_function", "function": "mine:constant"}))
    assert planned.lanes == 9
    assert [program.label for program in planned.programs] == ["sgd"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": {"name": "test_function"}}, "task: function is missing"),
        ({"task": TASK | {"dataset": "digits"}}, "task: dataset was given, but a test function"),
        ({"task": TASK | {"batch_size": 8}}, "task: batch_size was given, but a test function has"),
        ({"task": TASK | {"split": {"val": 0.1}}}, "task: split was given"),
        ({"model": "mlp"}, "^model was given, but a test function has no network"),
        ({"optimizers": [{"name": "gd", "batch_size": 2}]}, "^optimizers.0.batch_size was given"),
        ({"optimizers": [{"name": "gd", "per_leaf": "mup"}]}, "^optimizers.0.per_leaf was given"),
        ({"initializers": [{"name": "normal", "bias": "zeros"}]}, "^initializers.0.bias was given"),
        ({"initializers": ["lsuv"]}, "'lsuv' sees a whole network; a test function has none"),
        ({"initializers": ["gird"]}, "unknown initializer 'gird'; did you mean 'grid'"),
        ({"seeds": 10}, "needs a square number of seeds, got 10; nearest: 9 or 16"),
        ({"initializers": [{"name": "grid", "side": 3}]}, "unknown option 'side'"),
        ({"initializers": [{"name": "grid", "low": 9}]}, "low .9.0, 9.0. must lie below high"),
        ({"initializers": [{"name": "grid", "low": [1, 2, 3]}]}, "low must be a number, or two"),
        ({"initializers": ["points"]}, "points must be a list of points"),
        (
            {"initializers": [{"name": "points", "points": [[1]]}]},
            "points must be a list of points",
        ),
        ({"initializers": ["grid", "grid"]}, "'grid' is listed twice"),
        ({"target": {"metric": "val_accuracy", "at_least": 1}}, "unknown target.metric"),
        (NETWORK | {"initializers": ["grid"]}, "'grid' places the starting points of a test"),
        (NETWORK | {"probes": ["point"]}, "probe 'point' is for test functions"),
        (NETWORK | {"model": None}, "^model is missing"),
        (NETWORK | {"task": {"name": "classification"}}, "^task.dataset is missing"),
        (
            NETWORK | {"task": TASK | {"name": "regression"}},
            "function is for the task test_function",
        ),
        (NETWORK | {"task": DIABETES | {"batch_size": None}}, "batch_size must be a number"),
    ],
)
def test_configs_that_are_refused(working_dir, changes, message):
    with pytest.raises(iox.ConfigError, match=message):
        iox.run(config(**changes))
    assert not (working_dir / "runs").exists()


def test_a_target_of_ones_own_and_the_one_that_solves():
    assert resolve(validate(config())).target.at_most == 1e-6
    assert resolve(validate(config(target={"at_most": 3}))).target.at_most == 3


def test_a_resolved_config_is_read_back_as_it_is():
    for raw in (config(), config(**NETWORK)):
        once = validate(raw)
        assert validate(json.loads(json.dumps(once.to_json()))) == once
