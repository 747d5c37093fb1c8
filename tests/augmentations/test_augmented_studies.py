"""Augmentation inside a study: what draws alike, what is never augmented, bits, one's own."""

import json
import textwrap
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import initopt_jax as iox
from initopt_jax.augmentations import REGISTRY, make_augment
from initopt_jax.cli import main, show
from initopt_jax.config.schema import validate
from initopt_jax.engine.flops import step_operations
from initopt_jax.engine.segment import Chunks, LaneInputs, LaneState, make_evaluate, make_lane_step
from initopt_jax.errors import ConfigError
from initopt_jax.keys import named_key, stream_key
from initopt_jax.studies.preview import prepare
from initopt_jax.studies.verify import verify
from initopt_jax.tasks import REGISTRY as TASKS
from initopt_jax.types import Model

MINE = '''
import numpy as np


def dim(key, examples, *, factor=0.5):
    """Every number times a factor."""
    return examples * factor


def shrink(key, examples):
    return examples[:, 1:]


def lonely(key):
    return key


def pictures(count=60):
    draws = np.random.default_rng(0)
    labels = np.arange(count) % 2
    return draws.normal(size=(count, 6, 6, 1)) + labels[:, None, None, None], labels
'''


@pytest.fixture
def own(working_dir):
    (working_dir / "own_augment.py").write_text(textwrap.dedent(MINE))


def study_config(**task):
    """Two initializers and two seeds on pictures, mini-batches and full batches."""
    return {
        "name": "augmented",
        "task": {"name": "classification", "dataset": "own_augment:pictures", "batch_size": 6}
        | task,
        "model": "linear",
        "initializers": ["glorot_uniform", {"name": "normal", "stddev": 0.1}],
        "optimizers": [
            {"name": "sgd", "learning_rate": 0.1},
            {"name": "gd", "learning_rate": 0.1, "steps": 2, "eval_every": 1},
        ],
        "seeds": 2,
        "tuning": {"seeds": 0},
        "steps": 4,
        "eval_every": 2,
        "tile_width": 2,
    }


AUGMENT = ["random_flip", {"name": "random_crop", "padding": 2}, {"name": "cutout", "size": 2}]


def looking(seen):
    """A model of one weight that notes its inputs and key; its output is their mean."""

    def apply(params, state, inputs, *, key=None, train=False):
        seen.append((inputs, None if key is None else jax.random.key_data(key), train))
        means = inputs.reshape(len(inputs), -1).mean(axis=1)
        return params * means[:, None] * jnp.array([[1.0, -1.0]]), state

    return Model(lambda key, inputs: (jnp.float32(1), {}), apply)


def test_a_step_augments_once_under_a_name_and_leaves_the_other_keys_alone():
    """Loss, gradient and `value_fn` see the same examples; keys are those without augmentation."""
    shape, keys = (5, 5, 1), []
    augment = make_augment([("gaussian_noise", {"stddev": 1.0})], shape)

    def make(hyperparameters):
        del hyperparameters

        def update(updates, state, params=None, *, value, value_fn, key, **extra):
            keys.append(jax.random.key_data(key))
            np.testing.assert_array_equal(value, value_fn(params))
            return jax.tree.map(jnp.zeros_like, updates), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    examples = jnp.ones((4, *shape))
    targets = jnp.zeros(4, jnp.int32)
    inputs = LaneInputs({}, stream_key(3, "noise"))
    state = LaneState(jnp.float32(1), {}, (), jnp.int32(7), jnp.int32(-1))
    notes = {}
    for name, change in (("plain", None), ("noisy", augment)):
        seen = notes[name] = []
        task = replace(TASKS["classification"], augment=change)
        with jax.disable_jit():
            make_lane_step(looking(seen), task, make)(state, inputs, examples, targets)
        assert len(seen) == 2
        assert all(train for _, _, train in seen)
    (plain, model_key, _), (noisy, same_key, _) = notes["plain"][0], notes["noisy"][0]
    np.testing.assert_array_equal(model_key, same_key)
    np.testing.assert_array_equal(*keys)
    np.testing.assert_array_equal(plain, examples)
    step_key = jax.random.fold_in(inputs.noise_key, 7)
    np.testing.assert_array_equal(noisy, augment(named_key(step_key, "augment"), examples))
    np.testing.assert_array_equal(noisy, notes["noisy"][1][0])


