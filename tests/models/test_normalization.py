import jax
import jax.numpy as jnp
import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.errors import ConfigError
from initopt_jax.models.cnn import cnn
from initopt_jax.models.normalization import Norm
from initopt_jax.studies.verify import verify

PICTURES = np.random.default_rng(1).normal(3.0, 2.0, (6, 4, 5, 7)).astype(np.float32)  # C, H, W, B


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_outputs_equal_the_papers_formula(kind):
    generator = np.random.default_rng(2)
    scale, bias = (generator.normal(size=6).astype(np.float32) for _ in range(2))
    params = {"scale": scale, "bias": bias}
    state = {"batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6)}} if kind == "batch" else {}
    found, _ = Norm(kind, groups=3).apply(
        {"params": params, **state}, PICTURES, train=True, mutable=["batch_stats"]
    )
    values = PICTURES.astype(np.float64)
    if kind == "batch":
        axes = (1, 2, 3)
    else:
        groups = 3 if kind == "group" else 1
        values, axes = values.reshape(groups, 6 // groups, 4, 5, 7), (1, 2, 3)
    centred = values - values.mean(axes, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + 1e-5)
    spread = (slice(None), None, None, None)
    wanted = normal.reshape(PICTURES.shape) * scale[spread] + bias[spread]
    # float32 means of 140 numbers about 3, then products of order 3
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


def test_a_large_mean_does_not_eat_the_variance():
    values = PICTURES + np.float32(3000)
    norm = Norm("batch")
    variables = norm.init(jax.random.key(0), values, train=False)
    assert (variables["batch_stats"]["var"] == 1).all()
    _, state = norm.apply(variables, values, train=True, mutable=["batch_stats"])
    exact = values.astype(np.float64).var((1, 2, 3))
    # the mean is off by about half an ulp of 3000; squares of deviations from it do not notice
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.9 + 0.1 * exact, rtol=1e-4)


TINY = {"outputs": 3, "channels": (4, 6), "hidden": (5,), "strides": (2, 1)}


@pytest.mark.parametrize("blocks", [False, True])
def test_a_lane_keeps_its_bits_and_statistics_beside_any_neighbour(blocks, monkeypatch):
    if blocks:
        monkeypatch.setattr("initopt_jax.models.convolution.CACHED", 0)
    inputs = np.random.default_rng(9).normal(size=(8, 9, 9, 2)).astype(np.float32)
    model = cnn(**TINY, norm="batch", dropout=0.3)
    shapes, state = jax.eval_shape(model.init, jax.random.key(0), inputs)

    def lane(seed):
        generator = np.random.default_rng(seed)
        params = jax.tree.map(
            lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) / 2, jnp.float32), shapes
        )
        return params, jax.tree.map(lambda leaf: jnp.ones(leaf.shape), state), jax.random.key(seed)

    @jax.jit
    def train(tile):
        def step(carry, number):
            params, state, key = carry

            def cost(params):
                own = jax.random.fold_in(key, number)
                outputs, after = model.apply(params, state, inputs, key=own, train=True)
                return jnp.mean(outputs**2), after

            slope, after = jax.grad(cost, has_aux=True)(params)
            return (jax.tree.map(lambda w, g: w - 0.01 * g, params, slope), after, key), None

        lanes = jax.vmap(lambda lane: jax.lax.scan(step, lane, jnp.arange(3))[0][:2])
        return lanes(tile)

    def lane_of(at, *lanes):
        trained = train(jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes))
        return jax.tree.map(lambda leaf: np.asarray(leaf[at]), trained)

    first, second, third = map(lane, range(3))
    poisoned = jax.tree.map(lambda leaf: leaf * jnp.nan, third[:2]), third[2]
    alone = lane_of(0, first, second)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(alone))
    jax.tree.map(np.testing.assert_array_equal, alone, lane_of(0, first, third))
    jax.tree.map(np.testing.assert_array_equal, alone, lane_of(1, (*poisoned[0], third[2]), first))
    mean = alone[1]["batch_stats"]["conv_0"]["norm"]["mean"]
    assert not np.array_equal(
        mean, lane_of(1, first, second)[1]["batch_stats"]["conv_0"]["norm"]["mean"]
    )


def test_dropout_drops_its_share_in_training_only():
    model = cnn(outputs=3, channels=(8,), hidden=(), dropout=0.25, kernel=1, use_bias=False, pool=1)
    inputs = jnp.ones((50, 8, 8, 1))
    params = {
        "conv_0": {"kernel": jnp.ones((1, 1, 1, 8))},
        "dense_0": {"kernel": jnp.ones((512, 3))},
    }
    still, _ = model.apply(params, {}, inputs, key=jax.random.key(0), train=False)
    np.testing.assert_array_equal(still, 512)
    drawn, _ = model.apply(params, {}, inputs, key=jax.random.key(0), train=True)
    other, _ = model.apply(params, {}, inputs, key=jax.random.key(1), train=True)
    # 25,600 inputs, each kept with probability 3/4 and divided by it: five standard errors
    share = float(drawn.mean()) / 512
    assert abs(share - 1) < 5 * (0.25 / 0.75 / 25_600) ** 0.5
    assert not np.array_equal(drawn, other)


def test_a_study_with_statistics_and_dropout_is_made_again_bit_for_bit(small_config, study_dir):
    model = {"name": "cnn", "channels": [2, 4], "hidden": [], "norm": "batch", "dropout": 0.2}
    config = small_config | {
        "model": model,
        "initializers": [{"name": "constant", "value": 0.1}],
        "optimizers": [{"name": "sgd", "learning_rate": [0.1, 0.2]}],
        "seeds": 1,
        "tuning": {"seeds": 0},
        "steps": 6,
        "eval_every": 6,
        "target": None,
        "tile_width": 2,
    }
    study = iox.run(config, study_dir)
    assert np.isfinite(study.dataset["val_loss"]).all()
    assert verify(study_dir, sample=1).exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "batches"}, "unknown norm 'batches'; did you mean 'batch'"),
        ({"norm": "group", "groups": 4}, "6 channels are not 4 equal groups; 1, 2, 3, 6 would do"),
        ({"strides": (2, 2, 2)}, "strides must be one value or 2, one per convolution"),
        ({"strides": (2, 0)}, r"strides\[1\] must be an integer of at least 1, got 0"),
        ({"padding": ("same", "vald")}, r"unknown padding\[1\] 'vald'; did you mean 'valid'"),
        ({"dropout": 1}, "dropout must be a number from 0 to below 1, got 1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        cnn(**TINY | options)
