import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import initopt_jax as iox
from initopt_jax.errors import ConfigError
from initopt_jax.models import param_shapes
from initopt_jax.models.cnn import MONOTONE, POOLINGS, as_pictures, cnn
from initopt_jax.models.mlp import ACTIVATIONS
from initopt_jax.studies.preview import audit
from initopt_jax.studies.verify import verify
from initopt_jax.tree import named_leaves

TINY = {"channels": (3, 4), "hidden": (5,), "outputs": 3}


class Reference(nn.Module):
    """The same network as Flax writes it: NHWC, bias and activation before pooling."""

    activation: str
    padding: str
    pooling: str

    @nn.compact
    def __call__(self, inputs):
        values = inputs
        pool = nn.max_pool if self.pooling == "max" else nn.avg_pool
        for index, features in enumerate(TINY["channels"]):
            values = nn.Conv(features, (3, 3), padding=self.padding, name=f"conv_{index}")(values)
            values = pool(ACTIVATIONS[self.activation](values), (2, 2), (2, 2))
        values = values.reshape(len(values), -1)
        values = ACTIVATIONS[self.activation](nn.Dense(5, name="dense_0")(values))
        return nn.Dense(3, name="dense_1")(values)


def random_params(model, inputs, seed=0):
    """Normal weights and biases of order 1 for every leaf."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) / 2, leaf.dtype),
        param_shapes(model, inputs),
    )


@pytest.fixture
def inputs():
    return np.random.default_rng(9).normal(size=(6, 11, 13, 2)).astype(np.float32)


@pytest.mark.parametrize("convolution", ["patches", "stock"])
@pytest.mark.parametrize(
    ("activation", "padding", "pooling"),
    [("relu", "same", "max"), ("tanh", "valid", "average"), ("gelu", "same", "max")],
)
def test_outputs_and_gradients_equal_flax(inputs, activation, padding, pooling, convolution):
    options = {"activation": activation, "padding": padding, "pooling": pooling}
    model = cnn(**TINY, **options, convolution=convolution)
    params = random_params(model, inputs)
    reference = Reference(activation, padding.upper(), pooling)

    def value_and_slope(apply):
        outputs, pull_back = jax.vjp(apply, params)
        return outputs, pull_back(jnp.cos(jnp.arange(18.0).reshape(6, 3)))[0]

    found = value_and_slope(lambda p: model.apply(p, {}, inputs)[0])
    wanted = value_and_slope(lambda p: reference.apply({"params": p}, inputs))
    # float32 sums of at most 6 x 143 terms in another order, through four layers
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, abs(b).max())),
        found,
        wanted,
    )


@pytest.mark.parametrize("activation", MONOTONE)
def test_bias_and_activation_trade_places_with_the_maximum_to_the_bit(activation):
    generator = np.random.default_rng(4)
    values, bias = 2 * generator.normal(size=(2, 100, 50, 1)).astype(np.float32)
    activate = ACTIVATIONS[activation]
    before = jnp.max(activate(values + bias[:, :1]), axis=1)
    after = activate(jnp.max(values, axis=1) + bias[:, 0])
    np.testing.assert_array_equal(before, after)


def test_activations_that_fall_keep_their_place():
    grid = jnp.linspace(-8, 8, 4001)
    falling = {
        name for name, activate in ACTIVATIONS.items() if bool((jnp.diff(activate(grid)) < 0).any())
    }
    assert falling >= {"gelu", "silu", "sin"}
    assert not falling & set(MONOTONE)


def test_parameter_paths_and_shapes(inputs):
    shapes = param_shapes(cnn(**TINY, kernel=5), jax.ShapeDtypeStruct(inputs.shape, jnp.float32))
    assert {path: leaf.shape for path, leaf in named_leaves(shapes)} == {
        "conv_0/bias": (3,),
        "conv_0/kernel": (5, 5, 2, 3),
        "conv_1/bias": (4,),
        "conv_1/kernel": (5, 5, 3, 4),
        "dense_0/bias": (5,),
        "dense_0/kernel": (2 * 3 * 4, 5),
        "dense_1/bias": (3,),
        "dense_1/kernel": (5, 3),
    }
    bare = param_shapes(cnn(**TINY, use_bias=False), jax.ShapeDtypeStruct((1, 8, 8), jnp.float32))
    assert {path.split("/")[1] for path, _ in named_leaves(bare)} == {"kernel"}


def test_pictures_of_one_channel_come_in_three_shapes():
    model = cnn(**TINY)
    pictures = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    params = random_params(model, pictures)
    wanted = model.apply(params, {}, pictures)[0]
    for shape in ((4, 8, 8), (4, 64)):
        np.testing.assert_array_equal(model.apply(params, {}, pictures.reshape(shape))[0], wanted)
    with pytest.raises(ConfigError, match=r"as \[H \* W\], got examples of shape \(10,\)"):
        as_pictures(jnp.ones((4, 10)))
    with pytest.raises(
        ConfigError, match=r"nothing is left of the pictures \(3, 3, 1\) after conv"
    ):
        model.init(jax.random.key(0), jnp.ones((1, 3, 3, 1)))


def test_bfloat16_computes_low_and_keeps_float32_parameters(inputs):
    model = cnn(**TINY, dtype="bfloat16")
    params = random_params(model, inputs)
    outputs, _ = model.apply(params, {}, inputs)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert outputs.dtype == jnp.bfloat16
    exact, _ = cnn(**TINY).apply(params, {}, inputs)
    # 8 bits of mantissa, four layers
    scale = float(abs(exact).max())
    np.testing.assert_allclose(outputs.astype(np.float32), exact, rtol=0, atol=0.05 * scale)


def test_a_lane_of_a_tile_keeps_its_bits_beside_any_neighbour(inputs):
    model = cnn(**TINY)
    first, second, third = (random_params(model, inputs, seed) for seed in range(3))

    @jax.jit
    def train(tile):
        def step(params, _):
            slope = jax.grad(lambda p: jnp.mean(model.apply(p, {}, inputs)[0] ** 2))(params)
            return jax.tree.map(lambda w, g: w - 0.01 * g, params, slope), None

        return jax.vmap(lambda params: jax.lax.scan(step, params, length=20)[0])(tile)

    def lane_of(at, *lanes):
        trained = train(jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes))
        return jax.tree.map(lambda leaf: np.asarray(leaf[at]), trained)

    alone = lane_of(0, first, second)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(alone))
    jax.tree.map(np.testing.assert_array_equal, alone, lane_of(0, first, third))
    jax.tree.map(np.testing.assert_array_equal, alone, lane_of(1, third, first))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": 0}, "outputs must be an integer of at least 1, got 0"),
        ({"channels": 16}, "channels must be a list of channel counts, got 16"),
        ({"channels": [16, 0]}, r"channels\[1\] must be an integer of at least 1, got 0"),
        ({"channels": []}, "channels must name at least one convolution; use the mlp"),
        ({"kernel": 2.5}, r"kernel must be an integer of at least 1, got 2\.5"),
        ({"pool": 0}, "pool must be an integer of at least 1, got 0"),
        ({"hidden": 64}, "hidden must be a list of layer widths, got 64"),
        ({"activation": "rellu"}, "unknown activation 'rellu'; did you mean 'relu'"),
        ({"padding": "sane"}, "unknown padding 'sane'; did you mean 'same'"),
        ({"pooling": "avrage"}, "unknown pooling 'avrage'; did you mean 'average'"),
        ({"convolution": "patch"}, "unknown convolution 'patch'; did you mean 'patches'"),
        ({"use_bias": 1}, "use_bias must be true or false, got 1"),
        ({"dtype": "float"}, "unknown dtype 'float'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        cnn(**{"outputs": 2} | options)


def test_every_pooling_has_a_name():
    assert sorted(POOLINGS) == ["average", "max"]


@pytest.fixture
def tiny_study(small_config):
    """Digits, a few lanes of a network with 2 and 3 channels."""
    return small_config | {
        "model": {"name": "cnn", "channels": [2, 3], "hidden": [8]},
        "initializers": ["he_normal", "orthogonal"],
        "optimizers": [{"name": "adam", "learning_rate": 0.01}],
        "steps": 10,
        "eval_every": 5,
        "tile_width": 2,
    }


def test_the_audit_counts_the_receptive_field_of_kernels(tiny_study):
    rows = {row.path: row for row in audit(tiny_study) if row.initializer == "he_normal"}
    assert (rows["conv_1/kernel"].fan_in, rows["conv_1/kernel"].fan_out) == (18, 27)
    assert rows["conv_1/kernel"].asked_std == pytest.approx((2 / 18) ** 0.5)
    assert {row.verdict for row in rows.values()} == {"ok"}


def test_a_study_runs_and_is_made_again_bit_for_bit(tiny_study, study_dir):
    study = iox.run(tiny_study, study_dir)
    assert np.isfinite(study.dataset["val_loss"]).all()
    assert verify(study_dir, sample=2).exit_code == 0
