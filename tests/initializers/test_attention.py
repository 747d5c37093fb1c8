"""Methods that start attention: gains from the papers, and products of pairs of kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.errors import ConfigError
from initopt_jax.initializers.model_level import (
    MODEL_LEVEL,
    deep_norm,
    leaves_of,
    mimetic,
    t_fixup,
)
from initopt_jax.initializers.model_level.attention import attention_layers
from tests.initializers.residual_models import (
    Crossing,
    Encoder,
    Plain,
    Residual,
    Transformer,
    build,
    check_contract,
)

METHODS = ("deep_norm", "mimetic", "t_fixup")
WORDS = jnp.arange(6).reshape(2, 3)
VECTORS = jax.random.normal(jax.random.key(2), (2, 4, 5))
PARTS = ("query", "key", "value", "out")


class Attending(nn.Module):
    """One attention layer of many features, nothing else."""

    features: int = 64
    heads: int = 4
    units: int = 64  # of all heads

    @nn.compact
    def __call__(self, inputs):
        attention = nn.MultiHeadDotProductAttention(
            self.heads, qkv_features=self.units, name="attention"
        )
        return inputs + attention(inputs)


class Flat(nn.Module):
    """Attention whose kernels have no axis for the heads."""

    @nn.compact
    def __call__(self, inputs):
        query, key, value = (
            nn.Dense(8, name=part)(inputs).reshape(*inputs.shape[:2], 2, 4) for part in PARTS[:3]
        )
        found = nn.dot_product_attention(query, key, value).reshape(*inputs.shape[:2], 8)
        return inputs + nn.Dense(inputs.shape[-1], name="out")(found)


def float64(leaf):
    return np.asarray(leaf, np.float64)


def layer_names(depth, *, looped):
    return ["layers"] if looped else [f"layer_{number}" for number in range(depth)]


def scaled_kernels(depth, *, looped):
    """Values, attention outputs and feed-forward kernels of the encoder."""
    leaves = ("attention/value", "attention/out", "up", "down")
    return [
        f"{layer}/{leaf}/kernel" for layer in layer_names(depth, looped=looped) for leaf in leaves
    ]


@pytest.mark.parametrize("name", METHODS)
def test_refuses_a_network_without_attention(name):
    for module, reason in ((Plain(), "no "), (Residual(2), r"\*query/kernel', '\*key/kernel'")):
        network, params = build(module, VECTORS[0, :, :4])
        with pytest.raises(ConfigError, match=reason):
            MODEL_LEVEL[name].refine(jax.random.key(0), params, network)


@pytest.mark.parametrize("name", ["deep_norm", "t_fixup"])
def test_refuses_an_encoder_with_a_decoder(name):
    network, params = build(Crossing(), VECTORS)
    (layer,) = attention_layers(network)
    assert layer.crosses
    with pytest.raises(ConfigError, match="'attention' are made of different things"):
        MODEL_LEVEL[name].refine(jax.random.key(0), params, network)


def test_layers_are_found_in_order_and_counted():
    network, _ = build(Transformer(), WORDS)
    assert [layer.path for layer in attention_layers(network)] == ["attention_0", "attention_1"]
    network, _ = build(Encoder(5, looped=True), WORDS)
    (layer,) = attention_layers(network)
    assert (layer.path, layer.out) == ("layers/attention", "layers/attention/out/kernel")
    assert (layer.times, layer.crosses) == (5, False)
    network, _ = build(nn.MultiHeadDotProductAttention(2), VECTORS[..., :4])
    assert [(layer.path, layer.query) for layer in attention_layers(network)] == [
        ("", "query/kernel")
    ]


@pytest.mark.parametrize(("depth", "looped"), [(3, False), (50, True)])
def test_deep_norm(depth, looped):
    """Figure 2: alpha = (2 N)^(1/4), beta = (8 N)^(-1/4)."""
    network, params = build(Encoder(depth, looped=looped), WORDS)
    touched = scaled_kernels(depth, looped=looped)
    before, after, info = check_contract(deep_norm, network, params, touched)
    beta = 1 / np.sqrt(np.sqrt(np.float64(8 * depth)))
    for path in touched:
        np.testing.assert_allclose(after[path], beta * np.float64(before[path]), rtol=1e-6)
    assert info["layers"] == depth
    assert abs(info["alpha"] - np.sqrt(np.sqrt(2.0 * depth))) < 1e-5
    assert abs(info["beta"] - beta) < 1e-6


@pytest.mark.parametrize(("depth", "looped"), [(2, False), (6, True)])
def test_t_fixup(depth, looped):
    """Section 3.2; tolerance of the embedding: 5 standard errors of a variance."""
    network, params = build(Encoder(depth, looped=looped), WORDS)
    touched = scaled_kernels(depth, looped=looped)
    table = "words/embedding"
    before, after, info = check_contract(t_fixup, network, params, [*touched, table], draws=True)
    factor = 0.67 / np.sqrt(np.sqrt(np.float64(depth)))
    for path in touched:
        np.testing.assert_allclose(after[path], factor * np.float64(before[path]), rtol=1e-6)
    small = 1 / np.sqrt(np.sqrt(9.0 * depth))
    weights = np.float64(after[table]) / (small / np.sqrt(8.0))
    assert abs(weights.var() - 1) < 5 * np.sqrt(2 / weights.size)
    assert abs(info["factor"] - factor) < 1e-6
    assert abs(info["embedding_factor"] - small) < 1e-6


def test_t_fixup_bounds_the_update_of_an_encoder():
    """The condition its numbers solve, of two blocks per layer, each of three products:

    `2 N (|v|^2 |x|^2 + |w|^2 |x|^2 + |v|^2 |w|^2) = 1`, where the embedding has
    `|x|^2 = (9 N)^(-1/2)`.
    """
    network, params = build(Encoder(7, looped=True), WORDS)
    _, info = t_fixup(jax.random.key(0), params, network)
    kernel, embedding = (float(info[name]) ** 2 for name in ("factor", "embedding_factor"))
    assert abs(2 * 7 * (2 * kernel * embedding + kernel**2) - 1) < 0.01


def test_t_fixup_without_embeddings_scales_what_sees_the_data():
    network, params = build(Encoder(2, embed=False), VECTORS)
    touched = [*scaled_kernels(2, looped=False), "patches/kernel"]
    before, after, _ = check_contract(t_fixup, network, params, touched)
    np.testing.assert_allclose(
        after["patches/kernel"], 18**-0.25 * np.float64(before["patches/kernel"]), rtol=1e-6
    )


@pytest.mark.parametrize("looped", [False, True])
def test_mimetic_touches_attention_alone(looped):
    network, params = build(Encoder(2, looped=looped), WORDS)
    layers = [f"{layer}/attention" for layer in layer_names(2, looped=looped)]
    touched = [f"{layer}/{part}/kernel" for layer in layers for part in PARTS]
    _, after, info = check_contract(mimetic, network, params, touched, draws=True)
    assert set(info) == {
        f"{kind}/{layer}" for kind in ("query_key", "value_out") for layer in layers
    }
    query, key, value, out = (float64(after[f"{layers[0]}/{part}/kernel"]) for part in PARTS)
    products = np.einsum("...ihu,...jhu->...hij", query, key)
    diagonals = np.einsum("...ii->...i", products).mean()
    assert abs(info[f"query_key/{layers[0]}"] - diagonals) < 1e-5
    diagonals = np.einsum("...ihu,...hui->...i", value, out).mean()
    assert abs(info[f"value_out/{layers[0]}"] - diagonals) < 1e-5
    if looped:
        assert np.abs(query[0] - query[1]).max() > 0.1


def test_mimetic_products_of_values_and_outputs():
    """W_V W_out + 0.4 I has the entries of 0.4 Z, Z ~ N(0, 1/d): five standard errors."""
    network, params = build(Attending(), jnp.ones((2, 3, 64)))
    after = leaves_of(mimetic(jax.random.key(0), params, network)[0])
    value = float64(after["attention/value/kernel"]).reshape(64, 64)
    out = float64(after["attention/out/kernel"]).reshape(64, 64)
    noise = (value @ out + 0.4 * np.eye(64)) * np.sqrt(64) / 0.4
    assert abs(noise.mean()) < 5 / 64
    assert abs(noise.var() - 1) < 5 * np.sqrt(2) / 64
    assert abs(np.diag(noise).mean()) < 5 / 8
    # Both factors share the singular values, which fall from head to head.
    np.testing.assert_allclose((value**2).sum(0), (out**2).sum(1), rtol=1e-4)
    assert (np.diff((value**2).sum(0)) < 1e-5).all()


def test_mimetic_heads_are_the_best_of_their_rank():
    """Singular values and diagonals as NumPy's, of 0.7 Z + 0.7 I; five standard errors."""
    network, params = build(Attending(), jnp.ones((2, 3, 64)))
    after = leaves_of(mimetic(jax.random.key(3), params, network)[0])
    query, key = (float64(after[f"attention/{part}/kernel"]) for part in ("query", "key"))
    generator = np.random.default_rng(1)
    expected, own = [], []
    for _ in range(100):
        matrix = 0.7 * generator.normal(size=(64, 64)) / 8 + 0.7 * np.eye(64)
        left, values, right = np.linalg.svd(matrix)
        product = left[:, :16] * values[:16] @ right[:16]
        expected.append([*values[:16], np.trace(product) / 64, np.abs(product).mean()])
    for head in range(4):
        product = query[:, head] @ key[:, head].T
        values = np.linalg.svd(product)[1]
        assert values[16] < 1e-5 * values[0]
        own.append([*values[:16], np.trace(product) / 64, np.abs(product).mean()])
        np.testing.assert_allclose(
            query[:, head].T @ query[:, head], np.diag(values[:16]), atol=1e-4
        )
        np.testing.assert_allclose(key[:, head].T @ key[:, head], np.diag(values[:16]), atol=1e-4)
    error = np.std(expected, axis=0) * np.sqrt(1 / len(own) + 1 / len(expected))
    assert (np.abs(np.mean(own, axis=0) - np.mean(expected, axis=0)) < 5 * error).all()
    # The diagonal stands out, as in the paper's figures: entries of 0.7 Z alone would be 0.07.
    assert np.mean(own, axis=0)[16] > 4 * np.mean(own, axis=0)[17]