def arrays(study):
    data = study.dataset
    return {str(name): data[name].to_numpy() for name in data.data_vars}


def test_evaluation_never_augments():
    """Were the change made, it would raise."""

    def explode(key, examples):
        raise AssertionError("an evaluated example was augmented")

    task, seen = replace(TASKS["classification"], augment=explode), []
    examples = jnp.ones((1, 4, 5, 5, 1))
    chunks = Chunks(examples, jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4)))
    found = make_evaluate(looking(seen), task)(jnp.ones(1), {}, {"val": chunks})
    assert found["val_accuracy"].tolist() == [1.0]
    assert seen


def test_a_study_keeps_its_bits(own, working_dir):
    """Run, verified, and run on two devices: one program of mini-batches, one of full batches."""
    config = study_config(augment=AUGMENT)
    one = arrays(iox.run(config, out="one", devices=1))
    assert verify("one", devices=1).exit_code == 0
    two = arrays(iox.run(config, out="two", devices=2))
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert values.tobytes() == two[name].tobytes(), name
    manifest = json.loads((working_dir / "one" / "manifest.json").read_text())
    assert manifest["config"]["task"]["augment"] == [
        {"name": "random_flip"},
        {"name": "random_crop", "padding": 2},
        {"name": "cutout", "size": 2},
    ]


def test_ones_own_function_is_applied_and_its_file_recorded(own):
    config = study_config(augment=[{"name": "own_augment:dim", "factor": 0.25}])
    experiment = prepare(config)
    assert set(experiment.sources) == {"own_augment"}
    examples = np.ones((2, 6, 6, 1), np.float32)
    augment = experiment.workload.task.augment
    assert augment is not None
    np.testing.assert_array_equal(augment(jax.random.key(0), examples), examples / 4)
    workload = experiment.workload
    with_it, without = (
        step_operations(experiment.programs[0], replace(workload, task=task))
        for task in (workload.task, replace(workload.task, augment=None))
    )
    assert with_it == without
    assert with_it.count > 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("own_augment:shrink", r"the shape and dtype.*\(3, 6, 6, 1\).*got \(3, 5, 6, 1\)"),
        ("own_augment:lonely", r"must take \(key, examples\)"),
        ("own_augment:dimm", "did you mean 'dim'"),
        ({"name": "own_augment:dim", "factr": 1}, "did you mean 'factor'"),
        ({"name": "own_augment:dim", "factor": "x"}, "augmentation 'own_augment:dim'"),
        ({"name": "random_crop", "padding": 6}, "6 x 6; got 6"),
    ],
)
def test_refuses_before_training(own, working_dir, entry, message):
    with pytest.raises(ConfigError, match=message):
        iox.run(study_config(augment=[entry]), out="refused")
    assert not (working_dir / "refused").exists()


def test_command_line_refuses_flat_inputs_with_exit_code_2(working_dir, capsys, monkeypatch):
    config = study_config(dataset="digits", augment="random_flip")
    (working_dir / "flat.yaml").write_text(json.dumps(config))
    monkeypatch.setattr("sys.argv", ["initopt", "run", "flat.yaml"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "the inputs have shape (64,)" in capsys.readouterr().err
    assert not (working_dir / "runs").exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ([], None),
        ("random_flip", [{"name": "random_flip"}]),
        ({"name": "cutout", "size": 2}, [{"name": "cutout", "size": 2}]),
        (["random_flip"], [{"name": "random_flip"}]),
    ],
)
def test_forms_of_the_key(given, kept):
    config = validate(study_config(augment=given))
    assert config.to_json()["task"]["augment"] == kept


def test_what_is_no_augmentation_is_refused():
    for wrong, message in ((3, "task.augment"), ([3], "task.augment.0"), ([{"size": 2}], "name")):
        with pytest.raises(ConfigError, match=message):
            validate(study_config(augment=wrong))
    raw = {"name": "f", "initializers": ["points"], "optimizers": ["sgd"]}
    raw["task"] = {"name": "test_function", "function": "ravine", "augment": ["random_flip"]}
    with pytest.raises(ConfigError, match="augment was given, but a test function has no data"):
        validate(raw)


def test_the_list_names_all(capsys):
    show.catalogue("augmentations")
    text = capsys.readouterr().out
    assert all(name in text for name in REGISTRY)
