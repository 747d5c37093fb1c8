"""Each of `misused` is refused in one line: the function, what it got, what is expected of it."""

import pytest

from initopt_jax.config.schema import validate
from initopt_jax.errors import ConfigError
from initopt_jax.planning.resolve import resolve

VALUES = "it asks for the values of an array .* use jnp.where"
DRAW = r"it must be \(key, shape, dtype, options\) -> an array"
MODEL = "a function of outputs= and options that returns a Flax module"


def entry(kind, name):
    """The part of a config that names a function as one of a kind."""
    own = {"name": f"tests.misused:{name}"}
    sgd = {"name": "sgd", "learning_rate": 0.1}
    digits = {"name": "classification", "dataset": "digits"}
    return {
        "initializer": {"initializers": [own]},
        "transform": {"optimizers": [own | {"learning_rate": 0.1}]},
        "scheduled": {"optimizers": [own | {"learning_rate": 0.1, "schedule": "cosine"}]},
        "schedule": {"optimizers": [sgd | {"schedule": own}]},
        "modifier": {"optimizers": [sgd | {"modifiers": [own]}]},
        "model": {"model": own},
        "task": {"task": {**own, "dataset": "digits"}},
        "data": {"task": {"name": "classification", "dataset": own}},
        "probe": {"probes": [own]},
        "augmentation": {"task": digits | {"augment": [own]}},
        "function": {
            "task": {"name": "test_function", "function": own},
            "model": None,
            "initializers": ["grid"],
        },
    }[kind]


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("initializer", "draws_of_two", "takes 2 positional arguments but 3 were given; " + DRAW),
        (
            "initializer",
            "draws_nothing",
            r"an array of the shape \(4, 4\).* got NoneType",
        ),
        ("initializer", "draws_a_pair", r"must return an array of the shape \(4, 4\).* got tuple"),
        ("initializer", "draws_another_shape", r"of the shape \(4, 4\) asked for, got \(3,\)"),
        (
            "initializer",
            "draws_integers",
            "float32 for leaf 'dense_0/kernel'.*int32",
        ),
        ("initializer", "draws_a_function", "a function was returned where .*; " + DRAW),
        ("initializer", "draws_and_fails", r"KeyError: 'no key' \(misused.py, line \d+\)$"),
        ("initializer", "draw_factory", "0 to 1 positional arguments but 3 were given; " + DRAW),
        ("initializer", "refines_nothing", "must return a pair: the parameters and a dictionary"),
        ("initializer", "refines_without_info", "must return a pair"),
        ("initializer", "refines_with_arrays", "must return a pair: .* a dictionary of scalars"),
        ("initializer", "refines_of_two", r"but 3 were given; it must be \(key, params, network"),
        ("transform", "transforms_to_nothing", "GradientTransformation, got NoneType"),
        ("transform", "transforms_to_a_function", "GradientTransformation, got function"),
        ("transform", "needs_a_number", "needs beta$"),
        ("transform", "takes_no_rate", "unknown option 'learning_rate'. Allowed: none"),
        ("transform", "updates_of_one", "1 positional argument but 3 were given; it must be a fun"),
        ("transform", "updates_without_state", r"must return \(updates, state\), got dict"),
        ("transform", "updates_to_numbers", r"of dense_0/bias have shape \(\), not \(8,\)"),
        ("transform", "updates_and_fails", r"KeyError: 'no leaf' \(misused.py, line \d+\)$"),
        ("transform", "updates_by_an_if", VALUES),
        ("transform", "made_transform", "must be a function that makes it"),
        ("scheduled", "negates_its_rate", "takes no schedule: under 'schedule:' its learning_rate"),
        ("scheduled", "negates_its_rate_at_once", r"optax.scale_by_learning_rate\(learning_rate\)"),
        ("scheduled", "updates_of_one", "1 positional argument but 3 were given"),
        ("schedule", "schedules_nothing", "must give one real number for a step, got NoneType"),
        ("schedule", "schedules_a_pair", "must give one real number for a step, got tuple"),
        ("schedule", "schedules_many", r"one real number .* got float32 of shape \(3,\)"),
        ("schedule", "schedules_by_an_if", VALUES),
        ("schedule", "schedules_by_math", VALUES),
        ("schedule", "schedule_factory", r"it must be \(count, steps, options\) -> one number"),
        ("schedule", "schedules_by_one", r"must take \(count, steps\), then its options"),
        ("modifier", "modifies_to_nothing", "GradientTransformation, got NoneType"),
        ("modifier", "modifies_and_fails", r"RuntimeError: boom \(misused.py, line \d+\)$"),
        (
            "modifier",
            "modifies_shapes",
            "with tests.misused:modifies_shapes: its updates of",
        ),
        (
            "modifier",
            "modifies_by_an_if",
            "by_an_if.scale cannot be traced.*" + VALUES,
        ),
        ("model", "WithoutOutputs", "'outputs'; it must be " + MODEL),
        ("model", "model_without_outputs", "'outputs'; it must be " + MODEL),
        ("model", "OfADictionary", "must return one array of outputs, got a dict"),
        ("model", "model_of_nothing", "must return a Model, .* got NoneType"),
        ("model", "model_class", "must return an instance of Dense, got the class"),
        ("task", "task_of_nothing", "must return an initopt_jax.types.Task"),
        (
            "data",
            "data_of_nothing",
            r"a Dataset or a tuple \(inputs, targets\), got None",
        ),
        ("data", "data_of_two_lengths", "must hold the same number of examples"),
        ("data", "data_from", "missing 1 required positional argument: 'path'"),
        ("probe", "probes_nothing", "must give an array, or arrays by name; .* is a NoneType"),
        ("probe", "probes_text", "'word' is a str"),
        ("probe", "probes_a_tree", "'all' is a dict"),
        ("probe", "probes_by_float", VALUES),
        (
            "probe",
            "probes_what_is_not_given",
            "needs x, y; a probe may ask for params, state",
        ),
        ("augmentation", "augments_to_nothing", "must return examples of the shape and dtype"),
        ("augmentation", "augments_by_one", r"must take \(key, examples\), then its options"),
        ("augmentation", "augments_by_an_if", VALUES),
        ("function", "costs_nothing", "must return one real number for two, got NoneType"),
        ("function", "costs_by_math", VALUES),
        ("function", "costs_a_pair", "must return one real number for two, got tuple"),
    ],
)
def test_one_line_says_what_is_wrong(small_config, kind, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(validate(small_config | entry(kind, name)))
    said = str(caught.value)
    assert name in said
    assert "\n" not in said
    assert len(said) < 500


def test_a_schedule_may_call_its_arguments_what_it_likes(small_config):
    lanes = resolve(validate(small_config | entry("schedule", "other_names_of_a_schedule"))).lanes
    assert "optimizer.schedule.end" in lanes