def test_mimetic_with_fewer_units_than_features():
    network, params = build(Attending(16, 2, 8), jnp.ones((2, 3, 16)))
    no_noise = {"query_noise": 0.0, "value_noise": 0.0}
    after = leaves_of(mimetic(jax.random.key(0), params, network, **no_noise)[0])
    value, out = (float64(after[f"attention/{part}/kernel"]) for part in ("value", "out"))
    product = value.reshape(16, 8) @ out.reshape(8, 16)
    np.testing.assert_allclose(product @ product, -0.4 * product, atol=1e-5)  # -0.4 a projection
    assert abs(np.trace(product) + 0.4 * 8) < 1e-4


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Flat(), "one axis for the heads"),
        (Attending(5, 2, 8), "at least as many as all heads have units"),
    ],
)
def test_mimetic_refuses_other_kernels(module, reason):
    network, params = build(module, VECTORS)
    with pytest.raises(ConfigError, match=reason):
        mimetic(jax.random.key(0), params, network)


@pytest.mark.parametrize("name", METHODS)
def test_keeps_half_precision(name):
    network, params = build(Encoder(1), WORDS)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    refined, _ = MODEL_LEVEL[name].refine(jax.random.key(0), half, network)
    assert {leaf.dtype for leaf in jax.tree.leaves(refined)} == {jnp.dtype("bfloat16")}


