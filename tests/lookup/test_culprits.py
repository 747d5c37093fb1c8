"""An option of a wrong kind: the message names the option, whatever it is an option of."""

import pytest

from initopt_jax.errors import ConfigError
from initopt_jax.studies.preview import prepare

BASE = {
    "name": "culprits",
    "task": {"name": "regression", "dataset": "diabetes"},
    "model": {"name": "mlp", "hidden": [2]},
    "initializers": ["zeros"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
    "seeds": 1,
    "steps": 2,
    "probes": [],
}
RECURRENT = {"task": {"name": "regression", "dataset": "adding"}, "model": "gru"}


def modifier(name, **options):
    return {
        "optimizers": [
            {"name": "sgd", "learning_rate": 0.1, "modifiers": [{"name": name, **options}]}
        ]
    }


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (modifier("coupled_weight_decay", weight_decay=0.1, only=True), "only must be text"),
        (modifier("coupled_weight_decay", weight_decay=0.1, only=[2]), "only must be text"),
        (modifier("coupled_weight_decay", weight_decay=True), "weight_decay must be a number"),
        ({"probes": [{"name": "hessian_top", "k": [2]}]}, r"'hessian_top': k must be .* got \[2\]"),
        ({"probes": [{"name": "hessian_top", "k": True}]}, "k must be a whole number"),
        ({"probes": [{"name": "hessian_density", "draws": {"a": 1}}]}, "draws must be a whole"),
        ({"probes": [{"name": "hessian_ends", "iterations": "x"}]}, "iterations must be a whole"),
        ({"probes": [{"name": "hessian_trace", "probes": [2]}]}, "probes must be a whole number"),
        ({"model": {"name": "mlp", "activation": ["relu"]}}, "unknown activation .'relu'."),
        ({"model": {"name": "mlp", "activation": {"a": 1}}}, "unknown activation"),
        ({"model": {"name": "mlp", "dtype": [1]}}, "unknown dtype"),
        (RECURRENT | {"initializers": [{"name": "chrono", "gates": True}]}, "gates must be"),
    ],
)
def test_the_option_is_named_with_what_it_may_be(keys, said):
    with pytest.raises(ConfigError, match=said):
        prepare(BASE | keys)
