"""A name that is nothing: the value, what was meant, and where all are; for every kind of name."""

import sys

import pytest

from initopt_jax.config.schema import validate
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.names import importable_from, jax_initializers, optax_optimizers
from initopt_jax.planning.resolve import resolve

SGD = {"name": "sgd", "learning_rate": 0.1}


def optimizer(**keys):
    return {"optimizers": [SGD | keys]}


@pytest.fixture
def mine(working_dir):
    (working_dir / "mine_names.py").write_text(
        "import jax.numpy as jnp\nimport optax\n\nmade = optax.adam(0.1)\n\n\n"
        "def laplace(key, shape, dtype):\n    return jnp.zeros(shape, dtype)\n"
    )
    (working_dir / "ending.py").write_text("import sys\nsys.exit(3)\n")
    with importable_from(working_dir):
        yield
    sys.modules.pop("mine_names", None)


@pytest.mark.parametrize(
    ("keys", "meant", "listed"),
    [
        (optimizer(name="adma"), "'adam'", "initopt list transforms"),
        (optimizer(name="AdamW"), "'adamw'", "initopt list transforms"),
        (optimizer(name="dowg"), "'optax.contrib.dowg'", "initopt list transforms"),
        (optimizer(name="optax.adma"), "'optax.adam'", "initopt list transforms"),
        (optimizer(name="optax.nosuch"), "", "initopt list transforms"),
        (optimizer(name="optax.muon"), "'optax.contrib.muon'", "initopt list transforms"),
        (optimizer(name="optax.ScaleByAdamState"), "'optax.adam'", "initopt list transforms"),
        (optimizer(name="optax.cosine_decay_schedule"), "", "initopt list schedules"),
        (optimizer(name="optax.l2_loss"), "", "makes no gradient transformation"),
        (optimizer(name="optax.contrib.sam"), "", "wraps another or wants a function"),
        (optimizer(schedule="Cosine"), "'cosine'", "one_cycle"),
        (optimizer(modifiers=["clip_by_norm"]), "'clip_by_leaf_norm'", "initopt list modifiers"),
        (optimizer(per_leaf={"name": "mupp", "kind": "sgd"}), "'mup'", "spectral"),
        ({"initializers": ["he_norml"]}, "'he_normal'", "initopt list initializers"),
        ({"initializers": ["kaiming_normal"]}, "'jax.kaiming_normal'", "initopt list init"),
        ({"initializers": ["jax.xavier"]}, "'jax.xavier_normal'", "initopt list initializers"),
        ({"initializers": ["jax.Initializer"]}, "", "initopt list initializers"),
        ({"model": "resnet18"}, "'resnet'", "initopt list models"),
        ({"model": {"name": "mlp", "activation": "rleu"}}, "'relu'", "Allowed"),
        ({"probes": ["sharpnes"]}, "'sharpness'", "initopt list probes"),
        ({"target": {"metric": "val_acc", "at_least": 1}}, "'val_accuracy'", "train_loss"),
        ({"tuning": {"metric": "val_los"}}, "'val_loss'", "steps_to_target"),
        ({"task": {"name": "clasification", "dataset": "digits"}}, "'classification'", "regr"),
        ({"task": {"name": "classification", "dataset": "digist"}}, "'digits'", "Allowed"),
        ({"task": {"name": "test_function", "function": "beal"}, "model": None}, "'beale'", "ravi"),
        ({"landscapes": ["pathz"], "keep": "every"}, "'paths'", "slice"),
        ({"stepz": 3}, "'steps'", "Allowed: audit"),
        ({"seeds": {"innit": 3, "data": 1}}, "'init'", "Allowed: all"),
        ({"initializers": ["mine_names:laplase"]}, "'laplace'", "Allowed: laplace"),
        ({"initializers": ["mine_nmaes:laplace"]}, "'mine_names'", "no module"),
        ({"initializers": ["mine_names.py:laplace"]}, "", "write 'mine_names'"),
        ({"initializers": ["./mine_names:laplace"]}, "", "write 'mine_names'"),
        ({"initializers": ["ending:x"]}, "", "sys.exit"),
        (optimizer(name="mine_names:made"), "", "must be a function that makes it"),
    ],
)
def test_every_unknown_name_is_answered(small_config, mine, keys, meant, listed):
    with pytest.raises(ConfigError) as caught:
        resolve(validate(small_config | keys))
    message = str(caught.value)
    assert len(message) < 500, message
    assert f"did you mean {meant}" in message if meant else "did you mean" not in message, message
    assert listed in message
    assert "State" not in message.replace("ScaleByAdamState", ""), "states are no optimizers"


@pytest.mark.parametrize("name", ["optax.adam", "optax.contrib.dowg", "jax.glorot_normal"])
def test_what_is_offered_can_be_had(small_config, name):
    kind = "optimizers" if name.startswith("optax") else "initializers"
    entry = {"name": name, "learning_rate": 0.1} if kind == "optimizers" else name
    assert name in (*optax_optimizers(), *jax_initializers())
    assert len(resolve(validate(small_config | {kind: [entry]})).lanes)