def test_mimetic_of_other_numbers():
    network, params = build(Encoder(1), WORDS)
    with pytest.raises(ValueError, match="query_noise must be a finite number of at least 0"):
        mimetic(jax.random.key(0), params, network, query_noise=-1.0)

    @jax.jit
    def diagonal(identity):
        options = {"value_identity": identity, "value_noise": 0.0}
        return mimetic(jax.random.key(0), params, network, **options)[1][
            "value_out/layer_0/attention"
        ]

    assert abs(diagonal(jnp.float32(0.9)) + 0.9) < 1e-5


def test_mimetic_on_many_lanes_is_that_of_each():
    network, params = build(Encoder(2), WORDS)
    keys = jax.random.split(jax.random.key(5), 3)
    one = jax.jit(lambda key: mimetic(key, params, network)[0])
    many = jax.jit(jax.vmap(one))(keys)
    for number, key in enumerate(keys):
        for path, leaf in leaves_of(one(key)).items():
            np.testing.assert_array_equal(leaves_of(many)[path][number], leaf)


def test_mimetic_on_two_devices_finishes(finishes_on_two_devices):
    """Batches of LAPACK's may wait for ever here; the limit is far above what this takes."""
    program = """
        import jax
        jax.config.update("jax_num_cpu_devices", 2)
        import jax.numpy as jnp
        from initopt_jax.initializers.model_level import make_network, mimetic

        shapes = {"query": (32, 4, 8), "key": (32, 4, 8), "value": (32, 4, 8), "out": (4, 8, 32)}
        params = {name: {"kernel": jnp.zeros(shape)} for name, shape in shapes.items()}

        def apply(params, x):
            heads = [jnp.einsum("btd,dhu->bthu", x, params[name]["kernel"])
                     for name in ("query", "key", "value")]
            out = jax.nn.dot_product_attention(*heads)
            return x + jnp.einsum("bthu,hud->btd", out, params["out"]["kernel"])

        inputs = jnp.ones((2, 3, 32))
        network = make_network(apply, lambda a, b: a, params, inputs, inputs)
        draw = jax.jit(jax.vmap(lambda key: mimetic(key, params, network)[0]))

        def work(device):
            keys = jax.device_put(jax.random.split(jax.random.key(device.id), 16), device)
            for _ in range(5):
                jax.block_until_ready(draw(keys))
    """
    finishes_on_two_devices(program)
