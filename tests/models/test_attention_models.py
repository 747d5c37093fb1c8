"""Transformer, vision transformer and mixer: equations, options, and what initializers find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from initopt_jax import tasks
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import MODEL_LEVEL
from initopt_jax.initializers.model_level import mup_multipliers
from initopt_jax.models import REGISTRY, network_of, param_shapes
from initopt_jax.models.sequences import as_patches, as_tokens, sinusoids
from initopt_jax.studies.preview import audit_experiment, initial_weights, prepare
from initopt_jax.tree import named_leaves
from initopt_jax.types import Split

KINDS = ("transformer", "vit", "mixer")
TINY = {
    "transformer": {"width": 8, "heads": 2, "depth": 2},
    "vit": {"width": 8, "heads": 2, "depth": 2},
    "mixer": {"width": 8, "depth": 2, "token_width": 6},
}
PARTS = ("query", "key", "value", "out")


@pytest.fixture(scope="module")
def digits():
    generator = np.random.default_rng(0)
    return Split(
        generator.normal(size=(40, 64)).astype(np.float32),
        generator.integers(0, 10, 40).astype(np.int32),
    )


def random_params(model, inputs, seed=0):
    """Every leaf random, so that each of them counts; scales about 1."""
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        one = float(path[-1].key == "scale")
        return jnp.asarray(one + 0.3 * generator.normal(size=leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, param_shapes(model, inputs))


def layer_norm(x, leaves):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normal * np.float64(leaves["scale"]) + np.float64(leaves["bias"])


def dense(x, leaves):
    return x @ np.float64(leaves["kernel"]) + np.float64(leaves["bias"])


def gelu(x):
    return x * special.ndtr(x)


def perceptron(x, leaves, up="up", down="down"):
    return dense(gelu(dense(x, leaves[up])), leaves[down])


def attention(x, leaves, *, causal, inverse=False):
    """Head by head and place by place."""
    heads, size = leaves["query"]["kernel"].shape[1:]
    found = np.broadcast_to(np.float64(leaves["out"]["bias"]), x.shape).copy()
    for head in range(heads):
        query, key, value = (
            x @ np.float64(leaves[part]["kernel"])[:, head] + np.float64(leaves[part]["bias"])[head]
            for part in PARTS[:3]
        )
        for place in range(x.shape[1]):
            seen = place + 1 if causal else x.shape[1]
            logits = np.einsum("bd,bkd->bk", query[:, place], key[:, :seen])
            weights = special.softmax(logits / (size if inverse else np.sqrt(size)), axis=-1)
            mixed = np.einsum("bk,bkd->bd", weights, value[:, :seen])
            found[:, place] += mixed @ np.float64(leaves["out"]["kernel"])[head]
    return found


def close(outputs, expected):
    """float32 sums of some hundred terms of size one over two blocks."""
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_a_pre_norm_transformer_follows_its_equations(digits):
    inputs = digits.inputs[:3].reshape(3, 8, 8)
    options = {"residual_scale": 0.5, "gate": "channels"}
    model = REGISTRY["transformer"].make(outputs=4, **TINY["transformer"], **options)
    params = random_params(model, inputs)
    x = dense(np.float64(inputs), params["embed"]) + np.float64(params["positions"])
    for n in range(2):
        own = params[f"block_{n}"]
        gates = {part: np.float64(own[f"gate_{part}"]["scale"]) for part in ("attention", "mlp")}
        normal = layer_norm(x, own["norm_attention"])
        x = x + 0.5 * gates["attention"] * attention(normal, own["attention"], causal=True)
        x = x + 0.5 * gates["mlp"] * perceptron(layer_norm(x, own["norm_mlp"]), own)
    expected = dense(layer_norm(x, params["norm"])[:, -1], params["head"])
    close(model.apply(params, {}, inputs)[0], expected)


def test_a_post_norm_transformer_on_tokens_follows_its_equations():
    tokens = np.random.default_rng(1).integers(0, 7, (3, 5))
    model = REGISTRY["transformer"].make(
        outputs=4,
        vocabulary=7,
        norm="post",
        positions="sinusoidal",
        shortcut_scale="deep_norm",
        attention_scale="inverse",
        **TINY["transformer"],
    )
    given = tokens[..., None].astype(np.float32)
    params = random_params(model, given)
    assert "norm" not in params
    assert "positions" not in params
    x = np.float64(params["embed"]["embedding"])[tokens] + sinusoids(5, 8)
    alpha = 4**0.25  # (2 N)^(1/4), N = 2
    for n in range(2):
        own = params[f"block_{n}"]
        found = attention(x, own["attention"], causal=True, inverse=True)
        x = layer_norm(alpha * x + found, own["norm_attention"])
        x = layer_norm(alpha * x + perceptron(x, own), own["norm_mlp"])
    close(model.apply(params, {}, given)[0], dense(x[:, -1], params["head"]))


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_a_vision_transformer_follows_its_equations(digits, pool):
    inputs = digits.inputs[:3]
    model = REGISTRY["vit"].make(outputs=4, pool=pool, norm="none", **TINY["vit"])
    params = random_params(model, inputs)
    x = dense(np.float64(as_patches(inputs, 4)), params["embed"])
    if pool == "class":
        own = np.broadcast_to(np.float64(params["class_token"]), (3, 1, 8))
        x = np.concatenate([own, x], axis=1)
    x = x + np.float64(params["positions"])
    for n in range(2):
        own = params[f"block_{n}"]
        x = x + attention(x, own["attention"], causal=False)
        x = x + perceptron(x, own)
    x = x[:, 0] if pool == "class" else x.mean(1)
    close(model.apply(params, {}, inputs)[0], dense(x, params["head"]))


def test_a_mixer_follows_its_equations(digits):
    inputs = digits.inputs[:3]
    model = REGISTRY["mixer"].make(outputs=4, patch=2, **TINY["mixer"])
    params = random_params(model, inputs)
    x = dense(np.float64(as_patches(inputs, 2)), params["embed"])
    for n in range(2):
        own = params[f"block_{n}"]
        turned = layer_norm(x, own["norm_tokens"]).swapaxes(1, 2)
        x = x + perceptron(turned, own, "tokens_up", "tokens_down").swapaxes(1, 2)
        x = x + perceptron(layer_norm(x, own["norm_mlp"]), own)
    expected = dense(layer_norm(x, params["norm"]).mean(1), params["head"])
    close(model.apply(params, {}, inputs)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_follows_its_key_and_rests_in_evaluation(kind, digits):
    inputs = digits.inputs[:4]
    model = REGISTRY[kind].make(outputs=4, dropout=0.5, **TINY[kind])
    plain = REGISTRY[kind].make(outputs=4, **TINY[kind])
    params = random_params(model, inputs)

    def run(seed, train):
        key = None if seed is None else jax.random.key(seed)
        return np.asarray(model.apply(params, {}, inputs, key=key, train=train)[0])

    np.testing.assert_array_equal(run(1, True), run(1, True))
    assert (run(1, True) != run(2, True)).any()
    np.testing.assert_array_equal(run(1, False), run(None, False))
    np.testing.assert_array_equal(run(1, False), plain.apply(params, {}, inputs)[0])


def kernels_of(depth):
    """Those that attention has, and those of all branches that depth-aware methods scale."""
    names = [f"block_{n}/attention/{part}/kernel" for n in range(depth) for part in PARTS]
    scaled = [path for path in names if "value" in path or "out" in path]
    scaled += [f"block_{n}/{part}/kernel" for n in range(depth) for part in ("up", "down")]
    return names, scaled


def differing(before, after):
    before, after = dict(named_leaves(before)), dict(named_leaves(after))
    return {path for path in before if not np.array_equal(before[path], after[path])}


def network_and_params(kind, train, **options):
    model = REGISTRY[kind].make(outputs=10, **{**TINY[kind], **options})
    params = random_params(model, train.inputs[:2])
    network = network_of(model, tasks.REGISTRY["classification"], params, {}, train)
    return network, params


def test_the_audit_shows_that_model_level_initializers_reach_their_leaves(working_dir):
    """The sets are those that the papers name."""
    methods = [
        "gpt2",
        "deep_norm",
        "mimetic",
        {"name": "mup", "label": "mup", "base_width": 2},
        "lsuv",
    ]
    experiment = prepare(
        {
            "name": "tiny",
            "task": {"name": "classification", "dataset": "digits", "batch_size": 16},
            "model": {"name": "transformer", **TINY["transformer"], "depth": 1},
            "initializers": methods,
            "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
            "steps": 1,
        }
    )
    initial = initial_weights(experiment)
    rows = audit_experiment(experiment, initial)
    assert {row.verdict for row in rows} == {"ok"}
    found = {
        cell.label: differing(initial.drawn(index, 0), initial(index, 0))
        for index, cell in enumerate(experiment.initializer_cells)
    }
    told = {label: {r.path for r in rows if r.initializer == label and r.then} for label in found}
    attending, scaled = kernels_of(1)
    everything = {"embed/kernel", "head/kernel", *attending, *scaled}
    assert found["gpt2"] == everything
    assert found["deep_norm"] == set(scaled)
    assert found["mimetic"] == set(attending)
    assert found["mup"] == {"head/kernel"}
    assert told["gpt2"] >= found["gpt2"]


def test_lsuv_gives_every_kernel_of_a_transformer_unit_variance(digits):
    """Step by step, since compiling one loop for each kernel would take long."""
    network, params = network_and_params("transformer", digits, depth=1)
    with jax.disable_jit():
        refined, info = MODEL_LEVEL["lsuv"].refine(jax.random.key(0), params, network)
    attending, scaled = kernels_of(1)
    kernels = {"embed/kernel", "head/kernel", *attending, *scaled}
    assert {name.removeprefix("variance/") for name in info} == kernels
    assert differing(params, refined) <= kernels
    assert "embed/kernel" in differing(params, refined)
    # the method's own tolerance
    assert max(abs(float(variance) - 1) for variance in info.values()) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_model_level_initializers_change_their_leaves(kind, digits):
    network, params = network_and_params(kind, digits)
    everything = {kernel.path for kernel in network.anatomy.kernels}
    attending, scaled = kernels_of(2)
    expected = {"gpt2": everything, "mup": {"head/kernel"}}
    if kind != "mixer":
        expected |= {"deep_norm": set(scaled), "t_fixup": {*scaled, "embed/kernel"}}
        assert everything == {"embed/kernel", "head/kernel", *attending, *scaled}
    assert network.anatomy.depth == 4
    for method, leaves in expected.items():
        refined, _ = MODEL_LEVEL[method].refine(jax.random.key(0), params, network)
        assert differing(params, refined) == leaves


@pytest.mark.parametrize(("gate", "method"), [("scalar", "rezero"), ("channels", "layer_scale")])
def test_gates_are_what_rezero_and_layer_scale_start(gate, method, digits):
    for kind in KINDS:
        first = "tokens" if kind == "mixer" else "attention"
        network, params = network_and_params(kind, digits, gate=gate)
        refined, _ = MODEL_LEVEL[method].refine(jax.random.key(0), params, network)
        gates = {f"block_{n}/gate_{part}/scale" for n in (0, 1) for part in (first, "mlp")}
        assert differing(params, refined) == gates


def test_tokens_have_a_table_that_gpt2_and_t_fixup_draw():
    tokens = Split(np.zeros((20, 6, 1), np.float32), np.zeros(20, np.int32))
    network, params = network_and_params("transformer", tokens, vocabulary=7, depth=1)
    assert network.anatomy.layouts["embed/embedding"].kind == "embedding"
    for method in ("gpt2", "t_fixup"):
        refined, _ = MODEL_LEVEL[method].refine(jax.random.key(0), params, network)
        changed = differing(params, refined)
        assert "embed/embedding" in changed
        assert "positions" not in changed


def test_mup_gives_each_layer_its_rate(digits):
    """Four times the base width: hidden layers and the readout learn a fourth as fast with Adam."""
    model = REGISTRY["transformer"].make(outputs=10, **TINY["transformer"])
    shapes = param_shapes(model, digits.inputs[:2])
    network = network_of(model, tasks.REGISTRY["classification"], shapes, {}, digits)
    rates = mup_multipliers(network.anatomy, shapes, 2, kind="adam")
    slow = {path for path, rate in rates.items() if rate == 1 / 4}
    assert slow == {"head/kernel", *(path for paths in kernels_of(2) for path in paths)}
    assert set(rates.values()) == {1.0, 1 / 4}


def test_patches_and_tokens_are_cut_as_they_lie():
    picture = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
    patches = as_patches(picture, 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[1, 4], picture[1, 2:4, 2:4].ravel())
    assert as_tokens(np.array([[0.0, 2.9999998]])).tolist() == [[0, 3]]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("transformer", {"heads": 3}, "heads must divide the width 32, got 3"),
        ("transformer", {"depth": 0}, "depth must be an integer of at least 1"),
        ("transformer", {"norm": "pos"}, "unknown norm 'pos'; did you mean 'post'"),
        ("transformer", {"shortcut_scale": "deep"}, "a number or 'deep_norm', got 'deep'"),
        ("transformer", {"vocabulary": 5, "length": 4}, "length cannot be given with a vocabulary"),
        ("transformer", {"attention_scale": 2}, "attention_scale"),
        ("transformer", {"residual_scale": float("nan")}, "residual_scale must be a finite number"),
        ("vit", {"pool": "max"}, "unknown pool 'max'"),
        ("vit", {"positions": "fixed"}, "unknown positions"),
        ("vit", {"mlp_ratio": 0}, "mlp_ratio must be above 0"),
        ("mixer", {"token_width": 0}, "token_width"),
        ("mixer", {"gate": "vector"}, "unknown gate"),
        ("mixer", {"use_bias": 1}, "use_bias must be true or false"),
    ],
)
def test_bad_options_are_refused(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        REGISTRY[kind].make(**{"outputs": 2, **options})


def test_bad_inputs_are_refused():
    with pytest.raises(ConfigError, match="patch must divide the pictures' 8 x 8, got 3"):
        as_patches(np.ones((2, 64)), 3)
    with pytest.raises(ConfigError, match=r"got examples of shape \(10,\)"):
        as_patches(np.ones((2, 10)), 2)
    with pytest.raises(ConfigError, match=r"token numbers \[T\] or \[T, 1\], got \(4, 2\)"):
        as_tokens(np.ones((3, 4, 2)))
