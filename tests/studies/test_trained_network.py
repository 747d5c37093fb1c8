"""A trained network leaves its study with everything that its use needs."""

import jax
import numpy as np
import pytest
import sklearn.datasets
from flax import linen as nn
from flax import nnx

import initopt_jax as iox
from initopt_jax.data import SplitSpec
from initopt_jax.data.split import split_indices
from initopt_jax.errors import StudyError

HERE = __name__
DIGITS = sklearn.datasets.load_digits(return_X_y=True)


class Normed(nn.Module):
    """Batch statistics and dropout; flags by another name."""

    outputs: int

    @nn.compact
    def __call__(self, inputs, deterministic=True):
        pictures = inputs.reshape(len(inputs), 8, 8, 1)
        values = nn.Conv(4, (3, 3))(pictures)
        values = nn.relu(nn.BatchNorm(use_running_average=deterministic, momentum=0.5)(values))
        values = nn.Dropout(0.2, deterministic=deterministic)(values.reshape(len(inputs), -1))
        return nn.Dense(self.outputs)(values)


class NnxNet(nnx.Module):
    def __init__(self, outputs, rngs):
        self.hidden = nnx.Linear(64, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.5, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(8, outputs, rngs=rngs)

    def __call__(self, inputs):
        return self.out(self.drop(nnx.relu(self.norm(self.hidden(inputs)))))


def nnx_net(*, outputs):
    return NnxNet(outputs, nnx.Rngs(0))


@pytest.fixture
def tiny(small_config):
    adam = [{"name": "adam", "learning_rate": 0.03}]
    changes = {"initializers": ["he_normal"], "optimizers": adam, "target": None, "steps": 10}
    return small_config | changes | {"tile_width": 2, "keep": "final"}


def raw_test(arrays):
    """The test part of a set's own arrays, as the split of a config draws it."""
    inputs, targets = arrays
    rows = split_indices(len(inputs), SplitSpec())[2]
    return inputs[rows], targets[rows]


MODELS = {
    "mlp": {"name": "mlp", "hidden": [8]},
    "batch norm and dropout": f"{HERE}:Normed",
    "nnx": f"{HERE}:nnx_net",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`(config, name of a model) -> study`, run once each."""
    folder, known = tmp_path_factory.mktemp("trained"), {}

    def study(config, name):
        if name not in known:
            known[name] = iox.run(config | {"model": MODELS[name]}, folder / name, devices=1)
        return known[name]

    return study


@pytest.mark.parametrize("name", MODELS)
def test_its_test_accuracy_is_that_of_the_study(name, tiny, trained):
    study = trained(tiny, name)
    inputs, labels = raw_test(DIGITS)
    accuracy = study.dataset["test_accuracy"].values
    for lane in (0, 1):
        network = study.network(lane)
        assert (network.lane, network.step) == (lane, 10)
        for pixels in (inputs.astype(np.uint8), inputs / 16):  # as files have them, or fractions
            said = network.predict(pixels)
            assert said.dtype.kind == "U"
            right = int((said == labels.astype(str)).sum())
            assert right == round(float(accuracy[lane]) * len(labels))


def test_a_plain_loop_needs_the_returned_pieces_alone(tiny, trained):
    study = trained(tiny, "batch norm and dropout")
    network, (inputs, labels) = study.network(0), raw_test(DIGITS)
    scale = network.input_scale
    normalized = (inputs / network.pixel_unit - scale.origin - scale.mean) / scale.scale
    variables = {"params": network.params, **network.model_state}
    assert not np.array_equal(
        network.model_state["batch_stats"]["BatchNorm_0"]["mean"], np.zeros(4)
    )
    outputs = Normed(10).apply(variables, normalized.astype(np.float32))
    right = int((np.argmax(outputs, axis=-1) == labels).sum())
    assert right == round(float(study.dataset["test_accuracy"][0]) * len(labels))
    jax.tree.map(np.testing.assert_array_equal, network.params, study.params(0))


def test_a_regression_answers_in_its_own_units(tiny, study_dir):
    raw = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
    ask = {"task": {"name": "regression", "dataset": "diabetes", "batch_size": 32}}
    adam = [{"name": "adam", "learning_rate": 0.03, "modifiers": ["ema"]}]
    study = iox.run(tiny | ask | {"optimizers": adam}, study_dir, devices=1)
    network, (inputs, targets) = study.network(0), raw_test(raw)
    errors = network.predict(inputs)[:, 0] - targets
    # the loss is of standardized targets; float32 has 24 bits
    spread = float(network.target_scale.scale[0])
    loss = np.mean((errors / spread) ** 2)
    np.testing.assert_allclose(loss, study.dataset["test_loss"][0], rtol=1e-4)
    assert spread > 50  # units of the disease's progress


def test_names_of_classes_and_columns_come_along(tiny, study_dir):
    wine = {"task": {"name": "classification", "dataset": "wine", "batch_size": 32}}
    study = iox.run(tiny | wine | {"keep": [5]}, study_dir, devices=1)
    bunch = sklearn.datasets.load_wine()
    inputs, _ = raw_test((bunch.data, bunch.target))
    network = study.network(0, at=5)
    assert network.columns == tuple(bunch.feature_names)
    assert set(network.predict(inputs)) <= set(bunch.target_names)
    assert network.step == 5
    assert network.apply(inputs[:0]).shape == (0, 3)
    for wrong, said in (
        (inputs[:, :3], r"must have the shape \[N, 13\], got \(36, 3\)"),
        (inputs.astype(str), "must be real numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            network.predict(wrong)
    with pytest.raises(StudyError, match="lane 99 does not exist"):
        study.network(99)


def test_what_was_not_kept_is_missed_in_clear_words(tiny, study_dir):
    study = iox.run(tiny | {"keep": None, "steps": 5}, study_dir, devices=1)
    with pytest.raises(StudyError, match="stored no states; run it with keep: final"):
        study.network(0)


def test_pixels_of_another_range_are_refused(tiny, trained):
    study = trained(tiny, "mlp")
    for wrong in (DIGITS[0][:2], DIGITS[0][:2].astype(int) * 20, DIGITS[0][:2] / -16):
        with pytest.raises(ValueError, match="pixels must be whole numbers from 0 to 16, or fract"):
            study.network(0).normalize(wrong)
